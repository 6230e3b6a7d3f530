"""What serves or sets up the GPUs of a stack's nodes besides it, back to what keeps it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gpuctl.adopt.item import Fate, Item, Step, When
from gpuctl.adopt.keepers import Root, Tool, root_of
from gpuctl.cluster import Manifest, Pod
from gpuctl.desired.desired import Desired
from gpuctl.desired.names import PART_OF
from gpuctl.forms.command import command
from gpuctl.observed.gpu_software import DRIVERS, PLUGINS, SETUPS, gpu_software, sets_power_limits
from gpuctl.preflight.ownership import Find
from gpuctl.settings.refusal import listed

_POWER_AGENT = "another power-limit agent"
_OPERANDS = "nvidia.com/gpu.deploy.operands=false"
"""The label by which the GPU Operator keeps its parts off a node."""


@dataclass(frozen=True)
class Software:
    """Pods of one controller, or one pod that has none."""

    what: str
    is_in_the_way: bool
    """Whether it offers or limits the GPUs of the stack's nodes, which two cannot do."""
    object: Manifest
    """The controller."""
    root: Root
    pods: tuple[Pod, ...]
    outside: tuple[str, ...]
    """The nodes on which it runs and that are not the stack's: there it has to stay."""

    @property
    def nodes(self) -> list[str]:
        """Where it runs."""
        return sorted({pod.node for pod in self.pods})

    @property
    def inside(self) -> list[str]:
        """Those of them that are the stack's."""
        return [name for name in self.nodes if name not in self.outside]

    @property
    def must_go(self) -> bool:
        """Whether all of it must go."""
        return self.is_in_the_way and not self.outside

    @property
    def config_maps(self) -> list[str]:
        """Those of its namespace that its pods mount."""
        spec = self.object.get("spec", {})
        volumes = spec.get("template", {}).get("spec", spec).get("volumes", ())
        return [each["configMap"]["name"] for each in volumes if each.get("configMap", {}).get("name")]


def software(desired: Desired, pods: Iterable[Pod], find: Find) -> list[Software]:
    """The GPU software of others in a cluster.

    Args:
        desired: what the stack asks for.
        pods: of the cluster.
        find: looks up an object.
    """
    found: dict[tuple[str, str, str], list[tuple[str, Pod]]] = defaultdict(list)
    for pod in pods:
        is_own = pod.namespace == desired.settings.namespace and PART_OF in pod.labels.items()
        if pod.active and not is_own and (what := _what(desired, pod)):
            owner = next(iter(pod.metadata.owner_references), None)
            is_daemon = owner is not None and owner.kind == "DaemonSet"
            key = ("DaemonSet", pod.namespace, owner.name) if owner and is_daemon else ("Pod", pod.namespace, pod.name)
            found[key].append((what, pod))
    return [
        _software(desired, made, root_of(made, find), each)
        for (kind, namespace, name), each in found.items()
        if (made := find(kind, name, namespace)) is not None
    ]


def _what(desired: Desired, pod: Pod) -> str:
    """What a pod is, as far as it concerns the stack; empty where it does not."""
    is_agent = desired.settings.power_management and sets_power_limits(pod)
    return gpu_software(pod, PLUGINS) or (_POWER_AGENT if is_agent else "") or gpu_software(pod, SETUPS)


def _software(desired: Desired, made: Manifest, root: Root, found: Sequence[tuple[str, Pod]]) -> Software:
    what, nodes = found[0][0], {pod.node for _, pod in found}
    in_the_way = what in (*PLUGINS.values(), _POWER_AGENT) and not nodes.isdisjoint(desired.nodes)
    return Software(
        what, in_the_way, made, root, tuple(pod for _, pod in found), tuple(sorted(nodes - desired.nodes.keys()))
    )


