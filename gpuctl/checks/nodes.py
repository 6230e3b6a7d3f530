"""Whether the GPU nodes are those of the stack file, and can run pods."""

from collections.abc import Iterator, Mapping

from gpuctl.checks.context import Context
from gpuctl.checks.model import Category, Check, Result, checks_of, failed, listed, passed
from gpuctl.cluster import Node
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.names import PRESENT_LABEL, PROFILE_LABEL, node_labels
from gpuctl.observed.nodes import DISCOVERED, gpu_resources, is_nvidia_gpu, is_phantom, why_not_ready
from gpuctl.preflight.serving import is_of_kubernetes, keeping_off, taking_away, tolerating
from gpuctl.preflight.talos_nodes import HeldByTalos, held_by_talos

NODES = Category("nodes", "the GPU nodes")


def present_nodes(context: Context) -> Iterator[tuple[DesiredNode, Node]]:
    """The nodes of the stack file that are in the cluster: as asked for, and as they are."""
    for name, node in context.desired.nodes.items():
        if name in context.nodes:
            yield node, context.nodes[name]


@Check(
    "NOD001",
    NODES,
    "every node of the stack file is in the cluster",
    cause="The node left the cluster, never joined it, or has another name",
    example="context admin@lab has no node gpu-2; it has cp-1, gpu-1",
    confirm=("kubectl --context admin@lab get nodes", "talosctl -n ADDRESS get nodename"),
    fix=(
        "Bring the node back; on Talos its name is `talosctl -n ADDRESS get nodename`.",
        "Or fix its name in gpu:nodes of config/Pulumi.lab.yaml and run `pulumi up --stack lab`.",
    ),
    retry=True,
)
def nodes_exist(context: Context) -> Iterator[Result]:
    """A node that is not there is named; the others are judged all the same."""
    present = listed(sorted(context.nodes)) or "none"
    for name in context.desired.nodes:
        if name in context.nodes:
            yield passed(f"node {name} is in the cluster", name)
        else:
            fact = f"context {context.settings.context} has no node {name}; it has {present}"
            yield failed(fact, context.kubectl("get", "nodes"), name)


@Check(
    "NOD002",
    NODES,
    "every GPU node is Ready and takes pods",
    cause="The node is down, cordoned, or has a taint that the stack's pods do not tolerate",
    example="node gpu-1 is not Ready: Kubelet stopped posting node status.",
    confirm=("kubectl --context admin@lab describe node gpu-1",),
    fix=(
        "Not Ready: ask the node itself, `talosctl -n ADDRESS services` and `talosctl -n ADDRESS dmesg`.",
        "Cordoned, once its maintenance is over: `kubectl --context admin@lab uncordon gpu-1`.",
        "A taint of your own: `pulumi config set --stack lab --path 'gpu:tolerations[0].key' KEY`, and "
        "`pulumi up --stack lab`. The stack's pods tolerate `nvidia.com/gpu` anyway.",
    ),
    retry=True,
)
def nodes_take_pods(context: Context) -> Iterator[Result]:
    """By the kubelet's own condition, the cordon, and the taints."""
    for _, node in present_nodes(context):
        taints = keeping_off(node, context.settings)
        if reason := why_not_ready(node):
            describe = context.kubectl("describe", "node", node.name)
            yield failed(f"node {node.name} is not Ready: {reason}", describe, node.name)
        elif node.spec.unschedulable:
            yield failed(
                f"node {node.name} is cordoned, so no new pod comes to its GPUs",
                context.kubectl("uncordon", node.name),
                node.name,
            )
        elif taints:
            keys = list(dict.fromkeys(taint.key for taint in taints if not is_of_kubernetes(taint)))
            found = listed([f"{taint.key}:{taint.effect}" for taint in taints])
            what = "taint" if len(taints) == 1 else "taints"
            fact = f"node {node.name} has the {what} {found}, which the stack's pods do not tolerate"
            fixes = [tolerating(context.settings, context.stack, keys, key) for key in keys]
            fixes += [f"pulumi up --stack {context.stack}"] if keys else []
            fixes += [taking_away(context.settings, node, taint) for taint in taints if is_of_kubernetes(taint)]
            yield failed(fact, " && ".join(fixes), node.name)
        else:
            yield passed(f"node {node.name} is Ready and takes pods", node.name)


@Check(
    "NOD003",
    NODES,
    "every GPU node has the labels of its profile",
    cause="Something besides the stack labels the node, or the label was removed by hand",
    example="node gpu-1: label nvidia.com/device-plugin.config is theirs and not default",
    confirm=("kubectl --context admin@lab get node gpu-1 --show-labels --show-managed-fields -o yaml",),
    fix=(
        "Missing: `pulumi up --refresh --stack lab` labels the node again.",
        "Another value: whoever set it stands in the node's managed fields; end that, remove the label, and run "
        "`pulumi up --refresh --stack lab`. A label of the Talos configuration: TAL006 has the commands.",
    ),
    retry=True,
)
def nodes_are_labelled(context: Context) -> Iterator[Result]:
    """Without its labels a node gets no pod of the stack's DaemonSets, and so offers no GPU."""
    held = {each.node: each for each in held_by_talos(context.desired, context.stack, context.nodes.values())}
    for wanted, node in present_nodes(context):
        yield _labelled(context, node, wanted.labels, held.get(node.name))


