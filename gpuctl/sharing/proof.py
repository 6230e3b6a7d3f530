"""A run of the coexistence proof: pods take every free slice, wait for each other, and are let go together."""

import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import NamedTuple

from msgspec.structs import replace

from gpuctl.cluster import Cluster, Pod, RejectedError
from gpuctl.desired.desired import Desired
from gpuctl.desired.names import yaml_text
from gpuctl.observed import shares
from gpuctl.observed.devices import held, users
from gpuctl.observed.pods import cannot_be_pulled, unschedulable
from gpuctl.sharing import manifests
from gpuctl.sharing.observing import cuda_run, node_run, pod_run, problem
from gpuctl.sharing.proof_namespace import ProofNamespace, StoppedError
from gpuctl.sharing.proof_pods import ProofPods
from gpuctl.sharing.record import CudaRun, ExtraPod, NodeRun, PodRun, Record

CUDA_IMAGE = "nvcr.io/nvidia/k8s/cuda-sample:vectoradd-cuda12.5.0"
"""NVIDIA's vector addition."""

_PATIENCE_SECONDS = 60
"""Without any change."""
_PULL_SECONDS = 600
"""The same, where a large image may have to come first."""
_WATCH_SECONDS = 5
"""How long the pod that finds no slice is watched after the scheduler has turned it away."""
_LINES = 20
"""Of a CUDA program's log."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to prove."""

    nodes: tuple[str, ...] = ()
    """Nodes of the stack; none means all."""
    cuda_image: str = CUDA_IMAGE
    """Its own program ends with `Test PASSED`; empty runs none."""


@dataclass
class Proof:
    """Called with a cluster and what its stack asks for, it runs once.

    It makes what it needs in a namespace of its own and removes it in every case; `stop` ends it early.
    """

    request: Request
    say: Callable[[str], None]
    stop: Event = field(default_factory=Event)
    record: Record | None = None
    """What was seen; None before the end."""
    left: tuple[str, ...] = ()
    """What it made and could not remove."""

    def __call__(self, cluster: Cluster, desired: Desired) -> Record:
        """Runs the proof.

        Raises:
            AccessDeniedError: the user may not do all that it does; nothing was done.
            StoppedError: `stop` was set; what was made is gone.
            ClusterError: the cluster stopped answering.
        """
        if self.stop.is_set():
            raise StoppedError
        run = _Run(cluster, desired, self.request, self.say, self.stop)
        try:
            self.record = run.record()
        finally:
            self.left = run.place.left
        return self.record


class _Place(NamedTuple):
    node: str
    resource: str
    """What a pod asks for there; empty for no GPU."""


