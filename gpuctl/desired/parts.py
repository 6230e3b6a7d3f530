"""The parts of a stack, in the order in which a node needs them: the one place that decides what a stack has."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from gpuctl.desired import daemon_set, monitoring, power_limit, usage
from gpuctl.desired.backends import BACKENDS
from gpuctl.desired.names import RUNTIME_CLASS, Manifest, labels, node_labels
from gpuctl.desired.part import Part, by_name
from gpuctl.desired.profiles import Profile
from gpuctl.desired.schematic import installer_image, schematic_id
from gpuctl.desired.talos import talos_patches
from gpuctl.settings import Settings

_RUNTIME_CLASS = {
    "apiVersion": "node.k8s.io/v1",
    "kind": "RuntimeClass",
    "metadata": {"name": RUNTIME_CLASS, "labels": labels("gpu-sharing")},
    "handler": RUNTIME_CLASS,
}
"""By which pods ask for NVIDIA's runtime. Talos ships its handler and never creates the class itself."""
Declared = Callable[[Settings, Sequence[Profile]], Iterable[Part]]


def parts(settings: Settings, profiles: Sequence[Profile]) -> tuple[Part, ...]:
    """The parts of a stack."""
    found = [part for row in _TABLE for part in row(settings, profiles)]
    names = {part.name for part in found}
    return tuple(replace(part, after=tuple(name for name in part.after if name in names)) for part in found)


def manifests(stack: Iterable[Part]) -> tuple[Manifest, ...]:
    """The stack's own objects in the order in which they must exist; what serves one profile stands together."""
    found: list[Manifest] = []
    for by_profile, run in groupby((part for part in stack if not part.is_patch), key=attrgetter("by_profile")):
        objects = [part.objects.values() for part in run]
        for together in zip(*objects, strict=True) if by_profile else objects:
            found += together
    return tuple(found)


def _talos(settings: Settings, _: Sequence[Profile]) -> Iterator[Part]:
    by_node = {
        node.name: {"schematicId": schematic_id(on), "installerImage": installer_image(on)}
        for node in settings.nodes
        for on in [settings.on(node)]
    }
    outputs = {
        **{key: _common([each[key] for each in by_node.values()]) for key in ("schematicId", "installerImage")},
        "byNode": by_node,
        "patches": talos_patches(settings),
    }
    yield Part("talos-patches", "gpu:index:TalosPatches", outputs=outputs)


def _common(values: Sequence[str | None]) -> str | None:
    """The value of all nodes; None where they have different ones."""
    return values[0] if len(set(values)) == 1 else None


def _ground(settings: Settings, profiles: Sequence[Profile]) -> Iterator[Part]:
    own_name = {"name": settings.namespace}
    yield Part("namespace", "gpu:index:Namespace", by_name(_namespace(settings)), outputs=own_name)
    if settings.create_runtime_class and not all(profile.sharing.bare for profile in profiles):
        yield Part("runtime-class", "gpu:index:RuntimeClass", by_name(_RUNTIME_CLASS), outputs={"name": RUNTIME_CLASS})


def _namespace(settings: Settings) -> Manifest:
    """The namespace of everything namespaced.

    Its pods mount a host folder and one of them may set power limits; Talos enforces `baseline` on every namespace
    but kube-system, and a DaemonSet that is forbidden there applies without an error and never gets a pod.
    """
    modes = {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "warn", "audit")}
    metadata = {"name": settings.namespace, "labels": labels("gpu-sharing") | modes}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _node_labels(settings: Settings, profiles: Sequence[Profile]) -> Iterator[Part]:
    if settings.label_nodes:
        objects = (
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": node.name, "labels": node_labels(profile.label)},
            }
            for profile in profiles
            for node in profile.nodes
        )
        yield Part("node-labels", "gpu:index:NodeLabels", by_name(*objects), is_patch=True)


def _power_limit(settings: Settings, profiles: Sequence[Profile]) -> Iterator[Part]:
    """Before whatever hands out GPUs, so that no pod gets one whose limit is not set."""
    if settings.power_management:
        agents = by_name(*(power_limit.daemon_set(settings, ground) for ground in daemon_set.grounds(profiles)))
        objects = {power_limit.SCRIPTS: power_limit.config_map(settings)} | agents
        yield Part("power-limit", "gpu:index:PowerLimit", objects, after=_GROUND)


def _backends(settings: Settings, profiles: Sequence[Profile]) -> Iterator[Part]:
    for backend in BACKENDS:
        for part in backend.parts(settings, profiles):
            yield replace(part, after=(*_GROUND, "power-limit", *part.after))


def _usage(settings: Settings, profiles: Sequence[Profile]) -> Iterator[Part]:
    """Beside the device plugin: pods get their GPUs whether somebody watches or not."""
    if settings.usage:
        watchers = by_name(*(usage.daemon_set(settings, ground) for ground in daemon_set.grounds(profiles)))
        policy = by_name(usage.network_policy(settings))
        objects = {usage.SCRIPT: usage.config_map(settings)} | policy | watchers
        yield Part("usage", "gpu:index:Usage", objects, after=_GROUND)


def _monitoring(settings: Settings, _: Sequence[Profile]) -> Iterator[Part]:
    """It waits for nothing that can go wrong: the alerts are there first."""
    if settings.monitoring:
        objects = by_name(monitoring.prometheus_rule(settings), monitoring.dashboard(settings))
        yield Part("monitoring", "gpu:index:Monitoring", objects, after=("namespace",))


_GROUND = ("namespace", "runtime-class", "node-labels")
_TABLE: tuple[Declared, ...] = (_talos, _ground, _node_labels, _power_limit, _backends, _usage, _monitoring)
