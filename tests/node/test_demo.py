"""`make demo`, as a reader sees it."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from testbed.cluster import Cluster
from tests.node.bed import REPOSITORY, require_real_nodes

pytestmark = pytest.mark.node

NAME = "l2-demo"


@pytest.fixture(scope="module")
def shown() -> Iterator[str]:
    """The demo's screen, from a fresh cluster."""
    require_real_nodes()
    cluster = Cluster(NAME)
    cluster.down()  # a run that was killed
    stack_file = REPOSITORY / "config" / "Pulumi.demo.yaml"
    before = stack_file.read_bytes()
    try:
        command = [sys.executable, "-m", "demo", "--name", NAME]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        assert stack_file.read_bytes() == before, "the checkout stays as it is"
        yield done.stdout
    finally:
        cluster.down()


def test_the_node_offers_eight_and_then_twelve(shown: str) -> None:
    assert re.findall(r"^gpu-1 +(\d+)$", shown, re.MULTILINE) == ["8", "12"]


def test_both_gpus_are_at_300_w_of_350(shown: str) -> None:
    assert re.findall(r"^GPU-[-0-9a-f]{36}, (.*)$", shown, re.MULTILINE) == ["300.00, 350.00"] * 2


def test_eight_pods_run_four_on_each_gpu_and_the_ninth_waits_for_a_gpu_until_there_are_more(shown: str) -> None:
    devices = re.findall(r"^share-\S+ +(\w+) +\S+ +(\S+)$", shown, re.MULTILINE)
    first, second = devices[:9], devices[9:]
    uuids = re.findall(r"^(GPU-[-0-9a-f]{36}), ", shown, re.MULTILINE)
    placed = Counter((phase, device.partition("::")[0]) for phase, device in first)
    assert placed == {("Running", uuids[0]): 4, ("Running", uuids[1]): 4, ("Pending", "<none>"): 1}
    assert "1 Insufficient nvidia.com/gpu" in shown
    assert [phase for phase, _ in second] == ["Running"] * 9


def test_pulumi_is_seen_at_work(shown: str) -> None:
    assert shown.count("$ pulumi up --yes") == 2
    assert "+ 19 created" in shown
    assert "~ 1 updated" in shown
    assert "+ 1 created" in shown, "the ConfigMap, whose name has a hash"
    assert "- 1 deleted" in shown, "the one before"


def test_in_the_end_gpuctl_finds_everything_in_force_and_the_gpus_shared(shown: str) -> None:
    assert "$ gpuctl verify --sharing --cuda-image '' --stack demo" in shown
    assert "gpu-1: 2 GPUs serve 6 + 6 pods at once, 9 of them of others" in shown
    assert re.search(r'^\d+ passed, \d+ skipped in [\d.]+ s: cluster "demo" is ready$', shown, re.MULTILINE)
