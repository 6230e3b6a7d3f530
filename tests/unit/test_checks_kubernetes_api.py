"""Whether everything that the API server answers can be read."""

from gpuctl.checks.kubernetes_api import every_object_can_be_read
from gpuctl.checks.model import Outcome
from gpuctl.cluster import Unreadable
from tests.fixtures.checks import context_of, results_of, settings_of
from tests.fixtures.fake_cluster import healthy


def test_what_can_be_read_is_counted() -> None:
    (found,) = results_of(every_object_can_be_read, context_of(healthy(settings_of())))
    assert found.outcome is Outcome.PASS
    assert found.fact == "all 7 nodes and pods can be read"


def test_an_object_is_named_once_with_all_reasons_and_the_command_that_shows_it() -> None:
    cluster = healthy(settings_of())
    cluster.odd = [
        Unreadable("Pod", "vision", "train-7d9f", "status.phase is not a text"),
        Unreadable("Node", "", "gpu-9", "spec is not an object"),
        Unreadable("Pod", "vision", "train-7d9f", "spec.nodeName is not a text"),
        Unreadable("Pod", "", "items[3]", "it has no readable metadata.name; the object is left out"),
    ]
    found = results_of(every_object_can_be_read, context_of(cluster))
    assert [(each.fact, each.subject, each.remedy) for each in found] == [
        (
            "Pod vision/train-7d9f: status.phase is not a text; spec.nodeName is not a text",
            "pod/vision/train-7d9f",
            "kubectl --context admin@lab get pod train-7d9f -n vision -o yaml",
        ),
        ("Node gpu-9: spec is not an object", "node/gpu-9", "kubectl --context admin@lab get node gpu-9 -o yaml"),
        (
            "Pod items[3]: it has no readable metadata.name; the object is left out",
            "pod/items[3]",
            "kubectl --context admin@lab get pod -A -o yaml",
        ),
    ]
    assert every_object_can_be_read.severity == "warning"


def test_pods_that_the_user_may_not_read_are_not_looked_for() -> None:
    cluster = healthy(settings_of())
    context = context_of(cluster)
    context.__dict__["sees_pods"] = False
    (found,) = results_of(every_object_can_be_read, context)
    assert found.fact == "all 3 nodes and pods can be read"
    assert "pods" not in cluster.calls
