"""What the doctor says of a cluster that is really broken: where it begins, why, and what only follows from it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gpuctl.checks.context import Context
from gpuctl.checks.diagnosis import Finding, diagnose
from gpuctl.checks.registry import selected
from gpuctl.checks.runner import run
from gpuctl.cluster import connect
from gpuctl.settings import read_config
from testbed.gpus import SimulatedGpu
from tests.fixtures.checks import FakePrograms
from tests.node.bed import GPU, NAMESPACE, PLUGIN, REPOSITORY, Bed, Object, gpu_pod, stack_file, wait_for

pytestmark = [pytest.mark.node, pytest.mark.timeout(240, func_only=True)]

STACK = "l2"
NO_SUCH_IMAGE = "localhost:1/no-such-image:v1"
ALONE = f"{PLUGIN}-gpu-2"
"""The DaemonSet of a device plugin that has one node only."""
SELECTOR = "/spec/template/spec/nodeSelector/nvidia.com~1gpu.present"
NOWHERE, ON_ITS_NODE = ({"op": "replace", "path": SELECTOR, "value": value} for value in ("nowhere", "true"))


def findings(bed: Bed) -> list[Finding]:
    """What the doctor finds; without Pulumi and talosctl, and without the names and moved limits of other tests."""
    config = stack_file(context=bed.cluster.context, kubeconfig=str(bed.cluster.kubeconfig))
    settings = read_config(STACK, {f"gpu:{key}": value for key, value in config.items()})
    context = Context(STACK, lambda: settings, lambda said: connect(said.context, said.kubeconfig), FakePrograms())
    asked = [check for check in selected(deep=True) if check.id not in ("CAP005", "PWR006")]
    return diagnose(run(asked, context, print))


def explained(bed: Bed) -> dict[str, set[str]]:
    """The checks in which failures begin, each with those that fail because of it."""
    return {finding.check.id: {told.check.id for told in finding.consequences} for finding in findings(bed)}


def cause(bed: Bed, id_: str) -> str:
    """Why a check fails that begins a failure; empty when it does not."""
    return next((finding.cause for finding in findings(bed) if finding.check.id == id_), "")


def patch(bed: Bed, daemon_set: str, change: Object) -> None:
    """Changes a DaemonSet by hand."""
    bed.changed_by_hand()
    bed.output("kubectl", "patch", "daemonset", "-n", NAMESPACE, daemon_set, "--type=json", "-p", json.dumps([change]))


@pytest.fixture
def well(deployed: Bed) -> Iterator[Bed]:
    """A cluster of which the doctor has nothing to say; such a one again after the test."""
    wait_for({}, lambda: explained(deployed))
    yield deployed
    deployed.delete_pods()
    deployed.deploy(stack_file())
    wait_for({}, lambda: explained(deployed))


@pytest.fixture
def sick(well: Bed) -> Iterator[SimulatedGpu]:
    """A GPU to make sick; healthy again after the test, before the doctor looks once more."""
    gpu = well.gpus("gpu-1")[0]
    yield gpu
    gpu.recover()
    gpu.fail_set(None)
    gpu.cap_elsewhere(None)
    well.restart_plugin("gpu-1")


def test_a_healthy_cluster_passes_every_check_that_can_be_told(well: Bed) -> None:
    done = well.run(sys.executable, "-m", "gpuctl", "verify", "--stack", STACK, "-o", "json", "--skip", "drift")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    stack = report["stacks"][0]
    outcomes = {check["id"]: check["outcome"] for category in stack["categories"] for check in category["checks"]}
    assert {id_[:3] for id_, outcome in outcomes.items() if outcome == "pass"} >= {
        "API",
        "NOD",
        "STK",
        "CAP",
        "PWR",
        "POD",
    }
    assert "fail" not in outcomes.values()


def test_an_image_that_does_not_exist_is_where_it_begins(well: Bed) -> None:
    path = "/spec/template/spec/containers/0/image"
    patch(well, ALONE, {"op": "replace", "path": path, "value": NO_SUCH_IMAGE})
    wait_for({"STK003": {"STK005", "CAP002"}}, lambda: explained(well))
    wait_for(True, lambda: cannot_be_pulled(well))  # the kubelet has tried by then
    (found,) = findings(well)
    assert f"live {NO_SUCH_IMAGE}" in found.results[0].fact
    assert [told.result.subject for told in found.consequences if told.check.id == "CAP002"] == ["gpu-2"]


def cannot_be_pulled(bed: Bed) -> bool:
    """Whether what follows says so."""
    causes = [told.result.cause for found in findings(bed) for told in found.consequences if told.check.id == "CAP002"]
    return any("ErrImagePull" in cause or "ImagePullBackOff" in cause for cause in causes)


def test_waiting_ends_when_the_device_plugin_is_back(well: Bed) -> None:
    patch(well, ALONE, NOWHERE)
    wait_for(0, lambda: well.allocatable("gpu-2"))
    command = [sys.executable, "-m", "gpuctl", "verify", "--stack", STACK, "--check", "gpu-capacity"]
    waiting = subprocess.Popen(
        [*command, "--wait", "120s", "--interval", "1s"],
        cwd=REPOSITORY,
        env=well.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert waiting.stderr
        said = next(line for line in waiting.stderr if "waiting" in line)
        assert f"gpu-2 offers 0 of its 2 {GPU}" in said
        patch(well, ALONE, ON_ITS_NODE)
        shown, _ = waiting.communicate(timeout=150)
    finally:
        waiting.send_signal(signal.SIGKILL)
    assert waiting.returncode == 0, shown


def test_a_limit_that_a_card_refuses_is_why_its_agent_is_not_ready(well: Bed, sick: SimulatedGpu) -> None:
    sick.fail_set(3)
    sick.drift(350)
    wait_for({"PWR003": {"STK005", "PWR001"}}, lambda: explained(well))
    (found,) = findings(well)
    assert found.results[0].subject == f"gpu-1/{sick.uuid}"
    assert found.results[0].fact == "GPU 0 of gpu-1 (NVIDIA GeForce RTX 3090) is limited to 350 W instead of 300 W"
    assert found.cause.startswith("the GPU does not take it: ")


def test_a_gpu_held_lower_by_something_else_is_advice(well: Bed, sick: SimulatedGpu) -> None:
    sick.cap_elsewhere(200)
    wait_for({"PWR004": set[str]()}, lambda: explained(well))
    assert "enforces 200 W, and 300 W are requested of it" in findings(well)[0].results[0].fact


def test_a_sick_gpu_is_named_with_its_xid_and_the_pods_on_it(well: Bed, sick: SimulatedGpu) -> None:
    well.create(*(gpu_pod(f"work-{number}", "gpu-1") for number in range(4)))
    wait_for(4, lambda: len(well.devices()))
    on_it = {name for name, device in well.devices().items() if device.startswith(sick.uuid)}
    sick.raise_xid(79)
    wait_for({"CAP003": {"CAP002"}}, lambda: explained(well))
    assert cause(well, "CAP003") == (
        f"the device plugin took a GPU out of service ({sick.uuid}: Xid 79 (the GPU has fallen off the bus)); "
        f"2 pods on it: {', '.join(f'default/{name}' for name in sorted(on_it))}"
    )


def test_a_lost_gpu_is_why_its_node_offers_none(well: Bed, sick: SimulatedGpu) -> None:
    sick.lose()
    wait_for({"PWR002": {"STK005", "CAP002", "PWR001"}}, lambda: explained(well))
    assert cause(well, "PWR002") == f"lost since the agent started: {sick.uuid}"


def test_pods_that_do_what_they_should_not_are_told_apart(well: Bed) -> None:
    """The foreign device plugin only sleeps: it is known by its image, and the cluster is shared with other tests."""
    uninvited, foreign = gpu_pod("uninvited", "gpu-3", gpus=None), gpu_pod("any-name", "gpu-3", gpus=None)
    uninvited["spec"]["containers"][0]["env"] = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]
    daemon_set = well.get("daemonset", "-n", NAMESPACE, PLUGIN)
    foreign["spec"]["containers"][0] |= {
        "image": daemon_set["spec"]["template"]["spec"]["containers"][0]["image"],
        "command": ["/busybox/sleep", "infinity"],
        "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}],
    }
    well.create(gpu_pod("greedy", "gpu-1", gpus=2), uninvited, foreign)
    wait_for({"POD010": set[str](), "POD001": set[str](), "POD003": set[str]()}, lambda: explained(well))
    facts = {finding.check.id: finding.results[0].fact for finding in findings(well)}
    assert facts == {
        "POD010": "another NVIDIA device plugin runs on gpu-3: default/any-name",
        "POD001": "1 pod in default was refused on gpu-1: greedy (maximum request size for shared resources)",
        "POD003": "1 pod in default on gpu-3 sets NVIDIA_VISIBLE_DEVICES without asking for a GPU: uninvited",
    }
