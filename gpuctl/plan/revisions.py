"""The stack files at a revision of the repository, without checking it out."""

import subprocess
from pathlib import Path

from gpuctl.settings import config_folder

WORKING_TREE = "working tree"
"""How the files as they lie here are called beside revisions."""


class RevisionError(Exception):
    """The revision cannot be read."""


def stack_texts(revision: str, folder: Path | None = None) -> dict[str, str]:
    """Stack -> content of its file.

    Args:
        revision: whatever git takes for a commit, or WORKING_TREE.
        folder: where the stack files lie; None is the project's in the working folder.

    Raises:
        RevisionError: git is not installed, this is no repository, or it has no such revision.
    """
    folder = folder or config_folder()
    if revision == WORKING_TREE:
        return {_stack(path.name): path.read_text() for path in sorted(folder.glob("Pulumi.*.yaml"))}
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
    names = _git(folder, "ls-tree", "--name-only", "-z", commit, ".").split("\0")
    files = sorted(name for name in names if name.startswith("Pulumi.") and name.endswith(".yaml"))
    return {_stack(name): _git(folder, "show", f"{commit}:./{name}") for name in files}


def _stack(name: str) -> str:
    return name.removeprefix("Pulumi.").removesuffix(".yaml")


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RevisionError("git is not installed, and revisions are read with it") from None
    if done.returncode:
        reason = done.stderr.strip() or "it has no such revision; in a shallow clone: git fetch --unshallow"
        raise RevisionError(f"git {' '.join(words[:1])} in {folder}: {reason}")
    return done.stdout
