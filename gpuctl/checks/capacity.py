"""Whether every node has its GPUs times its slices, offers all of them, and under one name."""

from collections.abc import Iterator

from gpuctl.checks.context import Context
from gpuctl.checks.daemon_pods import Trouble, name_on
from gpuctl.checks.model import Category, Guide, Result, check, failed, passed, skipped
from gpuctl.checks.serving import not_serving, out_of_service
from gpuctl.checks.wording import counted
from gpuctl.cluster import Node
from gpuctl.desired.capacity import RENAMED_RESOURCE, RESOURCE, memory_per_slice, resource_name
from gpuctl.desired.device_plugin import NAME as PLUGIN
from gpuctl.desired.power_limit import NAME as POWER_LIMIT
from gpuctl.desired.profiles import profile_of
from gpuctl.settings import GpuNode

GPU_CAPACITY = Category("gpu-capacity", "GPU capacity")

_LEAST_MEMORY = 1024
"""MiB; a CUDA context takes some hundred before a program has allocated anything."""
_LOOK = (
    "kubectl --context admin@lab get nodes "
    "-o custom-columns='NODE:.metadata.name,HAS:.status.capacity,OFFERS:.status.allocatable'"
)
_LOG = "kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-device-plugin"


@check(
    "CAP001",
    GPU_CAPACITY,
    "every node has its GPUs times its slices",
    Guide(
        cause="The device plugin does not serve on the node, runs with another configuration, or finds fewer GPUs",
        example="gpu-1 has 4 nvidia.com/gpu instead of 8 (2 GPUs with 4 slices each), as if 1 GPU were there",
        confirm=(_LOOK, _LOG),
        fix=(
            "Fix what keeps the device plugin's pod from running: its log or its events say what that is.",
            "Correct `count` in the stack file where the node has another number of GPUs, then `pulumi up`.",
            "Another configuration: `pulumi up --refresh --stack lab`.",
        ),
    ),
    retry=True,
)
def capacity_is_complete(context: Context) -> Iterator[Result]:
    """By the kubelet's count of all devices, healthy or not."""
    resource = resource_name(context.settings)
    for node, seen in _nodes(context):
        has, slices = seen.capacity(resource), context.settings.slices_of(node)
        product = f"{counted(node.count, 'GPU')} with {counted(slices, 'slice')} each"
        if has == node.count * slices:
            yield passed(f"{node.name} has {has} {resource} ({product})", node.name)
            continue
        seems, why = _incomplete(context, node, has)
        fact = f"{node.name} has {has} {resource} instead of {node.count * slices} ({product}){seems}"
        yield failed(fact, why.remedy, node.name, why.cause)
    for node in context.settings.nodes:
        if node.name not in context.nodes:
            yield skipped(f"the cluster has no node {node.name}", node.name)


@check(
    "CAP002",
    GPU_CAPACITY,
    "every node offers the scheduler all it has",
    Guide(
        cause="The device plugin is gone, or took a GPU out of service",
        example="gpu-1 offers 0 of its 8 nvidia.com/gpu",
        confirm=(_LOOK, _LOG),
        fix=(
            "Fix what keeps the device plugin's pod from running: its log or its events say what that is.",
            "A GPU that the plugin marked unhealthy stays so until the plugin restarts. Reset the GPU or reboot the "
            "node first where the Xid asks for it, then `kubectl delete pod -n gpu-device-plugin POD`.",
        ),
    ),
    retry=True,
)
def capacity_is_allocatable(context: Context) -> Iterator[Result]:
    """Without a plugin the capacity stands for five more minutes, and nothing is allocatable at once."""
    resource = resource_name(context.settings)
    for node, seen in _nodes(context):
        has, offers = seen.capacity(resource), seen.allocatable(resource)
        if not has:
            yield skipped(f"{node.name} has no {resource} to offer", node.name)
        elif offers == has:
            yield passed(f"{node.name} offers all of its {has} {resource}", node.name)
        else:
            why = not_serving(context, node) or out_of_service(context, node)
            yield failed(f"{node.name} offers {offers} of its {has} {resource}", why.remedy, node.name, why.cause)


@check(
    "CAP003",
    GPU_CAPACITY,
    "no GPU is sick while its other slices are handed out",
    Guide(
        cause="The device plugin takes one slice of a sick GPU out of service and goes on to offer the others",
        example="gpu-1 offers 7 of its 8 nvidia.com/gpu: new pods still get slices of a sick GPU",
        confirm=(
            _LOG,
            "kubectl --context admin@lab get pods -A -o custom-columns='POD:.metadata.name,"
            "DEVICES:.status.containerStatuses[*].allocatedResourcesStatus[*].resources[*]'",
        ),
        fix=(
            "Keep new pods away: `kubectl cordon gpu-1`. Move the pods that the message names.",
            "Reset the GPU or reboot the node; the plugin offers it again when it restarts.",
        ),
    ),
)
def sick_gpus_are_not_handed_out(context: Context) -> Iterator[Result]:
    """A number that is no multiple of the slices; NVIDIA/k8s-device-plugin issue 1929."""
    resource = resource_name(context.settings)
    for node, seen in _nodes(context):
        has, offers, slices = seen.capacity(resource), seen.allocatable(resource), context.settings.slices_of(node)
        if (has - offers) % slices == 0:
            yield passed(f"{node.name} has no GPU that is out of service in part", node.name)
            continue
        why = out_of_service(context, node)
        fact = f"{node.name} offers {offers} of its {has} {resource}: new pods still get slices of a sick GPU"
        yield failed(fact, why.remedy, node.name, why.cause)


