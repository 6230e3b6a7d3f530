"""The nodes of a cluster that have GPUs, as far as they show it, and who serves them already."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpuctl.cluster import Node, Pod
from gpuctl.cluster.objects import Taint
from gpuctl.desired.names import OWNER, PART_OF, PRESENT_LABEL
from gpuctl.desired.tolerations import OWN
from gpuctl.init.gpus import EXAMPLE, Gpus, Labelled, labelled
from gpuctl.init.pci import labelled_model
from gpuctl.observed.gpu_software import PLUGINS, gpu_software
from gpuctl.observed.nodes import (
    DISCOVERED,
    extensions,
    gpu_resources,
    internal_address,
    is_nvidia_gpu,
    is_phantom,
    talos_release,
    why_not_ready,
)
from gpuctl.preflight.serving import untolerated

_PASSING = (
    *("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "node.cilium.io/"),
    *("ToBeDeletedByClusterAutoscaler", "karpenter.sh/"),
)
"""What the keys of taints begin with that go by themselves, and that no pod is to tolerate for good."""
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


@dataclass(frozen=True)
class Seen:
    """A node that shows that it has GPUs, or of which somebody says so."""

    name: str
    gpus: Gpus | None = None
    """None where they are not known."""
    example: str = EXAMPLE
    """Of how a person would write them; with the model where only their number is not known."""
    talos: str | None = None
    """Its release; None where it runs another system."""
    address: str = ""
    """Its internal address; empty where it has none."""
    extensions: frozenset[str] = frozenset()
    """Of its Talos image."""
    schematic: str = ""
    """ID of that of its Talos image; empty where it does not say."""
    taints: tuple[Taint, ...] = ()
    """Those for which the stack's pods need a toleration."""
    remarks: tuple[str, ...] = ()
    """What is to be known of it, each a sentence without a full stop."""


class Left(NamedTuple):
    """A node with GPUs that is not declared."""

    name: str
    why: str
    """As the rest of a sentence that begins with its name."""
    is_others: bool
    """Whether others serve it."""


@dataclass(frozen=True)
class View:
    """What was seen of a cluster; of one that was not asked, nothing."""

    nodes: tuple[Seen, ...] = ()
    """Those with GPUs."""
    left: tuple[Left, ...] = ()
    names: tuple[str, ...] | None = None
    """Of all nodes; None where no cluster was asked."""
    kubernetes: str = ""
    """Version of the API server; empty where it is not known."""
    remarks: tuple[str, ...] = ()
    """About the cluster, each a sentence without a full stop."""


def look(
    nodes: Sequence[Node],
    pods: Iterable[Pod],
    stack: str,
    kubernetes: str = "",
    *,
    pci: Mapping[str, Labelled] | None = None,
    said: Iterable[str] = (),
    remarks: Iterable[str] = (),
) -> View:
    """What nodes and pods show.

    Args:
        nodes: of the cluster.
        pods: of the cluster.
        stack: that is to be made, as `PROJECT/STACK`: what is its own is no other's.
        kubernetes: version of the API server.
        pci: what Talos says of the GPUs of nodes that are silent, by node.
        said: names of nodes of which a person says what they have: these are declared whoever serves them.
        remarks: about the reading itself.
    """
    plugins, pci = _plugins(pods), pci or {}
    named = set(said)
    seen: list[Seen] = []
    left: list[Left] = []
    for node in sorted(nodes, key=lambda each: each.name):
        found = pci.get(node.name)
        if not (sign := _sign(node, found)) and node.name not in named:
            continue
        if out := _left_out(node, () if node.name in named else plugins.get(node.name, ())):
            left.append(out)
        else:
            seen.append(_seen(node, sign, found, plugins.get(node.name, ()), stack))
    return View(tuple(seen), tuple(left), tuple(sorted(node.name for node in nodes)), kubernetes, tuple(remarks))


def is_silent(node: Node) -> bool:
    """Whether it runs Talos, and no label says which GPUs it has, so that only Talos itself can."""
    return talos_release(node) is not None and not labelled(node).said and not is_phantom(node)


def _sign(node: Node, listed: Labelled | None) -> str:
    """By what a node shows that it has GPUs of NVIDIA; empty where it does not."""
    model = labelled_model(node)
    labels = [label for label in (*DISCOVERED, PRESENT_LABEL) if node.labels.get(label) == "true"]
    image = [name for name in sorted(extensions(node)) if "nvidia" in name]
    resources = {name: each.capacity for name, each in gpu_resources(node).items() if is_nvidia_gpu(name)}
    signs = [
        listed.said if listed else labelled(node).said,
        model and f"a label has the PCI id of {model}",
        *(f"label {label}=true" for label in labels[:1]),
        *(f"its image has {name}" for name in image[:1]),
        *(f"it has {count} {name}" for name, count in resources.items() if count),
    ]
    return next(filter(None, signs), "")


def _plugins(pods: Iterable[Pod]) -> dict[str, tuple[str, ...]]:
    """Node -> the device plugins of others on it, each with a pod of it."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for pod in pods:
        if pod.active and PART_OF not in pod.labels.items() and (what := gpu_software(pod, PLUGINS)):
            found[pod.node].setdefault(what, f"{what} ({pod.namespace}/{pod.name})")
    return {node: tuple(each.values()) for node, each in found.items()}


def _left_out(node: Node, plugins: Sequence[str]) -> Left | None:
    if is_phantom(node):
        return Left(node.name, "was never reported by a kubelet: an object without a machine", is_others=False)
    if node.metadata.deletion_timestamp:
        return Left(node.name, "is being deleted", is_others=False)
    if plugins:
        return Left(node.name, f"is served by {' and '.join(plugins)}", is_others=True)
    return None


def _seen(node: Node, sign: str, listed: Labelled | None, plugins: Sequence[str], stack: str) -> Seen:
    talos, image, model = talos_release(node), extensions(node), labelled_model(node)
    return Seen(
        name=node.name,
        gpus=listed.gpus if listed else labelled(node).gpus,
        example=f"{model}x1" if model else EXAMPLE,
        talos=talos,
        address=internal_address(node),
        extensions=frozenset(image) - {"schematic"},
        schematic=image.get("schematic", ""),
        taints=tuple(taint for taint in untolerated(node, OWN) if not taint.key.startswith(_PASSING)),
        remarks=(*_remarks(node, sign, stack), *(f"{each} serves it: remove that first" for each in plugins)),
    )


def _remarks(node: Node, sign: str, stack: str) -> Iterator[str]:
    if sign:
        yield sign
    if why := why_not_ready(node):
        yield f"it is not Ready ({why}): `pulumi up` refuses the stack until it is back, or taken out here"
    if node.spec.unschedulable:
        yield "it is cordoned, so no new pod comes to it"
    if passing := [taint.key for taint in untolerated(node, OWN) if taint.key.startswith(_PASSING)]:
        yield f"it has the passing taint {', '.join(passing)}, which is not tolerated for good"
    if any(taint.key == _CONTROL_PLANE for taint in node.spec.taints):
        yield "it is a control-plane node, whose taint the stack's pods tolerate"
    if talos_release(node) is None:
        yield f"it does not run Talos ({node.status.node_info.os_image or 'it names no system'})"
    if (owner := node.metadata.annotations.get(OWNER)) and owner != stack:
        yield f"it belongs to stack {owner}, and a cluster has one: `pulumi up` refuses this one until that is gone"
