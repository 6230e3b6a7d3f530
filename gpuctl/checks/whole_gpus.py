"""Whether GPUs that are whole beside shared ones are really nobody else's."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from gpuctl.checks.agent_reports import agent_reports
from gpuctl.checks.capacity import GPU_CAPACITY
from gpuctl.checks.context import Context
from gpuctl.checks.model import Check, Result, Subject, checks_of, counted, failed, listed, passed, skipped
from gpuctl.checks.nodes import present_nodes
from gpuctl.cluster import Pod
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.sharing import Mode
from gpuctl.observed.devices import Device, devices, usage


@Check(
    "CAP008",
    GPU_CAPACITY,
    "a whole GPU is held by one pod at most, and by none that has a slice",
    cause="Pods that had slices when the GPU became a whole one run on, or its index is another since a reboot",
    example="gpu-1: GPU-dc0c82b9 is a whole GPU, and 2 pods hold it: default/notebook, default/trainer",
    confirm=("gpuctl status --stack lab",),
    fix=(
        "Delete the pods that hold slices of it; what replaces them gets a slice of a shared GPU.",
        "Name the GPUs by UUID in `wholeGpus` and `sharedGpus`: `nvidia-smi -L` prints them, and they never change.",
    ),
)
def whole_gpus_have_one_pod(context: Context) -> Iterator[Result]:
    """By the kubelet's report of devices, on nodes that have whole GPUs beside shared ones."""
    _ = context.pods
    having = [(node, found) for node, _ in present_nodes(context) if (found := _whole(node))]
    if not having:
        yield skipped("no node has whole GPUs beside shared ones")
    for node, whole in having:
        pods = context.users.get(node.name, [])
        if not usage(pods, *context.desired.resources).is_complete:
            reason = "the kubelet does not report which GPU a pod has (feature gate ResourceHealthStatus)"
            yield skipped(f"who holds the whole GPUs of {node.name} is not known: {reason}", node.name)
            continue
        shared = _shared(context, node, pods)
        for uuid, names in shared.items():
            hold = f"{counted(len(names), 'pod')} {'holds slices of it' if len(names) == 1 else 'hold it'}"
            fact = f"{node.name}: {uuid} is a whole GPU, and {hold}: {listed(names)}"
            yield failed(fact, f"gpuctl status --stack {context.stack}", Subject(node.name, uuid))
        if not shared:
            yield passed(f"{node.name}: no pod shares one of {counted(whole, 'whole GPU')}", node.name)


def _whole(node: DesiredNode) -> int:
    """GPUs that are whole beside shared ones."""
    return sum(group.count for group in node.groups if group.which and group.mode is Mode.WHOLE)


def _shared(context: Context, node: DesiredNode, pods: list[Pod]) -> Mapping[str, list[str]]:
    """UUID of a whole GPU that several hold, or one by a slice -> those pods.

    The stack says by UUID or index which are whole; a pod that holds a device without a slice's number shows it too.
    """
    report = context.once(agent_reports)[node.name] if context.settings.power_management else None
    indexes = {gpu.gpu: gpu.index for gpu in report.gpus} if report else {}
    held: dict[str, list[tuple[Device, Pod]]] = defaultdict(list)
    for pod in pods:
        for device in devices(pod, *context.desired.resources):
            held[device.gpu].append((device, pod))
    found: dict[str, list[str]] = {}
    for uuid, holders in held.items():
        slices = [device for device, _ in holders if device.is_slice]
        is_whole = len(slices) < len(holders) or node.group_of(uuid, indexes.get(uuid)).mode is Mode.WHOLE
        if is_whole and (slices or len(holders) > 1):
            found[uuid] = sorted({f"{pod.namespace}/{pod.name}" for _, pod in holders})
    return found


CHECKS = checks_of(vars())
