"""Clusters that share their GPUs already become a stack's on a real kubelet, while pods hold GPUs."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import starts
from tests.node.bed import GPU, INTERVAL, Bed, Config, Object, gpu_pod, wait_for

pytestmark = [pytest.mark.node, pytest.mark.timeout(1200, func_only=True)]

GPUCTL = f"{sys.executable} -m gpuctl"
HELM = """\
#!/bin/sh
# uninstall NAME -n NAMESPACE --kube-context CONTEXT --wait: deletes what Helm would, by the label that charts give it
[ "$1 $3 $5 $7" = "uninstall -n --kube-context --wait" ] || exit 2
exec kubectl --context "$6" delete daemonsets,configmaps,clusterpolicies -n "$4" -l "app.kubernetes.io/instance=$2"
"""
"""Helm is not on the test machines: its part here is to delete its release's objects."""
VERIFY_SECONDS = 400


def _config() -> Config:
    return {
        "powerInterval": INTERVAL,
        "namespace": "gpu-device-plugin",
        "nodes": [{"name": "gpu-1", "gpu": "rtx-3090", "count": 2}],
        "otherGpuNodes": ["gpu-2", "gpu-3", "gpu-4"],
    }


def _apply(bed: Bed, *objects: Object, manager: str = "") -> None:
    options = ("--server-side", f"--field-manager={manager}") if manager else ()
    for each in objects:
        bed.output("kubectl", "apply", *options, "-f", "-", text=json.dumps(each))


def _kustomization(bed: Bed) -> Config:
    _apply(bed, *starts.kustomization())
    return _config()


def _chart(bed: Bed) -> Config:
    namespace, runtime_class, *rest = starts.chart()
    _apply(bed, namespace, runtime_class)
    _apply(bed, *rest, manager="helm")
    return _config()


STARTS: dict[str, Callable[[Bed], Config]] = {
    "kustomization": _kustomization,
    "chart": _chart,
}


@pytest.fixture(scope="module")
def helm(session_bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the stand-in for Helm; the cluster knows ClusterPolicies."""
    folder = tmp_path_factory.mktemp("helm")
    (folder / "helm").write_text(HELM)
    (folder / "helm").chmod(0o755)
    _apply(session_bed, starts.CLUSTER_POLICIES)
    yield folder
    session_bed.output("kubectl", "delete", "crd", "clusterpolicies.nvidia.com")


@pytest.fixture
def start(bed: Bed, helm: Path, request: pytest.FixtureRequest) -> Iterator[Config]:  # noqa: ARG001
    """gpu-1 offers eight slices by other means, and two pods hold one each; the stack file that is to serve it."""
    bed.write_stack_file(_config())
    bed.destroy()
    config = STARTS[request.param](bed)
    bed.write_stack_file(config)
    wait_for(8, lambda: bed.allocatable("gpu-1"))
    bed.create(*(gpu_pod(f"kept-{number}", "gpu-1") for number in range(2)))
    wait_for({"kept-0": "Running", "kept-1": "Running"}, bed.phases)
    yield config
    bed.delete_pods()
    bed.destroy()
    namespaces = ("nvidia-device-plugin", config["namespace"])
    bed.output("kubectl", "delete", "namespaces", *namespaces, "--ignore-not-found")


def _adopt(bed: Bed) -> tuple[int, dict[str, Any]]:
    done = bed.run(*GPUCTL.split(), "adopt", "--stack", "l2", "-o", "json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def _follow(bed: Bed, helm: Path, config: Config, commands: list[str]) -> None:
    """Runs the steps as they are printed."""
    for command in commands:
        if command == "pulumi up --stack l2":
            bed.deploy(config)
            continue
        words = f"{GPUCTL}{command.removeprefix('gpuctl')}" if command.startswith("gpuctl ") else command
        done = bed.run("bash", "-ec", f"PATH={helm}:$PATH; {words}", seconds=VERIFY_SECONDS)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _kept(bed: Bed) -> dict[str, tuple[str, int, str]]:
    """Pod -> UID, restarts and phase."""
    return {
        name: (
            pod["metadata"]["uid"],
            pod["status"]["containerStatuses"][0]["restartCount"],
            pod["status"]["phase"],
        )
        for name, pod in bed.pods().items()
    }


@pytest.mark.parametrize("start", STARTS, indirect=True)
def test_each_start_becomes_a_stack_by_the_printed_steps_while_pods_run_on(bed: Bed, helm: Path, start: Config) -> None:
    before, devices = _kept(bed), bed.devices()
    code, said = _adopt(bed)
    assert said["inTheWay"] == []
    assert [node["gpuPods"] for node in said["nodes"]] == [["default/kept-0", "default/kept-1"]]
    assert [node["offers"] for node in said["nodes"]] == [{GPU: 8}]
    _follow(bed, helm, start, [step["command"] for step in said["steps"]])
    wait_for(8, lambda: bed.allocatable("gpu-1"))
    assert _kept(bed) == before
    bed.create(gpu_pod("new", "gpu-1"))
    wait_for("Running", lambda: bed.phases()["new"])
    found = bed.devices()
    assert {name: found[name] for name in devices} == devices
    assert len(set(found.values())) == 3
    code, said = _adopt(bed)
    assert (code, {each["fate"] for each in said["objects"]}) == (0, {"deployed"})
