"""`gpuctl verify --sharing`: what it writes, and what its page says it needs."""

import json
import re
import time
from pathlib import Path
from typing import NoReturn

import pytest
import yaml
from typer.testing import CliRunner, Result

from gpuctl.checks import runner
from gpuctl.cli import running
from gpuctl.cli.app import app
from gpuctl.cluster.kinds import api_of
from gpuctl.settings import read_stack
from gpuctl.sharing import proof, proof_namespace, proof_pods
from gpuctl.sharing.proof_namespace import NEEDED
from tests.fixtures.checks import FakePrograms
from tests.fixtures.sharing_cluster import SharingCluster, Stop, sharing_cluster
from tests.fixtures.stack_files import ROOT

PAGE = (ROOT / "docs" / "sharing.md").read_text()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> SharingCluster:
    """The cluster of stack `lab`; sleeping takes no time."""
    made = sharing_cluster(read_stack("lab"), {"gpu-1": 8, "gpu-2": 6, "gpu-3": 8})
    for module in (proof_pods, proof_namespace, proof, runner):
        monkeypatch.setattr(module, "time", made.clock)

    def connect(*_: object) -> SharingCluster:
        return made

    def stop() -> Stop:
        return Stop(made.clock)

    monkeypatch.setattr("gpuctl.cluster.connect", connect)
    monkeypatch.setattr(running, "InstalledPrograms", FakePrograms)
    monkeypatch.setattr(running, "Event", stop)
    return made


def _verify(*arguments: str | Path) -> Result:
    command = ["verify", "--stack", "lab", "--check", "sharing", *map(str, arguments)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    ("name", "files"),
    [("seen", ["seen.json", "seen.md"]), ("seen.json", ["seen.json"]), ("seen.md", ["seen.md"])],
)
def test_the_evidence_is_written_in_the_forms_that_its_name_says(
    cluster: SharingCluster, tmp_path: Path, name: str, files: list[str]
) -> None:
    result = _verify("--sharing", "--evidence", tmp_path / name)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    for path in tmp_path.iterdir():
        text = path.read_text()
        assert json.loads(text)["proofs"][0]["holds"] if path.suffix == ".json" else "every statement holds" in text
    assert "create" in cluster.calls


def test_the_conformance_items_are_what_the_run_saw_with_the_evidence_beside_them(
    cluster: SharingCluster, tmp_path: Path
) -> None:
    result = _verify("--sharing", "--evidence", tmp_path / "seen", "--conformance", "v1.36")
    assert result.exit_code == 0, result.output
    said = yaml.safe_load((tmp_path / "seen.conformance.yaml").read_text())
    items = {item["id"]: item for item in said["spec"]["accelerators"]}
    assert {name: (item["level"], item["status"]) for name, item in items.items()} == {
        "gpu_sharing": ("SHOULD", "Implemented"),
        "secure_accelerator_access": ("MUST", "Implemented"),
        "driver_runtime_management": ("SHOULD", "Implemented"),
        "accelerator_metrics": ("MUST", ""),
    }
    assert all(item["evidence"] == ["seen.json", "seen.md"] for item in items.values())
    first, second, *_ = cluster.gpus["gpu-1"]
    assert f"sees {first} only and pod share-2 sees {second} only" in items["secure_accelerator_access"]["notes"]
    assert "extra" in items["gpu_sharing"]["notes"]
    assert (said["metadata"]["kubernetesVersion"], said["metadata"]["clusterVersion"]) == ("v1.36", "v1.34.2")


def test_an_item_that_the_run_did_not_see_whole_is_not_called_implemented(
    cluster: SharingCluster, tmp_path: Path
) -> None:
    for node, gpus in cluster.gpus.items():
        cluster.gpus[node] = dict([next(iter(gpus.items()))])
    _verify("--sharing", "--evidence", tmp_path / "seen.md", "--conformance", "v1.36")
    said = yaml.safe_load((tmp_path / "seen.conformance.yaml").read_text())
    items = {item["id"]: item for item in said["spec"]["accelerators"]}
    assert items["gpu_sharing"]["status"] == "Not Implemented"
    assert items["secure_accelerator_access"]["status"] != "Implemented"
    assert "no node had two pods on two GPUs" in items["secure_accelerator_access"]["notes"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--sharing", "--evidence", "x", "--conformance", "v1.20"], "there are: v1.36"),
        (["--sharing", "--conformance", "v1.36"], "needs --evidence FILE"),
    ],
)
def test_conformance_to_nothing_and_without_evidence_is_a_mistake(options: list[str], problem: str) -> None:
    result = _verify(*options)
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.split())


def test_there_is_no_evidence_of_a_proof_that_did_not_run(cluster: SharingCluster, tmp_path: Path) -> None:
    cluster.forbidden = {"delete Namespace"}
    result = _verify("--sharing", "--evidence", tmp_path / "seen")
    assert "the proof of stack lab did not run" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_evidence_without_a_proof_is_a_mistake(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", "--stack", "lab", "--evidence", str(tmp_path / "seen")])
    assert (result.exit_code, "--sharing" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("nowhere/seen", "cannot be written"),
        ("/proc/seen.md", "/proc/seen.md cannot be written"),
        ("/proc/seen", "/proc/seen.json cannot be written"),
        (".", "is a folder, not a file"),
        ("/", "/ is a folder, not a file"),
    ],
)
def test_evidence_that_cannot_be_written_is_refused_before_anything_is_made(
    cluster: SharingCluster, tmp_path: Path, file: str, problem: str
) -> None:
    result = _verify("--sharing", "--evidence", tmp_path / file)
    assert (result.exit_code, problem in result.stderr) == (2, True), result.stderr
    assert cluster.calls == []


def test_evidence_that_finds_no_room_hides_neither_the_verdict_nor_the_report(
    cluster: SharingCluster,  # noqa: ARG001 (it is patched in)
    tmp_path: Path,
) -> None:
    (tmp_path / "seen.md").symlink_to("/dev/full")
    result = _verify("--sharing", "--evidence", tmp_path / "seen.md", "--junit", tmp_path / "junit.xml")
    assert (result.exit_code, "seen.md cannot be written: No space left" in result.stderr) == (2, True)
    assert 'cluster "lab" is ready' in result.stdout
    assert (tmp_path / "junit.xml").exists()


def test_the_rights_on_the_page_are_those_that_are_asked_for() -> None:
    (text,) = (each for each in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "ClusterRole" in each)
    granted = {
        (verb, group, resource)
        for rule in yaml.safe_load(text)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = {
        (verb, api_of(kind)[0], "/".join(part for part in (api_of(kind)[2], subresource) if part))
        for verb, kind, subresource in NEEDED
    }
    assert granted == asked


def _interrupted(*_: object, **__: object) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("cluster")
def test_an_interrupted_proof_has_removed_what_it_made_before_the_command_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[str] = []

    def slow(*_: object) -> NoReturn:
        time.sleep(0.5)
        ended.append("removed")
        raise SystemExit

    monkeypatch.setattr(running, "run", slow)
    monkeypatch.setattr(running, "_followed", _interrupted)
    result = _verify("--sharing")
    assert (result.exit_code, ended) == (130, ["removed"])


@pytest.mark.usefixtures("cluster")
def test_a_second_interrupt_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API server that answers slowly must not keep anyone at the terminal."""
    monkeypatch.setattr(running, "_followed", _interrupted)
    monkeypatch.setattr(running, "wait_for", _interrupted)
    result = _verify("--sharing")
    assert result.exit_code == 130
    assert "interrupted again; what the proof made may still be there, and the next run removes it" in result.stderr
