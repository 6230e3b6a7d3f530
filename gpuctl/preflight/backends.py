"""Whether a node can change what offers its GPUs: a backend counts its own pods only, so none may hold one there."""

from collections.abc import Callable, Iterator, Sequence

from gpuctl.cluster import Node, Pod
from gpuctl.desired.desired import Desired, DesiredNode
from gpuctl.desired.names import PROFILE_LABEL
from gpuctl.desired.profiles import backend_in
from gpuctl.desired.sharing import RENAMED_RESOURCE, RESOURCE
from gpuctl.forms.command import command
from gpuctl.observed.devices import devices, users
from gpuctl.settings.dra_rules import KUBERNETES_FROM
from gpuctl.settings.refusal import listed
from gpuctl.settings.talos_tables import format_minor, minor_of


def too_old(desired: Desired, version: str) -> str:
    """Why a cluster's Kubernetes cannot give pods their shares; empty when it can."""
    if minor_of(version) >= KUBERNETES_FROM:
        return ""
    nodes = listed(sorted(desired.by_dra))
    return (
        f"the cluster runs Kubernetes {version}, and backend dra of {nodes} needs {format_minor(KUBERNETES_FROM)} or "
        "newer: before it, a pod that asks for nvidia.com/gpu gets no share of a DRA device. Upgrade it: talosctl "
        f"upgrade-k8s --to {format_minor(KUBERNETES_FROM)}.0; or set the backend of these nodes to device-plugin"
    )


def changing_in_use(
    desired: Desired, nodes: Sequence[Node], pods: Callable[[frozenset[str]], Sequence[Pod]]
) -> Iterator[str]:
    """Why nodes cannot change their backend now, or between whole and shared GPUs of the DRA driver.

    Args:
        desired: what the stack asks for.
        nodes: of the cluster; where one has no label of a profile, its pods say what offers their GPUs.
        pods: all pods, with the claims of nodes that are of the DRA driver.
    """
    was = {node.name: backend_in(node.labels[PROFILE_LABEL]) for node in nodes if PROFILE_LABEL in node.labels}
    by_dra = frozenset(name for name in was if was[name] == "dra")
    if not by_dra and not desired.by_dra:
        return
    holding = users(pods(by_dra), RESOURCE, RENAMED_RESOURCE)
    for name, node in desired.nodes.items():
        here = holding.get(name, [])
        claimed = any(pod.status.extended_resource_claim_status is not None for pod in here)
        is_dra = name in by_dra or (name not in was and claimed)
        if here and (change := _change(node, here, is_dra=is_dra)):
            context = desired.settings.context
            held_by = listed(sorted(f"{pod.namespace}/{pod.name}" for pod in here))
            drain = ("drain", name, "--ignore-daemonsets", "--delete-emptydir-data")
            yield (
                f"node {name} {change}, and pods hold GPUs of it, which would not be counted: {held_by}. Move them "
                f"first: {command('kubectl', '--context', context, *drain)}"
            )


def _change(node: DesiredNode, pods: Sequence[Pod], *, is_dra: bool) -> str:
    """What changes at a node that pods must not see; empty where nothing does."""
    will_be_dra = node.profile.sharing.backend == "dra"
    if is_dra is not will_be_dra:
        ways = ("device-plugin", "dra")
        return f"goes from backend {ways[is_dra]} to {ways[will_be_dra]}"
    found = {device.is_slice for pod in pods for device in devices(pod, RESOURCE)} if is_dra else set[bool]()
    if found and (node.slices > 1) not in found:
        return "goes from whole GPUs to shared ones" if node.slices > 1 else "goes from shared GPUs to whole ones"
    return ""
