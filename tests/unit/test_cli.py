"""The command gpuctl, started as a user starts it: whole screens, exit codes, and what it never loads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from inline_snapshot import snapshot

from gpuctl.desired.desired import desired_state
from gpuctl.desired.gitops import gitops_folder
from gpuctl.desired.monitoring import rules
from gpuctl.settings import read_config, read_stack
from tests.fixtures import command_line
from tests.fixtures.manifests import manifests
from tests.fixtures.stack_files import INVALID, ROOT, STACK, VALID, config_of, expected_mistakes

BY_DRA = next(path for path in VALID if path.stem == "shares-by-the-dra-driver").read_text()
UNKNOWN_NODE = {"name": "gpu-1", "gpu": "a-model-of-tomorrow", "count": 2}

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "COLUMNS": "100",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "LANG": "C.UTF-8",
}


def _gpuctl(*arguments: str, project: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return command_line.run(*arguments, cwd=project, env=ENVIRONMENT)


def _project_with(stack_file: str, folder: Path) -> Path:
    """The project, with the stack `fixture` and no other."""
    (folder / "config").mkdir(parents=True)
    for name in ("gpuctl", "Pulumi.yaml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "config" / f"Pulumi.{STACK}.yaml").write_text(stack_file)
    return folder


def _screen(*arguments: str) -> str:
    """What a command prints when all is well, without blanks at the line ends."""
    result = _gpuctl(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return "\n".join(line.rstrip() for line in result.stdout.splitlines())


def test_capacity_for_people() -> None:
    assert _screen("capacity", "--stack", "lab") == snapshot("""\
NODE   GPUS          SLICES  nvidia.com/gpu  LIMIT W  NODE W  GiB/SLICE
gpu-1  2 x rtx-3090       4               8      300     600        6.0
gpu-2  1 x rtx-4090       6               6      320     320        4.0
gpu-3  4 x l4             2               8       72     288       11.2
all                                      22             1208

