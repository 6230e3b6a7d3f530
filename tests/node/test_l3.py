"""The one command of the highest rung, rehearsed on simulated GPUs: its own cluster, the product, a proof, evidence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cluster import Cluster
from tests.node.bed import REPOSITORY, require_real_nodes

pytestmark = [pytest.mark.node, pytest.mark.timeout(900, func_only=True)]


def test_a_rehearsal_deploys_proves_writes_evidence_and_leaves_nothing(tmp_path: Path) -> None:
    require_real_nodes()
    command = [sys.executable, "-m", "testbed", "l3", "--rehearse", "gpu-1=h200x2"]
    options = ["--proof", "whole-beside-shared", "--proof", "usage", "--evidence", str(tmp_path)]
    done = subprocess.run([*command, *options], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = {each["proof"]: each for each in json.loads((tmp_path / "run.json").read_text())["outcomes"]}
    assert outcomes["whole-beside-shared"]["holds"]
    assert outcomes["usage"]["skipped"] == "simulated GPUs compute nothing"
    (proof,) = json.loads((tmp_path / "whole-beside-shared.json").read_text())["proofs"]
    assert sorted(proof["tally"]["gpu-1"].values()) == [1, 4]
    assert "# A rehearsal on simulated GPUs" in (tmp_path / "run.md").read_text()
    assert not Cluster("l3").is_up
