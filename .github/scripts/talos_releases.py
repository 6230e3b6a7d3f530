"""Says what gpuctl/data/talos_releases.json lacks: the NVIDIA versions of Talos releases, read at their public tags.

    python .github/scripts/talos_releases.py v1.14.7 v1.13.13 [--write]

It prints a diff for a person to judge; with --write the file is changed as well. A tag that cannot be read, or has not
what is looked for, is named and left out: what is not read stays unknown.
"""

import argparse
import difflib
import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

TABLE = Path(__file__).parents[2] / "gpuctl" / "data" / "talos_releases.json"
SOURCE = "https://raw.githubusercontent.com"

_VARIABLES = {
    "production": "NVIDIA_DRIVER_PRODUCTION_VERSION",
    "lts": "NVIDIA_DRIVER_LTS_VERSION",
    "toolkit": "CONTAINER_TOOLKIT_VERSION",
    "gdrcopy": "GDRCOPY_VERSION",
}
_OPTIONAL = ("gdrcopy",)
_SECONDS = 30


class NotRead(Exception):  # noqa: N818 (a state of the source, not a fault of this program)
    """A tag does not say what is looked for."""


def row_of(tag: str, source: str) -> dict[str, str]:
    """What the extensions of a release contain, as the table has it.

    Raises:
        NotRead: with the reason.
    """
    variables = _read(f"{source}/siderolabs/extensions/{tag}/nvidia-gpu/vars.yaml")
    makefile = _read(f"{source}/siderolabs/extensions/{tag}/Makefile")
    row = {"pkgs": _value(r"^PKGS \?= (\S+)", makefile, f"PKGS of the Makefile at {tag}")}
    for key, name in _VARIABLES.items():
        pattern = rf"^{name}: *[\"']?v?([^\s\"']+)"
        if key not in _OPTIONAL or re.search(pattern, variables, re.MULTILINE):
            row[key] = _value(pattern, variables, f"{name} at {tag}")
    return row


def kernel_of(tag: str, source: str) -> str:
    """The packages that a Talos release itself is built with; modules of others do not load in its kernel."""
    return _read(f"{source}/siderolabs/talos/{tag}/pkg/machinery/gendata/data/pkgs").strip()


def with_rows(table: str, rows: dict[str, dict[str, str]]) -> str:
    """The text of the table with these rows, one release a line, oldest first."""
    document = json.loads(table)
    releases = dict(sorted({**document["releases"], **rows}.items(), key=lambda item: _age(item[0])))
    lines = ",\n".join(f"    {json.dumps(tag)}: {json.dumps(row)}" for tag, row in releases.items())
    head = table[: table.index('  "releases": {')]
    return f'{head}  "releases": {{\n{lines}\n  }}\n}}\n'


def _age(tag: str) -> tuple[list[int], bool, str, int]:
    """Sorts v1.14.0-rc.1 before v1.14.0, and after v1.14.0-beta.2."""
    release, _, preview = tag.removeprefix("v").partition("-")
    name, _, number = preview.partition(".")
    return [int(part) for part in release.split(".")], not preview, name, int(number or 0)


def _value(pattern: str, text: str, what: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise NotRead(f"there is no {what}")
    return found[1]


def _read(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, TimeoutError, UnicodeDecodeError) as error:
        raise NotRead(f"{url} cannot be read: {error}") from error


def main() -> int:
    """Prints the diff; 1 when a release could not be read or cannot run its own NVIDIA modules."""
    parser = argparse.ArgumentParser(description="Compare gpuctl/data/talos_releases.json with public tags.")
    parser.add_argument("tags", nargs="+", metavar="TAG")
    parser.add_argument("--write", action="store_true", help="change the file, not only print the diff")
    parser.add_argument("--source", default=SOURCE, help=f"where files of GitHub are read; default {SOURCE}")
    options = parser.parse_args()
    rows: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for tag in options.tags:
        try:
            rows[tag] = row_of(tag, options.source)
            kernel = kernel_of(tag, options.source)
            if rows[tag]["pkgs"] != kernel:
                built = f"its modules are built for {rows[tag]['pkgs']} and its kernel is {kernel}"
                problems.append(f"{tag}: {built}: name it under unusable")
        except NotRead as error:
            problems.append(f"{tag}: {error}")
    before = TABLE.read_text()
    after = with_rows(before, rows)
    path = TABLE.name
    sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), after.splitlines(True), path, path, n=1))
    for problem in problems:
        print(problem, file=sys.stderr)
    if options.write:
        TABLE.write_text(after)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
