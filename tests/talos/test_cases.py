"""Patches that people write, each with the verdict of every line's library and of `gpuctl talos check`.

tests/talos/cases has the patches, verdicts.yaml what was said of them. Each is applied to a new worker's configuration
of the line. The library accepts much that a node then cannot use; what it rejects, `check` need not find.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuctl.machine_config import check as check_gpus
from gpuctl.machine_config import parse
from testbed.talos import LINES, RELEASES, base, check

_HERE = Path(__file__).parent
CASES = sorted((_HERE / "cases").glob("*.yaml"))
VERDICTS: dict[str, Any] = yaml.safe_load((_HERE / "verdicts.yaml").read_text())
ACCEPTS = "accepts"

LEFT_TO_THE_LIBRARY = {
    ("doc-etcfile-cri", "1.14"),
    ("doc-install-bad-cel", "1.14"),
    ("install-extensions-twice", "1.9"),
    ("install-image-and-disk", "1.14"),
    ("install-image-only", "1.14"),
    ("label-only", "1.14"),
    ("label-unquoted-true", "1.14"),
    ("mixed-documents-with-legacy-image", "1.14"),
    *(("module-parameters-string", line) for line in LINES),
    *(("unknown-key", line) for line in LINES),
}
"""What `check` does not find in a patch: misspelt keys, and what excludes a document of the configuration."""
WRONGLY_ACCEPTED = {
    "doc-cricustomization-no-content",
    "doc-cricustomization-not-toml",
    "doc-install-image-bad-reference",
    "doc-kernelmodule-name-with-space",
    "file-content-not-toml",
    "file-old-plugin-id",
    "file-other-cri-part",
    "file-permissions-decimal-600",
    "file-relative-path",
    "file-two-entries-same-path",
    "file-unknown-op",
    "install-extensions",
    "install-extensions-of-talos-1.7",
    "install-extensions-of-two-channels",
    "install-image-bad-reference",
    "label-null",
    "label-restricted-prefix",
    "label-role-prefix",
    "module-name-empty",
    "module-name-unknown",
    "module-name-with-hyphen",
    "module-name-with-space",
    "module-twice-with-parameters",
    "sysctl-bool",
    "sysctl-null",
}
"""The library accepts them on some line, and no node can use them."""
NEEDLESS = {
    *("doc-hostname-twice-in-one-patch", "doc-kernelmodule-twice-in-one-patch", "machine-twice-in-one-patch"),
    *("empty-patch", "json6902-files", "json6902-install-image"),
    *("doc-sysctl", "doc-sysctl-int", "sysctl-int", "sysctl-string"),
}
"""The library accepts them on some line, and they do no harm there; on another line they fail or weaken the node."""

each_case = pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)


def _expected(case: Path, judge: str) -> dict[str, Any]:
    """Line -> verdict, from ranges such as `1.9-1.13`."""
    verdicts: dict[str, Any] = {}
    for lines, verdict in VERDICTS[case.stem][judge].items():
        first, _, last = str(lines).partition("-")
        verdicts |= dict.fromkeys(LINES[LINES.index(first) : LINES.index(last or first) + 1], verdict)
    return verdicts


def library_says(line: str, patch: str) -> str:
    """The library's words, without where in the text, and without what it says of the configuration alone."""
    config = base(line, line)
    verdict = check(line, config, [patch])
    warnings = [text for text in verdict.warnings if text not in check(line, config, []).warnings]
    if verdict.stage:
        return f"{verdict.stage}: {'; '.join(map(_words, verdict.errors))}"
    return f"warns: {'; '.join(warnings)}" if warnings else ACCEPTS


def _words(message: str) -> str:
    message = re.sub(r"error decoding document \S+ (.* )?\(line \d+\): | \(line \d+\)", "", message)
    return re.sub(r"^v1alpha1\.Config: \d+ errors? occurred: \* ", "", message)


@each_case
def test_the_library_of_each_line_says_what_it_said(case: Path) -> None:
    assert {line: library_says(line, case.read_text()) for line in LINES} == _expected(case, "library")


@each_case
def test_check_finds_what_makes_a_patch_useless(case: Path) -> None:
    config = parse(case.read_text())
    found = {line: sorted({each.code for each in check_gpus(config, RELEASES[line])}) for line in LINES}
    assert found == _expected(case, "check")


def test_every_case_has_a_verdict() -> None:
    assert {case.stem for case in CASES} == set(VERDICTS)


def test_all_that_the_library_wrongly_accepts_is_found_and_named() -> None:
    accepted = {
        case.stem for case in CASES for line in LINES if _accepts(case, line) and _expected(case, "check")[line]
    }
    assert accepted == WRONGLY_ACCEPTED | NEEDLESS


def test_all_that_only_the_library_rejects_is_named() -> None:
    rejected = {
        (case.stem, line)
        for case in CASES
        for line in LINES
        if not _accepts(case, line) and not _expected(case, "check")[line]
    }
    assert rejected == LEFT_TO_THE_LIBRARY


def _accepts(case: Path, line: str) -> bool:
    return _expected(case, "library")[line].startswith((ACCEPTS, "warns: "))
