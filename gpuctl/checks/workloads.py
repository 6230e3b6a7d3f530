"""What pods make of the GPUs: who was refused, who waits, who takes more than it needs or what it did not ask for."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from gpuctl.checks.context import Context
from gpuctl.checks.model import Category, Check, Result, checks_of, counted, failed, listed, passed
from gpuctl.cluster import Pod
from gpuctl.desired.names import PART_OF, RUNTIME_CLASS
from gpuctl.desired.sharing import RENAMED_RESOURCE, RESOURCE
from gpuctl.observed.devices import held
from gpuctl.observed.pods import unschedulable

PODS = Category("pods", "pods that use GPUs")

_REFUSED = "UnexpectedAdmissionError"
_TOO_FEW = "OutOf"
"""What the kubelet's reason begins with when a node has too few of a resource, whose name follows."""
_REFUSALS = {
    "cannot allocate unregistered device": "the pod came before the device plugin had registered, as after a reboot",
    "no healthy devices present": "every GPU of the node was out of service",
    "previously allocated devices are no longer healthy": "the GPU that the pod had was out of service",
    "requested number of devices unavailable": "the scheduler did not know yet that the slice was gone",
    "maximum request size for shared resources": "the pod asks for several slices, and the device plugin refuses that",
    "Node didn't have enough resource": "the scheduler did not know yet that the slice was taken or not offered",
}
"""What the kubelet and the device plugin say, and why; pkg/kubelet/cm/devicemanager/manager.go and
pkg/kubelet/lifecycle/predicate.go of Kubernetes 1.36."""
_VISIBLE = "NVIDIA_VISIBLE_DEVICES"
_NONE_VISIBLE = ("", "void", "none")


@Check(
    "POD001",
    PODS,
    "no pod was refused because of its GPU",
    cause="The kubelet refused pods that the scheduler had sent, mostly right after a restart of node or plugin",
    example="2 pods in default were refused on gpu-1: share-1, share-2 (cannot allocate unregistered device)",
    confirm=("kubectl --context admin@lab get pods -A --field-selector status.phase=Failed",),
    fix=(
        "A Deployment has replaced them already: delete what is left of them.",
        "A pod of its own must be made again.",
    ),
    severity="warning",
)
def no_pod_was_refused(context: Context) -> Iterator[Result]:
    """Failed pods that nobody deletes; they hold no GPU. Not every message of a device plugin names the resource."""
    refused: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for pod in context.pods:
        if _was_for_its_gpu(pod, context.desired.resources):
            said = next((said for said in _REFUSALS if said in pod.status.message), pod.status.message)
            refused[pod.node, pod.namespace, said].append(pod.name)
    for (node, namespace, said), names in refused.items():
        were, where = "was" if len(names) == 1 else "were", f" on {node}" if node else ""
        fact = f"{counted(len(names), 'pod')} in {namespace} {were} refused{where}: {listed(names)} ({said})"
        yield failed(fact, context.kubectl("delete", "pod", "-n", namespace, *names), node, _REFUSALS.get(said, ""))
    if not refused:
        yield passed("no pod was refused because of its GPU")


@Check(
    "POD002",
    PODS,
    "no pod takes more than one slice",
    cause="Two slices buy no more compute than one, and may be of the same GPU; with backend dra they are of two GPUs",
    example="1 pod in default takes several slices on gpu-1: trainer",
    confirm=("kubectl --context admin@lab describe node gpu-1",),
    fix=(
        "Let the pod ask for one slice, or give it a node of whole GPUs: `slices: 1`.",
        "`pulumi config set gpu:failRequestsGreaterThanOne true --stack lab`: the device plugin refuses such pods.",
    ),
    severity="warning",
)
def no_pod_takes_several_slices(context: Context) -> Iterator[Result]:
    """On nodes that share their GPUs."""
    takers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node in context.desired.nodes.values():
        shared = [group.resource for group in node.groups if group.slices > 1]
        for pod in context.users.get(node.name, []):
            if any(pod.asks_for(resource) > 1 for resource in shared):
                takers[node.name, pod.namespace].append(pod.name)
    for (node, namespace), names in takers.items():
        take = "takes" if len(names) == 1 else "take"
        fact = f"{counted(len(names), 'pod')} in {namespace} {take} several slices on {node}: {listed(names)}"
        yield failed(fact, context.kubectl("get", "pod", "-n", namespace, "-o", "yaml", *names), node)
    if not takers:
        yield passed("every pod with a shared GPU has one slice of it")


