"""`gpuctl verify --sharing` on real kubelets: what it proves, which faults it finds, and that it leaves nothing."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from testbed import debian, images
from testbed.gpus import SimulatedGpu
from tests.fixtures.snapshots import MarkdownFile
from tests.node.bed import REPOSITORY, Bed, gpu_pod, stack_file, wait_for

pytestmark = [pytest.mark.node, pytest.mark.timeout(900, func_only=True)]

OFFER = {"gpu-1": 8, "gpu-2": 2, "gpu-3": 4}
NAME = "gpu-sharing-proof"
CUDA = "docker.io/local/vector-add:testbed"
VERIFY = (sys.executable, "-m", "gpuctl", "verify", "--sharing", "--check", "sharing", "--stack", "l2")
PROOF_SECONDS = 600


@pytest.fixture
def proven(deployed: Bed) -> Bed:
    """The cluster with all of its slices free."""
    deployed.delete_pods()
    wait_for(OFFER, lambda: {node: deployed.allocatable(node) for node in OFFER})
    return deployed


@pytest.fixture
def sick(proven: Bed) -> Iterator[SimulatedGpu]:
    """The first GPU of gpu-1, with a plugin that has taken one of its slices out of service."""
    gpu = proven.gpus("gpu-1")[0]

    def offered_after_an_xid() -> int:
        gpu.raise_xid(79)
        return proven.allocatable("gpu-1")

    wait_for(7, offered_after_an_xid)
    yield gpu
    proven.restart_plugin("gpu-1")
    wait_for(8, lambda: proven.allocatable("gpu-1"))


def _prove(bed: Bed, *options: str, cuda: str = "") -> tuple[int, dict[str, list[dict[str, str]]]]:
    """The exit code, and id -> results."""
    done = bed.run(*VERIFY, "-o", "json", "--cuda-image", cuda, *options, seconds=PROOF_SECONDS)
    assert done.stdout, done.stderr
    (stack,) = json.loads(done.stdout)["stacks"]
    checks = [check for category in stack["categories"] for check in category["checks"]]
    return done.returncode, {check["id"]: check["results"] for check in checks if check["id"].startswith("SHR")}


def _bad(results: dict[str, list[dict[str, str]]]) -> dict[str, list[str]]:
    told = {
        id_: [f"{result['outcome']}: {result['fact']}" for result in found if result["outcome"] != "pass"]
        for id_, found in results.items()
    }
    return {id_: facts for id_, facts in told.items() if facts}


def _left(bed: Bed) -> list[str]:
    """What of any run of the proof is in the cluster."""
    kinds = "namespaces,priorityclasses,pods,serviceaccounts"
    items: list[Any] = bed.get(kinds, "-A", "-l", f"app.kubernetes.io/name={NAME}")["items"]
    return [f"{item['kind']} {item['metadata']['name']}" for item in items]


@pytest.fixture
def cuda_image(deployed: Bed, tmp_path: Path) -> str:
    """An image whose program says what NVIDIA's sample says: the simulated GPUs compute nothing."""
    shell = images.busybox_image(debian.packages() / "bin" / "busybox")
    shell.reference, shell.command = CUDA, ["sh", "-c", "nvidia-smi -L && echo Test PASSED"]
    archive = tmp_path / "cuda.tar"
    images.write_archive(shell, archive)
    for node in OFFER:
        deployed.cluster.nodes[node].import_image(archive)
    return CUDA


