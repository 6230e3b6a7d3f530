"""What would hand a container its node: each is refused, but for what the product's own DaemonSets need."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from objects import Container, Properties, at, containers, containers_of, items, kind_of, name_of, pods

DEVICE_PLUGIN = "nvidia-device-plugin"
"""The DaemonSet that registers the slices, and its container; with `-PROFILE` for nodes that are shared otherwise."""
WHOLE_GPUS = "nvidia-whole-gpu-plugin"
"""The same for GPUs that are whole beside shared ones."""
MPS = "nvidia-mps-control-daemon"
"""The DaemonSet by which slices run at once, and its container; with `-PROFILE` as well."""
POWER_LIMIT = "nvidia-power-limit"
"""The DaemonSet that sets power limits, and its container."""
USAGE = "nvidia-gpu-usage"
"""The DaemonSet that says which pod uses which GPU, and its container."""
DRA_DRIVER = "nvidia-dra-driver"
"""The DaemonSet that offers GPUs as devices of ResourceSlices, and its container; with `-PROFILE` as the plugin's."""
WITHOUT_TOOLKIT = "without-toolkit"
"""What the names of DaemonSets end with on nodes that have no container toolkit."""


class Grant(NamedTuple):
    """What one container may have beyond all others."""

    host_paths: frozenset[str]
    capabilities: frozenset[str] = frozenset()
    root: bool = True
    host_pid: bool = False
    bare: bool = False
    """Whether it is on nodes without container toolkit: no RuntimeClass gives it the GPUs there, and nothing less than
    `privileged` opens their device nodes to it."""


_DRIVER_PARTS = ("/bin", "/lib64")
"""The folders of a node's NVIDIA driver, below a root that the stack file names; they must be mounted read-only."""
_NOTHING = Grant(frozenset(), root=False)
_MPS_FOLDERS = frozenset({"/var/run/gpu-mps", "/var/run/gpu-mps/shm"})
GRANTS = {
    DEVICE_PLUGIN: Grant(frozenset({"/var/lib/kubelet/device-plugins"}) | _MPS_FOLDERS),
    WHOLE_GPUS: Grant(frozenset({"/var/lib/kubelet/device-plugins"})),
    MPS: Grant(_MPS_FOLDERS),
    POWER_LIMIT: Grant(frozenset({"/var/lib/kubelet/plugins/gpu-power-limit"}), frozenset({"SYS_ADMIN"})),
    USAGE: Grant(frozenset(), root=False, host_pid=True),
    DRA_DRIVER: Grant(
        frozenset({"/var/lib/kubelet/plugins_registry", "/var/lib/kubelet/plugins/gpu.nvidia.com", "/var/run/cdi"})
    ),
}
"""DaemonSet, and container of the same name -> what it needs: the kubelet's socket belongs to root, and so does
what MPS and its clients share; the driver lets nobody set a power limit who is not root with SYS_ADMIN, and names
processes only to who has the node's process ids. The image is no part of this: a mirror has another name, and
`image-pinned` judges it."""


def grant_of(container: Container) -> Grant:
    """What a container may have; nothing, if it is not one that the product ships."""
    grant = GRANTS.get(container.name, _NOTHING)
    has_profiles = container.name in (DEVICE_PLUGIN, WHOLE_GPUS, MPS, DRA_DRIVER)
    profile = has_profiles and container.owner.startswith(f"{container.name}-")
    without_toolkit = (
        container.name in (POWER_LIMIT, USAGE) and container.owner == f"{container.name}-{WITHOUT_TOOLKIT}"
    )
    shipped = container.kind == "DaemonSet" and (container.owner == container.name or profile or without_toolkit)
    if not shipped:
        return _NOTHING
    if "runtimeClassName" in container.pod or not (without_toolkit or container.name == DRA_DRIVER):
        return grant
    return grant._replace(bare=True)


