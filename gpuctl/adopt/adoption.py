"""How a cluster that shares its GPUs already becomes a stack's: what is there, what becomes of it, and in which order.

Nothing that runs is touched: what a tool or another stack keeps is left to it, and what must go is a command for a
person. Taken over is what a person made and nothing else keeps, by the label and the annotation that say of which stack
an object is. That is all it takes: `pulumi up` deploys over an object that is there, so there is nothing to import.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gpuctl.adopt import objects, software
from gpuctl.adopt.item import Fate, Item, Step
from gpuctl.cluster import Cluster, Node, Pod
from gpuctl.desired.desired import Desired
from gpuctl.desired.names import FIELD_MANAGER, OWNER, PART_OF, PRESENT_LABEL, PROFILE_LABEL
from gpuctl.observed.nodes import gpu_resources, is_nvidia_gpu
from gpuctl.preflight.ownership import of_other_stacks
from gpuctl.preflight.refusals import obstacles, see


class NoSuchStackError(Exception):
    """Nothing of the cluster belongs to the stack from which it should be taken."""


@dataclass(frozen=True)
class NodeNow:
    """A node that the stack declares."""

    name: str
    offers: Mapping[str, int]
    """Resource -> how many of it the node offers now."""
    wanted: Mapping[str, int]
    """The same, as the stack will have it."""
    pods: tuple[str, ...]
    """`NAMESPACE/NAME` of those that hold GPUs: they run on."""
    stranded: tuple[str, ...]
    """Those of them that ask for what the stack does not offer there: made anew, they stay Pending."""


@dataclass(frozen=True)
class Adoption:
    """What becomes of a cluster."""

    items: tuple[Item, ...]
    nodes: tuple[NodeNow, ...]
    obstacles: tuple[str, ...]
    """Why nothing is taken over yet, each with what fixes it."""

    @property
    def marked(self) -> list[Item]:
        """What is taken over."""
        return [each for each in self.items if each.fate is Fate.MARKED]

    @property
    def steps(self) -> list[Step]:
        """What a person does besides, in order, each once."""
        found = dict.fromkeys(step for each in self.items for step in each.steps)
        return sorted(found, key=lambda step: step.when)


def adoption(desired: Desired, own: str, cluster: Cluster, from_stack: str = "") -> Adoption:
    """What becomes of a cluster that is to be a stack's.

    Args:
        desired: what the stack asks for.
        own: the stack, as `PROJECT/STACK`.
        cluster: that it names.
        from_stack: another stack, as `PROJECT/STACK`, that is gone and whose objects are to be this one's.

    Raises:
        NoSuchStackError: nothing there belongs to that one.
        ClusterError: the cluster does not answer, or does not let it be read.
    """
    seen, pods = see(cluster), cluster.pods()
    others = of_other_stacks(desired, own, seen.find, seen.nodes)
    if from_stack and from_stack not in (each.stack for each in others):
        raise NoSuchStackError(", ".join(each.stack for each in others) or "no other stack")
    found = software.software(desired, pods, seen.find)
    place = desired.settings.namespace
    inside = [{"kind": kind} | each for kind in ("ConfigMap", "DaemonSet") for each in cluster.list(kind, place)]
    case = objects.Case(desired, own, from_stack, seen.find, seen.nodes, pods, inside, found)
    return Adoption(
        items=(*objects.items(case), *software.items(desired, found, from_stack)),
        nodes=tuple(_node(desired, node, pods) for node in seen.nodes if node.name in desired.nodes),
        obstacles=(
            *obstacles(desired, own, seen),
            *(each.reason for each in others if each.stack != from_stack),
            *software.unloading(desired, found),
        ),
    )


def may_take_over(cluster: Cluster, marked: Iterable[Item]) -> list[str]:
    """The kinds of what is to be taken over that the user may not change."""
    kinds = dict.fromkeys(each.object["kind"] for each in marked)
    return [kind for kind in kinds if not cluster.may("patch", kind)]


def take_over(cluster: Cluster, marked: Iterable[Item], own: str) -> None:
    """Writes onto objects that they are a stack's; what they were read as must still be there.

    Args:
        cluster: that has them.
        marked: the objects.
        own: the stack, as `PROJECT/STACK`.

    Raises:
        ClusterError: the cluster refuses; what was written before stays, and is no harm: it is taken over once more.
    """
    for each in marked:
        metadata, kind = each.object["metadata"], each.object["kind"]
        marks: dict[str, object] = {"name": metadata["name"], "annotations": {OWNER: own}}
        marks |= {"uid": metadata["uid"]} if "uid" in metadata else {}
        if kind == "Node":
            # all that the former stack's manager has there, or the labels would go with its former set of fields
            kept = {PRESENT_LABEL, PROFILE_LABEL}
            labels = {key: value for key, value in metadata.get("labels", {}).items() if key in kept}
            cluster.apply({"kind": kind, "metadata": marks | {"labels": labels}}, FIELD_MANAGER)
        else:
            cluster.apply({"kind": kind, "metadata": marks | {"labels": dict([PART_OF])}})


def _node(desired: Desired, node: Node, pods: Sequence[Pod]) -> NodeNow:
    wanted = desired.nodes[node.name].offers
    offers = {name: each.allocatable for name, each in gpu_resources(node).items() if is_nvidia_gpu(name)}
    known = {*offers, *wanted}
    here = [pod for pod in pods if pod.active and pod.node == node.name and any(pod.asks_for(name) for name in known)]
    stranded = [pod for pod in here if any(pod.asks_for(name) for name in known - wanted.keys())]
    return NodeNow(node.name, offers, wanted, _names(here), _names(stranded))


def _names(pods: Iterable[Pod]) -> tuple[str, ...]:
    return tuple(sorted(f"{pod.namespace}/{pod.name}" for pod in pods))
