"""Power limits: what the agents report of every GPU against what the stack asks for."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gpuctl.checks import power_limit
from gpuctl.checks.context import Context
from gpuctl.checks.model import Check, Outcome, Result, Subject
from gpuctl.cluster import AccessDeniedError, Executed, RejectedError
from tests.fixtures import agent_lines
from tests.fixtures.agent_lines import NOW, error
from tests.fixtures.checks import context_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy

FIRST, SECOND = "GPU-dc0c82b9-9f8d-5ade-9c8d-46216b68816b", "GPU-69e0eefb-7fa6-58a3-9547-4b2f2738e885"
THIRD = "GPU-b07f56bb-5d33-5f3d-a776-06a8bf4f9fa6"
FOURTH = "GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64cd"
AGENT = "nvidia-power-limit-gpu-1"
RTX_3090, RTX_4090 = "NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 4090"
KUBECTL = "kubectl --context admin@lab"
EARLIER = "2026-01-01T00:00:00Z"


def look(gpu: str, index: int, name: str = RTX_3090, time: str = NOW, **fields: object) -> str:
    """A line about a GPU, an RTX 3090 unless told otherwise."""
    return agent_lines.look(gpu, index, name, 300, time, **fields)


TWO = [look(FIRST, 0), look(SECOND, 1)]
ONE = [look(THIRD, 0, RTX_4090)]


def cluster(reports: Mapping[str, Sequence[str]] | None = None, status: str = "ready", **config: object) -> FakeCluster:
    """A healthy cluster whose agents report these lines, by node, and say of themselves that they are ready, or not."""
    fake = healthy(settings_of(**config))
    for node, lines in ({"gpu-1": TWO, "gpu-2": ONE} | dict(reports or {})).items():
        agent_lines.reports(fake, node, lines, status if node == "gpu-1" else "ready")
    return fake


def results(check: Check, context: Context, subject: str = "gpu-1") -> list[Result]:
    """What a check finds about a node and its GPUs."""
    return [found for found in check.run(context) if found.subject.startswith(subject)]


def first(check: Check, fake: FakeCluster, subject: str = "gpu-1", **config: object) -> Result:
    return results(check, context_of(fake, settings_of(**config)), subject)[0]


@pytest.mark.parametrize("check", power_limit.CHECKS, ids=lambda check: check.id)
def test_gpus_at_their_limits_pass(check: Check) -> None:
    found = list(check.run(context_of(cluster())))
    assert {result.outcome for result in found} == {Outcome.PASS}
    assert {result.subject.partition("/")[0] for result in found} == {"gpu-1", "gpu-2"}


@pytest.mark.parametrize("check", power_limit.CHECKS, ids=lambda check: check.id)
def test_a_stack_that_sets_no_limits_is_not_asked_for_any(check: Check) -> None:
    fake = healthy(settings_of(powerManagement=False))
    (found,) = check.run(context_of(fake, settings_of(powerManagement=False)))
    assert (found.outcome, found.fact) == (
        Outcome.SKIP,
        "gpu:powerManagement is false, so the stack sets no power limits",
    )


def test_each_agent_is_asked_once_for_all_checks() -> None:
    fake = cluster()
    context = context_of(fake)
    for check in power_limit.CHECKS:
        list(check.run(context))
    assert fake.calls.count("execute") == 2


def test_a_limit_that_was_moved_is_told_with_both_figures() -> None:
    fake = cluster({"gpu-1": [look(FIRST, 0, limit_w=350, enforced_w=350, at_limit="false"), look(SECOND, 1)]})
    moved, other = results(power_limit.limits_are_in_force, context_of(fake))
    assert moved == Result(
        Outcome.FAIL,
        f"GPU 0 of gpu-1 ({RTX_3090}) is limited to 350 W instead of 300 W",
        Subject("gpu-1", FIRST),
        f"{KUBECTL} logs -n gpu-device-plugin {AGENT}",
        "something else moved it; the agent checks every 60 s and puts it back",
    )
    assert other.outcome is Outcome.PASS


@pytest.mark.parametrize("limit", [299, 300.5, 301])
def test_a_limit_within_a_watt_is_met(limit: float) -> None:
    fake = cluster({"gpu-1": [look(FIRST, 0, limit_w=limit), look(SECOND, 1)]})
    assert first(power_limit.limits_are_in_force, fake).outcome is Outcome.PASS


def test_a_card_that_refuses_its_limit_is_told_in_the_drivers_words() -> None:
    refusal = f'refused gpu={FIRST} desired_w=300 exit=3 message="not supported for this GPU"'
    report = [look(FIRST, 0, limit_w=350, at_limit="false"), look(SECOND, 1)]
    fake = cluster({"gpu-1": report}, f"{refusal}; another fault")
    assert first(power_limit.limits_are_in_force, fake).cause == (
        "the GPU does not take it: not supported for this GPU"
    )
    ready = first(power_limit.agents_are_ready, fake)
    assert ready.fact == f"the power-limit agent on gpu-1 is not ready: {refusal}; another fault"


@pytest.mark.parametrize("limit", ["unknown", 175])
def test_a_card_that_takes_no_limit_and_enforces_less_passes(limit: object) -> None:
    fake = cluster({"gpu-1": [look(FIRST, 0, limit_w=limit, enforced_w=175, max_w="unknown"), look(SECOND, 1)]})
    found = first(power_limit.limits_are_in_force, fake)
    assert (found.outcome, found.fact) == (
        Outcome.PASS,
        f"GPU 0 of gpu-1 ({RTX_3090}) does not take a limit, and enforces 175 W of the 300 W allowed",
    )


def test_a_card_that_is_left_alone_is_skipped_and_the_other_judged() -> None:
    stack = settings_of(powerLimits={FIRST: "none"})
    alone = look(FIRST, 0, limit_w=350, enforced_w=350, desired_w="none")
    fake = cluster({"gpu-1": [alone, look(SECOND, 1)]})
    left, other, *_ = power_limit.limits_are_in_force.run(context_of(fake, stack))
    assert (left.outcome, left.fact) == (
        Outcome.SKIP,
        f"GPU 0 of gpu-1 ({RTX_3090}) is left alone: the stack file gives it no limit",
    )
    assert other.outcome is Outcome.PASS


def test_a_limit_outside_the_cards_own_range_is_told_with_the_range_and_the_nearest() -> None:
    report = [look(FIRST, 0, limit_w=575, enforced_w=575, min_w=400, max_w=600), look(SECOND, 1)]
    found = first(power_limit.limits_are_in_force, cluster({"gpu-1": report}))
    assert found.cause == "300 W is outside the range of this GPU, 400 to 600 W"
    assert found.remedy == (
        f"pulumi config set --path 'gpu:powerLimits.{FIRST}' 400 --stack lab && pulumi up --stack lab"
    )


def test_a_limit_above_the_cards_own_range_is_told_with_the_nearest() -> None:
    report = [look(FIRST, 0, limit_w=250, enforced_w=250, min_w="unknown", max_w=250), look(SECOND, 1)]
    found = first(power_limit.limits_are_in_force, cluster({"gpu-1": report}))
    assert found.cause == "300 W is outside the range of this GPU, ? to 250 W"
    assert " 250 --stack lab" in found.remedy


def test_an_agent_that_was_told_another_limit_is_not_that_of_this_stack_file() -> None:
    report = [look(FIRST, 0, desired_w=280, limit_w=280, enforced_w=280), look(SECOND, 1)]
    found = first(power_limit.limits_are_in_force, cluster({"gpu-1": report}))
    assert (found.outcome, found.cause) == (
        Outcome.FAIL,
        "the agent was given 280 W, by another stack file than this one",
    )
    assert found.remedy == "pulumi up --refresh --stack lab"


def test_more_than_the_limit_in_force_is_a_failure_although_the_limit_is_requested() -> None:
    report = [look(FIRST, 0, enforced_w=350), look(SECOND, 1)]
    found = first(power_limit.limits_are_in_force, cluster({"gpu-1": report}))
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        f"GPU 0 of gpu-1 ({RTX_3090}) enforces 350 W although 300 W are requested of it",
    )


def test_less_than_the_limit_in_force_is_advice() -> None:
    fake = cluster({"gpu-1": [look(FIRST, 0, enforced_w=250), look(SECOND, 1)]})
    assert first(power_limit.limits_are_in_force, fake).outcome is Outcome.PASS
    found = first(power_limit.limits_are_not_undercut, fake)
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        f"GPU 0 of gpu-1 ({RTX_3090}) enforces 250 W, and 300 W are requested of it",
    )
    assert power_limit.limits_are_not_undercut.severity == "warning"


def test_a_card_that_does_not_tell_its_limit_cannot_be_judged() -> None:
    fake = cluster({"gpu-1": [look(FIRST, 0, limit_w="unknown", enforced_w="unknown"), look(SECOND, 1)]})
    for check in (power_limit.limits_are_in_force, power_limit.limits_are_not_undercut):
        assert first(check, fake).outcome is Outcome.SKIP


def test_limits_are_those_of_the_card_then_its_model_then_its_node() -> None:
    nodes = [
        {"name": "gpu-1", "gpus": {"rtx-3090": 2, "rtx-4090": 1}},
        {"name": "gpu-2", "gpu": "rtx-4090", "count": 1, "powerLimit": 250},
    ]
    config: dict[str, Any] = {"nodes": nodes, "powerLimits": {"rtx-4090": 400, SECOND: 280}}
    reports = {
        "gpu-1": [
            look(FIRST, 0),
            look(SECOND, 1, desired_w=280, limit_w=280, enforced_w=280),
            look(
                "GPU-00000000-0000-4000-8000-000000000003",
                2,
                RTX_4090,
                desired_w=400,
                limit_w=400,
                enforced_w=400,
                max_w=600,
            ),
        ],
        "gpu-2": [look(THIRD, 0, RTX_4090, desired_w=250, limit_w=250, enforced_w=250)],
    }
    found = list(power_limit.limits_are_in_force.run(context_of(cluster(reports, **config), settings_of(**config))))
    assert [result.fact.rpartition(" to ")[2] for result in found] == ["300 W", "280 W", "400 W", "250 W"]
    assert {result.outcome for result in found} == {Outcome.PASS}


def test_a_gpu_that_is_missing_is_told_with_what_nvidia_smi_says() -> None:
    failure = error('query_failed exit=9 message="Failed to initialize NVML: Driver/library version mismatch"')
    found = first(power_limit.every_gpu_answers, cluster({"gpu-1": [failure]}))
    assert (found.outcome, found.fact) == (Outcome.FAIL, "gpu-1: 0 of 2 GPUs answer")
    assert found.cause == "nvidia-smi says: Failed to initialize NVML: Driver/library version mismatch"
    assert found.remedy == f"{KUBECTL} exec -n gpu-device-plugin {AGENT} -- /busybox/sh /agent/agent.sh report"


def test_a_gpu_that_was_lost_is_named() -> None:
    fake = cluster({"gpu-1": [look(FIRST, 0)]}, f"lost gpu={SECOND}; missing expected=2 found=1")
    found = first(power_limit.every_gpu_answers, fake)
    assert (found.fact, found.cause) == (
        "gpu-1: 1 of 2 GPUs answer",
        f"lost since the agent started: {SECOND}",
    )
    assert found.remedy.endswith(" && talosctl -n gpu-1 reboot")


def test_more_gpus_than_declared_are_a_wrong_count() -> None:
    found = first(power_limit.every_gpu_answers, cluster({"gpu-2": TWO}), "gpu-2")
    assert (found.outcome, found.cause) == (Outcome.FAIL, "the stack file's count is too low")


def test_an_agent_that_does_not_start_is_told_with_the_reason_and_the_rest_is_not_guessed() -> None:
    fake = cluster()
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    fake.pod_objects[AGENT]["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [{"name": "main", "state": state}],
    }
    found = first(power_limit.agents_are_ready, fake)
    assert (found.outcome, found.cause) == (
        Outcome.FAIL,
        "nvidia-power-limit on gpu-1 does not start: ImagePullBackOff: no such image",
    )
    for check in power_limit.CHECKS[1:]:
        found = first(check, fake)
        assert (found.outcome, found.fact) == (Outcome.SKIP, "no power-limit agent runs on gpu-1")


def test_an_agent_that_hangs_is_told_in_its_own_words() -> None:
    hangs = "the last look began 500 s ago, allowed are 210 s: does nvidia-smi hang?"
    found = first(power_limit.agents_are_ready, cluster(status=hangs))
    assert found.fact == f"the power-limit agent on gpu-1 is not ready: {hangs}"


def test_a_node_that_is_down_is_not_asked() -> None:
    fake = cluster()
    fake.node_objects["gpu-1"]["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    del fake.commands[AGENT]
    for check in power_limit.CHECKS:
        found = first(check, fake)
        assert (found.outcome, found.fact) == (Outcome.SKIP, "gpu-1 is not Ready")


def test_a_kubelet_that_does_not_answer_does_not_end_the_run() -> None:
    fake = cluster()
    fake.failures["execute"] = RejectedError("dial tcp 10.0.0.2:10250: connection refused")
    found = first(power_limit.limits_are_in_force, fake)
    assert found.outcome is Outcome.SKIP
    assert "connection refused" in found.fact


def test_who_may_not_run_commands_gets_the_last_look_from_the_log() -> None:
    fake = cluster()
    fake.failures["execute"] = AccessDeniedError("pods/exec is forbidden")
    fake.logs[AGENT] = [
        look(FIRST, 0, time=EARLIER, limit_w=375),
        look(SECOND, 1, time=EARLIER),
        error(f"refused gpu={SECOND} desired_w=300 exit=3", EARLIER),
        look(FIRST, 0, limit_w=350, enforced_w=350),
        error(f"not_applied gpu={FIRST} desired_w=300 limit_w=350"),
    ]
    moved, other = results(power_limit.limits_are_in_force, context_of(fake))
    assert (moved.fact, moved.cause) == (
        f"GPU 0 of gpu-1 ({RTX_3090}) is limited to 350 W instead of 300 W",
        "the GPU does not take it: not_applied",
    )
    assert other.outcome is Outcome.PASS, "the last look is still being written"


def test_an_agent_that_logs_nothing_tells_nothing() -> None:
    fake = cluster()
    fake.failures["execute"] = AccessDeniedError("pods/exec is forbidden")
    found = first(power_limit.limits_are_in_force, fake)
    assert (found.outcome, found.fact) == (
        Outcome.SKIP,
        "the power-limit agent on gpu-1 has logged no sample for 180 s",
    )


def test_who_may_neither_run_commands_nor_read_logs_is_told_so() -> None:
    fake = cluster()
    fake.failures |= {method: AccessDeniedError(f"{method} is forbidden") for method in ("execute", "log")}
    found = first(power_limit.limits_are_in_force, fake)
    assert (found.outcome, found.fact.endswith("log is forbidden")) == (Outcome.SKIP, True)
    assert first(power_limit.agents_are_ready, fake).outcome is Outcome.PASS, "that the pods are ready is seen"


def test_a_card_of_another_model_is_pointed_out() -> None:
    found = first(power_limit.models_are_as_declared, cluster({"gpu-2": [look(THIRD, 0)]}), "gpu-2")
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        f"gpu-2 has 1 x {RTX_3090}, and the stack file declares 1 x {RTX_4090}",
    )


def test_a_model_that_nobody_knows_is_not_compared() -> None:
    nodes = [{"name": "gpu-1", "gpu": "a-model-of-tomorrow", "count": 2}]
    assert first(power_limit.models_are_as_declared, cluster(), nodes=nodes).outcome is Outcome.SKIP


def _drift(gpu: str) -> str:
    return f"time={NOW} level=warn msg=drift gpu={gpu} limit_w=350 desired_w=300"


def test_a_limit_that_is_moved_again_and_again_is_said_to_be() -> None:
    """At any one moment it is mostly as it should be."""
    fake = cluster()
    fake.logs |= {AGENT: [_drift(FIRST)] * 3 + [_drift(SECOND)] * 2, "nvidia-power-limit-gpu-2": []}
    (found,) = results(power_limit.limits_stay, context_of(fake))
    assert (found.outcome, found.subject) == (Outcome.FAIL, f"gpu-1/{FIRST}")
    assert found.fact == f"the limit of {FIRST} of gpu-1 was moved 3 times in 10 minutes, and each time put back"
    assert first(power_limit.limits_stay, fake, "gpu-2").outcome is Outcome.PASS


def test_a_log_that_may_not_be_read_says_nothing_of_moves() -> None:
    fake = cluster()
    fake.failures["log"] = AccessDeniedError("pods/log is forbidden")
    assert first(power_limit.limits_stay, fake).outcome is Outcome.SKIP


def test_the_cause_of_a_moved_limit_says_how_often_that_was() -> None:
    fake = cluster({"gpu-1": [look(FIRST, 0, limit_w=350, enforced_w=350, at_limit="false"), look(SECOND, 1)]})
    fake.logs[AGENT] = [_drift(FIRST)] * 12
    found = first(power_limit.limits_are_in_force, fake)
    assert found.cause == (
        "something else moved it, 12 times in 10 minutes; the agent checks every 60 s and puts it back"
    )


def test_an_agent_whose_script_is_broken_has_lost_no_gpu() -> None:
    fake = cluster()
    fake.commands[AGENT] = lambda _: Executed("", "/agent/agent.sh: line 3: syntax error\n", 2)
    found = first(power_limit.every_gpu_answers, fake)
    assert (found.outcome, found.fact) == (
        Outcome.SKIP,
        "the power-limit agent on gpu-1 cannot report: /agent/agent.sh: line 3: syntax error",
    )