def containers_are_unprivileged(resource: Properties) -> Iterator[str]:
    """A privileged container owns its node, and so does a host process of Windows.

    On a node without container toolkit the driver, the power limit and the usage watcher cannot do without.
    """
    for container in containers(resource):
        if at(container.spec, "securityContext").get("privileged") and not grant_of(container).bare:
            yield (
                f"{container}: privileged is true, which hands it the whole node. Fix it: remove "
                "securityContext.privileged, and add the one capability that it needs"
            )
        windows: Properties = container.security("windowsOptions") or {}
        if windows.get("hostProcess"):
            yield (
                f"{container}: windowsOptions.hostProcess is true, which makes it a process of the node itself. "
                "Fix it: remove securityContext.windowsOptions.hostProcess"
            )


def capabilities_are_those_shipped(resource: Properties) -> Iterator[str]:
    """Everything is dropped, and only the power limit's one capability added."""
    for container in _confined(resource):
        capabilities = at(container.spec, "securityContext", "capabilities")
        if "ALL" not in _names(items(capabilities, "drop")):
            yield (
                f"{container}: keeps the capabilities that every container is born with. Fix it: "
                'set securityContext.capabilities.drop to ["ALL"]'
            )
        for name in sorted(_names(items(capabilities, "add")) - grant_of(container).capabilities):
            yield (
                f"{container}: adds the capability {name}; only SYS_ADMIN is needed, and only by DaemonSet "
                f"{POWER_LIMIT}. Fix it: remove {name} from securityContext.capabilities.add"
            )


def namespaces_of_the_host_are_not_entered(resource: Properties) -> Iterator[str]:
    """In the node's namespaces a container sees, signals and speaks for every process of the node.

    The usage watcher alone has the process ids, and is not root there. A pod that says nothing of `hostUsers` has the
    node's users too, as the product's have; nothing that is shipped asks for them.
    """
    for pod in pods(resource):
        granted = {"hostPID"} if all(grant_of(each).host_pid for each in containers_of(pod, resource)) else set[str]()
        for field in ("hostPID", "hostIPC", "hostNetwork", "hostUsers"):
            if pod.get(field) and field not in granted:
                yield (
                    f"{kind_of(resource)} {name_of(resource)}: {field} is true, so its containers share that namespace "
                    f"with every process of the node. Fix it: remove {field}"
                )


def ports_of_the_host_are_not_taken(resource: Properties) -> Iterator[str]:
    """A port of the node answers to whoever reaches the node, past every NetworkPolicy."""
    for container in containers(resource):
        for port in items(container.spec, "ports"):
            if port.get("hostPort"):
                yield (
                    f"{container}: hostPort is {port['hostPort']}, a port of the node itself. Fix it: remove hostPort, "
                    "and reach the pod by a Service"
                )


def host_paths_are_those_shipped(resource: Properties) -> Iterator[str]:
    """A folder of the node is mounted only by the container that needs it, and through no volume of the cluster."""
    subject = f"{kind_of(resource)} {name_of(resource)}"
    if kind_of(resource) == "PersistentVolume":
        for source in ("hostPath", "local"):
            if path := at(resource, "spec", source).get("path"):
                yield f"{subject}: {source} is {path!r}, a folder of a node. Fix it: take a volume that lies elsewhere"
    for pod in pods(resource):
        for volume in items(pod, "volumes"):
            path = at(volume, "hostPath").get("path")
            if path is None:
                continue
            users = [each for each in containers_of(pod, resource) if _mounts(each, volume)]
            if not users or any(not _may_mount(user, volume, path) for user in users):
                yield (
                    f"{subject}: volume {volume.get('name')} is the node's own {path!r}, which "
                    f"{', '.join(user.name for user in users) or 'no container'} mounts. Only the device plugin's, "
                    "MPS's and the power limit's own folders are needed, each by its own container. Fix it: remove the "
                    "volume, or use an emptyDir"
                )


