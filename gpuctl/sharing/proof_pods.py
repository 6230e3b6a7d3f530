"""The pods of a run: made, waited for, let go."""

import time
from collections.abc import Callable, Collection, Mapping

from gpuctl.cluster import Cluster, Manifest, Pod
from gpuctl.observed import shares
from gpuctl.observed.pods import warnings
from gpuctl.sharing.observing import problem
from gpuctl.sharing.proof_namespace import ProofNamespace


class ProofPods:
    """Pods of one namespace, by name."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        by_dra: Collection[str],
        place: ProofNamespace,
        say: Callable[[str], None],
    ) -> None:
        self._cluster, self._namespace, self._by_dra, self._place, self._say = cluster, namespace, by_dra, place, say

    def pods(self) -> dict[str, Pod]:
        """All of them, as they are now."""
        return {pod.name: pod for pod in shares.pods(self._cluster, self._by_dra, self._namespace)}

    def make(self, pods: Collection[Manifest]) -> None:
        """Creates pods."""
        for number, pod in enumerate(pods, 1):
            self._say(f"making pod {number} of {len(pods)}")
            self._cluster.create(pod)

    def wait(
        self, names: Collection[str], what: str, is_done: Callable[[Pod], bool], patience: float
    ) -> dict[str, Pod]:
        """Waits until all of these pods are done, or nothing has changed for a while; returns all pods as seen last.

        Args:
            names: of the pods; one that is no longer there is not waited for.
            what: is waited for, such as `run`.
            is_done: whether a pod has got there.
            patience: seconds without a change.
        """
        begin, before = time.monotonic(), -1
        while True:
            pods = self.pods()
            late = [pods[name] for name in names if name in pods and not is_done(pods[name])]
            if not late:
                return pods
            if len(late) != before:
                begin, before = time.monotonic(), len(late)
            if time.monotonic() - begin >= patience:
                return pods
            first = late[0]
            where = f" on {first.node}" if first.node else ""
            why = problem(first)
            self._say(
                f"{len(names) - len(late)} of {len(names)} pods {what}; not yet {first.name}{where}{why and f': {why}'}"
            )
            self._place.pause()

    def warnings(self) -> Mapping[str, list[str]]:
        """Pod -> the messages of its warnings, in their order and each once."""
        found = warnings(self._cluster.list("Event", self._namespace))
        return {name: [f"{each.reason}: {each.message}" for each in said] for (_, name), said in found.items()}
