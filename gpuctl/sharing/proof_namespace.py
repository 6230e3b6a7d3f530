"""Where a run of the proof lives: a namespace of its own, which takes everything with it when it goes."""

import time
from collections.abc import Callable
from threading import Event
from typing import Self

from gpuctl.cluster import AccessDeniedError, Cluster, ClusterError, Manifest
from gpuctl.sharing import manifests

NEEDED = (
    ("list", "Node", ""),
    ("list", "Pod", ""),
    ("list", "Event", ""),
    ("get", "Namespace", ""),
    ("get", "PriorityClass", ""),
    ("list", "Namespace", ""),
    ("create", "Namespace", ""),
    ("patch", "Namespace", ""),
    ("delete", "Namespace", ""),
    ("list", "PriorityClass", ""),
    ("create", "PriorityClass", ""),
    ("delete", "PriorityClass", ""),
    ("create", "ServiceAccount", ""),
    ("create", "Pod", ""),
    ("patch", "Pod", ""),
    ("delete", "Pod", ""),
    ("get", "Pod", "log"),
)
"""What the proof does: verb, kind, subresource."""

_POLL_SECONDS = 0.5
_BEAT_SECONDS = 5
_SILENCE_SECONDS = 3 * _BEAT_SECONDS
"""After which a run is taken for dead."""
_GONE_SECONDS = 120
_TRIES = 5
"""To delete something from a cluster that answers now and then."""


class StoppedError(Exception):
    """Someone wants the proof to end early."""


class ProofNamespace:
    """A context manager: what it makes, it removes."""

    def __init__(self, cluster: Cluster, name: str, say: Callable[[str], None], stop: Event) -> None:
        self._cluster, self._name, self._say, self._stop = cluster, name, say, stop
        self._beats, self._last_beat = 0, time.monotonic()
        self.left: tuple[str, ...] = ()
        """Objects that could not be removed."""

    def __enter__(self) -> Self:
        """Makes it, once what an earlier run left is gone.

        Raises:
            AccessDeniedError: the user may not do all that the proof does, above all remove it again.
            StoppedError: it is to end early.
            ClusterError: the cluster does not answer, or refuses.
        """
        self._ask()
        self._remove_leftovers()
        try:
            self._cluster.create(manifests.namespace(self._name))
            self._cluster.create(manifests.priority_class(self._name))
            self._cluster.create(manifests.service_account(self._name))
        except BaseException:
            self._remove(self._name)
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._say("removing what the proof made")
        finally:
            self.left = self._remove(self._name)
        if self.left and isinstance(error, ClusterError):
            raise type(error)(f"{error}; still there: {', '.join(self.left)}") from error

    def pause(self) -> None:
        """Lets a moment pass, and shows others that this run lives.

        Raises:
            StoppedError: it is to end early.
        """
        if self._stop.wait(_POLL_SECONDS):
            raise StoppedError
        if time.monotonic() - self._last_beat >= _BEAT_SECONDS:
            self._beats, self._last_beat = self._beats + 1, time.monotonic()
            beat = manifests.annotation("Namespace", self._name, None, manifests.BEAT, str(self._beats))
            self._cluster.apply(beat)

    def _ask(self) -> None:
        missing = [" ".join(part for part in action if part) for action in NEEDED if not self._cluster.may(*action)]
        if missing:
            raise AccessDeniedError(f"the proof is not begun, because you may not: {', '.join(missing)}")

    def _remove_leftovers(self) -> None:
        for name in self._found("Namespace"):
            if self._ends_by_itself(name):
                continue
            self._say(f"removing what an earlier run left: namespace {name}")
            if left := self._remove(name):
                raise ClusterError(f"an earlier run left {', '.join(left)}, which does not go away")
        for name in self._found("PriorityClass"):
            self._cluster.delete("PriorityClass", name)

    def _found(self, kind: str) -> list[str]:
        wanted = manifests.LABELS.items()
        objects = (each["metadata"] for each in self._cluster.list(kind))
        return [metadata["name"] for metadata in objects if wanted <= metadata.get("labels", {}).items()]

    def _ends_by_itself(self, name: str) -> bool:
        """Waits while the run there lives; false once it gives no sign of life and is still there."""
        seen, since = "", time.monotonic()
        while found := self._cluster.get("Namespace", name):
            if (beat := _beat(found)) != seen:
                seen, since = beat, time.monotonic()
            if "deletionTimestamp" in found["metadata"] or time.monotonic() - since >= _SILENCE_SECONDS:
                return False
            self._say(
                f"waiting for another run of the proof, or until it has been silent for {_SILENCE_SECONDS} s: {name}"
            )
            if self._stop.wait(_POLL_SECONDS):
                raise StoppedError
        return True

    def _remove(self, name: str) -> tuple[str, ...]:
        """Deletes a run's objects and waits until they are gone; returns those that are not."""
        objects = (("PriorityClass", name), ("Namespace", name))
        return tuple(f"{kind} {name}" for kind, name in objects if not self._is_gone(kind, name))

    def _is_gone(self, kind: str, name: str) -> bool:
        deadline, failures = time.monotonic() + _GONE_SECONDS, 0
        while time.monotonic() < deadline and failures < _TRIES:
            try:
                found = self._cluster.get(kind, name)
                if found is None:
                    return True
                if "deletionTimestamp" not in found["metadata"]:  # a second time is a conflict
                    self._cluster.delete(kind, name)
                    continue
            except ClusterError:
                failures += 1
            time.sleep(_POLL_SECONDS)
        return False


def _beat(namespace: Manifest) -> str:
    return namespace["metadata"].get("annotations", {}).get(manifests.BEAT, "")