class _Run:
    def __init__(
        self, cluster: Cluster, desired: Desired, request: Request, say: Callable[[str], None], stop: Event
    ) -> None:
        self._cluster, self._desired, self._request = cluster, desired, request
        self._settings = desired.settings
        id_ = secrets.token_hex(3)
        self._namespace = f"{manifests.NAME}-{id_}"
        self.place = ProofNamespace(cluster, self._namespace, say, stop)
        self._pods = ProofPods(cluster, self._namespace, desired.by_dra, self.place, say)
        self._seen = Record(
            id=id_,
            namespace=self._namespace,
            context=desired.settings.context,
            kubernetes=cluster.version(),
            resource=desired.resource,
            objects_hash=hashlib.sha256(yaml_text(*desired.manifests).encode()).hexdigest(),
            started=_now(),
            cuda_image=request.cuda_image,
        )

    def record(self) -> Record:
        try:
            with self.place:
                self._saw(nodes=tuple(self._nodes()))
                self._share()
                self._run_cuda()
        except RejectedError as error:
            self._saw(refused=str(error))
        self._saw(finished=_now(), left=self.place.left)
        return self._seen

    def _saw(self, **changes: object) -> None:
        self._seen = replace(self._seen, **changes)

    def _nodes(self) -> Iterator[NodeRun]:
        nodes = {node.name: node for node in shares.nodes(self._cluster, self._desired.by_dra)}
        others = self._users()
        for name, wanted in self._desired.nodes.items():
            if name in self._request.nodes or not self._request.nodes:
                for group in wanted.groups:
                    yield node_run(self._settings, group, name, nodes.get(name), others.get(name, []))

    def _users(self) -> dict[str, list[Pod]]:
        """Node -> active pods of others that hold slices."""
        found = shares.pods(self._cluster, self._desired.by_dra)
        pods = (pod for pod in found if pod.namespace != self._namespace)
        return users(pods, *self._desired.resources)

    def _share(self) -> None:
        """Fills the slices, lets an extra pod and pods without a request try, and lets all of them go."""
        places = [_Place(node.name, node.resource) for node in self._seen.nodes for _ in range(node.free)]
        where = {f"share-{number}": place for number, place in enumerate(places, 1)}
        self._pods.make([self._holding(name, place.resource, place.node) for name, place in where.items()])
        pods = self._pods.wait(where, "run", lambda pod: pod.status.phase != "Pending", _PATIENCE_SECONDS)
        whole = _all_run(where, pods)
        nodes = dict.fromkeys(node.name for node in self._usable())
        without = {f"without-{number}": _Place(node, "") for number, node in enumerate(nodes, 1)}
        look = manifests.looking_pod
        self._pods.make([look(self._settings, name, self._namespace, place.node) for name, place in without.items()])
        if whole:
            self._saw(extras=tuple(self._one_more_of_each()))
        self._pods.wait(without, "have looked", _is_over, _PATIENCE_SECONDS)
        pods = self._pods.pods()
        if whole and where and _all_run(where, pods):
            self._saw(together=_now())
        others = self._users()
        held_after = ((node, held(others.get(node.name, []), node.resource)) for node in self._seen.nodes)
        self._saw(nodes=tuple(replace(node, busy_after=after) for node, after in held_after))
        running = [name for name in where if name in pods and pods[name].status.phase == "Running"]
        for name in running:
            self._cluster.apply(manifests.annotation("Pod", name, self._namespace, manifests.RELEASE, "now"))
        ended = self._pods.wait(running, "have ended", _is_over, _PATIENCE_SECONDS)
        self._saw(pods=self._runs(where, ended, pods), without=self._runs(without, ended, pods))

    def _holding(self, name: str, resource: str, *nodes: str) -> manifests.Manifest:
        return manifests.holding_pod(self._settings, name, self._namespace, resource, nodes)

    def _usable(self) -> list[NodeRun]:
        return [node for node in self._seen.nodes if node.allocatable and not node.problem]

    def _one_more_of_each(self) -> Iterator[ExtraPod]:
        """Makes a pod for which there is no slice, and watches it; then one for the next resource."""
        resources = dict.fromkeys(node.resource for node in self._usable())
        for number, resource in enumerate(resources, 1):
            nodes = [node.name for node in self._usable() if node.resource == resource]
            yield self._one_more("one-more" if number == 1 else f"one-more-{number}", resource, nodes)

    def _one_more(self, name: str, resource: str, nodes: Sequence[str]) -> ExtraPod:
        begin = time.monotonic()
        self._pods.make([self._holding(name, resource, *nodes)])
        self._pods.wait([name], "have an answer", lambda pod: bool(pod.node or unschedulable(pod)), _PATIENCE_SECONDS)
        until = time.monotonic() + _WATCH_SECONDS
        while time.monotonic() < until:
            self.place.pause()
        pod = self._pods.pods()[name]
        events = tuple(self._pods.warnings().get(name, []))
        seconds = round(time.monotonic() - begin, 1)
        self._cluster.delete("Pod", name, self._namespace)
        return ExtraPod(name, pod.status.phase, unschedulable(pod), seconds, pod.node, events, resource)

    def _runs(
        self, where: Mapping[str, _Place], ended: Mapping[str, Pod], earlier: Mapping[str, Pod]
    ) -> tuple[PodRun, ...]:
        """What became of pods; the kubelet names the device of a pod while it runs."""
        warnings = self._pods.warnings()
        found: list[PodRun] = []
        for name, (node, resource) in where.items():
            if name not in ended:
                found.append(PodRun(name, node, problem="it was removed by someone else", resource=resource))
                continue
            run = pod_run(ended[name], resource)
            device = pod_run(earlier[name], resource).device if name in earlier else ""
            why = "; ".join([run.problem, *warnings.get(name, [])[-1:]]) if run.problem else ""
            found.append(replace(run, node=node, device=run.device or device, problem=why))
        return tuple(found)

    def _run_cuda(self) -> None:
        """Runs the CUDA program in every slice that a pod has had."""
        image = self._request.cuda_image
        places = [_Place(pod.node, pod.resource) for pod in self._seen.pods if pod.finished and not pod.problem]
        if not image or not places:
            self._saw(cuda_skipped="no image was given for it" if not image else "no slice ran a pod")
            return
        where = {f"cuda-{number}": place for number, place in enumerate(places, 1)}
        settings, make = self._settings, manifests.cuda_pod
        self._pods.make(
            [make(settings, name, self._namespace, image, at.resource, at.node) for name, at in where.items()]
        )
        pods = self._pods.wait(where, "have ended", lambda pod: _is_over(pod) or cannot_be_pulled(pod), _PULL_SECONDS)
        for name in where:
            if name in pods and cannot_be_pulled(pods[name]):
                self._saw(cuda_skipped=f"{image} cannot be had on {where[name].node}: {problem(pods[name])}")
                return
        self._saw(cuda=tuple(self._cuda_run(name, at.node, pods) for name, at in where.items()))

    def _cuda_run(self, name: str, node: str, pods: Mapping[str, Pod]) -> CudaRun:
        pod = pods.get(name)
        if pod is None:
            return CudaRun(name, node, False, "", problem="it was removed by someone else")
        lines = list(self._cluster.log(name, self._namespace, tail_lines=_LINES)) if _is_over(pod) else []
        return replace(cuda_run(pod, lines), node=node)


def _is_over(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def _all_run(names: Collection[str], pods: Mapping[str, Pod]) -> bool:
    return all(name in pods and pods[name].status.phase == "Running" for name in names)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
