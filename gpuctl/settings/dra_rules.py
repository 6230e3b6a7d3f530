"""Rules of the backends: where each works, and which keys mean nothing to it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpuctl.settings.refusal import Path, Problem, RemoveKey, SetValue, listed
from gpuctl.settings.talos_tables import WITHOUT_TOOLKIT, Minor, format_minor, has_toolkit, minor_of

if TYPE_CHECKING:
    from gpuctl.settings.model import Settings

KUBERNETES_FROM: Minor = (1, 36)
"""From this line on `nvidia.com/gpu` of a pod can be a share of a DRA device with the features that are on by default:
DRAExtendedResource and DRAConsumableCapacity are alpha, and off, in 1.35 (kube_features.go)."""
_TALOS_FROM: Minor = (1, 13)
"""From this line on containerd takes CDI specifications, and the driver's files lie where the DRA driver looks."""


def backends_have_their_ground(settings: "Settings") -> Iterator[Problem]:
    """The DRA driver needs CDI, and the device plugin the container toolkit, of a node's Talos."""
    for path, backend, version in _backends(settings):
        if backend == "dra" and minor_of(version) < _TALOS_FROM:
            reason = f"needs Talos {format_minor(_TALOS_FROM)} or newer, and the nodes run {version}: before it, "
            reason += "containerd takes no CDI specifications, by which the driver hands a GPU to a container"
            yield Problem(path, backend, reason, [SetValue("device-plugin", path)])
        elif backend == "device-plugin" and not has_toolkit(version):
            yield Problem(
                path, backend, f"does not run on Talos {version}, which {WITHOUT_TOOLKIT}", [SetValue("dra", path)]
            )


def dra_has_its_kubernetes(settings: "Settings") -> Iterator[Problem]:
    """Where the version of Kubernetes is unset, the cluster is asked before an update."""
    version = settings.kubernetes_version
    if version and minor_of(version) < KUBERNETES_FROM:
        for path, backend, _ in _backends(settings):
            if backend == "dra":
                reason = (
                    f"needs Kubernetes {format_minor(KUBERNETES_FROM)} or newer, and gpu:kubernetesVersion is "
                    f"{version}: before it, a pod that asks for nvidia.com/gpu gets no share of a DRA device"
                )
                yield Problem(path, backend, reason, [SetValue("device-plugin", path)])
                return


def dra_shares_all_gpus_of_a_node(settings: "Settings") -> Iterator[Problem]:
    """The driver has one number of shares for all GPUs of a node."""
    for index, node in enumerate(settings.nodes):
        if node.whole_gpus and settings.backend_of(node) == "dra":
            whole = list(node.whole_gpus) if isinstance(node.whole_gpus, tuple) else node.whole_gpus
            reason = (
                "does not go with backend dra, whose driver shares all GPUs of a node alike: a pod gets a GPU for "
                f"itself with a claim for all {settings.slices_of(node)} shares of it (gpuctl render --claims)"
            )
            yield Problem(("nodes", index, "wholeGpus"), whole, reason, [RemoveKey()])


def keys_mean_something_to_a_backend(settings: "Settings") -> Iterator[Problem]:
    """What the device plugin alone knows would be silently without effect."""
    of_dra = [node.name for node in settings.nodes if settings.backend_of(node) == "dra"]
    if settings.rename_by_default and of_dra:
        reason = (
            f"is of the device plugin, and {listed(of_dra)} of backend dra offer nvidia.com/gpu: the cluster would "
            "offer two resources"
        )
        yield Problem(("renameByDefault",), True, reason, [SetValue("false")])
    if len(of_dra) < len(settings.nodes) or not of_dra:
        return
    if settings.allocation_policy:
        reason = "is of the device plugin, and every node has backend dra, where the scheduler takes GPUs in order"
        yield Problem(("allocationPolicy",), settings.allocation_policy, reason, [RemoveKey()])
    if not settings.fail_requests_greater_than_one:
        reason = "is of the device plugin, and every node has backend dra, where `nvidia.com/gpu: 2` means two GPUs"
        yield Problem(("failRequestsGreaterThanOne",), False, reason, [RemoveKey()])


def nothing_needs_a_missing_toolkit(settings: "Settings") -> Iterator[Problem]:
    """A default runtime without a handler would keep every pod of the node from starting."""
    bare = [version for version in settings.talos_versions if not has_toolkit(version)]
    if settings.default_runtime and bare:
        reason = f"makes nvidia the runtime of every pod, and Talos {bare[0]} has no handler nvidia: no pod would start"
        yield Problem(("defaultRuntime",), True, reason, [SetValue("false")])


def _backends(settings: "Settings") -> Iterator[tuple[Path, str, str]]:
    """Each place that says a backend, what it says, and the Talos of nodes there: the stack's, then those of nodes."""
    plain = [node for node in settings.nodes if node.backend is None]
    for version in dict.fromkeys(settings.talos_version_of(node) for node in plain):
        yield ("backend",), settings.backend, version
    for index, node in enumerate(settings.nodes):
        if node.backend:
            yield ("nodes", index, "backend"), node.backend, settings.talos_version_of(node)
