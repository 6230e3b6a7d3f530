"""What the power-limit agents see: the GPUs of every node, at this moment.

The agent's `report` reads and sets nothing. Whoever may read logs but not run commands in pods gets the last samples
that the agent has logged, which are as old as its interval.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from gpuctl.checks.context import Context, side_by_side
from gpuctl.checks.own_pods import running_on
from gpuctl.cluster import AccessDeniedError, ClusterError, Executed, Pod
from gpuctl.desired.power_limit import NAME as AGENT
from gpuctl.desired.power_limit import SCRIPT
from gpuctl.power.log import Event, Sample, faults, parse_all

_TITLE = "power-limit agent"
_SECONDS = 30
"""nvidia-smi takes about one where the driver has to be loaded first."""


MOVED_MINUTES = 10
"""How far back limits that were moved are counted."""


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
    nodes = list(context.desired.nodes)
    _ = context.nodes, context.own_pods(AGENT)  # read before the threads start
    reports = side_by_side(partial(_report, context), nodes)
    return dict(zip(nodes, reports, strict=True))


def limits_moved(context: Context) -> dict[str, Counter[str]]:
    """Node of the stack -> UUID -> how often its limit was found moved in the last minutes; see MOVED_MINUTES.

    A node whose agent's log may not be read, or that has none, is left out.
    """
    pods = [pod for name in context.desired.nodes if isinstance(pod := running_on(context, AGENT, _TITLE, name), Pod)]
    found = side_by_side(partial(_moved, context), pods)
    return {pod.node: moved for pod, moved in zip(pods, found, strict=True) if moved is not None}


def _moved(context: Context, pod: Pod) -> Counter[str] | None:
    try:
        said = list(parse_all(context.cluster.log(pod.name, pod.namespace, since_seconds=MOVED_MINUTES * 60)))
    except ClusterError:
        return None
    return Counter(entry.gpu for entry in said if isinstance(entry, Event) and entry.name == "drift" and entry.gpu)


def _report(context: Context, node: str) -> AgentReport:
    pod = running_on(context, AGENT, _TITLE, node)
    if isinstance(pod, str):
        return AgentReport(silence=pod)
    try:
        return _asked(context, pod)
    except AccessDeniedError:
        return _logged(context, pod)
    except ClusterError as error:
        return AgentReport(silence=f"the power-limit agent on {node} cannot be asked: {error}")


def _asked(context: Context, pod: Pod) -> AgentReport:
    def ask(verb: str) -> Executed:
        return context.cluster.execute(pod.name, pod.namespace, SCRIPT.command(verb), _SECONDS)

    answer = ask("report")
    said = list(parse_all(answer.stdout.splitlines()))
    if not said and answer.exit_code:  # a script that does not run says nothing of GPUs
        reason = " ".join((answer.stderr or answer.stdout).split()) or f"exit code {answer.exit_code}"
        return AgentReport(silence=f"the power-limit agent on {pod.node} cannot report: {reason}")
    status = "" if pod.ready else ask("ready").stdout.strip()
    return _made(said, [*faults(status), *_errors(said)], status)


def _logged(context: Context, pod: Pod) -> AgentReport:
    """All lines of one round carry one time; the last round may be in the midst of being written."""
    since = 3 * context.settings.power_interval
    try:
        said = list(parse_all(context.cluster.log(pod.name, pod.namespace, since_seconds=since)))
    except ClusterError as error:
        return AgentReport(
            silence=f"the power-limit agent on {pod.node} may not be asked, nor its log be read: {error}"
        )
    if not any(isinstance(entry, Sample) for entry in said):
        return AgentReport(silence=f"the power-limit agent on {pod.node} has logged no sample for {since} s")
    times = sorted({entry.time for entry in said if entry.time})[-2:]
    errors = _errors(entry for entry in said if entry.time == times[-1])
    return _made([entry for entry in said if entry.time in times], errors, "")


def _errors(said: Iterable[Sample | Event]) -> list[Event]:
    return [entry for entry in said if isinstance(entry, Event) and entry.level == "error"]


def _made(said: Iterable[Sample | Event], wrong: Sequence[Event], status: str) -> AgentReport:
    samples = {entry.gpu: entry for entry in said if isinstance(entry, Sample)}
    return AgentReport(tuple(sorted(samples.values(), key=lambda sample: sample.index or 0)), tuple(wrong), status)
