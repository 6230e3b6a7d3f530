"""Whether it is known who uses the GPUs, and whether everyone keeps to its share of the memory."""

from collections.abc import Iterator

from gpuctl.checks.context import Context
from gpuctl.checks.model import Category, Check, Result, Subject, checks_of, failed, passed, skipped
from gpuctl.checks.own_pods import name_on, why_not_working
from gpuctl.checks.usage_reports import UsageReport, usage_reports
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.sharing import Mode
from gpuctl.desired.usage import NAME as WATCHER
from gpuctl.usage.holders import Holder

GPU_USAGE = Category("gpu-usage", "use of the GPUs")

_UNWATCHED = "gpu:usage is false, so nobody watches who uses the GPUs"
_STATUS = "gpuctl status --stack lab"
_LOGS = "kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-gpu-usage"


@Check(
    "USE001",
    GPU_USAGE,
    "the usage watcher reports on every node",
    cause="The watcher does not start, nvidia-smi does not answer it, or its log may not be read",
    example="the usage watcher on gpu-1 has taken no sample",
    confirm=(_LOGS,),
    fix=(
        "Its log has what nvidia-smi says. GPUs and pods are as they were: only what they use is not known.",
        "docs/usage.md says which rights the reader needs.",
    ),
    severity="warning",
    retry=True,
)
def watchers_report(context: Context) -> Iterator[Result]:
    """By the samples in their logs."""
    if not context.settings.usage:
        yield skipped(_UNWATCHED)
        return
    for name, report in context.once(usage_reports).items():
        if (seen := context.nodes.get(name)) is None or not seen.ready:
            yield skipped(report.silence, name)
        elif not report.silence:
            yield passed(f"the usage watcher on {name} reports every GPU that answers", name)
        elif why := why_not_working(context, WATCHER, name):
            yield failed(report.silence, why.remedy, why.on(name), why.cause, why.reason)
        else:
            logs = context.kubectl("logs", "-n", context.settings.namespace, name_on(context, WATCHER, name))
            yield failed(report.silence, logs, name)


@Check(
    "USE002",
    GPU_USAGE,
    "no pod holds more than its share of a GPU's memory",
    cause="Time slicing limits no memory: the first pods take what they like, and the last one gets an out of memory; "
    "MPS limits each process, so a pod of several may have more, as may one that began before the MPS daemon",
    example="team/trainer holds 14336 MiB of GPU 0 of gpu-1, and its share is 6144 MiB; time slicing does not limit "
    "memory",
    confirm=(_STATUS,),
    fix=(
        "Let the program take less: vLLM's `--gpu-memory-utilization`, PyTorch's "
        "`torch.cuda.set_per_process_memory_fraction`, `XLA_PYTHON_CLIENT_MEM_FRACTION` of JAX.",
        "With MPS, one process for each pod; MPS004 names the pods that have no limit.",
        "Or give the node fewer slices: `slices` in its entry, then `pulumi up --stack lab`.",
        "Nothing, where the pods agree among themselves: leave the check out with `--skip USE002`.",
    ),
    severity="warning",
)
def pods_keep_to_their_share(context: Context) -> Iterator[Result]:
    """The memory of the GPU, divided by its slices, or the limit that MPS sets, times the slices that the pod has."""
    if not context.settings.usage:
        yield skipped(_UNWATCHED)
        return
    for name, report in context.once(usage_reports).items():
        if report.silence:
            yield skipped(report.silence, name)
            continue
        greedy = list(_over(context.desired.nodes[name], report))
        for each, fact in greedy:
            yield failed(fact, f"gpuctl status --stack {context.stack}", Subject(name, each.gpu))
        if not greedy:
            yield passed(f"no pod on {name} holds more than its share of a GPU's memory", name)


def over_share(context: Context) -> Iterator[tuple[Holder, str]]:
    """The pods that hold more than their shares, each with the sentence about it."""
    for name, report in context.once(usage_reports).items():
        yield from _over(context.desired.nodes[name], report)


def _over(node: DesiredNode, report: UsageReport) -> Iterator[tuple[Holder, str]]:
    for each in report.holders:
        if each.over:
            index = "?" if each.index is None else each.index
            mps = node.group_of(each.gpu, each.index).mode is Mode.MPS
            why = "MPS limits each process, and none on the bare GPU" if mps else "time slicing does not limit memory"
            yield (
                each,
                f"{each.pod} holds {each.memory} MiB of GPU {index} of {node.name}, and its share is {each.share} MiB; "
                f"{why}",
            )


CHECKS = checks_of(vars())