@Check(
    "POD003",
    PODS,
    "no pod sees GPUs without asking for one",
    cause="The NVIDIA runtime shows GPUs to whoever sets NVIDIA_VISIBLE_DEVICES, as NVIDIA's CUDA images do",
    example="1 pod in default on gpu-1 sets NVIDIA_VISIBLE_DEVICES without asking for a GPU: notebook",
    confirm=("kubectl --context admin@lab exec -n default notebook -- nvidia-smi -L",),
    fix=(
        "Let the pod ask for a slice: `resources: {limits: {nvidia.com/gpu: 1}}`.",
        "A pod that needs no GPU needs neither the variable nor `runtimeClassName: nvidia`.",
        "What must see every GPU, such as an exporter, belongs in a DaemonSet; those are left out here.",
    ),
    severity="warning",
)
def no_pod_sees_gpus_unasked(context: Context) -> Iterator[Result]:
    """They use GPUs behind the scheduler's back. What a node's administrator runs in DaemonSets may do so."""
    nodes = context.desired.nodes
    seeing: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for pod in context.pods:
        if pod.node in nodes and pod.active and (way := _way_to_gpus(pod)):
            seeing[pod.node, pod.namespace, way].append(pod.name)
    for (node, namespace, way), names in seeing.items():
        fact = f"{counted(len(names), 'pod')} in {namespace} on {node} {way} without asking for a GPU: {listed(names)}"
        yield failed(fact, context.kubectl("get", "pod", "-n", namespace, "-o", "yaml", *names), node)
    if not seeing:
        yield passed("every pod that sees GPUs has asked for one, or is of a DaemonSet")


@Check(
    "POD004",
    PODS,
    "no pod waits while a GPU is free",
    cause="The node with free slices is not one on which the pod may run",
    example="1 pod waits for nvidia.com/gpu although gpu-2 has 3 slices free: default/share-9",
    confirm=("kubectl --context admin@lab describe pod -n default share-9",),
    fix=(
        "The scheduler's message names what keeps the pod away: a taint it does not tolerate, its node selector, "
        "or memory and CPU it asks for besides.",
    ),
    severity="warning",
)
def no_pod_waits_for_nothing(context: Context) -> Iterator[Result]:
    """Pods that wait because all slices are taken are as they should be."""
    for resource in context.desired.resources:
        yield _waiting(context, resource)


def _waiting(context: Context, resource: str) -> Result:
    waiting = [pod for pod in context.pods if pod.asks_for(resource) and unschedulable(pod)]
    free = free_slices(context, resource)
    least = min((pod.asks_for(resource) for pod in waiting), default=1)
    roomy = [f"{node} has {slices} slices free" for node, slices in free.items() if slices >= least]
    wait = "waits" if len(waiting) == 1 else "wait"
    if waiting and roomy:
        names = [f"{pod.namespace}/{pod.name}" for pod in waiting]
        fact = f"{counted(len(waiting), 'pod')} {wait} for {resource} although {listed(roomy)}: {listed(names)}"
        describe = context.kubectl("describe", "pod", "-n", waiting[0].namespace, waiting[0].name)
        more = ""
        if least > 1 and (by_dra := [node for node in context.desired.by_dra if free.get(node, 0) >= least]):
            most = max(context.desired.nodes[name].gpus for name in by_dra)
            more = f"; with backend dra {least} {resource} are of {least} GPUs of one node, which have {most} at most"
        return failed(fact, describe, "", f"the scheduler says: {unschedulable(waiting[0])}{more}")
    if waiting:
        return passed(f"{counted(len(waiting), 'pod')} {wait} for {resource}, and every slice is taken")
    return passed(f"no pod waits for {resource}; {counted(sum(free.values()), 'slice')} free")


