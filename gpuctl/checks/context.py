"""What checks look at: the stack, and its cluster as it is at the moment."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar

from gpuctl.cluster import AccessDeniedError, Cluster, ClusterError, Manifest, Node, Pod
from gpuctl.cluster.programs import Programs, Ran
from gpuctl.desired.desired import Desired, desired_state
from gpuctl.forms.command import command
from gpuctl.observed import devices, shares
from gpuctl.settings import ProjectError, Settings, project_folder
from gpuctl.sharing.record import Record

NO_PULUMI = "the Pulumi CLI is not installed here"

_AT_ONCE = 16
"""Nodes or pods that are asked at the same time: each answers after a while, and a cluster may have a thousand."""

_LINES = 1000
"""Of a log: the device plugin writes some 100 when it starts, and one for each event."""

_Seen = TypeVar("_Seen")
_Asked = TypeVar("_Asked")

Prove = Callable[[Cluster, Desired], Record]
"""Runs the coexistence proof."""


def side_by_side(ask: Callable[[_Asked], _Seen], subjects: Iterable[_Asked]) -> Iterator[_Seen]:
    """Many answers, in the order of the subjects. What several of them need is to be read before."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(ask, subjects)


class Context:
    """One look at one stack's cluster: whatever is asked for twice is read once.

    Reading the stack, connecting and observing happen when a check asks, so that the errors are that check's own.
    """

    def __init__(
        self,
        stack: str,
        read: Callable[[], Settings],
        connect: Callable[[Settings], Cluster],
        programs: Programs,
        prove: Prove | None = None,
    ) -> None:
        self.stack = stack
        self.programs = programs
        self._read = read
        self._connect = connect
        self._prove = prove
        self._desired: Desired | None = None
        self._cluster: Cluster | None = None
        self._objects: dict[tuple[str, str, str | None], Manifest | None] = {}
        self._logs: dict[tuple[str, str], list[str]] = {}
        self._seen: dict[Any, Any] = {}

    def again(self) -> "Context":
        """Another look: the same stack and the same connection, observed anew."""
        following = Context(self.stack, self._read, self._connect, self.programs, self._prove)
        following._desired, following._cluster = self._desired, self._cluster
        return following

    @property
    def desired(self) -> Desired:
        """What the stack asks of the cluster.

        Raises:
            SettingsError: the stack file has mistakes.
        """
        if self._desired is None:
            self._desired = desired_state(self._read())
        return self._desired

    @property
    def settings(self) -> Settings:
        """What the stack file says.

        Raises:
            SettingsError: it has mistakes.
        """
        return self.desired.settings

    @property
    def cluster(self) -> Cluster:
        """The connection to the stack's cluster.

        Raises:
            ClusterError: there is no kubeconfig or no such context.
        """
        if self._cluster is None:
            self._cluster = self._connect(self.settings)
        return self._cluster

    @cached_property
    def reported(self) -> dict[str, Node]:
        """All nodes of the cluster by name, as their kubelets report them."""
        return {node.name: node for node in self.cluster.nodes()}

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """The same with the GPUs of the DRA driver, which no kubelet reports."""
        if not self.desired.by_dra:
            return self.reported
        found = shares.with_shares(self.reported.values(), self.devices, self.desired.by_dra)
        return {node.name: node for node in found}

    @cached_property
    def devices(self) -> list[shares.SharedDevice]:
        """The GPUs that DRA drivers have published; none where the stack has no such node."""
        return shares.published(self.cluster.list("ResourceSlice")) if self.desired.by_dra else []

    @cached_property
    def pods(self) -> list[Pod]:
        """All pods of the cluster, with what their claims hold."""
        if not self.desired.by_dra:
            return self.cluster.pods()
        return shares.with_claims(self.cluster.pods(), self.cluster.list("ResourceClaim"), self.devices)

    @cached_property
    def sharing(self) -> Record:
        """What the coexistence proof saw; it runs when this is asked for first.

        Raises:
            ClusterError: it could not be run. Whoever asks next gets the same answer.
        """
        if isinstance(self._proven, ClusterError):
            raise self._proven
        return self._proven

    @cached_property
    def _proven(self) -> Record | ClusterError:
        if self._prove is None:
            raise ValueError("the coexistence proof is not part of this run")
        try:
            return self._prove(self.cluster, self.desired)
        except ClusterError as error:
            return error

    @cached_property
    def sees_pods(self) -> bool:
        """Whether the user may read pods; what is wrong with a node shows without that, only less of why."""
        try:
            _ = self.pods
        except AccessDeniedError:
            return False
        return True

    def own_pods(self, component: str, node: str | None = None) -> list[Pod]:
        """The stack's own pods of a DaemonSet, on one node or on all."""
        by_node = self._own_pods.get(component, {})
        return by_node.get(node, []) if node else [pod for pods in by_node.values() for pod in pods]

    @cached_property
    def _own_pods(self) -> dict[str, dict[str, list[Pod]]]:
        """Component -> node -> pods."""
        found: dict[str, dict[str, list[Pod]]] = {}
        for pod in self.pods:
            if pod.namespace == self.settings.namespace:
                component = pod.labels.get("app.kubernetes.io/name", "")
                found.setdefault(component, {}).setdefault(pod.node, []).append(pod)
        return found

    @cached_property
    def users(self) -> dict[str, list[Pod]]:
        """Node -> its pods that hold slices of GPUs."""
        return devices.users(self.pods, *self.desired.resources)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """An object of the cluster; None when there is none."""
        key = kind, name, namespace
        if key not in self._objects:
            self._objects[key] = self.cluster.get(kind, name, namespace)
        return self._objects[key]

    def log(self, pod: Pod) -> list[str]:
        """The end of an own pod's log; nothing where it may not be read, or its kubelet does not answer."""
        key = pod.namespace, pod.name
        if key not in self._logs:
            try:
                lines = list(self.cluster.log(pod.name, pod.namespace, tail_lines=_LINES))
            except ClusterError:
                lines = []
            self._logs[key] = [line for line in lines if line]
        return self._logs[key]

    def once(self, look: Callable[["Context"], _Seen]) -> _Seen:
        """What a longer look finds that several checks judge by."""
        if look not in self._seen:
            self._seen[look] = look(self)
        return self._seen[look]

    def pulumi(self, *words: str, seconds: float = 30) -> Ran | None:
        """Runs a pulumi command that asks nothing; None when Pulumi is not installed."""
        try:
            here = ("--cwd", str(project_folder()))
        except ProjectError:  # the stack file came by its path; pulumi says itself that it has no project
            here = ()
        return self.programs.run("pulumi", *words, "--non-interactive", *here, seconds=seconds)

    def kubectl(self, *words: str) -> str:
        """A kubectl command for a person to type, on the stack's cluster."""
        return command("kubectl", "--context", self.settings.context, *words)