def items(desired: Desired, found: Sequence[Software], from_stack: str) -> Iterator[Item]:
    """What becomes of it: what is in the way must go, with all that goes back to the same.

    Args:
        desired: what the stack asks for.
        found: in the cluster.
        from_stack: the stack that is gone, and whose objects are taken over; empty where none is.
    """
    going = _going(found)
    for each in found:
        on = f"{each.what} on {listed(each.nodes)}"
        if each.is_in_the_way:
            yield Item(each.object, each.root.keeper, Fate.GOES, on, tuple(_removal(desired, each, from_stack)))
        elif _identity(each.root) in going:
            yield Item(each.object, each.root.keeper, Fate.GOES, f"{on}: it goes with what made it")
        else:
            yield Item(each.object, each.root.keeper, Fate.LEFT, f"{on}: it offers no GPU of the stack's nodes")


def unloading(desired: Desired, found: Sequence[Software]) -> Iterator[str]:
    """Why what must go would take the driver from pods that run, as sentences."""
    going = _going(found)
    for each in found:
        nodes = sorted(set(each.nodes) & desired.nodes.keys())
        if each.what in DRIVERS and nodes and _identity(each.root) in going:
            yield (
                f"{each.what} runs on {listed(nodes)} and would go with {each.root.keeper}, under the GPU pods there. "
                "Bring driver and container toolkit with the nodes' image first: "
                "`gpuctl talos patch`, then talosctl upgrade"
            )


def is_going(found: Sequence[Software], root: Root) -> bool:
    """Whether an object goes back to software that must go."""
    return _identity(root) in _going(found)


def _going(found: Sequence[Software]) -> set[tuple[str, ...]]:
    return {_identity(each.root) for each in found if each.must_go}


def _identity(root: Root) -> tuple[str, ...]:
    """What is removed at once: all of a tool's, or one object that a person made."""
    if root.keeper.tool not in (Tool.HAND, Tool.STACK, Tool.OTHER):
        return tuple(map(str, root.keeper))
    metadata = root.object["metadata"]
    return root.object["kind"], metadata.get("namespace", ""), metadata["name"]


def _removal(desired: Desired, each: Software, from_stack: str) -> Iterator[Step]:
    keeper, context = each.root.keeper, desired.settings.context
    kubectl = ("kubectl", "--context", context)
    pods = [f"pod/{pod.name}" for pod in each.pods if pod.node in desired.nodes]
    wait = command(*kubectl, "wait", "--for=delete", "-n", each.pods[0].namespace, *pods, "--timeout=5m")
    if each.outside:
        off = f"keep it off {listed(each.inside)}: it serves {listed(each.outside)} too, which the stack does not have"
        label = command(*kubectl, "label", "nodes", *each.inside, _OPERANDS)
        is_operator = each.root.object["kind"] == "ClusterPolicy"
        yield Step(When.REMOVAL, off, label) if is_operator else Step(When.REMOVAL, f"by its node selector, {off}")
        yield Step(When.REMOVAL, "until it is gone from there", wait)
        return
    if keeper.tool is Tool.HAND or (keeper.tool is Tool.STACK and keeper.name in ("", from_stack)):
        metadata = each.root.object["metadata"]
        place = ("-n", metadata["namespace"]) if "namespace" in metadata else ()
        named = (each.root.object["kind"].lower(), metadata["name"])
        # in the foreground, because a plugin that ends removes the socket of the one that follows
        yield Step(
            When.REMOVAL,
            f"removes {each.what}; GPU pods run on, and new ones wait",
            command(*kubectl, "delete", *place, *named, "--cascade=foreground"),
        )
        for name in each.config_maps:
            delete = ("delete", "configmap", "-n", each.object["metadata"]["namespace"], name, "--ignore-not-found")
            yield Step(When.CLEANING, "nothing mounts it any more", command(*kubectl, *delete))
        return
    if keeper.tool is Tool.HELM:
        place = ("-n", keeper.namespace) if keeper.namespace else ()
        uninstall = command("helm", "uninstall", keeper.name, *place, "--kube-context", context, "--wait")
        yield Step(When.REMOVAL, f"removes {keeper}; GPU pods run on, and new ones wait", uninstall)
    elif keeper.tool is Tool.STACK:
        destroy = command("pulumi", "destroy", "--stack", keeper.name.rpartition("/")[2])
        yield Step(When.REMOVAL, f"in the project of {keeper}", destroy)
    else:
        yield Step(When.REMOVAL, f"remove {each.what} where {keeper} declares it")
    yield Step(When.REMOVAL, "until it is gone", wait)
