"""Whether every node has its GPUs times its slices, offers all of them, and under one name."""

from collections.abc import Callable, Iterator

from gpuctl.checks.agent_reports import agent_reports
from gpuctl.checks.context import Context
from gpuctl.checks.model import Category, Check, Result, checks_of, counted, failed, passed, skipped
from gpuctl.checks.nodes import present_nodes
from gpuctl.checks.own_pods import Explanation, name_on
from gpuctl.checks.serving import not_serving, other_sharing, out_of_service, restart
from gpuctl.checks.shares import fewer_shares, tainted
from gpuctl.cluster import Node
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.power_limit import NAME as POWER_LIMIT
from gpuctl.desired.sharing import RENAMED_RESOURCE, RESOURCE, SharedGpus
from gpuctl.observed.nodes import gpu_resources, is_nvidia_gpu

GPU_CAPACITY = Category("gpu-capacity", "GPU capacity")

_LEAST_MEMORY = 1024
"""MiB; a CUDA context takes some hundred before a program has allocated any."""
_ROUNDING = 20
"""A part of the memory, such as the driver keeps for itself: figures that differ by less are of the same board."""
_LOOK = (
    "kubectl --context admin@lab get nodes "
    "-o custom-columns='NODE:.metadata.name,HAS:.status.capacity,OFFERS:.status.allocatable'"
)
_LOG = "kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-device-plugin"


@Check(
    "CAP001",
    GPU_CAPACITY,
    "every node has its GPUs times its slices",
    cause="The device plugin does not serve on the node, runs with another configuration, or finds fewer GPUs",
    example="gpu-1 has 4 nvidia.com/gpu instead of 8 (2 GPUs with 4 slices each), as if 1 GPU were there",
    confirm=(_LOOK, _LOG),
    fix=(
        "Fix what keeps the device plugin's pod from running: its log or its events say what that is.",
        "Correct `count` in the stack file where the node has another number of GPUs, then `pulumi up`.",
        "Another configuration: `pulumi up --refresh --stack lab`.",
    ),
    retry=True,
)
def capacity_is_complete(context: Context) -> Iterator[Result]:
    """By the kubelet's count of all devices, healthy or not."""
    for node, seen, group in _groups(context):
        resource, wanted = group.resource, group.offered
        has = seen.capacity(resource)
        product = f"{counted(group.count, 'GPU')} with {counted(group.slices, 'slice')} each"
        if has == wanted:
            yield passed(f"{node.name} has {has} {resource} ({product})", node.name)
            continue
        seems, why = _incomplete(context, node, group, has)
        fact = f"{node.name} has {has} {resource} instead of {wanted} ({product}){seems}"
        yield failed(fact, why.remedy, why.on(node.name), why.cause, why.reason)
    for name in context.desired.nodes:
        if name not in context.nodes:
            yield skipped(f"the cluster has no node {name}", name)


@Check(
    "CAP002",
    GPU_CAPACITY,
    "every node offers the scheduler all it has",
    cause="The device plugin is gone, or took a GPU out of service",
    example="gpu-1 offers 0 of its 8 nvidia.com/gpu",
    confirm=(_LOOK, _LOG),
    fix=(
        "Fix what keeps the device plugin's pod from running: its log or its events say what that is.",
        "Reset a GPU that the plugin marked unhealthy, or reboot its node, where the Xid asks for it. Once every GPU "
        "answers and the driver asks for no reset, the plugin's supervisor starts it again, after ten seconds and "
        "later each time; `kubectl delete pod -n gpu-device-plugin POD` does so at once.",
    ),
    retry=True,
)
def capacity_is_allocatable(context: Context) -> Iterator[Result]:
    """Without a plugin the capacity stands for five more minutes, and nothing is allocatable at once."""
    for node, seen, group in _groups(context):
        resource = group.resource
        has, offers = seen.capacity(resource), seen.allocatable(resource)
        if not has:
            yield skipped(f"{node.name} has no {resource} to offer", node.name)
        elif offers == has:
            yield passed(f"{node.name} offers all of its {has} {resource}", node.name)
        else:
            why = _held_back(context, node, group)
            fact = f"{node.name} offers {offers} of its {has} {resource}"
            yield failed(fact, why.remedy, why.on(node.name), why.cause, why.reason)


