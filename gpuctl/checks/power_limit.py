"""Whether every GPU is held at the power limit that the stack asks for."""

from collections import Counter
from collections.abc import Iterator, Mapping

from gpuctl.checks.agent_reports import MOVED_MINUTES, AgentReport, agent_reports, limits_moved
from gpuctl.checks.context import Context
from gpuctl.checks.model import Category, Check, Result, Subject, checks_of, counted, failed, listed, passed, skipped
from gpuctl.checks.own_pods import name_on, why_not_working
from gpuctl.checks.serving import reboot
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.limits import limits
from gpuctl.desired.power_limit import NAME as AGENT
from gpuctl.desired.power_limit import SCRIPT
from gpuctl.power.log import Event, Sample
from gpuctl.settings.refusal import step

POWER_LIMIT = Category("power-limit", "power limits")

_TOLERANCE = 1
"""Watts, as the agent's: a GPU may round."""
_OFTEN = 3
"""Moves of a limit after which it is no accident."""
_UNMANAGED = "gpu:powerManagement is false, so the stack sets no power limits"
_LOGS = "kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-power-limit"
_REPORT = (
    "kubectl --context admin@lab exec -n gpu-device-plugin ds/nvidia-power-limit -- /busybox/sh /agent/agent.sh report"
)


@Check(
    "PWR001",
    POWER_LIMIT,
    "the power-limit agent is ready on every node",
    cause="A GPU is not at its limit, does not answer, or the agent itself hangs or does not start",
    example="the power-limit agent on gpu-1 is not ready: missing expected=2 found=1",
    confirm=(_LOGS, _REPORT),
    fix=("docs/power.md says what each of the agent's words means, and what to do about it.",),
    retry=True,
)
def agents_are_ready(context: Context) -> Iterator[Result]:
    """An agent is ready only while every GPU of its node is held, and its last round is not long ago."""
    if not context.settings.power_management:
        yield skipped(_UNMANAGED)
        return
    reports = context.once(agent_reports)
    for name in context.desired.nodes:
        agent = f"the power-limit agent on {name}"
        if (seen := context.nodes.get(name)) is None or not seen.ready:
            yield skipped(reports[name].silence, name)
        elif (why := why_not_working(context, AGENT, name)) is None:
            yield passed(f"{agent} is ready", name)
        elif status := reports[name].status:
            yield failed(f"{agent} is not ready: {status}", why.remedy, name)
        else:
            yield failed(f"{agent} is not ready", why.remedy, why.on(name), why.cause, why.reason)


@Check(
    "PWR002",
    POWER_LIMIT,
    "every GPU of the stack answers",
    cause="A GPU fell off the bus or was taken out, the driver does not know it, or `count` is wrong",
    example="gpu-1: 1 of 2 GPUs answers",
    confirm=(_REPORT, "talosctl -n ADDRESS dmesg"),
    fix=(
        "A lost GPU: reboot the node, and check the card, its slot and its power if that does not help.",
        "Correct `count` in the stack file where the node has another number of GPUs, then `pulumi up`.",
    ),
    retry=True,
)
def every_gpu_answers(context: Context) -> Iterator[Result]:
    """By nvidia-smi in the agent's pod, which sees all GPUs of its node."""
    for node, report in _reports(context):
        there = len(report.gpus)
        if there == node.gpus:
            yield passed(f"{node.name}: all of {counted(there, 'GPU')} answer", node.name)
            continue
        lost = [fault.gpu for fault in report.faults if fault.name == "lost" and fault.gpu]
        failures = [fault for fault in report.faults if fault.name in ("query_failed", "no_nvidia_smi")]
        cause, remedy = "the stack file's count is too low" if there > node.gpus else "", _ask(context, node)
        if failures:
            cause = f"nvidia-smi says: {failures[0].fields.get('message', 'it is not there')}"
        if lost:
            cause, remedy = f"lost since the agent started: {listed(lost)}", reboot(context, node)
        yield failed(f"{node.name}: {there} of {counted(node.gpus, 'GPU')} answer", remedy, node.name, cause)
    yield from _silent(context)


@Check(
    "PWR003",
    POWER_LIMIT,
    "every GPU has the power limit of the stack",
    cause="Something else changed the limit, or the GPU does not take it",
    example="GPU 0 of gpu-1 (NVIDIA GeForce RTX 3090) is limited to 350 W instead of 300 W",
    confirm=(_REPORT, _LOGS),
    fix=(
        "A limit that was moved is put back within `gpu:powerInterval`; POD012 says how often.",
        "A limit outside the GPU's range: give that model or GPU its own in `gpu:powerLimits`.",
        "A GPU that refuses, such as a laptop's: leave it alone, with `none` for its model or UUID in "
        "`gpu:powerLimits` or `powerManagement: false` in its node.",
    ),
    retry=True,
)
def limits_are_in_force(context: Context) -> Iterator[Result]:
    """What is requested of the GPU, and no more than that in force; to 1 W."""
    wanted = {limit[1:]: limit.watts for limit in limits(context.settings)}
    for node, report in _reports(context):
        for gpu in report.gpus:
            yield _limited(context, node, report, gpu, _desired(wanted, node, gpu))
    yield from _silent(context)


