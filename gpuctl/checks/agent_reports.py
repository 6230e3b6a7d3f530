"""What the power-limit agents see: the GPUs of every node, at this moment.

The agent's `report` looks and sets nothing. Whoever may read logs but not run commands in pods gets the last look that
the agent has logged, which is as old as its interval.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from gpuctl.checks.context import Context
from gpuctl.checks.daemon_pods import pod_on
from gpuctl.checks.side_by_side import side_by_side
from gpuctl.cluster import AccessDeniedError, ClusterError, Pod
from gpuctl.desired.power_limit import NAME as AGENT
from gpuctl.power.log import Event, Sample, parse, parse_all
from gpuctl.settings import GpuNode

_SECONDS = 30
"""nvidia-smi takes about one where the driver has to be loaded first."""


@dataclass(frozen=True)
class AgentReport:
    """What the agent of one node says."""

    gpus: tuple[Sample, ...] = ()
    """In the order of their index."""
    faults: tuple[Event, ...] = ()
    """What is wrong, one by one."""
    status: str = ""
    """Why the agent is not ready, in its own words; empty when it is."""
    silence: str = ""
    """Why there is no report."""

    def fault_of(self, gpu: str) -> Event | None:
        """What is wrong with one GPU, by its UUID."""
        return next((fault for fault in self.faults if fault.gpu == gpu), None)


def agent_reports(context: Context) -> dict[str, AgentReport]:
    """Node of the stack -> its agent's report.

    Raises:
        AccessDeniedError: the user may not read pods.
    """
    nodes = context.settings.nodes
    _ = context.nodes, context.own_pods(AGENT)  # read before the threads start
    reports = side_by_side(partial(_report, context), nodes)
    return {node.name: report for node, report in zip(nodes, reports, strict=True)}


def _report(context: Context, node: GpuNode) -> AgentReport:
    seen = context.nodes.get(node.name)
    if seen is None or not seen.ready:
        return AgentReport(silence=f"{node.name} is {'not Ready' if seen else 'not in the cluster'}")
    pod = pod_on(context, AGENT, node.name)
    if pod is None or not any(status.state.running for status in pod.status.container_statuses):
        return AgentReport(silence=f"no power-limit agent runs on {node.name}")
    try:
        return _asked(context, pod)
    except AccessDeniedError:
        return _logged(context, pod)
    except ClusterError as error:
        return AgentReport(silence=f"the power-limit agent on {node.name} cannot be asked: {error}")


def _asked(context: Context, pod: Pod) -> AgentReport:
    def ask(verb: str) -> str:
        command = ["/busybox/sh", "/agent/agent.sh", verb]
        return context.cluster.execute(pod.name, pod.namespace, command, _SECONDS).stdout

    said = list(parse_all(ask("report").splitlines()))
    status = "" if pod.ready else ask("ready").strip()
    of_status = (parse(f"time=1970-01-01T00:00:00Z level=error msg={fault}") for fault in status.split("; "))
    return _made(said, [*(fault for fault in of_status if isinstance(fault, Event)), *_errors(said)], status)


def _logged(context: Context, pod: Pod) -> AgentReport:
    """All lines of one look carry one time; the last look may be in the midst of being written."""
    since = 3 * context.settings.power_interval
    try:
        said = list(parse_all(context.cluster.log(pod.name, pod.namespace, since_seconds=since)))
    except ClusterError as error:
        return AgentReport(
            silence=f"the power-limit agent on {pod.node} may not be asked, nor its log be read: {error}"
        )
    if not any(isinstance(entry, Sample) for entry in said):
        return AgentReport(silence=f"the power-limit agent on {pod.node} has logged no look for {since} s")
    times = sorted({entry.time for entry in said})[-2:]
    faults = _errors(entry for entry in said if entry.time == times[-1])
    return _made([entry for entry in said if entry.time in times], faults, "")


def _errors(said: Iterable[Sample | Event]) -> list[Event]:
    return [entry for entry in said if isinstance(entry, Event) and entry.level == "error"]


def _made(said: Iterable[Sample | Event], faults: Sequence[Event], status: str) -> AgentReport:
    samples = {entry.gpu: entry for entry in said if isinstance(entry, Sample)}
    return AgentReport(tuple(sorted(samples.values(), key=lambda look: look.index or 0)), tuple(faults), status)
