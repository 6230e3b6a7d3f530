"""What a change means for those who use the cluster: what restarts, what is lost, what is left to do by hand."""

from collections.abc import Callable, Iterator
from typing import Any

from gpuctl.desired import device_plugin, dra, power_limit
from gpuctl.desired.desired import Desired
from gpuctl.desired.names import RUNTIME_CLASS
from gpuctl.desired.schematic import installer_image
from gpuctl.desired.sharing import RENAMED_RESOURCE, RESOURCE
from gpuctl.plan.consequence import Consequence, named
from gpuctl.plan.figures import less_offered
from gpuctl.plan.labelling import labels_by_others, other_profiles, what_goes
from gpuctl.settings import GpuNode, Settings
from gpuctl.settings.talos_tables import TALOS_MINORS, UPGRADE_FROM, format_minor, minor_of, newest_release, order_of


def consequences(before: Desired, after: Desired) -> list[Consequence]:
    """What follows when a deployed stack changes from one side to the other."""
    return [found for rule in _RULES for found in rule(before, after)]


def _another_cluster(before: Desired, after: Desired) -> Iterator[Consequence]:
    old, new = before.settings.context, after.settings.context
    if old != new:
        yield Consequence(
            "removal",
            f"The stack moves from context {old} to {new}. What is deployed in {old} stays there unless "
            "`pulumi destroy` is run before this change is merged.",
        )


def _removed_nodes(before: Desired, after: Desired) -> Iterator[Consequence]:
    added = [each.declared for name, each in after.nodes.items() if name not in before.nodes]
    for node in before.nodes.values():
        if node.name in after.nodes:
            continue
        heir = _renamed(node.declared, added)
        added = [each for each in added if each.name != heir]  # a node is the new name of one other
        yield Consequence(
            "removal",
            f"{node.name} is no longer a GPU node of the stack{what_goes(node, before)}"
            + (f" {heir} has the same GPUs: if the node was renamed, nothing else is lost." if heir else ""),
        )


def _renamed(node: GpuNode, added: list[GpuNode]) -> str | None:
    return next((each.name for each in added if each.cards == node.cards), None)


def _less_capacity(before: Desired, after: Desired) -> Iterator[Consequence]:
    for each in less_offered(before, after):
        if each.node in after.nodes:
            yield Consequence(
                "removal",
                f"{each.node} offers {each.was} → {each.will_be} {each.instead}. Pods that run beyond that go on, "
                "and find no room when they start again.",
            )


def _other_resource(before: Desired, after: Desired) -> Iterator[Consequence]:
    for was in (resource for resource in before.resources if resource not in after.resources):
        yield Consequence(
            "removal",
            f"Slices are offered as {after.resource} instead of {was}: every pod that asks for {was} stays Pending "
            "until it asks for the other.",
        )


def _runtime_class(before: Desired, after: Desired) -> Iterator[Consequence]:
    if before.settings.create_runtime_class and not after.settings.create_runtime_class:
        yield Consequence(
            "removal",
            f"RuntimeClass {RUNTIME_CLASS} is deleted by the update. Pods run on, and new ones are refused until its "
            "new owner has created it again.",
        )


def _whole_gpus(before: Desired, after: Desired) -> Iterator[Consequence]:
    """The kubelet takes nothing from a pod that runs, and does not know that a slice is of a GPU that is whole now."""
    changed = [name for name in after.nodes if name in before.nodes and _whole(before, name) != _whole(after, name)]
    if kept := [name for name in changed if _whole(after, name)]:
        yield Consequence(
            "warning",
            f"Other GPUs of {named(kept)} are whole, as {RESOURCE}, and the others are shared as {RENAMED_RESOURCE}. "
            "Pods that run keep the GPUs they have: those with slices must end before a whole GPU is free of them, and "
            "pods that are to have slices there must ask for the shared resource.",
        )
    if shared := [name for name in changed if not _whole(after, name)]:
        yield Consequence(
            "warning",
            f"All GPUs of {named(shared)} are shared alike: pods that run keep the GPUs they have, and share them with "
            "the pods that get slices from then on.",
        )


def _whole(desired: Desired, node: str) -> tuple[str, ...]:
    return desired.nodes[node].profile.sharing.whole