@Check(
    "PWR004",
    POWER_LIMIT,
    "no GPU is held below its power limit by something else",
    cause="Firmware, a power brake or out-of-band management enforces less than what was requested",
    example="GPU 0 of gpu-1 (NVIDIA H200) enforces 500 W, and 700 W are requested of it",
    confirm=(_REPORT,),
    fix=("The circuit is safe. For full speed find the other limiter: power cables, chassis or BMC settings.",),
    severity="warning",
)
def limits_are_not_undercut(context: Context) -> Iterator[Result]:
    """The driver enforces the lowest of all limiters."""
    for node, report in _reports(context):
        for gpu in report.gpus:
            if gpu.desired is None:
                yield skipped(f"{_named(node, gpu)} is left alone: its agent holds no limit", _subject(node, gpu))
            elif gpu.limit is None or gpu.enforced is None:
                yield skipped(f"{_named(node, gpu)} does not report what it enforces", _subject(node, gpu))
            elif gpu.enforced < gpu.limit - _TOLERANCE:
                fact = f"{_named(node, gpu)} enforces {gpu.enforced:g} W, and {gpu.limit:g} W are requested of it"
                yield failed(fact, _ask(context, node), _subject(node, gpu))
            else:
                yield passed(f"{_named(node, gpu)} enforces what is requested of it", _subject(node, gpu))
    yield from _silent(context)


@Check(
    "PWR005",
    POWER_LIMIT,
    "the GPUs are of the models that the stack file declares",
    cause="A GPU was replaced, or the stack file names another model: its power range and memory are not these",
    example="gpu-1 has 2 x NVIDIA GeForce RTX 4090, and the stack file declares 2 x NVIDIA GeForce RTX 3090",
    confirm=("kubectl --context admin@lab exec -n gpu-device-plugin ds/nvidia-power-limit -- nvidia-smi -L",),
    fix=("Name the model in the stack file as it is: `gpu` or `gpus` of the node, a key of gpuctl/data/gpus.yaml.",),
    severity="warning",
)
def models_are_as_declared(context: Context) -> Iterator[Result]:
    """By the names that the driver gives them; a model that is not in the catalogue has none to compare."""
    for node, report in _reports(context):
        declared = Counter({cards.model.name: cards.count for cards in node.declared.cards if cards.model})
        there = Counter(gpu.name for gpu in report.gpus)
        unknown = any(cards.model is None for cards in node.declared.cards)
        if not there or unknown:
            yield skipped(
                f"which models {node.name} should have is not known" if unknown else f"no GPU of {node.name} answers",
                node.name,
            )
        elif declared.keys() == there.keys():
            yield passed(f"{node.name} has {_models(there)}", node.name)
        else:
            fact = f"{node.name} has {_models(there)}, and the stack file declares {_models(declared)}"
            yield failed(fact, _ask(context, node), node.name)
    yield from _silent(context)


@Check(
    "PWR006",
    POWER_LIMIT,
    "no power limit is moved again and again",
    cause="Something on the node sets limits too, and each undoes what the other has set",
    example="the limit of GPU-dc0c82b9 of gpu-1 was moved 12 times in 10 minutes, and each time put back",
    confirm=("kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-power-limit | grep msg=drift",),
    fix=(
        "Find who sets it and end that: another agent (POD012 names those it knows), a cron job, a workload that "
        "runs `nvidia-smi -pl`.",
        "Until then every move lasts up to `gpu:powerInterval` seconds: the circuit is not safe.",
    ),
    severity="warning",
    deep=True,
)
def limits_stay(context: Context) -> Iterator[Result]:
    """By what the agents have logged: at any one moment a limit is mostly as it should be."""
    if not context.settings.power_management:
        yield skipped(_UNMANAGED)
        return
    moved = context.once(limits_moved)
    for name in context.desired.nodes:
        often = {gpu: times for gpu, times in moved.get(name, Counter[str]()).items() if times >= _OFTEN}
        for gpu, times in often.items():
            fact = f"the limit of {gpu} of {name} was moved {times} times in {MOVED_MINUTES} minutes, and each time"
            logs = context.kubectl("logs", "-n", context.settings.namespace, name_on(context, AGENT, name))
            yield failed(f"{fact} put back", f"{logs} | grep msg=drift", Subject(name, gpu))
        if name not in moved:
            unread = f"the log of the power-limit agent on {name} cannot be read"
            yield skipped(context.once(agent_reports)[name].silence or unread, name)
        elif not often:
            yield passed(f"no limit on {name} was moved again and again", name)


