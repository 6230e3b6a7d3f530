"""gpuctl plan on a repository: two revisions, or one and the files as they lie there."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from gpuctl.plan.revisions import WORKING_TREE, RevisionError, stack_texts
from tests.fixtures import command_line
from tests.fixtures.stack_files import ROOT

LAB = """\
config:
  gpu:context: admin@lab
  gpu:nodes:
    - {name: gpu-1, gpu: rtx-3090, count: 2}
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


def _git(folder: Path, *words: str) -> str:
    identity = {
        f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", "-C", folder, *words], env=os.environ | identity, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _commit(folder: Path, **stacks: str | None) -> str:
    for stack, text in stacks.items():
        path = folder / "config" / f"Pulumi.{stack}.yaml"
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message", "change")
    return _git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one stack, and this checkout's gpuctl in it."""
    _git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    (tmp_path / "gpuctl").symlink_to(ROOT / "gpuctl")
    (tmp_path / "Pulumi.yaml").symlink_to(ROOT / "Pulumi.yaml")
    _commit(tmp_path, lab=LAB)
    return tmp_path


@pytest.fixture
def gpuctl(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs gpuctl on that repository, without any credentials: no kubeconfig, no home."""

    home = str(tmp_path_factory.mktemp("home"))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": home, "COLUMNS": "160"}
        return command_line.run(*words, cwd=repository, env=environment)

    return run


def test_a_change_that_is_not_committed_is_planned_against_the_last_commit(repository: Path, gpuctl: Run) -> None:
    assert gpuctl("plan").returncode == 0
    (repository / "config" / "Pulumi.lab.yaml").write_text(LAB + "  gpu:slices: 6\n")
    done = gpuctl("plan")
    assert done.returncode == 10
    assert done.stdout == snapshot("""\
GPU capacity: 8 → 12 schedulable nvidia.com/gpu on lab (+4)

STACK  NODE           GPUS  SLICES  OFFERED   MEMORY PER SLICE  LIMIT PER GPU  WATTS
lab    gpu-1  2 x rtx-3090   4 → 6   8 → 12  6.0 GiB → 4.0 GiB          300 W  600 W

lab: warning: The device plugin restarts on gpu-1, one node after the other. \
Running pods keep their GPU; new GPU pods wait until it has registered again.
lab: objects: ~ConfigMap nvidia-device-plugin-config, ~DaemonSet nvidia-device-plugin
""")


def test_two_revisions_are_compared_without_checking_either_out(repository: Path, gpuctl: Run) -> None:
    _commit(repository, lab=LAB + "  gpu:slices: 8\n")
    (repository / "config" / "Pulumi.lab.yaml").write_text("this is not looked at")
    done = gpuctl("plan", "--base", "HEAD~1", "--head", "HEAD", "-o", "json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["changed"], found["summary"]) == (
        10,
        True,
        "8 → 16 schedulable nvidia.com/gpu on lab (+8)",
    )
    [stack] = found["stacks"]
    assert stack["nodes"] == snapshot(
        [
            {
                "name": "gpu-1",
                "before": {
                    "gpus": "2 x rtx-3090",
                    "slices": 4,
                    "offered": 8,
                    "offers": {"nvidia.com/gpu": 8},
                    "memoryPerSliceMiB": 6144,
                    "limitWatts": [300],
                    "watts": 600,
                },
                "after": {
                    "gpus": "2 x rtx-3090",
                    "slices": 8,
                    "offered": 16,
                    "offers": {"nvidia.com/gpu": 16},
                    "memoryPerSliceMiB": 3072,
                    "limitWatts": [300],
                    "watts": 600,
                },
            }
        ]
    )


def test_the_same_document_twice_is_byte_for_byte_the_same(repository: Path, gpuctl: Run) -> None:
    _commit(repository, lab=LAB + "  gpu:slices: 8\n")
    once, twice = (gpuctl("plan", "--base", "HEAD~1", "--head", "HEAD", "-o", "markdown") for _ in range(2))
    assert once.stdout == twice.stdout
    assert once.stdout.startswith("<!-- gpuctl plan -->\n\n### GPU capacity: 8 → 16")


def test_what_came_to_the_base_since_is_no_change_of_the_branch(repository: Path, gpuctl: Run) -> None:
    _git(repository, "switch", "--quiet", "--create", "branch")
    _commit(repository, lab=LAB + "  gpu:powerLimit: 250\n")
    _git(repository, "switch", "--quiet", "main")
    _commit(repository, lab=LAB + "  gpu:slices: 8\n", other=LAB)
    _git(repository, "switch", "--quiet", "branch")
    for head in ([], ["--head", "branch"]):
        found = json.loads(gpuctl("plan", "--base", "main", *head, "-o", "json").stdout)
        assert found["summary"] == "still 8 schedulable nvidia.com/gpu on lab"
        assert [stack["stack"] for stack in found["stacks"]] == ["lab"]


def test_a_base_with_nothing_in_common_is_compared_as_it_is(repository: Path, gpuctl: Run) -> None:
    _git(repository, "checkout", "--quiet", "--orphan", "fresh")
    _commit(repository, lab=LAB + "  gpu:slices: 8\n")
    found = json.loads(gpuctl("plan", "--base", "main", "--head", "fresh", "-o", "json").stdout)
    assert found["summary"] == "8 → 16 schedulable nvidia.com/gpu on lab (+8)"


def test_a_stack_file_that_is_a_link_is_read_at_a_revision_as_in_the_working_tree(repository: Path) -> None:
    (repository / "stacks").mkdir()
    (repository / "stacks" / "lab.yaml").write_text(LAB)
    (repository / "config" / "Pulumi.staging.yaml").symlink_to("Pulumi.linked.yaml")
    (repository / "config" / "Pulumi.linked.yaml").symlink_to("../stacks/lab.yaml")
    _commit(repository)
    folder = repository / "config"
    assert (
        stack_texts("HEAD", folder)
        == stack_texts(WORKING_TREE, folder)
        == dict.fromkeys(("lab", "linked", "staging"), LAB)
    )


@pytest.mark.parametrize("target", ["/etc/hostname", "../../outside.yaml", "Pulumi.lab2.yaml", "nowhere.yaml"])
def test_a_link_that_leaves_the_repository_is_not_followed(repository: Path, target: str) -> None:
    (repository / "config" / "Pulumi.lab2.yaml").symlink_to(target)
    _commit(repository)
    found = stack_texts("HEAD", repository / "config")
    assert "config/Pulumi.lab2.yaml is a link" in str(found["lab2"])
    assert found["lab"] == LAB


@pytest.mark.parametrize("base", ["HEAD", "HEAD~1"])
def test_a_broken_link_is_a_mistake_of_its_own_stack_and_the_others_are_planned(
    repository: Path, gpuctl: Run, base: str
) -> None:
    (repository / "config" / "Pulumi.broken.yaml").symlink_to("nowhere.yaml")
    (repository / "config" / "Pulumi.binary.yaml").write_bytes(b"\xff\xfe\x00")
    _commit(repository, lab=LAB.replace("count: 2", "count: 1"))
    done = gpuctl("plan", "--base", base, "-o", "json")
    stacks = {stack["stack"]: stack for stack in json.loads(done.stdout)["stacks"]}
    assert (done.returncode, stacks.keys()) == (2, {"binary", "broken", "lab"})
    assert "config/Pulumi.broken.yaml = stack file: " in done.stdout
    assert "Traceback" not in done.stderr


def test_a_name_that_a_shell_would_take_for_more_is_no_stack(gpuctl: Run) -> None:
    for name in ("a b; id", "*", "-x", "$(id)", "a\nb", ""):
        done = gpuctl("capacity", f"--stack={name}")
        assert (done.returncode, "is not the name of a stack" in " ".join(done.stderr.split())) == (2, True), name


def test_exit_zero_is_for_pipelines_that_only_want_the_comment(repository: Path, gpuctl: Run) -> None:
    _commit(repository, lab=LAB + "  gpu:slices: 8\n")
    assert gpuctl("plan", "--base", "HEAD~1", "--exit-zero").returncode == 0


def test_a_head_that_cannot_be_deployed_is_2_even_then(repository: Path, gpuctl: Run) -> None:
    (repository / "config" / "Pulumi.lab.yaml").write_text(LAB + "  gpu:slices: 0\n")
    done = gpuctl("plan", "--exit-zero")
    assert done.returncode == 2
    assert "GPU capacity: lab cannot be deployed" in done.stdout
    assert "gpu:slices = 0: must be at least 1" in done.stdout


def test_stacks_that_come_and_go_are_told(repository: Path, gpuctl: Run) -> None:
    _commit(repository, lab=None, homelab=LAB.replace("lab", "homelab"))
    done = gpuctl("plan", "--base", "HEAD~1", "--head", "HEAD")
    assert (
        "0 → 8 schedulable nvidia.com/gpu on homelab (+8); 8 → 0 schedulable nvidia.com/gpu on lab (-8)" in done.stdout
    )


def test_one_stack_can_be_looked_at_alone(repository: Path, gpuctl: Run) -> None:
    _commit(repository, lab=LAB + "  gpu:slices: 8\n", homelab=LAB)
    assert "homelab" not in gpuctl("plan", "--base", "HEAD~1", "--stack", "lab").stdout
    unknown = gpuctl("plan", "--stack", "nosuch")
    assert unknown.returncode == 2
    assert "there is no nosuch; there are: homelab, lab" in unknown.stderr


@pytest.mark.parametrize("revision", ["nosuch", "--output=/tmp/x", "HEAD:config"])
def test_what_is_no_revision_is_a_usage_error(revision: str, gpuctl: Run) -> None:
    done = gpuctl("plan", f"--base={revision}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_folder_outside_a_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(RevisionError, match="not a git repository"):
        stack_texts("HEAD", tmp_path)
    assert stack_texts(WORKING_TREE, tmp_path) == {}


def test_a_machine_without_git_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RevisionError, match="git is not installed"):
        stack_texts("HEAD", tmp_path)