@Check(
    "POD005",
    PODS,
    "no pod waits for a resource that nobody offers",
    cause="The pod asks for GPUs by the name that gpu:renameByDefault took away, or would give",
    example="1 pod waits for nvidia.com/gpu.shared, and the stack offers nvidia.com/gpu: default/share-9",
    confirm=("kubectl --context admin@lab get nodes -o yaml",),
    fix=("Let the pod ask by the other name, or change `gpu:renameByDefault`.",),
    severity="warning",
)
def no_pod_asks_by_another_name(context: Context) -> Iterator[Result]:
    """Both names are the device plugin's."""
    offered = context.desired.resources
    other = next((name for name in (RESOURCE, RENAMED_RESOURCE) if name not in offered), None)
    if other is None:
        yield passed(f"the stack offers {' and '.join(offered)}")
        return
    waiting = [pod for pod in context.pods if pod.asks_for(other) and unschedulable(pod)]
    if waiting:
        wait, names = "waits" if len(waiting) == 1 else "wait", [f"{pod.namespace}/{pod.name}" for pod in waiting]
        fact = f"{counted(len(waiting), 'pod')} {wait} for {other}, and the stack offers {offered[0]}: {listed(names)}"
        yield failed(fact, context.kubectl("describe", "pod", "-n", waiting[0].namespace, waiting[0].name))
    else:
        yield passed(f"no pod waits for {other}")


@Check(
    "POD006",
    PODS,
    "no more pods run on a node than it has slices",
    cause="The slices were made fewer while pods held them: those run on, and share a GPU with more than is meant",
    example="pods on gpu-1 hold 8 nvidia.com/gpu, and it has 4",
    confirm=("gpuctl status --stack lab",),
    fix=(
        "Delete pods until the rest fits; what replaces them waits for a slice or goes to another node.",
        "Or give the slices back: `pulumi config set gpu:slices NUMBER --stack lab && pulumi up --stack lab`.",
    ),
    severity="warning",
)
def no_node_is_overfull(context: Context) -> Iterator[Result]:
    """The kubelet takes nothing from a pod that runs, not even when it restarts."""
    for name, node in context.nodes.items():
        for resource in context.desired.nodes[name].offers if name in context.desired.nodes else ():
            has, holds = node.capacity(resource), held(context.users.get(name, []), resource)
            if has and holds > has:
                remedy = f"gpuctl status --stack {context.stack}"
                yield failed(f"pods on {name} hold {holds} {resource}, and it has {has}", remedy, name)
            elif has:
                yield passed(f"pods on {name} hold {holds} of its {has} {resource}", name)


def free_slices(context: Context, resource: str) -> dict[str, int]:
    """Slices that nobody has, by node that takes pods."""
    return {
        name: max(0, node.allocatable(resource) - held(context.users.get(name, []), resource))
        for name, node in context.nodes.items()
        if node.ready and not node.spec.unschedulable
    }


def is_own(context: Context, pod: Pod) -> bool:
    """Whether it is one of the stack's own."""
    return pod.namespace == context.settings.namespace and PART_OF in pod.labels.items()


def _was_for_its_gpu(pod: Pod, resources: Iterable[str]) -> bool:
    """Whether a pod was refused because of its GPU: it asks for one, and the reason names nothing else it asks for."""
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    asked = {name for container in containers for name in container.resources.limits}
    own = {RESOURCE, RENAMED_RESOURCE, *resources}
    if pod.status.reason != _REFUSED:
        return pod.status.reason in {f"{_TOO_FEW}{name}" for name in own}
    others = {name for name in asked - own if "/" in name}
    return bool(asked & own) and not any(name in pod.status.message for name in others)


def _way_to_gpus(pod: Pod) -> str:
    """How a pod comes to see GPUs that it did not ask for; empty when it does not."""
    asks = pod.asks_for(RESOURCE) or pod.asks_for(RENAMED_RESOURCE)
    if asks or any(owner.kind == "DaemonSet" for owner in pod.metadata.owner_references):
        return ""
    said = {each.name: each.value for box in (*pod.spec.init_containers, *pod.spec.containers) for each in box.env}
    if said.get(_VISIBLE, "") not in _NONE_VISIBLE:
        return f"sets {_VISIBLE}"
    runs = pod.spec.runtime_class_name == RUNTIME_CLASS and _VISIBLE not in said
    return f"runs under RuntimeClass {RUNTIME_CLASS}" if runs else ""


CHECKS = checks_of(vars())