def _limited(context: Context, node: DesiredNode, report: AgentReport, gpu: Sample, watts: int | None) -> Result:
    name, subject = _named(node, gpu), _subject(node, gpu)
    if watts is None:
        return skipped(f"{name} is left alone: the stack file gives it no limit", subject)
    settable = not _differs(gpu.limit, watts) or watts > (gpu.maximum or watts)
    held = gpu.at_limit and gpu.desired == watts and gpu.enforced is not None and gpu.enforced <= watts + _TOLERANCE
    if held and not settable:
        return passed(
            f"{name} does not take a limit, and enforces {gpu.enforced:g} W of the {watts} W allowed", subject
        )
    if gpu.limit is None:
        return skipped(f"{name} does not report its power limit", subject, _ask(context, node))
    if abs(gpu.limit - watts) <= _TOLERANCE and (gpu.enforced or 0) <= watts + _TOLERANCE:
        return passed(f"{name} is limited to {watts} W", subject)
    fact = f"{name} is limited to {gpu.limit:g} W instead of {watts} W"
    if _differs(gpu.desired, watts):
        remedy = f"pulumi up --refresh --stack {context.stack}"
        given = "no limit" if gpu.desired is None else f"{gpu.desired:g} W"
        return failed(fact, remedy, subject, f"the agent was given {given}, by another stack file than this one")
    nearest = max(watts, gpu.minimum or 0)
    nearest = min(nearest, gpu.maximum or nearest)
    if nearest != watts:
        span = " to ".join("?" if side is None else f"{side:g}" for side in (gpu.minimum, gpu.maximum))
        path, stack = f"gpu:powerLimits{step(gpu.gpu)}", f"--stack {context.stack}"
        remedy = f"pulumi config set --path '{path}' {nearest:g} {stack} && pulumi up {stack}"
        return failed(fact, remedy, subject, f"{watts} W is outside the range of this GPU, {span} W")
    logs = context.kubectl("logs", "-n", context.settings.namespace, name_on(context, AGENT, node.name))
    if abs(gpu.limit - watts) <= _TOLERANCE:
        return failed(f"{name} enforces {gpu.enforced:g} W although {watts} W are requested of it", logs, subject)
    return failed(fact, logs, subject, _why(context, node, gpu, report.fault_of(gpu.gpu)))


def _differs(limit: float | None, watts: int) -> bool:
    return limit is None or abs(limit - watts) > _TOLERANCE


def _why(context: Context, node: DesiredNode, gpu: Sample, fault: Event | None) -> str:
    if fault and fault.name in ("refused", "not_applied"):
        return f"the GPU does not take it: {fault.fields.get('message') or fault.name}"
    times = context.once(limits_moved).get(node.name, Counter[str]())[gpu.gpu]
    again = f", {times} times in {MOVED_MINUTES} minutes" if times >= _OFTEN else ""
    return (
        f"something else moved it{again}; the agent checks every {context.settings.power_interval} s and puts it back"
    )


def _desired(wanted: Mapping[tuple[str, ...], int | None], node: DesiredNode, gpu: Sample) -> int | None:
    """What the stack wants of a GPU: what is said of the GPU counts before its model, and that before its node.

    None where it leaves the GPU alone.
    """
    keys = (gpu.gpu, "", ""), ("", node.name, gpu.name), ("", node.name, "")
    return next(wanted[key] for key in keys if key in wanted)


def _reports(context: Context) -> Iterator[tuple[DesiredNode, AgentReport]]:
    """The reports of the agents that answer."""
    if context.settings.power_management:
        for node in context.desired.nodes.values():
            report = context.once(agent_reports)[node.name]
            if not report.silence:
                yield node, report


def _silent(context: Context) -> Iterator[Result]:
    """Why the others say nothing."""
    if not context.settings.power_management:
        yield skipped(_UNMANAGED)
        return
    for name, report in context.once(agent_reports).items():
        if report.silence:
            yield skipped(report.silence, name)


def _ask(context: Context, node: DesiredNode) -> str:
    pod = name_on(context, AGENT, node.name)
    return context.kubectl("exec", "-n", context.settings.namespace, pod, "--", *SCRIPT.command("report"))


def _named(node: DesiredNode, gpu: Sample) -> str:
    return f"GPU {'?' if gpu.index is None else gpu.index} of {node.name} ({gpu.name})"


def _subject(node: DesiredNode, gpu: Sample) -> Subject:
    return Subject(node.name, gpu.gpu)


def _models(counts: Counter[str]) -> str:
    return listed([f"{count} x {name}" for name, count in counts.items()])


CHECKS = checks_of(vars())