@Check(
    "NOD004",
    NODES,
    "no node outside the stack file has GPUs",
    cause="A GPU node joined the cluster and is not in the stack file, so its GPUs are neither shared nor limited",
    example="node gpu-3 is not in the stack file and offers 4 nvidia.com/gpu",
    confirm=("kubectl --context admin@lab describe node gpu-3",),
    fix=(
        "Add it to gpu:nodes: `{name: gpu-3, gpu: MODEL, count: NUMBER}`, and run `pulumi up --stack lab`.",
        "Others serve it: `pulumi config set --stack lab --path 'gpu:otherGpuNodes[0]' gpu-3`; [0] becomes [1] for "
        "a second one.",
        "It is in gpu:otherGpuNodes and has the stack's labels: remove them, or the stack's pods run there too.",
        "It has no GPU any more: remove the label that says so.",
    ),
)
def no_other_node_has_gpus(context: Context) -> Iterator[Result]:
    """By what a node offers, and by the labels of NVIDIA's charts and of Node Feature Discovery."""
    others = [
        node for name, node in context.nodes.items() if name not in context.desired.nodes and not is_phantom(node)
    ]
    left = [node for node in others if node.name in context.settings.other_gpu_nodes]
    found = [result for node in others if node not in left and (result := _undeclared(context, node))]
    found += [result for node in left if (result := _served_twice(context, node))]
    besides = f" besides {listed([node.name for node in left])}, which others serve" if left else ""
    fact = f"none of the {len(others) - len(left)} nodes outside the stack file has a GPU{besides}"
    yield from found or [passed(fact)]


@Check(
    "NOD005",
    NODES,
    "every node of the cluster has been reported by a kubelet",
    cause="The Node is an object without a machine: something labelled or patched a node that was gone already",
    example="node gpu-2 has never been reported by a kubelet: it is an object without a machine",
    confirm=("kubectl --context admin@lab get node gpu-2 -o yaml",),
    fix=("Delete it: `kubectl --context admin@lab delete node gpu-2`. A machine that joins makes its own.",),
    severity="warning",
)
def no_node_is_a_phantom(context: Context) -> Iterator[Result]:
    """It stays NotReady for ever, and pages whoever watches nodes."""
    phantoms = [name for name, node in context.nodes.items() if is_phantom(node)]
    for name in phantoms:
        fact = f"node {name} has never been reported by a kubelet: it is an object without a machine"
        yield failed(fact, context.kubectl("delete", "node", name), name)
    if not phantoms:
        yield passed(f"all of the cluster's {len(context.nodes)} nodes have a kubelet")


def _labelled(context: Context, node: Node, expected: Mapping[str, str], held: HeldByTalos | None) -> Result:
    missing = [key for key in expected if key not in node.labels]
    other = {key: node.labels[key] for key in expected if node.labels.get(key, expected[key]) != expected[key]}
    up = f"pulumi up --refresh --stack {context.stack}"
    own = context.settings.label_nodes
    if other:
        facts = [f"label {key} is {value} and not {expected[key]}" for key, value in other.items()]
        if own:
            words, after = [f"{key}-" for key in other], f" && {up}"
        else:
            words, after = [*(f"{key}={expected[key]}" for key in other), "--overwrite"], ""
        remedy = f"{held.remedy}{after}" if held else context.kubectl("label", "node", node.name, *words) + after
        cause = "its Talos configuration" if held else "something besides the stack"
        return failed(f"node {node.name}: {'; '.join(facts)}", remedy, node.name, f"{cause} labels the node")
    if missing:
        remedy = up if own else context.kubectl("label", "node", node.name, *(f"{k}={expected[k]}" for k in missing))
        cause = "the label was removed by hand, or the node has registered anew, as after a reinstallation"
        return failed(f"node {node.name} lacks the label {' and '.join(missing)}", remedy, node.name, cause)
    return passed(f"node {node.name} is labelled for profile {expected[PROFILE_LABEL]}", node.name)


def _undeclared(context: Context, node: Node) -> Result | None:
    offered = [
        f"{each.capacity} {name}" for name, each in gpu_resources(node).items() if each.capacity and is_nvidia_gpu(name)
    ]
    labels = [key for key in (PRESENT_LABEL, *DISCOVERED) if node.labels.get(key) == "true"]
    fact = f"node {node.name} is not in the stack file and "
    if offered:
        index, stack = len(context.settings.nodes), context.stack
        entry = {"name": node.name, "gpu": "MODEL", "count": "NUMBER"}
        remedy = " && ".join(
            f"pulumi config set --stack {stack} --path 'gpu:nodes[{index}].{key}' {value}"
            for key, value in entry.items()
        )
        cause = "it belongs in gpu:nodes, or in gpu:otherGpuNodes when others serve it"
        return failed(f"{fact}offers {', '.join(offered)}", remedy, node.name, cause)
    if labels:
        remedy = context.kubectl("label", "node", node.name, f"{labels[0]}-")
        cause = f"it has GPUs and belongs in gpu:nodes or gpu:otherGpuNodes, or label {labels[0]} is wrong"
        return failed(f"{fact}has the label {labels[0]}=true", remedy, node.name, cause)
    return None


def _served_twice(context: Context, node: Node) -> Result | None:
    profile = node.labels.get(PROFILE_LABEL, "")
    if all(node_labels(each.label).items() - node.labels.items() for each in context.desired.profiles):
        return None
    fact = f"node {node.name} is in gpu:otherGpuNodes and has the labels of profile {profile}"
    remedy = context.kubectl("label", "node", node.name, f"{PROFILE_LABEL}-")
    return failed(fact, remedy, node.name, "the stack's pods run there beside those of the node's other owner")


CHECKS = checks_of(vars())