def _mps(before: Desired, after: Desired) -> Iterator[Consequence]:
    """By the daemon's pod template: with another one its pod is replaced, and its clients lose their server."""
    was, will_be = _templates(device_plugin.MPS, before), _templates(device_plugin.MPS, after)
    stay = [name for name in after.nodes if name in before.nodes]
    if ended := [name for name in stay if name in was and was[name] != will_be.get(name)]:
        yield Consequence(
            "removal",
            f"The MPS daemon of {named(ended)} is replaced or goes: programs that use GPUs there end with errors. "
            "`pulumi up` is refused while such pods run, unless gpu:interruptPods is true.",
        )
    if begun := [name for name in stay if name in will_be and name not in was]:
        yield Consequence(
            "warning",
            f"Slices of {named(begun)} have limits by MPS from then on. Pods that run go on without one, on the bare "
            "GPU beside the others: end them, so that what replaces them has its limit.",
        )
    limits = [name for name in stay if before.nodes[name].memory_mib != after.nodes[name].memory_mib]
    if changed := [name for name in limits if name in was and name in will_be]:
        yield Consequence("warning", f"A slice of {named(changed)} has another memory limit: see the table.")


def _other_backend(before: Desired, after: Desired) -> Iterator[Consequence]:
    """Two backends of one node know nothing of each other's pods: it must be empty of them in between."""
    moved: dict[str, list[str]] = {}
    for name, node in after.nodes.items():
        if name in before.nodes and (backend := node.profile.sharing.backend) != _backend(before, name):
            moved.setdefault(backend, []).append(name)
    for backend, nodes in moved.items():
        last = "remove what the kubelet keeps of the plugin (docs/dra.md), " if backend == "dra" else ""
        yield Consequence(
            "warning",
            f"The GPUs of {named(nodes)} are offered by backend {backend} instead of the other. `pulumi up` is refused "
            "while pods hold GPUs there, so node by node: `kubectl drain NODE --ignore-daemonsets "
            f"--delete-emptydir-data`, `pulumi up`, {last}wait for `gpuctl verify --wait 2m`, `kubectl uncordon NODE`. "
            "A cluster with both is a place to rest.",
        )
    both = (name for name in after.by_dra & before.by_dra if _slices(before, name) != _slices(after, name))
    if whole := sorted(name for name in both if 1 in (_slices(before, name), _slices(after, name))):
        yield Consequence(
            "warning",
            f"GPUs of {named(whole)} become whole, or cease to be: the DRA driver counts shares of shared GPUs, so "
            "`pulumi up` is refused while pods hold GPUs there.",
        )


def _backend(desired: Desired, node: str) -> str:
    return desired.nodes[node].profile.sharing.backend


def _slices(desired: Desired, node: str) -> int:
    return desired.nodes[node].slices


def _other_namespace(before: Desired, after: Desired) -> Iterator[Consequence]:
    old, new = before.settings.namespace, after.settings.namespace
    if old != new:
        yield Consequence(
            "warning",
            f"Everything moves from namespace {old} to {new}: all nodes offer no GPU until what offers them "
            "there has begun.",
        )


def _restarts(before: Desired, after: Desired) -> Iterator[Consequence]:
    """By the pod templates: a pod is replaced exactly when that of its DaemonSet changes."""
    if before.settings.namespace != after.settings.namespace:
        return
    plugin = _affected(device_plugin.NAME, before, after)
    if plugin:
        yield Consequence(
            "warning",
            f"The device plugin restarts on {named(plugin)}, one node after the other. Running pods keep their GPU; "
            "new GPU pods wait until it has registered again.",
        )
    drivers = _affected(dra.NAME, before, after)
    if drivers:
        yield Consequence(
            "warning",
            f"The DRA driver restarts on {named(drivers)}, one node after the other. Running pods keep their GPU; new "
            "GPU pods wait until it is back.",
        )
    agents = [name for name in _affected(power_limit.NAME, before, after) if after.nodes[name].limits]
    if agents:
        yield Consequence("note", f"The power-limit agent restarts on {named(agents)}; limits stay in force meanwhile.")


def _power_management(before: Desired, after: Desired) -> Iterator[Consequence]:
    if before.limits and not after.limits:
        but = ""
        if kept := power_limit.kept_on(before.settings):
            but = f", but those of {named(kept)}: they protect a circuit and stay until the driver is loaded again"
        text = f"Power limits are no longer held: every GPU gets its default limit back{but}."
        yield Consequence("removal", text)
        return
    freed = [name for name, node in after.nodes.items() if not node.limits and name in before.nodes]
    freed = [name for name in freed if before.nodes[name].limits]
    if freed:
        yield Consequence(
            "removal",
            f"Power limits are no longer held on {named(freed)}: the GPUs there get their default limits back.",
        )


def _power(before: Desired, after: Desired) -> Iterator[Consequence]:
    was, will_be = before.power.total, after.power.total
    if was == will_be:
        return
    known = [f"{watts} W" if watts is not None else "an unknown figure" for watts in (was, will_be)]
    yield Consequence("note", f"All GPUs together may draw {known[0]} → {known[1]}.")