def system_calls_are_filtered(resource: Properties) -> Iterator[str]:
    """Without a profile, the default of most clusters, a container may try every system call of the node's kernel."""
    for container in containers(resource):
        profile: Properties = container.security("seccompProfile") or {}
        found = profile.get("type")
        if found != "RuntimeDefault":
            yield (
                f"{container}: seccompProfile is {found or 'not set, which most clusters take for Unconfined'}, so it "
                "may try every system call. Fix it: set securityContext.seccompProfile.type to RuntimeDefault"
            )


def privileges_do_not_grow(resource: Properties) -> Iterator[str]:
    """Else a set-user-ID program gives back what was dropped; it is allowed unless it is forbidden."""
    for container in _confined(resource):
        context = at(container.spec, "securityContext")
        if context.get("allowPrivilegeEscalation") is not False:
            yield (
                f"{container}: allowPrivilegeEscalation is not false, so a program in it may gain rights that it was "
                "started without. Fix it: set securityContext.allowPrivilegeEscalation to false"
            )
        for field in ("appArmorProfile", "seLinuxOptions"):
            chosen: Properties = container.security(field) or {}
            if chosen.get("type") not in (None, "RuntimeDefault"):
                yield (
                    f"{container}: {field}.type is {chosen['type']!r}, and not what the runtime confines containers "
                    f"with. Fix it: remove securityContext.{field}"
                )
        if context.get("procMount") not in (None, "Default"):
            yield (
                f"{container}: procMount is {context['procMount']!r}, which shows it what the runtime hides of the "
                "node's kernel. Fix it: remove securityContext.procMount"
            )


def containers_of_a_pod_are_apart(resource: Properties) -> Iterator[str]:
    """Through /proc of another container's process lie its folders of the node, and its rights."""
    for pod in pods(resource):
        if pod.get("shareProcessNamespace"):
            yield (
                f"{kind_of(resource)} {name_of(resource)}: shareProcessNamespace is true, so each of its containers "
                "reaches the files and processes of the others. Fix it: remove shareProcessNamespace"
            )


def kernel_parameters_stay(resource: Properties) -> Iterator[str]:
    """The kernel is the node's, and what the product ships sets none of its parameters."""
    for pod in pods(resource):
        for sysctl in items(at(pod, "securityContext"), "sysctls"):
            yield (
                f"{kind_of(resource)} {name_of(resource)}: sets the kernel parameter {sysctl.get('name')}. Fix it: "
                "remove securityContext.sysctls"
            )


def root_is_only_who_needs_it(resource: Properties) -> Iterator[str]:
    """Of a container that says nothing the image decides, and most images are root."""
    for container in containers(resource):
        user = container.security("runAsUser")
        if grant_of(container).root or user or (user is None and container.security("runAsNonRoot") is True):
            continue
        who = "root" if user == 0 else "whoever its image says, which may be root"
        yield (
            f"{container}: runs as {who}. Fix it: set securityContext.runAsUser to a number over 0, or runAsNonRoot "
            "to true"
        )


def _confined(resource: Properties) -> Iterator[Container]:
    """The containers, but for those that are privileged and may be: of them nothing else can be asked."""
    for container in containers(resource):
        if not (grant_of(container).bare and at(container.spec, "securityContext").get("privileged")):
            yield container


def _may_mount(container: Container, volume: Properties, path: str) -> bool:
    grant = grant_of(container)
    is_of_the_driver = path.endswith(_DRIVER_PARTS) and all(each.get("readOnly") for each in _mounts(container, volume))
    return path in grant.host_paths or (is_of_the_driver and (grant.bare or grant == GRANTS[DRA_DRIVER]))


def _mounts(container: Container, volume: Properties) -> list[Properties]:
    return [mount for mount in items(container.spec, "volumeMounts") if mount.get("name") == volume.get("name")]


def _names(capabilities: Sequence[str]) -> set[str]:
    return {name.upper().removeprefix("CAP_") for name in capabilities}
