"""What follows for the labels of nodes, by which every pod of a stack finds its node, whoever sets them."""

from collections.abc import Iterator, Mapping

from gpuctl.desired.desired import Desired, DesiredNode
from gpuctl.desired.names import PRESENT_LABEL, PROFILE_LABEL
from gpuctl.desired.profiles import DEFAULT
from gpuctl.desired.sharing import offers_text
from gpuctl.plan.consequence import Consequence, named
from gpuctl.settings.nodes import Sharing

_LABELS = (PRESENT_LABEL, PROFILE_LABEL)


def what_goes(node: DesiredNode, before: Desired) -> str:
    """What a node that leaves the stack loses, to stand after its name; the pods follow the labels."""
    slices = offers_text(node.offers)
    limits = "its GPUs get their default power limits back"
    if before.settings.label_nodes:
        return f": {slices} go, its labels are removed{f', {limits}' if before.limits else ''}."
    return (
        f", which does not label its nodes: before `pulumi up`, take {' and '.join(node.labels)} from it where they "
        f"are set, in its Talos configuration or by NFD. Only then do {slices} go"
        + (f", and {limits}; until then the agent there holds them at gpu:powerLimit." if before.limits else ".")
    )


def other_profiles(before: Desired, after: Desired) -> Iterator[Consequence]:
    """A profile that lost its first node has the name of another one, which is another label, and another DaemonSet."""
    moved: dict[tuple[str, str], list[str]] = {}
    for name, node in after.nodes.items():
        if name in before.nodes and (was := before.nodes[name].profile.name) != node.profile.name:
            moved.setdefault((was, node.profile.name), []).append(name)
    taken = {profile.name for profile in after.profiles}
    for (was, will_be), nodes in moved.items():
        if was not in (*taken, DEFAULT) and _sharing(before, nodes[0]) == _sharing(after, nodes[0]):
            yield Consequence(
                "note",
                f"The profile of {named(nodes)} is called {will_be} instead of {was}, after its first node, and "
                f"that alone restarts the device plugin there. To keep the name, give one of these nodes "
                f"`profile: {was}` in gpu:nodes.",
            )


def _sharing(desired: Desired, node: str) -> Sharing:
    return desired.nodes[node].profile.sharing


def labels_by_others(before: Desired, after: Desired) -> Iterator[Consequence]:
    """The stack refuses nodes that are not labelled as it needs, so whoever labels them comes first."""
    if after.settings.label_nodes:
        return
    if before.settings.label_nodes:
        yield Consequence(
            "removal",
            f"The stack takes {' and '.join(_LABELS)} from its nodes: unless whoever labels them from now on, such as "
            "Talos or NFD, puts them back, no pod of the stack stays there, no slice is offered and no limit is held.",
        )
    if after.settings.talos_apply:
        return
    for name, node in after.nodes.items():
        was: Mapping[str, str] = before.nodes[name].labels if name in before.nodes else {}
        missing = [f"{key}={value}" for key, value in node.labels.items() if was.get(key) != value]
        if not missing:
            continue
        offered = offers_text(node.offers)
        gap = f" From then on {name} offers 0 of its {offered} until `pulumi up` is done." if was else ""
        yield Consequence(
            "warning",
            f"{name} must have {' and '.join(missing)}, and the stack does not label its nodes: set it where that is "
            "done, for Talos with `gpuctl talos patch`, right before `pulumi up`, which refuses the node until then."
            + gap,
        )
