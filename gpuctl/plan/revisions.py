"""The stack files at a revision of the repository, without checking it out."""

import os
import posixpath
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gpuctl.settings import config_folder

_LINK = "120000"
"""Mode of a symbolic link in git."""
_LINKS = 10
"""Links in a row that are followed."""
WORKING_TREE = "working tree"
"""How the files as they lie here are called beside revisions."""


class RevisionError(Exception):
    """The revision cannot be read."""


class UnreadableError(Exception):
    """The file of one stack cannot be read."""


def stack_texts(revision: str, folder: Path | None = None) -> dict[str, str | UnreadableError]:
    """Stack -> content of its file, or why it cannot be read, which is a matter of that stack alone.

    Args:
        revision: whatever git takes for a commit, or WORKING_TREE.
        folder: where the stack files lie; None is the project's in the working folder.

    Raises:
        RevisionError: git is not installed, this is no repository, or it has no such revision.
    """
    folder = folder or config_folder()
    if revision == WORKING_TREE:
        return {
            _stack(path.name): _read(path.name, partial(_file, path)) for path in sorted(folder.glob("Pulumi.*.yaml"))
        }
    commit = _commit(folder, revision)
    prefix = _git(folder, "rev-parse", "--show-prefix").strip()
    entries = [_entry(line) for line in _git(folder, "ls-tree", "-z", commit, ".").split("\0") if line]
    return {
        _stack(name): _read(name, partial(_text, folder, commit, f"{prefix}{name}", is_link=mode == _LINK))
        for mode, name in sorted(entries, key=lambda entry: entry[1])
        if name.startswith("Pulumi.") and name.endswith(".yaml")
    }


def _read(name: str, content: Callable[[], bytes]) -> str | UnreadableError:
    try:
        return content().decode()
    except UnreadableError as error:
        return error
    except OSError as error:
        return UnreadableError(f"{name} cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        return UnreadableError(f"{name} is not a text: {error}")


def _file(path: Path) -> bytes:
    """The content of a file; a device or a pipe may have no end, and is none."""
    if path.exists() and not path.is_file():
        raise UnreadableError(f"{path.name} is not a file")
    return path.read_bytes()


def merge_base(base: str, head: str, folder: Path | None = None) -> str:
    """The commit from which two revisions went apart: what came to the base since is no change of the head.

    Args:
        base: whatever git takes for a commit.
        head: the same, or WORKING_TREE, which goes with HEAD.
        folder: within the repository; None is where the project of the working folder has its stack files.

    Returns:
        The base itself where both have nothing in common.

    Raises:
        RevisionError: git is not installed, this is no repository, or it has no such revision.
    """
    folder = folder or config_folder()
    commits = [_commit(folder, revision) for revision in (base, "HEAD" if head == WORKING_TREE else head)]
    try:
        return _git(folder, "merge-base", *commits).strip()
    except RevisionError:
        return commits[0]


def _commit(folder: Path, revision: str) -> str:
    return _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()


def _entry(line: str) -> tuple[str, str]:
    """Mode and name."""
    facts, _, name = line.partition("\t")
    return facts.split()[0], name


def _text(folder: Path, commit: str, path: str, *, is_link: bool) -> bytes:
    """A file at a commit; a link is followed within the repository, as Pulumi follows it in the working tree."""
    for _ in range(_LINKS):
        if not is_link:
            return _shown(folder, commit, path)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), os.fsdecode(_shown(folder, commit, path))))
        inside = not target.startswith(("/", ".."))
        found = _git(folder, "ls-tree", "-z", "--full-tree", commit, "--", target).split("\0")[0] if inside else ""
        if not found:
            raise UnreadableError(f"{path} is a link to {target}, which the repository does not have at {commit[:12]}")
        path, is_link = target, _entry(found)[0] == _LINK
    raise UnreadableError(f"{path} is a link that leads nowhere")


def _stack(name: str) -> str:
    return name.removeprefix("Pulumi.").removesuffix(".yaml")


def _shown(folder: Path, commit: str, path: str) -> bytes:
    return _output(folder, "show", f"{commit}:{path}")


def _git(folder: Path, *words: str) -> str:
    return os.fsdecode(_output(folder, *words))


def _output(folder: Path, *words: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, check=False)
    except FileNotFoundError:
        raise RevisionError("git is not installed, and revisions are read with it") from None
    if done.returncode:
        reason = (
            os.fsdecode(done.stderr).strip() or "it has no such revision; in a shallow clone: git fetch --unshallow"
        )
        raise RevisionError(f"git {' '.join(words[:1])} in {folder}: {reason}")
    return done.stdout
