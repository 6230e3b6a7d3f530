"""Everything built or fetched, kept by what it was made from: the same inputs are never made twice.

An artifact is a folder `NAME-KEY`. It appears complete or not at all: it is made under another name and
renamed when nothing is missing, and what a killed run left is removed by the next one.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from testbed.layout import ARTIFACTS
from testbed.locking import exclusive
from testbed.progress import step

_KEY_LENGTH = 12


def key(*inputs: str | bytes) -> str:
    """A short name for inputs: other inputs, another key."""
    digest = hashlib.sha256()
    for part in inputs:
        content = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:%b" % (len(content), content))
    return digest.hexdigest()[:_KEY_LENGTH]


def folder_content(folder: Path) -> Iterable[str | bytes]:
    """The names and contents of the files in and below a folder, as inputs of a key."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield str(path.relative_to(folder))
        yield path.read_bytes()


def artifact(name: str, inputs_key: str, what: str, make: Callable[[Path], None]) -> Path:
    """The folder with an artifact; when there is none, `make` fills it.

    Args:
        name: names the kind of artifact.
        inputs_key: from `key`, over everything that `make` uses.
        what: said while it is made.
        make: fills the (existing, empty) folder it is given; may raise, then there is no artifact.
    """
    final = ARTIFACTS / f"{name}-{inputs_key}"
    if final.exists():
        return final
    with exclusive(ARTIFACTS / "lock", "the build of the test bed's tools"):
        if final.exists():  # made while we waited
            return final
        draft = ARTIFACTS / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        try:
            with step(what):
                make(draft)
            draft.rename(final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return final
