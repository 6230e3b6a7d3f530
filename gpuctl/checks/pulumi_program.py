"""The Pulumi command line, run in the project's folder: it knows what a stack was last deployed as."""

from gpuctl.checks.context import Context
from gpuctl.cluster.programs import Ran
from gpuctl.settings import ProjectError, project_folder

NOT_INSTALLED = "the Pulumi CLI is not installed here"


def pulumi(context: Context, *words: str, seconds: float = 30) -> Ran | None:
    """Runs a pulumi command that asks nothing; None when Pulumi is not installed."""
    try:
        here = ("--cwd", str(project_folder()))
    except ProjectError:  # the stack file came by its path; pulumi says itself that it has no project
        here = ()
    return context.programs.run("pulumi", *words, "--non-interactive", *here, seconds=seconds)


def said(ran: Ran) -> str:
    """Why a command failed, in its own words."""
    lines = [line.strip() for line in f"{ran.stdout}\n{ran.stderr}".splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [f"exit code {ran.exit_code}"])[-1]
