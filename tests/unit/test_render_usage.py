"""What gpu:usage adds to the objects of a stack."""

from typing import Any

from tests.fixtures.manifests import manifests
from tests.fixtures.stack_files import settings


def _objects(**keys: Any) -> dict[tuple[str, str], Any]:
    return {(each["kind"], each["metadata"]["name"].rpartition("-")[0]): each for each in manifests(settings(**keys))}


def test_watching_adds_a_daemon_set_and_its_script_and_changes_nothing_else() -> None:
    unwatched, watched = _objects(), _objects(usage=True)
    assert {key: each for key, each in watched.items() if key in unwatched} == unwatched
    assert watched.keys() - unwatched.keys() == {
        ("ConfigMap", "nvidia-gpu-usage-watcher"),
        ("NetworkPolicy", "nvidia-gpu-usage"),
        ("DaemonSet", "nvidia-gpu"),
    }


def test_the_watcher_speaks_to_nobody_and_is_asked_for_nothing_but_metrics() -> None:
    policy = _objects(usage=True)["NetworkPolicy", "nvidia-gpu-usage"]
    assert policy["spec"] == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "nvidia-gpu-usage"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [],
        "egress": [],
    }
    asked = _objects(usage=True, usageMetrics=True)["NetworkPolicy", "nvidia-gpu-usage"]
    assert asked["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 9836}]}]


def test_metrics_are_served_on_a_port_of_the_pod_with_the_name_of_its_node_in_them() -> None:
    def container(**keys: Any) -> Any:
        return _objects(usage=True, **keys)["DaemonSet", "nvidia-gpu"]["spec"]["template"]["spec"]["containers"][0]

    assert "ports" not in container()
    assert container(usageMetrics=True)["ports"] == [{"name": "metrics", "containerPort": 9836}]
    assert container(usageMetrics=True)["env"][3:] == [
        {"name": "USAGE_PORT", "value": "9836"},
        {"name": "USAGE_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
