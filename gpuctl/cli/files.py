"""Files that a command leaves: that one cannot be written is said before the work, and never with a traceback."""

import os
from contextlib import suppress
from pathlib import Path

import typer

from gpuctl.forms.command import command
from gpuctl.forms.output import complain
from gpuctl.forms.text import one_line


def refuse_unwritable(option: str, file: Path) -> None:
    """Makes sure that a file can be written, and leaves everything as it is.

    Rights alone do not say it: root has all of them in /proc and on what is mounted read-only, too.

    Raises:
        typer.BadParameter: it cannot.
    """
    try:
        _try(file)
    except IsADirectoryError:
        raise typer.BadParameter(f"{one_line(str(file))} is a folder, not a file", param_hint=option) from None
    except OSError as error:
        raise typer.BadParameter(unwritable(file, error), param_hint=option) from None


def unwritable(file: Path, error: OSError) -> str:
    """Why a file cannot be written, and what to do."""
    folder, is_missing = _target(file).parent, True
    with suppress(OSError):
        is_missing = not folder.exists()
    way = command("mkdir", "-p", str(folder)) if is_missing else "name a file in a folder of your own"
    return f"{one_line(str(file))} cannot be written: {error.strerror or error}. Fix it: {way}"


def written(option: str, file: Path, text: str) -> bool:
    """Writes a file, or says why that is not possible; whether it was."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        complain(f"gpuctl: error: {option}: {unwritable(file, error)}")
        return False
    return True


def write_below(option: str, file: Path, text: str) -> None:
    """Writes a file and makes the folders above it.

    Raises:
        typer.BadParameter: that is not possible.
    """
    refuse_blocked(option, file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(unwritable(file, error), param_hint=option) from error


def refuse_blocked(option: str, file: Path) -> None:
    """Makes sure that no file stands where a folder above this one must be, nor a folder where it must be itself.

    Raises:
        typer.BadParameter: one does.
    """
    for above in file.parents:
        if os.path.exists(above) and not os.path.isdir(above):  # noqa: PTH110, PTH112 (pathlib's raise without the right)
            problem = f"{one_line(str(above))} is a file, not a folder, so nothing below it can be written"
            raise typer.BadParameter(problem, param_hint=option)
    if os.path.isdir(file):  # noqa: PTH112
        raise typer.BadParameter(f"{one_line(str(file))} is a folder, not a file", param_hint=option)


def _try(file: Path) -> None:
    if file.is_dir():
        raise IsADirectoryError
    is_new = not file.exists()
    if not is_new and not file.is_file():  # opening a pipe waits for its reader, and takes the place of the real one
        if not os.access(file, os.W_OK):
            raise PermissionError(None, "Permission denied")
        return
    file.open("a").close()
    if is_new:
        _target(file).unlink()


def _target(file: Path) -> Path:
    """What is written, which of a link is the file that it leads to."""
    return Path(os.path.realpath(file))
