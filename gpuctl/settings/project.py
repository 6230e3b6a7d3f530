"""The Pulumi project that the user stands in: the working folder decides whose stack files are read, as for Pulumi."""

from pathlib import Path
from typing import cast

from gpuctl.settings.mistakes import SettingsError, in_the_file
from gpuctl.settings.yaml_document import MOST_BYTES, YamlError, load

PROJECT = "gpu"
"""Name of the project, and so the namespace of its keys: `gpu:slices`."""
_FILES = ("Pulumi.yaml", "Pulumi.yml")


class ProjectError(SettingsError):
    """The working folder is in no project of this name."""

    def __init__(self, message: str) -> None:
        super().__init__("", [])
        self.args = (message,)


def project_folder() -> Path:
    """The folder with the project file nearest to the working folder, upwards.

    Raises:
        ProjectError: there is none, or it is of another project.
    """
    return _project()[0].parent


def config_folder() -> Path:
    """Where the project's stack files lie: `stackConfigDir` of its project file.

    Raises:
        ProjectError: the working folder is in no project of this name.
    """
    path, document = _project()
    return path.parent / str(document.get("stackConfigDir") or ".")


def _project() -> tuple[Path, dict[str, object]]:
    """The project file and what is in it."""
    try:
        here = Path.cwd()
    except OSError as error:
        raise ProjectError(f"the working folder does not exist any more ({error.strerror}). Fix it: cd") from error
    path = next(
        (folder / name for folder in (here, *here.parents) for name in _FILES if (folder / name).is_file()), None
    )
    if path is None:
        raise ProjectError(
            f"no Pulumi.yaml in {here} or a folder above it, so it is not known which stack files are meant. "
            "Fix it: cd to your copy of this project, or name a stack file in PULUMI_OPTION_CONFIG_FILE"
        )
    document = _document(path)
    name = document.get("name")
    if name != PROJECT:
        raise ProjectError(
            f"{path} is of the project {str(name)[:100]!r}, and the stack files that gpuctl reads are of {PROJECT!r}. "
            "Fix it: cd to your copy of this project, or name a stack file in PULUMI_OPTION_CONFIG_FILE"
        )
    return path, document


def _document(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            document = load(file.read(MOST_BYTES + 1).decode())
    except (OSError, UnicodeDecodeError, YamlError) as error:
        mistake = in_the_file(str(path), str(error))
        raise ProjectError(f"{mistake.key}: {mistake.reason}. Fix it: {mistake.command}") from error
    return cast(dict[str, object], document) if isinstance(document, dict) else {}