@Check(
    "CAP003",
    GPU_CAPACITY,
    "no unhealthy GPU has slices that are still handed out",
    cause="The device plugin takes one slice of an unhealthy GPU out of service and goes on to offer the others",
    example="gpu-1 offers 7 of its 8 nvidia.com/gpu: new pods still get slices of an unhealthy GPU",
    confirm=(
        _LOG,
        "kubectl --context admin@lab get pods -A -o custom-columns='POD:.metadata.name,"
        "DEVICES:.status.containerStatuses[*].allocatedResourcesStatus[*].resources[*]'",
    ),
    fix=(
        "Keep new pods away: `kubectl cordon gpu-1`. Move the pods that the message names.",
        "Reset the GPU or reboot the node. The plugin's supervisor starts it again once every GPU answers and the "
        "driver asks for no reset; then it offers the GPU.",
    ),
)
def unhealthy_gpus_are_not_handed_out(context: Context) -> Iterator[Result]:
    """A number that is no multiple of the slices; NVIDIA/k8s-device-plugin issue 1929. A taint takes a whole GPU."""
    for node, seen, group in _groups(context):
        resource = group.resource
        has, offers = seen.capacity(resource), seen.allocatable(resource)
        if not offers or (has - offers) % group.slices == 0 or node.name in context.desired.by_dra:
            yield passed(f"{node.name} has no GPU that is out of service in part", node.name)
            continue
        why = out_of_service(context, node, group)
        fact = f"{node.name} offers {offers} of its {has} {resource}: new pods still get slices of an unhealthy GPU"
        yield failed(fact, why.remedy, why.on(node.name), why.cause, why.reason)


@Check(
    "CAP004",
    GPU_CAPACITY,
    "no node offers its GPUs under a second name",
    cause="Another device plugin, or a former configuration, offers the same GPUs as another resource",
    example="gpu-1 offers 8 nvidia.com/gpu.shared beside nvidia.com/gpu: its GPUs count twice",
    confirm=(_LOOK, "kubectl --context admin@lab get daemonsets -A"),
    fix=(
        "Remove the other device plugin (POD010 names it), or set `gpu:renameByDefault` as it is meant.",
        "Nobody serves it any more: the kubelet offers it until it registers anew, "
        "`talosctl -n ADDRESS service kubelet restart`.",
    ),
    retry=True,
)
def gpus_have_one_name(context: Context) -> Iterator[Result]:
    """Pods that ask for the other one land there, on GPUs that are handed out already, or fail."""
    for node, seen in present_nodes(context):
        if offered := _offered_besides(node, seen, is_nvidia_gpu):
            fact = f"{node.name} offers {offered} beside {' and '.join(node.offers)}: its GPUs count twice"
            yield failed(fact, context.kubectl("get", "daemonsets", "-A", "-o", "wide"), node.name)
        else:
            yield passed(f"{node.name} offers its GPUs as {' and '.join(node.offers)} only", node.name)


@Check(
    "CAP005",
    GPU_CAPACITY,
    "no node still lists a retired resource",
    cause="gpu:renameByDefault was changed, and the kubelet keeps a name that nobody serves, at 0",
    example="gpu-1 still lists nvidia.com/gpu.shared, which nobody serves",
    confirm=(_LOOK,),
    fix=("It does no harm to pods, but misleads readers; a node that registers anew has lost it.",),
    severity="warning",
)
def no_name_is_left_over(context: Context) -> Iterator[Result]:
    """The kubelet drops the capacity after five minutes and never the name."""
    for node, seen in present_nodes(context):
        retired = [
            name for name, each in gpu_resources(seen).items() if not node.offered(name) and not each.allocatable
        ]
        if retired:
            fact = f"{node.name} still lists {', '.join(retired)}, which nobody serves"
            is_own = {RESOURCE, RENAMED_RESOURCE}.issuperset(retired)
            cause = "" if is_own else "what served it is gone, and the kubelet keeps the name, at 0"
            yield failed(fact, context.kubectl("describe", "node", node.name), node.name, cause)
        else:
            yield passed(f"{node.name} lists no resource that nobody serves", node.name)


@Check(
    "CAP006",
    GPU_CAPACITY,
    "each slice has enough memory for a CUDA program",
    cause="There are more slices than the memory of the GPU allows, and time slicing isolates no memory",
    example="gpu-1 has 384 MiB of GPU memory per slice on average",
    confirm=("gpuctl capacity --stack lab",),
    fix=("Fewer slices: `pulumi config set gpu:slices 4 --stack lab`, or `slices` of that node.",),
    severity="warning",
)
def slices_have_memory(context: Context) -> Iterator[Result]:
    """The average only: no pod says how much memory it will use, and none is held to it.

    What the GPUs report counts before what the catalogue has: boards of one name have memories of several sizes.
    """
    for node in context.desired.nodes.values():
        reported, declared = _reported_memory(context, node), node.memory_mib
        memory = reported or declared
        fact = f"{node.name} has {memory} MiB of GPU memory per slice on average"
        if reported and declared and abs(reported - declared) > declared / _ROUNDING:
            fact = f"{fact}, as its GPUs report, and not the {declared} of the stack file's model"
        if memory is None:
            yield skipped(f"the memory of a GPU of {node.name} is not known", node.name)
        elif memory < _LEAST_MEMORY:
            yield failed(fact, f"gpuctl capacity --stack {context.stack}", node.name)
        else:
            yield passed(fact, node.name)