def test_all_slices_of_three_nodes_are_proven_at_once(
    proven: Bed, cuda_image: str, tmp_path: Path, snapshot: SnapshotAssertion
) -> None:
    code, results = _prove(proven, "--evidence", str(tmp_path / "evidence"), cuda=cuda_image)
    assert (code, _bad(results)) == (0, {})
    document = json.loads((tmp_path / "evidence.json").read_text())
    (proof,) = document["proofs"]
    expected = {node: {gpu.uuid: OFFER[node] // len(proven.gpus(node)) for gpu in proven.gpus(node)} for node in OFFER}
    assert proof["tally"] == expected
    assert len(proof["record"]["pods"]) == 14
    assert _masked((tmp_path / "evidence.md").read_text()) == snapshot(extension_class=MarkdownFile)
    assert _left(proven) == []


def _masked(text: str) -> str:
    """Without what another run or another machine has otherwise."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    text = re.sub(rf"{NAME}-[0-9a-f]{{6}}", f"{NAME}-ID", text)
    text = re.sub(r"for [\d.]+ s", "for N s", text)
    text = re.sub(r"\| share-\d+ \| (\S+) \| .*", r"| share-N | \1 | ...", text)  # any pod may get any GPU
    return re.sub(r"sha256:[0-9a-f]{64}|Debian[^|]*Linux [^|]*|containerd:&#8203;//[^|]*", "...", text)


def test_slices_in_use_are_left_alone_and_counted(proven: Bed) -> None:
    proven.create(*(gpu_pod(f"busy-{number}", "gpu-1") for number in range(3)))
    wait_for(3, lambda: len(proven.devices()))
    before = {name: pod["metadata"]["uid"] for name, pod in proven.pods().items()}
    code, results = _prove(proven, "--node", "gpu-1")
    facts = [result["fact"] for found in results.values() for result in found]
    assert code == 0
    assert "gpu-1: 5 pods in 5 free slices; other pods hold 3" in facts
    assert "gpu-1: 2 GPUs serve 4 + 4 pods at once, 3 of them of others" in facts
    assert {name: pod["metadata"]["uid"] for name, pod in proven.pods().items()} == before
    assert set(proven.phases().values()) == {"Running"}


def test_a_plugin_with_other_slices_than_the_stack_says_is_found(proven: Bed) -> None:
    deployed = proven.cluster.stack_file.read_text()
    proven.write_stack_file(stack_file(slices=6))
    try:
        code, results = _prove(proven, "--node", "gpu-3")
    finally:
        proven.cluster.stack_file.write_text(deployed)
    assert code == 1
    assert _bad(results)["SHR002"] == ["fail: gpu-3: 1 GPU serves 4 pods; the stack says 1 GPU with 6 each"]


def test_a_sick_gpu_is_found(proven: Bed, sick: SimulatedGpu) -> None:
    code, results = _prove(proven, "--node", "gpu-1")
    assert code == 1
    (fact,) = _bad(results)["SHR002"]
    assert re.fullmatch("fail: gpu-1: 2 GPUs serve (3 [+] 4|4 [+] 3) pods; the stack says 2 GPUs with 4 each", fact), (
        sick
    )


def test_an_image_that_no_registry_gives_is_no_failure(proven: Bed) -> None:
    code, results = _prove(proven, "--node", "gpu-2", cuda="registry.invalid/cuda:1")
    assert (code, list(_bad(results))) == (0, ["SHR007"])
    assert "registry.invalid/cuda:1 cannot be had on gpu-2" in results["SHR007"][0]["fact"]


def _in_the_middle(bed: Bed) -> subprocess.Popen[str]:
    """A run of the proof whose pods are there."""
    command = [*VERIFY, "--cuda-image", "", "--node", "gpu-1"]
    run = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=bed.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(True, lambda: any(entry.startswith("Pod") for entry in _left(bed)))
    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(proven: Bed, number: signal.Signals) -> None:
    run = _in_the_middle(proven)
    run.send_signal(number)
    said, _ = run.communicate(timeout=PROOF_SECONDS)
    assert (run.returncode, _left(proven)) == (130, []), said
    assert "interrupted; removing what the proof made" in said


def test_what_a_killed_run_left_is_removed_by_the_next(proven: Bed) -> None:
    run = _in_the_middle(proven)
    run.kill()
    run.communicate(timeout=PROOF_SECONDS)
    assert _left(proven)
    code, results = _prove(proven, "--node", "gpu-1")
    assert (code, _bad(results)["SHR007"]) == (0, ["skip: no CUDA program ran: no image was given for it"])
    assert _left(proven) == []
