"""One GPU of a node whole and the other shared, with two device plugins on a real kubelet."""

import json
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from testbed.gpus import SimulatedGpu
from tests.node.bed import GPU, NAMESPACE, PLUGIN, Bed, Config, Object, gpu_pod, stack_file, wait_for

pytestmark = [pytest.mark.node, pytest.mark.timeout(900, func_only=True)]

SHARED = "nvidia.com/gpu.shared"
WHOLE_PLUGIN = "nvidia-whole-gpu-plugin"
VERIFY = (sys.executable, "-m", "gpuctl", "verify", "--stack", "l2", "-o", "json")
PROOF_SECONDS = 600


def _stack(**whole: object) -> Config:
    config = stack_file()
    config["nodes"][0] |= whole
    return config


def _offers(bed: Bed) -> dict[str, int]:
    return {resource: bed.allocatable("gpu-1", resource) for resource in (GPU, SHARED)}


def _pod(name: str, resource: str) -> Object:
    pod = gpu_pod(name, "gpu-1")
    pod["spec"]["containers"][0]["resources"]["limits"] = {resource: "1"}
    return pod


def _results(bed: Bed, *options: str) -> tuple[int, dict[str, list[str]]]:
    """The exit code, and id -> facts with their outcomes."""
    done = bed.run(*VERIFY, *options, seconds=PROOF_SECONDS)
    assert done.stdout, done.stderr
    (stack,) = json.loads(done.stdout)["stacks"]
    checks = [check for category in stack["categories"] for check in category["checks"]]
    told = {each["id"]: [f"{found['outcome']}: {found['fact']}" for found in each["results"]] for each in checks}
    return done.returncode, told


@pytest.fixture
def both(bed: Bed) -> Iterator[Bed]:
    """gpu-1 with its first GPU whole and its second in four slices."""
    bed.deploy(_stack(wholeGpus=1))
    wait_for({GPU: 1, SHARED: 4}, lambda: _offers(bed))
    yield bed
    bed.delete_pods()


def test_a_node_offers_a_whole_gpu_and_slices_of_the_other(both: Bed) -> None:
    assert {node: both.allocatable(node) for node in ("gpu-2", "gpu-3")} == {"gpu-2": 2, "gpu-3": 4}
    first, second = both.gpus("gpu-1")
    listing = {plugin: both.execute(plugin, "gpu-1", "nvidia-smi", "-L").stdout for plugin in (WHOLE_PLUGIN, PLUGIN)}
    seen = {plugin: [gpu.uuid for gpu in (first, second) if gpu.uuid in text] for plugin, text in listing.items()}
    assert seen == {WHOLE_PLUGIN: [first.uuid], PLUGIN: [second.uuid]}


def test_one_pod_has_the_whole_gpu_and_four_share_the_other(both: Bed) -> None:
    first, second = both.gpus("gpu-1")
    both.create(_pod("whole", GPU), *(_pod(f"share-{number}", SHARED) for number in range(4)))
    wait_for(
        {first.uuid: 1, second.uuid: 4}, lambda: Counter(gpu.partition("::")[0] for gpu in both.devices().values())
    )
    assert both.devices()["whole"] == first.uuid
    wait_for("Running", lambda: both.phases()["whole"])  # it has its device before its container runs
    listing = both.output("kubectl", "exec", "whole", "--", "nvidia-smi", "-L").splitlines()
    assert len(listing) == 1
    assert first.uuid in listing[0]
    both.create(_pod("whole-2", GPU), _pod("share-5", SHARED))
    wait_for({"Pending": 2, "Running": 5}, lambda: dict(Counter(both.phases().values())))


def test_verify_proves_both(both: Bed) -> None:
    code, told = _results(both, "--sharing", "--cuda-image", "", "--node", "gpu-1", "--skip", "drift")
    assert code == 0, told
    assert told["SHR001"] == [
        f"pass: gpu-1, {GPU}: 1 pod in 1 free slices",
        f"pass: gpu-1, {SHARED}: 4 pods in 4 free slices",
    ]
    assert told["SHR002"] == [
        f"pass: gpu-1, {GPU}: 1 GPU serves 1 pod at once",
        f"pass: gpu-1, {SHARED}: 1 GPU serves 4 pods at once",
    ]
    assert told["CAP008"] == ["pass: gpu-1: no pod shares one of 1 whole GPU"]
    assert [each.partition(":")[0] for each in told["SHR004"]] == ["pass", "pass"]


def test_each_plugin_takes_its_own_sick_gpu_out_of_service(both: Bed) -> None:
    whole: SimulatedGpu = both.gpus("gpu-1")[0]

    def offered_after_an_xid() -> dict[str, int]:
        whole.raise_xid(79)
        return _offers(both)

    wait_for({GPU: 0, SHARED: 4}, offered_after_an_xid)
    _, told = _results(both, "--check", "CAP002")
    assert f"fail: gpu-1 offers 0 of its 1 {GPU}" in told["CAP002"]
    assert f"pass: gpu-1 offers all of its 4 {SHARED}" in told["CAP002"]
    both.output("kubectl", "delete", "pod", "--wait=false", "-n", NAMESPACE, both.name_of(WHOLE_PLUGIN, "gpu-1"))
    wait_for({GPU: 1, SHARED: 4}, lambda: _offers(both))


def test_by_uuid_the_second_gpu_is_the_whole_one(both: Bed) -> None:
    first, second = both.gpus("gpu-1")
    both.deploy(_stack(wholeGpus=[second.uuid], sharedGpus=[first.uuid]))
    wait_for({GPU: 1, SHARED: 4}, lambda: _offers(both))
    both.create(_pod("whole", GPU), _pod("share", SHARED))
    wait_for({second.uuid, first.uuid}, lambda: {gpu.partition("::")[0] for gpu in both.devices().values()})
    assert both.devices()["whole"] == second.uuid


def test_a_pod_with_a_slice_of_before_is_found_on_the_whole_gpu(bed: Bed) -> None:
    """The kubelet takes nothing from a pod that runs, and gives the whole GPU to nobody until it is gone."""
    bed.deploy(stack_file())
    wait_for(8, lambda: bed.allocatable("gpu-1"))
    bed.create(*(gpu_pod(f"old-{number}", "gpu-1") for number in range(8)))
    wait_for(8, lambda: len(bed.devices()))
    bed.deploy(_stack(wholeGpus=1))
    wait_for({GPU: 1, SHARED: 4}, lambda: _offers(bed))
    bed.create(_pod("whole", GPU))
    code, told = _results(bed, "--check", "CAP008")
    first = bed.gpus("gpu-1")[0]
    assert code == 1
    assert told["CAP008"][0].startswith(f"fail: gpu-1: {first.uuid} is a whole GPU, and 4 pods hold it: default/old-")
    assert bed.phases()["whole"] == "Pending"
    bed.output("kubectl", "delete", "pods", "--grace-period=1", *(f"old-{number}" for number in range(8)))
    wait_for("Running", lambda: bed.phases()["whole"])
    assert _results(bed, "--check", "CAP008")[0] == 0


def test_shared_again_all_gpus_have_slices_within_a_minute_or_two(both: Bed) -> None:
    both.deploy(stack_file())
    wait_for(8, lambda: both.allocatable("gpu-1"))
    wait_for(0, lambda: both.allocatable("gpu-1", SHARED))
    wait_for(True, lambda: both.is_ready(PLUGIN, "gpu-1"))