def _reported_memory(context: Context, node: DesiredNode) -> int | None:
    """Average memory of one slice of the smallest GPU, in MiB; None while not every GPU reports its memory."""
    if not context.settings.power_management:
        return None
    totals = [gpu.memory_total for gpu in context.once(agent_reports)[node.name].gpus]
    known = [int(total) for total in totals if total]
    return min(known) // node.slices if known and len(known) == node.gpus else None


@Check(
    "CAP007",
    GPU_CAPACITY,
    "no node offers GPU resources that the stack does not know",
    cause="Another vendor's device plugin, or one for other devices of the vendor, serves the node too",
    example="gpu-1 offers 1 amd.com/gpu, which the stack does not know",
    confirm=(_LOOK, "kubectl --context admin@lab get daemonsets -A -o wide"),
    fix=(
        "Nothing, when such devices are served on purpose: leave the check out with `--skip CAP007`.",
        "Otherwise remove the device plugin that offers them.",
    ),
    severity="warning",
)
def no_resource_is_unknown(context: Context) -> Iterator[Result]:
    """Under the names of GPU vendors, but for those of NVIDIA's GPUs, which CAP004 judges."""
    for node, seen in present_nodes(context):
        if offered := _offered_besides(node, seen, lambda name: not is_nvidia_gpu(name)):
            fact = f"{node.name} offers {offered}, which the stack does not know"
            yield failed(fact, context.kubectl("get", "daemonsets", "-A", "-o", "wide"), node.name)
        else:
            yield passed(f"{node.name} offers no GPU resource that the stack does not know", node.name)


def _held_back(context: Context, node: DesiredNode, group: SharedGpus) -> Explanation:
    """Why a node offers less than it has."""
    if node.name in context.desired.by_dra:
        return tainted(context, node, group)
    return not_serving(context, node, group) or out_of_service(context, node, group)


def _groups(context: Context) -> Iterator[tuple[DesiredNode, Node, SharedGpus]]:
    """The GPUs of the stack's nodes that are there, by the way they are shared."""
    for node, seen in present_nodes(context):
        for group in node.groups:
            yield node, seen, group


def _offered_besides(node: DesiredNode, seen: Node, is_meant: Callable[[str], bool]) -> str:
    """The resources that a node offers and the stack does not; `8 nvidia.com/gpu.shared, 6 nvidia.com/mig-1g.10gb`."""
    others = {name: each for name, each in gpu_resources(seen).items() if is_meant(name) and not node.offered(name)}
    return ", ".join(f"{each.allocatable} {name}" for name, each in others.items() if each.allocatable)


def _incomplete(context: Context, node: DesiredNode, group: SharedGpus, has: int) -> tuple[str, Explanation]:
    """What another capacity looks like, and why it is so."""
    if node.name in context.desired.by_dra:
        return "", fewer_shares(context, node, group)
    why = not_serving(context, node, group)
    if why or not has:
        reason = "is ready, and the kubelet does not know it"
        events = context.kubectl("get", "events", "-A", "--field-selector", f"involvedObject.name={node.name}")
        return "", why or Explanation(f"the device plugin on {node.name} {reason}", events, reason)
    if why := other_sharing(context, node, group):
        return "", why
    gpus, rest = divmod(has, group.slices)
    if rest:
        seems = f", as if each GPU had {counted(has // group.count, 'slice')}" if has % group.count == 0 else ""
        cause = "the device plugin runs with another configuration than the stack's"
        return seems, Explanation(cause, restart(context, node, group))
    too_few = gpus < group.count
    cause = "a GPU is lost, or the stack file's count is too high" if too_few else "the stack file's count is too low"
    pod = name_on(context, POWER_LIMIT if context.settings.power_management else group.component, node.name)
    listing = context.kubectl("exec", "-n", context.settings.namespace, pod, "--", "nvidia-smi", "-L")
    return f", as if {counted(gpus, 'GPU')} were there", Explanation(cause, listing)


CHECKS = checks_of(vars())
