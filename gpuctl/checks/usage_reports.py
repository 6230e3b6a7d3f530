"""What the usage watchers see: who holds the GPUs of every node, and since when without work.

Only their logs are read: they reach back an hour at most here, less where a container began anew or a log was rotated.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from gpuctl.checks.context import Context, side_by_side
from gpuctl.checks.own_pods import running_on
from gpuctl.cluster import ClusterError, Pod
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.usage import NAME as WATCHER
from gpuctl.observed.devices import devices
from gpuctl.settings import Settings
from gpuctl.usage.holders import Holder, holders
from gpuctl.usage.log import Failure, Sample, parse_all

_SECONDS = 3600
_MISSED = 3
"""Samples in a row that are not there: what was in between is not known."""
_STATIC = "kubernetes.io/config.hash"
"""The annotation with the UID that a static pod has on its node; in the API it has another."""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What the watcher of one node says."""

    holders: tuple[Holder, ...] = ()
    """By GPU, in the order of their index."""
    begin: datetime | None = None
    """When the first sample was taken that was read."""
    seen: datetime | None = None
    """When the last one was taken."""
    silence: str = ""
    """Why there is no report."""


def usage_reports(context: Context) -> dict[str, UsageReport]:
    """Node of the stack -> its watcher's report.

    Raises:
        AccessDeniedError: the user may not read pods.
    """
    nodes = list(context.desired.nodes)
    _ = context.nodes, context.own_pods(WATCHER), context.users  # read before the threads start
    names = {uid_of(pod): f"{pod.namespace}/{pod.name}" for pod in context.pods}
    return dict(zip(nodes, side_by_side(partial(_report, context, names), nodes), strict=True))


def gap_of(settings: Settings) -> timedelta:
    """Time between two samples after which nothing is known of what was between them."""
    return timedelta(seconds=_MISSED * settings.usage_interval)


def uid_of(pod: Pod) -> str:
    """A pod's UID as its processes have it."""
    return pod.metadata.annotations.get(_STATIC) or pod.metadata.uid


def _report(context: Context, names: Mapping[str, str], node: str) -> UsageReport:
    pod = running_on(context, WATCHER, "usage watcher", node)
    if isinstance(pod, str):
        return UsageReport(silence=pod)
    try:
        said = list(parse_all(context.cluster.log(pod.name, pod.namespace, since_seconds=_SECONDS)))
    except ClusterError as error:
        return UsageReport(silence=f"the log of the usage watcher on {node} cannot be read: {error}")
    if said and isinstance(last := said[-1], Failure) and last.question != "pmon":
        return UsageReport(silence=f"nvidia-smi does not answer the usage watcher on {node}: {last.message}")
    samples = [each for each in said if isinstance(each, Sample)]
    if not samples or not pod.ready:
        since = f" since {samples[-1].time:%H:%M:%SZ}" if samples else ""
        return UsageReport(silence=f"the usage watcher on {node} has taken no sample{since}")
    share = partial(_share, context.desired.nodes[node])
    found = holders(samples, names, _held(context, node), share, gap_of(context.settings))
    return UsageReport(tuple(found), samples[0].time, samples[-1].time)


def _share(node: DesiredNode, sample: Sample, slices: int) -> int | None:
    group = node.group_of(sample.gpu, sample.index)
    return group.share_mib(sample.memory_total, slices) if sample.memory_total else None


def _held(context: Context, node: str) -> dict[str, Counter[str]]:
    """UUID -> UID -> slices, where the kubelet reports them; a whole GPU is all of them."""
    found: dict[str, Counter[str]] = {}
    for pod in context.users.get(node, []):
        for device in devices(pod, *context.desired.resources):
            slices = 1 if device.is_slice else context.desired.nodes[node].slices
            found.setdefault(device.gpu, Counter())[uid_of(pod)] += slices
    return found
