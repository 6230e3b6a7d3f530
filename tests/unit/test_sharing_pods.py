"""The pods of the coexistence proof: how little they may do, and what they say of the GPUs they see."""

import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gpuctl.cluster import Pod
from gpuctl.desired.sharing import RESOURCE
from gpuctl.sharing import manifests
from gpuctl.sharing.observing import cuda_run, pod_run
from gpuctl.sharing.record import Gpu, PodRun
from tests.fixtures.stack_files import settings

SCRIPT = Path(manifests.__file__).with_name("pod.sh")
UUID = "GPU-dc0c82b9-9f8d-5ade-9c8d-46216b68816b"
STACK = settings(tolerations=[{"key": "dedicated", "value": "gpu"}])
PODS = {
    "holding": manifests.holding_pod(STACK, "share-1", "proof", RESOURCE, ["gpu-1"]),
    "looking": manifests.looking_pod(STACK, "without-1", "proof", "gpu-1"),
    "cuda": manifests.cuda_pod(STACK, "cuda-1", "proof", "cuda:1", RESOURCE, "gpu-1"),
}
each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)


@each_pod
def test_a_pod_is_what_the_strictest_pod_security_standard_asks_for(pod: dict[str, Any]) -> None:
    """The rules of `restricted`, which the namespace enforces."""
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {key for volume in spec["volumes"] for key in volume} <= {"name", "downwardAPI"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    labels = manifests.namespace("proof")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@each_pod
def test_a_pod_has_no_token_and_ends_by_itself(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["activeDeadlineSeconds"] <= 3600
    assert spec["restartPolicy"] == "Never"


@each_pod
def test_the_scheduler_places_a_pod_and_takes_nothing_away_for_it(pod: dict[str, Any]) -> None:
    assert "nodeName" not in pod["spec"]
    assert pod["spec"]["priorityClassName"] == "proof"
    priority = manifests.priority_class("proof")
    assert (priority["value"] < -10, priority["preemptionPolicy"]) == (True, "Never")


@each_pod
def test_a_pod_tolerates_what_the_stack_says(pod: dict[str, Any]) -> None:
    assert {"key": "dedicated", "operator": "Equal", "value": "gpu"} in pod["spec"]["tolerations"]


def test_what_the_image_of_the_device_plugin_asks_for_is_taken_back() -> None:
    """It sets NVIDIA_VISIBLE_DEVICES to `all`, by which a pod without a request would see every GPU."""
    assert PODS["looking"]["spec"]["containers"][0]["env"] == [{"name": "NVIDIA_VISIBLE_DEVICES", "value": ""}]


def test_the_gpu_of_a_pod_is_the_kubelets_word_then_the_plugins_then_what_it_sees() -> None:
    seen = (Gpu("GPU-3", "", ""),)
    assert PodRun("a", "n", device="GPU-1::0", visible="GPU-2", sees=seen).uuid == "GPU-1"
    assert PodRun("a", "n", visible="GPU-2", sees=seen).uuid == "GPU-2"
    assert PodRun("a", "n", visible="void", sees=seen).uuid == "GPU-3"
    assert PodRun("a", "n", sees=seen * 2).uuid == ""


@pytest.mark.parametrize(("phase", "passed"), [("Succeeded", True), ("Failed", False)])
def test_a_cuda_program_has_passed_when_it_says_so_and_ends_well(phase: str, passed: bool) -> None:
    pod = msgspec.convert({"metadata": {"name": "cuda-1"}, "status": {"phase": phase}}, Pod)
    assert cuda_run(pod, ["Test PASSED", "Done"]).passed is passed


def _smi(folder: Path, text: str, code: int = 0) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
    program.chmod(0o755)


def _start(folder: Path, verb: str, **environment: str) -> subprocess.Popen[bytes]:
    own = {"PATH": f"{folder}:/usr/bin:/bin", "TERMINATION_LOG": f"{folder}/answer", "RELEASE": f"{folder}/release"}
    return subprocess.Popen(["/bin/sh", SCRIPT, verb], env=own | environment)


def _answer(folder: Path) -> Pod:
    """The pod as the API shows it once it has ended."""
    ended = {"startedAt": "a", "finishedAt": "b", "message": (folder / "answer").read_text()}
    status = {"phase": "Succeeded", "containerStatuses": [{"name": "main", "state": {"terminated": ended}}]}
    return msgspec.convert({"metadata": {"name": "share-1"}, "status": status}, Pod)


def test_a_pod_says_which_gpus_it_sees(tmp_path: Path) -> None:
    _smi(tmp_path, f"{UUID}, NVIDIA GeForce RTX 3090, 580.95.05")
    assert _start(tmp_path, "look", NVIDIA_VISIBLE_DEVICES=UUID).wait(10) == 0
    run = pod_run(_answer(tmp_path), RESOURCE)
    assert (run.visible, run.uuid) == (UUID, UUID)
    assert [(gpu.uuid, gpu.model, gpu.driver) for gpu in run.sees] == [(UUID, "NVIDIA GeForce RTX 3090", "580.95.05")]
    assert run.answer == ""


def test_a_pod_says_what_nvidia_smi_answers_instead_of_a_gpu(tmp_path: Path) -> None:
    _smi(tmp_path, "Failed to initialize NVML: Unknown Error", 255)
    assert _start(tmp_path, "look").wait(10) == 0
    run = pod_run(_answer(tmp_path), RESOURCE)
    assert (run.visible, run.sees, run.answer) == ("", (), "Failed to initialize NVML: Unknown Error")


def test_a_pod_without_nvidia_smi_says_so(tmp_path: Path) -> None:
    assert _start(tmp_path, "look").wait(10) == 0
    run = pod_run(_answer(tmp_path), RESOURCE)
    assert (run.sees, "not found" in run.answer) == ((), True)


def test_a_pod_holds_its_slice_until_it_is_released(tmp_path: Path) -> None:
    (tmp_path / "release").write_text("")
    pod = _start(tmp_path, "hold")
    time.sleep(1.5)
    assert pod.poll() is None
    (tmp_path / "release").write_text("now")
    assert pod.wait(10) == 0
