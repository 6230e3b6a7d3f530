"""What goes wrong with the DRA driver alone: a plugin's remains, claims that are not honoured, no preemption."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator

from gpuctl.checks.capacity import GPU_CAPACITY
from gpuctl.checks.context import Context
from gpuctl.checks.model import Check, Result, counted, failed, listed, passed, skipped
from gpuctl.checks.nodes import present_nodes
from gpuctl.checks.workloads import PODS, free_slices
from gpuctl.cluster import Manifest, Pod
from gpuctl.desired.sharing import RESOURCE
from gpuctl.observed.pods import unschedulable

_NOT_USED = "no node of the stack has backend dra"
_SLICES = "kubectl --context admin@lab get resourceslices -o yaml"
_UNPREPARED = "FailedPrepareDynamicResources"
_TROUBLE = {
    "unresolvable CDI devices": "the CDI specification of its claim is lost, as when /run/cdi was emptied: neither the "
    "driver nor the kubelet writes it again",
    "endpoint not found in cache for a registered resource": "the kubelet's checkpoint still has pods of the device "
    "plugin, which is gone; see docs/dra.md, Remains of the device plugin",
    "already allocated to different claim": "a pod has a share of the GPU from before it was whole, and the scheduler "
    "gave it out as free",
    "empty device edits": "the driver found no device nodes: gpu:driverRoot is another folder than the NVIDIA driver's",
}
"""What the kubelet says of a pod whose GPU it cannot hand over -> why. Seen with Kubernetes 1.36.4, driver v0.5.0."""


@Check(
    "CAP009",
    GPU_CAPACITY,
    "no node of the DRA driver has nvidia.com/gpu in its status",
    cause="A device plugin served the node, and its status was not cleaned when the kubelet forgot it",
    example="gpu-1 still has 8 nvidia.com/gpu in its status: pods are scheduled by it and run without any GPU",
    confirm=("kubectl --context admin@lab get node gpu-1 -o jsonpath={.status.allocatable}", _SLICES),
    fix=(
        "Take it out of the status: `kubectl --context admin@lab patch node gpu-1 --subresource=status --type=json "
        '-p \'[{"op":"remove","path":"/status/capacity/nvidia.com~1gpu"},'
        '{"op":"remove","path":"/status/allocatable/nvidia.com~1gpu"}]\'`.',
        "A device plugin still runs there: POD010 names it.",
    ),
)
def no_node_is_counted_twice(context: Context) -> Iterator[Result]:
    """By what the kubelet reports. At 0 it does no harm: what a kubelet has known once it goes on to list."""
    for node, _ in present_nodes(context):
        if node.name not in context.desired.by_dra:
            continue
        if offers := context.reported[node.name].allocatable(RESOURCE):
            patch = [{"op": "remove", "path": f"/status/{of}/nvidia.com~1gpu"} for of in ("capacity", "allocatable")]
            fix = ("--subresource=status", "--type=json", "-p", json.dumps(patch, separators=(",", ":")))
            fact = f"{node.name} still has {offers} {RESOURCE} in its status"
            yield failed(
                f"{fact}: pods are scheduled by it and run without any GPU",
                context.kubectl("patch", "node", node.name, *fix),
                node.name,
            )
        else:
            yield passed(f"{node.name} offers {RESOURCE} by its ResourceSlice only", node.name)
    if not context.desired.by_dra:
        yield skipped(_NOT_USED)


@Check(
    "POD007",
    PODS,
    "no pod waits for a GPU that it was given",
    cause="The kubelet or the DRA driver cannot hand the GPU of its claim to the pod",
    example="1 pod in default does not get its GPU on gpu-1: share-3 (unresolvable CDI devices)",
    confirm=(
        "kubectl --context admin@lab describe pod -n default share-3",
        "kubectl --context admin@lab get resourceclaims -A",
    ),
    fix=(
        "`unresolvable CDI devices`, `already allocated`: delete the pod; what replaces it gets a claim of its own.",
        "`endpoint not found in cache`: clean the kubelet's checkpoint; see docs/dra.md.",
        "`empty device edits`: set gpu:driverRoot to the folder whose `bin` and `lib64` are the NVIDIA driver's.",
    ),
)
def pods_get_the_gpus_of_their_claims(context: Context) -> Iterator[Result]:
    """By the container's reason, or the kubelet's events for a pod whose containers do not exist yet."""
    if not context.desired.by_dra:
        yield skipped(_NOT_USED)
        return
    events = context.cluster.list("Event", None, {"reason": _UNPREPARED})
    troubled: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for pod in context.pods:
        if pod.node in context.desired.by_dra and not pod.ready and (said := _trouble(pod, events)):
            troubled[pod.node, pod.namespace, said].append(pod.name)
    for (node, namespace, said), names in troubled.items():
        do = "does" if len(names) == 1 else "do"
        fact = f"{counted(len(names), 'pod')} in {namespace} {do} not get the GPU on {node}: {listed(names)} ({said})"
        show = context.kubectl("delete", "pod", "-n", namespace, *names)
        if said.startswith(("endpoint", "empty")):
            show = context.kubectl("describe", "pod", "-n", namespace, *names)
        yield failed(fact, show, node, _TROUBLE[said])
    if not troubled:
        yield passed("every pod on a node of the DRA driver gets the GPU of its claim")


@Check(
    "POD008",
    PODS,
    "no pod waits for GPUs behind pods of lower priority",
    cause="The scheduler preempts nobody for a device of the allocation API, where it does for a device plugin's",
    example="default/urgent (priority 1000) waits, and pods of lower priority have slices on gpu-1: default/batch-1",
    confirm=("kubectl --context admin@lab describe pod -n default urgent",),
    fix=("Delete a pod of lower priority yourself, or keep the node on `backend: device-plugin`; see docs/dra.md.",),
    severity="warning",
)
def priority_is_heeded(context: Context) -> Iterator[Result]:
    """The scheduler's own words for it are `Preemption is not helpful for scheduling`.

    Where slices are free, and on a node that takes no pods, something else keeps a pod waiting, and to delete another
    would not help it.
    """
    waiting = [pod for pod in context.pods if pod.asks_for(RESOURCE) and unschedulable(pod)]
    free = free_slices(context, RESOURCE)
    found = False
    for name in context.desired.nodes:
        if name not in context.desired.by_dra or name not in free:
            continue
        users = context.users.get(name, [])
        for pod in (each for each in waiting if each.asks_for(RESOURCE) > free[name]):
            if lower := [each for each in users if each.spec.priority < pod.spec.priority]:
                found = True
                names = listed(sorted(f"{each.namespace}/{each.name}" for each in lower))
                yield failed(
                    f"{pod.namespace}/{pod.name} (priority {pod.spec.priority}) waits, and pods of lower priority have "
                    f"slices on {name}: {names}",
                    context.kubectl("delete", "pod", "-n", lower[0].namespace, lower[0].name),
                    name,
                )
    if not context.desired.by_dra:
        yield skipped(_NOT_USED)
    elif not found:
        yield passed("no pod waits for a GPU behind pods of lower priority")


def _trouble(pod: Pod, events: Iterable[Manifest]) -> str:
    """The known words in what is said of a pod, not of another of its name; empty where there are none."""
    waiting = [each.state.waiting.message for each in pod.status.container_statuses if each.state.waiting]
    about = [each for each in events if each["involvedObject"].get("uid") == pod.metadata.uid]
    said = [*waiting, *(str(each.get("message", "")) for each in about)]
    return next((words for words in _TROUBLE for text in said if words in text), "")