def _circuits(before: Desired, after: Desired) -> Iterator[Consequence]:
    """More than a circuit carries is refused with the settings; this tells how much is left."""
    was = {circuit.name: circuit.used_watts for circuit in before.settings.circuits}
    for circuit in after.settings.circuits:
        old, new = was.get(circuit.name), circuit.used_watts
        if new is not None and new != old:
            text = f"{old} → {new} W" if old is not None else f"{new} W"
            yield Consequence("note", f"The circuit of {circuit.name} carries {text} of its {circuit.allowed_watts} W.")


def _talos(before: Desired, after: Desired) -> Iterator[Consequence]:
    """An installer image takes an upgrade; the rest of a patch is applied to a running node."""
    was, will_be = before.patches, after.patches
    moved: dict[str, list[str]] = {}
    for name in (name for name in after.nodes if name in was):
        older, newer = _on(before, name), _on(after, name)
        if installer_image(older) != installer_image(newer):
            move = _move(older.talos_version, newer.talos_version, installer_image(newer))
            moved.setdefault(move, []).append(name)
    for move, nodes in moved.items():
        yield Consequence("warning", f"{named(nodes)} must {move}")
    others = [name for name in will_be if name in was and not any(name in nodes for nodes in moved.values())]
    if changed := [name for name in others if was[name] != will_be[name]]:
        yield Consequence(
            "note",
            f"The Talos patches of {named(changed)} change: "
            "`gpuctl talos patch` writes them, and `talosctl apply-config --dry-run` tells whether a reboot is needed.",
        )
    new: dict[str, list[str]] = {}
    for name in (name for name in will_be if name not in was):
        new.setdefault(installer_image(_on(after, name)), []).append(name)
    for image, nodes in new.items():
        yield Consequence(
            "note",
            f"{named(nodes)} must run the installer image with the NVIDIA extensions, {image}, and have its Talos "
            "patch: `gpuctl talos patch`.",
        )


def _on(desired: Desired, node: str) -> Settings:
    """The settings as they hold on a node."""
    return desired.settings.on(desired.nodes[node].declared)


def _move(older: str, newer: str, image: str) -> str:
    """What takes a node from one release of Talos to another, or to another image of the same one."""
    present, wanted = minor_of(older), minor_of(newer)
    upgrade = f"`talosctl upgrade --nodes NODE --image {image}`, one node at a time"
    if order_of(newer) < order_of(older):
        way = f"{upgrade}."
        if wanted < present:
            way = "`talosctl rollback --nodes NODE`, one node at a time, goes back to what ran before, no further."
        return f"go back to {newer}, which is older than {older}, and that reboots: {way}"
    first = oldest = UPGRADE_FROM.get(wanted, TALOS_MINORS[-1])
    steps = list[str]()
    while oldest > present:
        steps.insert(0, newest_release(oldest))
        oldest = UPGRADE_FROM[oldest]
    takes = f"{newer} takes none before {format_minor(first)}"
    way = f" First to {', then to '.join(steps)}: {takes}." if steps else ""
    return f"be upgraded, which reboots: {upgrade}.{way}"


def _affected(component: str, before: Desired, after: Desired) -> list[str]:
    """Nodes of both sides whose pod of a DaemonSet is replaced."""
    was, will_be = _templates(component, before), _templates(component, after)
    return [name for name, template in will_be.items() if name in was and was[name] != template]


def _templates(component: str, desired: Desired) -> dict[str, list[tuple[str, Any]]]:
    """Node -> the DaemonSets its pods belong to, and their templates."""
    sets = {
        manifest["metadata"]["name"]: manifest["spec"]["template"]
        for manifest in desired.manifests
        if manifest["kind"] == "DaemonSet"
    }
    found: dict[str, list[tuple[str, Any]]] = {}
    for node in desired.nodes.values():
        names = [power_limit.NAME, *node.plugins.values(), *node.daemons.values()]
        if served := [(name, sets[name]) for name in names if name in sets and name.startswith(component)]:
            found[node.name] = served
    return found


_RULES: tuple[Callable[[Desired, Desired], Iterator[Consequence]], ...] = (
    _another_cluster,
    _removed_nodes,
    _less_capacity,
    _other_resource,
    _whole_gpus,
    _mps,
    _other_backend,
    _power_management,
    _runtime_class,
    _other_namespace,
    _restarts,
    other_profiles,
    labels_by_others,
    _power,
    _circuits,
    _talos,
)
