"""What checks look at: the stack, and its cluster as it is at the moment."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from gpuctl.cluster import AccessDeniedError, Cluster, ClusterError, Manifest, Node, Pod
from gpuctl.cluster.programs import Programs
from gpuctl.desired.capacity import resource_name
from gpuctl.forms.command import command
from gpuctl.settings import Settings
from gpuctl.sharing.record import Record

_Seen = TypeVar("_Seen")

Prove = Callable[[Cluster, Settings], Record]
"""Runs the coexistence proof."""


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
        self._objects: dict[tuple[str, str, str | None], Manifest | None] = {}
        self._seen: dict[Any, Any] = {}

    def again(self) -> "Context":
        """Another look: the same stack and the same connection, observed anew."""
        settings, cluster = self.__dict__.get("settings"), self.__dict__.get("cluster")
        return Context(
            self.stack,
            self._read if settings is None else lambda: settings,
            self._connect if cluster is None else lambda _: cluster,
            self.programs,
            self._prove,
        )

    @cached_property
    def settings(self) -> Settings:
        """What the stack file says.

        Raises:
            SettingsError: it has mistakes.
        """
        return self._read()

    @cached_property
    def cluster(self) -> Cluster:
        """The connection to the stack's cluster.

        Raises:
            ClusterError: there is no kubeconfig or no such context.
        """
        return self._connect(self.settings)

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """All nodes of the cluster by name."""
        return {node.name: node for node in self.cluster.nodes()}

    @cached_property
    def pods(self) -> list[Pod]:
        """All pods of the cluster."""
        return self.cluster.pods()

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
            return self._prove(self.cluster, self.settings)
        except ClusterError as error:
            return error

    @cached_property
    def sees_pods(self) -> bool:
        """Whether the user may read pods; what is wrong with a node is told without that, only less of why."""
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
        found: dict[str, list[Pod]] = {}
        for pod in self.pods:
            if pod.active and pod.asks_for(resource_name(self.settings)):
                found.setdefault(pod.node, []).append(pod)
        return found

    def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """An object of the cluster; None when there is none."""
        key = kind, name, namespace
        if key not in self._objects:
            self._objects[key] = self.cluster.get(kind, name, namespace)
        return self._objects[key]

    def once(self, look: Callable[["Context"], _Seen]) -> _Seen:
        """What a longer look finds that several checks judge by."""
        if look not in self._seen:
            self._seen[look] = look(self)
        return self._seen[look]

    def kubectl(self, *words: str) -> str:
        """A kubectl command for a person to type, on the stack's cluster."""
        return command("kubectl", "--context", self.settings.context, *words)
