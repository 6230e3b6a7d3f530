"""What Pulumi's own preview says, in one sentence."""

import json

import pytest

from gpuctl.checks.drift import nothing_has_drifted
from gpuctl.checks.model import Outcome, Result
from gpuctl.cluster.programs import Ran
from tests.fixtures.checks import FakePrograms, context_of, results_of
from tests.fixtures.fake_cluster import FakeCluster

REFUSED = "error: no changes were expected for preview but changes were proposed\n"
URN = "urn:pulumi:lab::gpu::gpu:index:GpuStack$gpu:index:TimeSlicing$kubernetes:"


def _step(operation: str, kind: str, name: str) -> dict[str, str]:
    return {"op": operation, "urn": f"{URN}{kind}::{name}"}


def _found(ran: Ran | None) -> Result:
    programs = FakePrograms(**({"pulumi": ran} if ran else {}))
    (found,) = results_of(nothing_has_drifted, context_of(FakeCluster(), programs=programs))
    return found


def test_no_change_passes() -> None:
    assert _found(Ran('{"steps": []}', "", 0)).outcome is Outcome.PASS


def test_each_change_is_told_with_the_object() -> None:
    steps = [
        _step("refresh", "core/v1:Namespace", "gpu"),
        _step("same", "core/v1:Namespace", "gpu"),
        _step("create", "node.k8s.io/v1:RuntimeClass", "nvidia"),
        _step("update", "core/v1:ConfigMap", "nvidia-device-plugin-config"),
    ]
    found = _found(Ran(json.dumps({"steps": steps}), REFUSED, 7))
    assert (found.outcome, found.fact) == (
        Outcome.FAIL,
        "Pulumi would create RuntimeClass nvidia, update ConfigMap nvidia-device-plugin-config",
    )
    assert found.remedy == "pulumi up --refresh --stack lab"


def test_a_change_without_a_digest_is_one_all_the_same() -> None:
    """Pulumi prints events instead when its variable for streaming is set."""
    found = _found(Ran('{"sequence": 1}\n{"sequence": 2}\n', REFUSED, 7))
    assert (found.outcome, found.fact) == (Outcome.FAIL, "Pulumi would change something")


@pytest.mark.parametrize(
    ("ran", "reason"),
    [
        (None, "the Pulumi CLI is not installed here"),
        (Ran("", "no answer within 120 s", 124), "no answer within 120 s"),
        (Ran("", "error: no stack named 'lab' found\n", 6), "no stack named 'lab' found"),
        (
            Ran(
                json.dumps({"diagnostics": [{"severity": "error", "message": "context lab has\n no node gpu-1\n"}]}),
                "error: preview failed\n",
                1,
            ),
            "context lab has no node gpu-1",
        ),
    ],
)
def test_a_preview_that_does_not_succeed_tells_nothing(ran: Ran | None, reason: str) -> None:
    found = _found(ran)
    assert (found.outcome, found.fact) == (
        Outcome.SKIP,
        f"whether Pulumi would change something is not known: {reason}",
    )


def test_only_a_deep_run_takes_the_time() -> None:
    assert nothing_has_drifted.deep


UNHEALTHY = "Refreshed resource is in an unhealthy state:\n* Resource 'nvidia-power-limit' failed to initialize"


def _unready(**more: object) -> dict[str, object]:
    return {"op": "update", "urn": f"{URN}apps/v1:DaemonSet::nvidia-power-limit"} | more


@pytest.mark.parametrize("known_by", ["the warning", "the state"])
def test_a_daemon_set_that_is_only_not_ready_was_not_changed_by_anyone(known_by: str) -> None:
    step = _unready() if known_by == "the warning" else _unready(oldState={"initErrors": ["0 of 2 pods are ready"]})
    warnings = [{"severity": "warning", "urn": step["urn"], "message": UNHEALTHY}] if known_by == "the warning" else []
    found = _found(Ran(json.dumps({"steps": [step], "diagnostics": warnings}), REFUSED, 7))
    assert (found.outcome, found.fact) == (
        Outcome.PASS,
        "Pulumi would change nothing, only wait again for DaemonSet nvidia-power-limit, which is not ready (STK005)",
    )


def test_an_unready_daemon_set_that_was_changed_too_is_told() -> None:
    step = _unready(oldState={"initErrors": ["0 of 2 pods are ready"]}, diffReasons=["spec"])
    found = _found(Ran(json.dumps({"steps": [step]}), REFUSED, 7))
    assert (found.outcome, found.fact) == (Outcome.FAIL, "Pulumi would update DaemonSet nvidia-power-limit")


def test_beside_an_unready_daemon_set_only_true_changes_are_told() -> None:
    steps = [_unready(oldState={"initErrors": ["x"]}), _step("create", "node.k8s.io/v1:RuntimeClass", "nvidia")]
    assert _found(Ran(json.dumps({"steps": steps}), REFUSED, 7)).fact == "Pulumi would create RuntimeClass nvidia"