stack lab, context admin@lab: 22 nvidia.com/gpu. GiB per slice is an average: time slicing does not isolate memory.\
""")


def test_capacity_for_machines() -> None:
    assert _screen("capacity", "--stack", "lab", "--output", "json") == snapshot("""\
{
  "stack": "lab",
  "gpuCapacity": {
    "resource": "nvidia.com/gpu",
    "total": 22,
    "byNode": {
      "gpu-1": 8,
      "gpu-2": 6,
      "gpu-3": 8
    },
    "byModel": {
      "rtx-3090": 8,
      "rtx-4090": 6,
      "l4": 8
    },
    "byResource": {
      "nvidia.com/gpu": 22
    },
    "offers": {
      "gpu-1": {
        "nvidia.com/gpu": 8
      },
      "gpu-2": {
        "nvidia.com/gpu": 6
      },
      "gpu-3": {
        "nvidia.com/gpu": 8
      }
    }
  },
  "powerBudgetWatts": {
    "total": 1208,
    "byNode": {
      "gpu-1": 600,
      "gpu-2": 320,
      "gpu-3": 288
    }
  },
  "circuits": [],
  "memoryPerSliceMiB": {
    "gpu-1": 6144,
    "gpu-2": 4094,
    "gpu-3": 11517
  }
}\
""")


def test_render_prints_exactly_the_desired_objects() -> None:
    """And the label commands as comments: kubectl would create a node that does not exist."""
    screen = _screen("render", "--stack", "homelab")
    assert list(yaml.safe_load_all(screen)) == manifests(read_stack("homelab"))
    assert [line for line in screen.splitlines() if line.startswith("# kubectl")] == [
        "# kubectl --context admin@homelab label node gpu-1 nvidia.com/gpu.present=true",
        "# kubectl --context admin@homelab label node gpu-1 nvidia.com/device-plugin.config=default",
    ]


def test_render_writes_a_folder_for_flux_and_argo_cd(tmp_path: Path) -> None:
    """And says who labels the nodes, which neither may."""
    for name in ("gpuctl", "Pulumi.yaml", "config"):
        (tmp_path / name).symlink_to(ROOT / name)
    result = _gpuctl("render", "--stack", "homelab", "--gitops", "clusters/homelab/gpu", project=tmp_path)
    folder = tmp_path / "clusters" / "homelab" / "gpu"
    written = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.yaml")}
    assert written == gitops_folder(desired_state(read_stack("homelab")), "homelab", "clusters/homelab/gpu")
    assert result.stdout.splitlines()[3] == (
        "kubectl --context admin@homelab label node gpu-1 nvidia.com/gpu.present=true"
    )


@pytest.mark.parametrize("folder", ["/tmp/gpu", "../gpu", ".", ""])
def test_a_folder_for_flux_is_a_path_in_the_repository(tmp_path: Path, folder: str) -> None:
    project = _project_with(BY_DRA, tmp_path / "in")
    result = _gpuctl("render", "--stack", STACK, "--gitops", folder, project=project)
    assert result.returncode == 2
    assert f"Invalid value for --gitops: {folder or '.'} is no path below this folder" in result.stderr
    assert not list(tmp_path.rglob("kustomization.yaml"))


@pytest.mark.parametrize(("taken", "kind"), [("gpu", "file"), ("gpu/power-limit", "file"), ("gpu/flux.yaml", "folder")])
def test_of_a_folder_for_flux_nothing_is_written_where_something_is_in_the_way(
    tmp_path: Path, taken: str, kind: str
) -> None:
    project = _project_with(BY_DRA, tmp_path / "in")
    place = project / taken
    place.parent.mkdir(exist_ok=True)
    if kind == "file":
        place.touch()
    else:
        place.mkdir()
    result = _gpuctl("render", "--stack", STACK, "--gitops", "gpu", project=project)
    assert result.returncode == 2
    assert f"Invalid value for --gitops: {taken} is a {kind}, not a {'folder' if kind == 'file' else 'file'}" in (
        result.stderr
    )
    assert not list(tmp_path.rglob("kustomization.yaml"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rules", "--gitops", "gpu"], "Invalid value for --rules: is one answer, --gitops another"),
        (["--claims", ""], "Invalid value for --claims: is empty"),
        (["--operator", ""], "Invalid value for --operator: is empty"),
        (["--claims", "Team A"], "Invalid value for --claims: 'Team A' is not a namespace name"),
        (["--claims", "team.a"], "Invalid value for --claims: 'team.a' is not a namespace name"),
        (["--claims", "a" * 64], "is not a namespace name"),
    ],
)
def test_render_gives_one_answer_and_none_that_was_not_asked_for(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    project = _project_with(BY_DRA, tmp_path / "in")
    result = _gpuctl("render", "--stack", STACK, *arguments, project=project)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr


def test_render_prints_the_alerts_as_a_rule_file_for_a_prometheus_without_operator() -> None:
    """Whether the stack has monitoring or not: it is about the operator."""
    assert yaml.safe_load(_screen("render", "--rules", "--stack", "homelab")) == rules(read_stack("homelab"))


def test_help_for_capacity() -> None:
    assert _screen("capacity", "--help") == snapshot("""\

 Usage: python -m gpuctl capacity [OPTIONS]

 Print the slices, watts and memory per slice that a stack's cluster must show, by node.

