"""Taints of a site's own: what a stack may say, what its pods tolerate, and what still keeps them off a node."""

from typing import Any

import msgspec
import pytest

from gpuctl.cluster import Node
from gpuctl.desired.desired import desired_state
from gpuctl.desired.verify_cronjob import verify_cronjob
from gpuctl.preflight.serving import keeping_off, why_not_serving
from gpuctl.settings import SettingsError
from tests.fixtures.stack_files import settings

TAINT = {"key": "gpu", "value": "true", "effect": "NoSchedule"}


def _node(*taints: dict[str, str], name: str = "gpu-1") -> Node:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    return msgspec.convert({"metadata": {"name": name}, "spec": {"taints": taints}, "status": status}, Node)


def _keeps_off(toleration: dict[str, Any], taint: dict[str, str] = TAINT) -> bool:
    return bool(keeping_off(_node(taint), settings(tolerations=[toleration])))


def test_every_pod_tolerates_what_the_stack_says_after_what_it_always_does() -> None:
    stack = settings(tolerations=[{"key": "gpu"}, {"effect": "NoExecute", "key": "dedicated", "value": "gpu"}])
    cronjob = verify_cronjob(stack, "lab", "gpuctl:1")[-1]
    pods = [each["spec"]["template"]["spec"] for each in desired_state(stack).manifests if each["kind"] == "DaemonSet"]
    pods.append(cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"])
    assert [pod["tolerations"] for pod in pods] == [
        [
            {"key": "nvidia.com/gpu", "operator": "Exists"},
            {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "gpu", "operator": "Exists"},
            {"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoExecute"},
        ]
    ] * 3


@pytest.mark.parametrize(
    "toleration",
    [
        {"key": "gpu"},
        {"key": "gpu", "effect": "NoSchedule"},
        {"key": "gpu", "value": "true"},
        {"key": "gpu", "value": True},
        {"operator": "Exists"},
        {"operator": "Exists", "effect": "NoSchedule"},
    ],
    ids=str,
)
def test_a_taint_is_tolerated_as_kubernetes_does(toleration: dict[str, Any]) -> None:
    assert not _keeps_off(toleration)


@pytest.mark.parametrize(
    "toleration",
    [
        {"key": "gpus"},
        {"key": "gpu", "operator": "Equal"},
        {"key": "gpu", "value": "false"},
        {"key": "gpu", "effect": "NoExecute"},
        {"operator": "Exists", "effect": "NoExecute"},
    ],
    ids=str,
)
def test_another_key_value_or_effect_keeps_the_pods_off(toleration: dict[str, Any]) -> None:
    assert _keeps_off(toleration)


def test_equal_without_a_value_is_for_a_taint_without_one() -> None:
    assert not _keeps_off({"key": "gpu", "operator": "Equal"}, {"key": "gpu", "effect": "NoSchedule"})


@pytest.mark.parametrize(
    ("name", "keeps_off"),
    [
        ("not-ready", False),
        ("unreachable", False),
        ("disk-pressure", False),
        ("memory-pressure", False),
        ("pid-pressure", False),
        ("unschedulable", False),
        ("network-unavailable", True),
        ("out-of-service", True),
    ],
)
def test_of_kubernetes_own_taints_those_count_that_no_daemon_set_tolerates(name: str, keeps_off: bool) -> None:
    taint = {"key": f"node.kubernetes.io/{name}", "effect": "NoSchedule"}
    assert bool(keeping_off(_node(taint), settings())) is keeps_off


def test_a_taint_of_kubernetes_own_is_taken_away_and_not_tolerated() -> None:
    taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
    first, second = why_not_serving([_node(taint, TAINT)], settings(), "lab")
    assert first.endswith(
        "Once the node is in order, take the taint away: kubectl --context admin@lab taint node gpu-1 "
        "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute-"
    )
    assert "'gpu:tolerations[0].key' gpu;" in second


def test_the_fix_of_each_taint_has_a_place_of_its_own() -> None:
    """Behind what the stack file has already; nodes with the same taint need one toleration."""
    stack = settings(tolerations=[{"key": "team"}])
    other = {"key": "example.com/dedicated", "effect": "NoExecute"}
    nodes = [_node(TAINT), _node(TAINT, other, name="gpu-2")]
    fixes = [reason.partition("Fix it: ")[2].partition(";")[0] for reason in why_not_serving(nodes, stack, "lab")]
    assert fixes == [
        "pulumi config set --stack lab --path 'gpu:tolerations[1].key' gpu",
        "pulumi config set --stack lab --path 'gpu:tolerations[1].key' gpu",
        "pulumi config set --stack lab --path 'gpu:tolerations[2].key' example.com/dedicated",
    ]


@pytest.mark.parametrize(
    ("toleration", "reason"),
    [
        ({"key": "gpu", "operator": "exists"}, "is not a toleration {key, operator, value, effect}"),
        ({"key": "gpu", "effect": "Never"}, "is not a toleration {key, operator, value, effect}"),
        ({"name": "gpu"}, "is not a toleration {key, operator, value, effect}"),
        ({"key": "g p u"}, "is not a toleration {key, operator, value, effect}"),
        ({"key": "gpu", "operator": "Exists", "value": "true"}, "has operator Exists, which takes no value"),
        ({"value": "true"}, "has no key; {operator: Exists} tolerates every taint"),
        ({}, "has no key; {operator: Exists} tolerates every taint"),
        ("gpu", "must be a mapping {key, operator, value, effect}"),
    ],
    ids=str,
)
def test_what_the_api_server_would_refuse_is_refused_with_the_entry_named(toleration: object, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tolerations=[{"key": "fine"}, toleration])
    assert reason in str(caught.value)
    assert "pulumi config rm --stack fixture --path 'gpu:tolerations[1]'" in str(caught.value)


def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(SettingsError, match="must be a list of tolerations"):
        settings(tolerations="gpu")
