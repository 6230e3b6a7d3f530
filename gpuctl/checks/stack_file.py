"""Whether the stack file can be used at all."""

from collections.abc import Iterator

from gpuctl.checks.context import Context
from gpuctl.checks.model import Category, Check, Result, checks_of, failed, passed
from gpuctl.settings import SettingsError

STACK_FILE = Category("config", "the stack file", exit_code=2)


@Check(
    "CFG001",
    STACK_FILE,
    "the stack file says what the cluster must be",
    cause="The stack file has a mistake, so nothing can be expected of the cluster",
    example="gpu:slices = 0: must be at least 1",
    confirm=("gpuctl capacity --stack lab",),
    fix=("Run the command that the message names for each mistake.", "All keys: docs/configuration.md."),
    fatal=True,
)
def stack_file_is_valid(context: Context) -> Iterator[Result]:
    """The same reading as `pulumi up` does."""
    try:
        settings = context.settings
    except SettingsError as error:
        yield failed(str(error), f"gpuctl capacity --stack {context.stack}")
        return
    yield passed(f"stack {context.stack} declares {len(settings.nodes)} GPU nodes in context {settings.context}")


@Check(
    "CFG002",
    STACK_FILE,
    "everything in the stack file can be vouched for",
    cause="The project's tables do not know a GPU model or a Talos release that the stack file names",
    example="node gpu-1: GPU 'rtx-3091' is not in the catalogue (did you mean rtx-3090?)",
    confirm=("gpuctl capacity --stack lab",),
    fix=("Fix the name in the stack file, or accept that its figures are not checked before they are used.",),
    severity="warning",
)
def stack_file_can_be_vouched_for(context: Context) -> Iterator[Result]:
    """What `pulumi up` prints as warnings."""
    for warning in context.settings.warnings:
        yield failed(warning, f"gpuctl capacity --stack {context.stack}")
    if not context.settings.warnings:
        yield passed("every GPU model and the Talos release are known")


CHECKS = checks_of(vars())