╭─ Options ────────────────────────────────────────────────────────────────────────────────────────╮
│ *  --stack           NAME          The stack, which is config/Pulumi.NAME.yaml: demo, homelab,   │
│                                    lab.                                                          │
│                                    [required]                                                    │
│    --output  -o      [table|json]  For people or for machines. [default: table]                  │
│    --help    -h      <bool>        Show this message and exit.                                   │
╰──────────────────────────────────────────────────────────────────────────────────────────────────╯
""")


def test_help_tells_what_it_is_for_and_how_it_is_called() -> None:
    screen = _screen("--help")
    assert "Shares the NVIDIA GPUs of a Talos cluster, at a power limit, and proves it." in screen
    assert "gpuctl capacity --stack lab" in screen
    assert "gpuctl verify --stack lab --wait 5m" in screen
    assert {"capacity", "render", "talos", "verify"} <= set(screen.replace("│", " ").split())


def test_a_stack_that_does_not_exist_is_a_mistake_and_no_traceback() -> None:
    result = _gpuctl("capacity", "--stack", "nowhere")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "gpuctl: error: stack nowhere: 1 mistake in its settings, so nothing is done",
        "  config/Pulumi.nowhere.yaml = stack file: does not exist; there are: demo, homelab, lab. "
        "Fix it: pulumi stack init nowhere",
    ]


def test_a_node_with_mixed_cards_has_a_line_for_each_model(tmp_path: Path) -> None:
    path = next(path for path in VALID if path.stem == "mixed-cards-with-limits-by-model-and-by-uuid")
    result = _gpuctl("capacity", "--stack", STACK, project=_project_with(path.read_text(), tmp_path))
    lines = [line.split() for line in result.stdout.splitlines() if "rtx-" in line]
    assert lines[:2] == [
        ["gpu-1", "1", "x", "rtx-3090", "4", "8", "300", "620", "6.0"],
        ["1", "x", "rtx-4090", "320"],
    ]


def test_known_circuits_have_a_table_of_their_own(tmp_path: Path) -> None:
    path = next(path for path in VALID if path.stem == "circuits-that-are-used-up-to-the-last-watt")
    project = _project_with(path.read_text(), tmp_path)
    lines = [line.rstrip() for line in _gpuctl("capacity", "--stack", STACK, project=project).stdout.splitlines()]
    start = next(index for index, line in enumerate(lines) if "CIRCUIT" in line)
    assert "\n".join(lines[start : start + 4]) == snapshot("""\
CIRCUIT OF    GPUS W  BASE W  USED W  ALLOWED W
gpu-1, gpu-3     900     300    1200       1200
gpu-2            320     100     420        420
""")


@pytest.mark.parametrize("verb", ["capacity", "render"])
def test_a_stack_with_mistakes_prints_nothing_but_them(verb: str, tmp_path: Path) -> None:
    """Half a list of objects piped into kubectl would be worse than none."""
    (path,) = (path for path in INVALID if path.stem == "mistakes-in-several-nodes")
    result = _gpuctl(verb, "--stack", STACK, project=_project_with(path.read_text(), tmp_path))
    assert (result.returncode, result.stdout) == (2, "")
    mistakes = expected_mistakes(path)
    assert result.stderr.splitlines() == [
        f"gpuctl: error: stack fixture: {len(mistakes)} mistakes in its settings, so nothing is done",
        *(f"  {mistake}" for mistake in mistakes),
    ]


def test_an_option_that_is_missing_is_a_mistake_too() -> None:
    result = _gpuctl("capacity")
    assert (result.returncode, result.stdout) == (2, "")
    assert "Missing option '--stack'" in result.stderr


def test_a_warning_does_not_get_into_what_machines_read(tmp_path: Path) -> None:
    (path,) = (path for path in VALID if path.stem == "a-gpu-that-is-not-in-the-catalogue")
    result = _gpuctl("capacity", "--stack", STACK, "-o", "json", project=_project_with(path.read_text(), tmp_path))
    assert result.returncode == 0
    assert result.stderr == "".join(
        f"gpuctl: warning: {line}\n" for line in read_config(STACK, config_of(path)).warnings
    )
    assert json.loads(result.stdout)["gpuCapacity"]["total"] == 4


def test_what_is_not_known_is_called_so(tmp_path: Path) -> None:
    stack = {"gpu:context": "admin@lab", "gpu:powerManagement": False, "gpu:nodes": [UNKNOWN_NODE]}
    project = _project_with(yaml.safe_dump({"config": stack}), tmp_path)
    result = _gpuctl("capacity", "--stack", STACK, project=project)
    _, row, total, *_ = (line.split() for line in result.stdout.splitlines() if line.strip())
    assert row == ["gpu-1", "2", "x", "a-model-of-tomorrow", "4", "8", "default", "unknown", "unknown"]
    assert total == ["all", "8", "unknown"]


def test_capacity_for_machines_loads_nothing_it_does_not_need() -> None:
    """Scripts call it often: rich, lightkube and Pulumi would cost more than all the rest."""
    code = (
        "import sys; sys.argv = ['gpuctl', 'capacity', '--stack', 'lab', '-o', 'json']\n"
        "from gpuctl.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('pulumi', 'rich', 'lightkube', 'httpx2') if name in sys.modules], file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert (result.stderr, json.loads(result.stdout)["stack"]) == ("[]\n", "lab")