@check(
    "CAP004",
    GPU_CAPACITY,
    "no node offers its GPUs under a second name",
    Guide(
        cause="Another device plugin, or a former configuration, offers the same GPUs as another resource",
        example="gpu-1 offers 8 nvidia.com/gpu.shared beside nvidia.com/gpu: its GPUs count twice",
        confirm=(_LOOK, "kubectl --context admin@lab get daemonsets -A"),
        fix=("Remove the other device plugin (POD010 names it), or set `gpu:renameByDefault` as it is meant.",),
    ),
    retry=True,
)
def gpus_have_one_name(context: Context) -> Iterator[Result]:
    """Of the two that the device plugin knows."""
    resource, second = _names(context)
    for node, seen in _nodes(context):
        if offers := seen.allocatable(second):
            fact = f"{node.name} offers {offers} {second} beside {resource}: its GPUs count twice"
            yield failed(fact, context.kubectl("get", "daemonsets", "-A", "-o", "wide"), node.name)
        else:
            yield passed(f"{node.name} offers its GPUs as {resource} only", node.name)


@check(
    "CAP005",
    GPU_CAPACITY,
    "no node shows a resource of former days",
    Guide(
        cause="gpu:renameByDefault was changed, and the kubelet keeps a name that nobody serves, at 0",
        example="gpu-1 still shows nvidia.com/gpu.shared, which nobody serves",
        confirm=(_LOOK,),
        fix=("It does no harm to pods, but misleads readers; a node that registers anew has lost it.",),
    ),
    severity="warning",
)
def no_name_is_left_over(context: Context) -> Iterator[Result]:
    """The kubelet drops the capacity after five minutes and never the name."""
    _, second = _names(context)
    for node, seen in _nodes(context):
        if second in seen.status.capacity and not seen.allocatable(second):
            fact = f"{node.name} still shows {second}, which nobody serves"
            yield failed(fact, context.kubectl("describe", "node", node.name), node.name)
        else:
            yield passed(f"{node.name} shows no resource that nobody serves", node.name)


@check(
    "CAP006",
    GPU_CAPACITY,
    "a slice has the memory of a CUDA program",
    Guide(
        cause="There are more slices than the memory of the GPU allows, and time slicing isolates no memory",
        example="gpu-1 has 384 MiB of GPU memory per slice on average",
        confirm=("gpuctl capacity --stack lab",),
        fix=("Fewer slices: `pulumi config set gpu:slices 4 --stack lab`, or `slices` of that node.",),
    ),
    severity="warning",
)
def slices_have_memory(context: Context) -> Iterator[Result]:
    """The average only: no pod says how much memory it will use, and none is held to it."""
    for node, mebibytes in memory_per_slice(context.settings).items():
        if mebibytes is None:
            yield skipped(f"the memory of a GPU of {node} is not in the catalogue", node)
        elif mebibytes < _LEAST_MEMORY:
            fact = f"{node} has {mebibytes} MiB of GPU memory per slice on average"
            yield failed(fact, f"gpuctl capacity --stack {context.stack}", node)
        else:
            yield passed(f"{node} has {mebibytes} MiB of GPU memory per slice on average", node)


def _incomplete(context: Context, node: GpuNode, has: int) -> tuple[str, Trouble]:
    """What another capacity looks like, and why it is so."""
    settings = context.settings
    slices, namespace = settings.slices_of(node), settings.namespace
    why = not_serving(context, node)
    if why or not has:
        return "", why or Trouble(
            f"the device plugin on {node.name} is ready, and the kubelet does not know it",
            context.kubectl("get", "events", "-A", "--field-selector", f"involvedObject.name={node.name}"),
        )
    gpus, rest = divmod(has, slices)
    if rest:
        name = profile_of(settings, node).named(PLUGIN)
        seems = f", as if each GPU had {counted(has // node.count, 'slice')}" if has % node.count == 0 else ""
        cause = "the device plugin runs with another configuration than the stack's"
        return seems, Trouble(cause, context.kubectl("rollout", "restart", "-n", namespace, f"daemonset/{name}"))
    too_few = gpus < node.count
    cause = "a GPU is lost, or the stack file's count is too high" if too_few else "the stack file's count is too low"
    pod = name_on(context, POWER_LIMIT if settings.power_management else PLUGIN, node.name)
    listing = context.kubectl("exec", "-n", namespace, pod, "--", "nvidia-smi", "-L")
    return f", as if {counted(gpus, 'GPU')} were there", Trouble(cause, listing)


def _nodes(context: Context) -> Iterator[tuple[GpuNode, Node]]:
    """The stack's nodes that the cluster has."""
    for node in context.settings.nodes:
        if node.name in context.nodes:
            yield node, context.nodes[node.name]


def _names(context: Context) -> tuple[str, str]:
    """The resource the stack asks for, and the other one."""
    resource = resource_name(context.settings)
    return resource, RENAMED_RESOURCE if resource == RESOURCE else RESOURCE


CHECKS = (
    capacity_is_complete,
    capacity_is_allocatable,
    sick_gpus_are_not_handed_out,
    gpus_have_one_name,
    no_name_is_left_over,
    slices_have_memory,
)
