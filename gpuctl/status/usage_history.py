"""What was had and used of a stack's GPUs over a time, from the logs of the usage watchers and the pods there are."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from gpuctl.checks.context import Context, side_by_side
from gpuctl.checks.usage_reports import gap_of, uid_of
from gpuctl.cluster import Pod
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.usage import NAME as WATCHER
from gpuctl.observed.devices import held
from gpuctl.observed.log_reach import by_node, shortfall
from gpuctl.observed.owners import workload
from gpuctl.usage.account import Account, Level, Name, rows
from gpuctl.usage.history import NodeHistory, Tenure, Use, Window, added, history
from gpuctl.usage.holders import Kind
from gpuctl.usage.log import Sample, parse_all

_TITLE = "usage watcher"


def from_logs(context: Context, window: Window, level: Level) -> Account:
    """The account of a time; of what the logs do not have any more it says so.

    Raises:
        ClusterError: the cluster does not answer, or pods or their logs may not be read.
    """
    nodes, pods = context.desired.nodes, context.pods
    watchers = by_node(context.own_pods(WATCHER))
    found = dict(zip(nodes, side_by_side(partial(_of_node, context, watchers, window), nodes), strict=True))
    names = {uid_of(pod): Name(Kind.POD, pod.namespace, workload(pod), pod.name) for pod in pods}
    seen = [each for each in found.values() if each]
    energy = None
    for each in seen:
        energy = added(energy, each.energy)
    return Account(
        level=level,
        rows=rows(_named(found, names), level),
        begin=window.begin,
        end=window.end,
        parts=window.parts,
        source="the logs of the usage watchers",
        hours=sum(each.hours for each in seen),
        energy=energy,
        notes=tuple(_notes(context, watchers, found, window)),
    )


def _of_node(context: Context, watchers: Mapping[str, Sequence[Pod]], window: Window, node: str) -> NodeHistory | None:
    seconds = int((window.end - window.begin).total_seconds())
    pods = watchers.get(node, ())
    said = (each for pod in pods for each in parse_all(context.cluster.log(pod.name, pod.namespace, seconds)))
    samples = [each for each in said if isinstance(each, Sample)]
    desired = context.desired.nodes[node]
    indices = {each.gpu: each.index for each in samples}
    parts_of = {gpu: 1 / desired.group_of(gpu, index).slices for gpu, index in indices.items()}
    return history(samples, _tenures(context.pods, desired, window), parts_of, gap_of(context.settings), window)


def _tenures(pods: Sequence[Pod], node: DesiredNode, window: Window) -> dict[str, Tenure]:
    """UID -> since when and until when a pod of the node holds how much; one that does not say when is left out."""
    found: dict[str, Tenure] = {}
    for pod in pods:
        gpus = sum(held([pod], group.resource) / group.slices for group in node.groups)
        if pod.node == node.name and gpus and (begin := _time(pod.status.start_time)):
            found[uid_of(pod)] = Tenure(gpus, begin, window.end if pod.active else _ended(pod, begin))
    return found


def _ended(pod: Pod, begin: datetime) -> datetime:
    over = (each.state.terminated for each in pod.status.container_statuses)
    return max((time for each in over if each and (time := _time(each.finished_at))), default=begin)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _named(found: Mapping[str, NodeHistory | None], names: Mapping[str, Name]) -> Iterator[tuple[Name, Use]]:
    for node, each in found.items():
        if each is None:
            continue
        for uid, use in each.uses.items():
            if uid is None:
                yield Name(Kind.UNKNOWN, pod=node), use
            elif not uid:
                yield Name(Kind.HOST, pod=node), use
            else:
                yield names.get(uid, Name(Kind.GONE, pod=uid)), use


def _notes(
    context: Context,
    watchers: Mapping[str, Sequence[Pod]],
    found: Mapping[str, NodeHistory | None],
    window: Window,
) -> Iterator[str]:
    slack = timedelta(seconds=2 * context.settings.usage_interval)
    for node, each in found.items():
        begin = each.begin if each else None
        if why := shortfall(_TITLE, node, watchers.get(node, ()), begin, window.begin, slack):
            yield why
    if unknown := sum(use.unknown for each in found.values() if each for use in each.uses.values()):
        yield f"for {unknown:.1f} hours of processes their share of a GPU is not known; they are not in USED"
