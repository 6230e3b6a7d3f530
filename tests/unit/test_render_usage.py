"""What gpu:usage adds to the objects of a stack."""

from typing import Any

from tests.fixtures.manifests import manifests
from tests.fixtures.stack_files import settings


def _objects(**keys: Any) -> dict[tuple[str, str], Any]:
    return {(each["kind"], each["metadata"]["name"].rpartition("-")[0]): each for each in manifests(settings(**keys))}


def test_watching_adds_a_daemon_set_and_its_script_and_changes_nothing_else() -> None:
    unwatched, watched = _objects(), _objects(usage=True)
    assert {key: each for key, each in watched.items() if key in unwatched} == unwatched
    assert watched.keys() - unwatched.keys() == {("DaemonSet", "nvidia-gpu"), ("ConfigMap", "nvidia-gpu-usage-watcher")}
