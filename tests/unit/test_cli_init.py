"""`gpuctl init` as a user starts it: what is written, what is refused, and what a terminal is asked."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures import command_line
from tests.fixtures.api_server import ApiServer, serving
from tests.fixtures.init_clusters import HOMELAB, node, pod
from tests.fixtures.stack_files import ROOT

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "COLUMNS": "100",
    "TERM": "dumb",
    "LANG": "C.UTF-8",
    "KUBECONFIG": "/nowhere",
}
OFFLINE = ("--offline", "--context", "admin@lab")
NODES, PODS = "/api/v1/nodes?limit=500", "/api/v1/pods?limit=500"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project without any stack."""
    for name in ("gpuctl", "Pulumi.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.fixture
def api_server() -> Iterator[ApiServer]:
    """The API server of a homelab."""
    with serving() as server:
        server.answer("/version", {"gitVersion": "v1.36.4"})
        server.answer(NODES, {"items": HOMELAB})
        server.answer(PODS, {"items": []})
        yield server


@pytest.fixture
def kubeconfig(project: Path, api_server: ApiServer) -> dict[str, str]:
    """An environment whose kubeconfig has the one context of that server."""
    entry: dict[str, Any] = {
        "contexts": [{"name": "admin@lab", "context": {"cluster": "lab", "user": "admin"}}],
        "clusters": [{"name": "lab", "cluster": {"server": api_server.url}}],
        "users": [{"name": "admin", "user": {}}],
    }
    (project / "kubeconfig").write_text(yaml.safe_dump(entry))
    return {"KUBECONFIG": str(project / "kubeconfig")}


def _init(project: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return command_line.run("init", "lab", *words, cwd=project, env=ENVIRONMENT | (env or {}))


def _file(project: Path) -> Path:
    return project / "config" / "Pulumi.lab.yaml"


def test_a_cluster_is_read_and_nothing_is_asked_where_everything_is_known(
    project: Path, kubeconfig: dict[str, str], api_server: ApiServer
) -> None:
    done = _init(project, "--watts", "280", "--circuit", "1500", env=kubeconfig)
    assert (done.returncode, done.stderr) == (0, "")
    expected = (ROOT / "tests/fixtures/init/homelab.yaml").read_text()
    assert _file(project).read_text() == expected.replace("powerLimit: 300", "powerLimit: 280")
    assert done.stdout == (ROOT / "tests/fixtures/init/homelab.txt").read_text()
    assert {request.method for request in api_server.requests} == {"GET"}


def test_proposals_are_taken_with_yes_and_fit_the_circuit(project: Path, kubeconfig: dict[str, str]) -> None:
    done = _init(project, "--yes", "--circuit", "700", "-o", "json", env=kubeconfig)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["nodes"] == [{"name": "gpu-1", "gpus": {"rtx-3090": 2}}]
    assert said["powerBudgetWatts"]["total"] == 550
    assert said["file"] == str(_file(project))
    assert said["next"] == [
        "pulumi stack init lab",
        "gpuctl talos patch --stack lab -o patches",
        "pulumi up --stack lab",
    ]


def test_without_a_terminal_every_missing_answer_is_an_option_of_one_command(project: Path) -> None:
    done = _init(project, *OFFLINE, "--circuit", "900", "--slices", "6", "--node", "gpu-1=rtx-3090x1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "gpuctl: error: 1 answer is missing, and this is no terminal to ask at: nothing is written",
        "  --watts 300: Power limit in watts of each GPU (rtx-3090 takes 100 to 480 W, 350 W by default)",
        "Fix it: gpuctl init lab --offline --context admin@lab --circuit 900 --slices 6 --node gpu-1=rtx-3090x1 "
        "--watts 300",
    ]
    assert not _file(project).exists()
    fix = done.stderr.splitlines()[-1].removeprefix("Fix it: gpuctl init lab ").split()
    assert _init(project, *fix).returncode == 0


def test_yes_does_not_make_up_which_gpus_a_node_has(project: Path) -> None:
    done = _init(project, *OFFLINE, "--yes")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "gpuctl: error: 1 answer is missing, of what cannot be proposed: nothing is written",
        "  --node gpu-1=rtx-3090x2: GPU node, as NAME=MODELxCOUNT (no cluster was asked)",
        "Fix it: gpuctl init lab --offline --context admin@lab --node gpu-1=rtx-3090x2 --yes",
    ]


def test_a_file_that_is_there_is_left_as_it_is(project: Path) -> None:
    _file(project).parent.mkdir()
    _file(project).write_text("encryptionsalt: v1:abc\n")
    done = _init(project, *OFFLINE, "--node", "gpu-1=rtx-3090x1", "--yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "gpuctl: error: config/Pulumi.lab.yaml exists already, and init overwrites nothing. See what it says: "
        "gpuctl capacity --stack lab; or begin anew: mv config/Pulumi.lab.yaml config/Pulumi.lab.yaml.old\n"
    )
    assert _file(project).read_text() == "encryptionsalt: v1:abc\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--watts", "300", "--circuit", "700"],
            "gpu:circuitWatts = 700: 2 x 300 W + 150 W base on gpu-1 = 750 W > 700 W. Fix it: --watts 275",
        ),
        (["--watts", "900", "--circuit", "0"], "Fix it: --watts 480"),
        (["--yes", "--slices", "65"], "gpu:slices = 65: must be at most 64. Fix it: --slices 64"),
        (["--yes", "--talos-version", "v1.16.0"], "gpu:talosVersion = v1.16.0: is newer than v1.15"),
    ],
)
def test_what_the_settings_refuse_is_not_written(project: Path, words: list[str], said: str) -> None:
    done = _init(project, *OFFLINE, "--node", "gpu-1=rtx-3090x2", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the stack file would not pass, so nothing is written" in done.stderr
    assert said in done.stderr
    assert not _file(project).exists()


@pytest.mark.parametrize("text", ["gpu-1", "gpu-1=rtx-3090", "=rtx-3090x2", "gpu-1=rtx-3090x0"])
def test_a_node_is_named_with_its_gpus(project: Path, text: str) -> None:
    done = _init(project, *OFFLINE, "--yes", "--node", text)
    assert done.returncode == 2
    assert "is not NAME=MODELxCOUNT" in done.stderr


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "a b", "$(id)", "x" * 101])
def test_a_stack_has_a_name_that_is_one_of_a_file(project: Path, name: str) -> None:
    done = command_line.run("init", name, *OFFLINE, "--yes", "--node", "g=l4x1", cwd=project, env=ENVIRONMENT)
    assert done.returncode == 2
    assert sorted(path.name for path in project.iterdir()) == ["Pulumi.yaml", "gpuctl"]


def test_a_node_that_the_cluster_has_not_is_a_mistake(project: Path, kubeconfig: dict[str, str]) -> None:
    done = _init(project, "--yes", "--node", "gpu-9=l4x1", env=kubeconfig)
    assert done.returncode == 2
    assert "gpu-9 is no node of context admin@lab" in done.stderr


def test_a_cluster_that_does_not_answer_is_3_and_the_way_without_it_is_said(project: Path) -> None:
    done = _init(project, "--context", "admin@lab", "--yes")
    assert (done.returncode, done.stdout) == (3, "")
    assert "kubeconfig /nowhere cannot be used: it does not exist" in done.stderr
    assert "gpuctl init --offline" in done.stderr


def test_of_several_contexts_none_is_taken_silently(project: Path) -> None:
    (project / "kubeconfig").write_text(
        "contexts: [{name: a, context: {}}, {name: b, context: {}}]\ncurrent-context: b\n"
    )
    done = _init(project, "--yes", env={"KUBECONFIG": str(project / "kubeconfig")})
    assert done.returncode == 2
    assert "--context a: Context of the kubeconfig, which has a, b" in done.stderr


def test_pods_that_may_not_be_read_and_fields_that_cannot_be_are_said_in_the_file(
    project: Path, kubeconfig: dict[str, str], api_server: ApiServer
) -> None:
    api_server.answer(PODS, {"kind": "Status", "message": "pods is forbidden"}, 403)
    broken: dict[str, Any] = node("gpu-2") | {"spec": {"unschedulable": "perhaps"}}
    nameless: dict[str, Any] = {"metadata": {}}
    api_server.answer(NODES, {"items": [*HOMELAB, broken, nameless]})
    assert _init(project, "--yes", env=kubeconfig).returncode == 0
    text = _file(project).read_text()
    assert "# Pods could not be read, so it is not known whether another device plugin serves these nodes\n" in text
    assert "# Could not be read: Node gpu-2: spec.unschedulable is not true or false\n" in text
    assert "# Could not be read: Node items[3]: " in text


def test_nodes_of_another_plugin_are_left_to_it_and_named(
    project: Path, kubeconfig: dict[str, str], api_server: ApiServer
) -> None:
    plugin = pod("plugin-x", "gpu-1", "nvcr.io/nvidia/k8s-device-plugin:v0.17.0")
    api_server.answer(PODS, {"items": [plugin]})
    refused = _init(project, "--yes", env=kubeconfig)
    assert refused.returncode == 2
    assert "gpu-1 is served by another NVIDIA device plugin (nvidia/plugin-x)" in refused.stderr
    taken = _init(project, "--yes", "--node", "gpu-1=rtx-3090x2", env=kubeconfig)
    assert taken.returncode == 0
    assert "serves it: remove that first" in _file(project).read_text()


def _at_a_terminal(project: Path, typed: str, *words: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """What is said at a terminal where somebody types this, and the exit code."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gpuctl", "init", "lab", *words],
        cwd=project,
        env=ENVIRONMENT | (env or {}),
        stdin=side,
        stdout=subprocess.PIPE,
        stderr=side,
    )
    os.close(side)
    os.write(main, typed.encode())
    process.communicate(timeout=120)
    said = b""
    while chunk := _read(main):
        said += chunk
    os.close(main)
    return process.returncode, said.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # its other side is closed
        return b""


def test_a_terminal_is_asked_for_what_is_not_known(
    project: Path, kubeconfig: dict[str, str], api_server: ApiServer
) -> None:
    silent = node("gpu-2", {"feature.node.kubernetes.io/pci-0302_10de.present": "true"})
    api_server.answer(NODES, {"items": [*HOMELAB, silent]})
    code, said = _at_a_terminal(project, "l4\nl4x2\n1200\n\n", env=kubeconfig)
    assert code == 0, said
    assert "GPUs of gpu-2, as MODELxCOUNT or none" in said
    assert "that is no answer to it: write such as gpu-2=rtx-3090x2" in said
    assert "Watts that the circuit of all these nodes takes, 0 if not known [0]: " in said
    config = yaml.safe_load(_file(project).read_text())["config"]
    assert config["gpu:nodes"][1] == {"name": "gpu-2", "gpu": "l4", "count": 2}
    assert (config["gpu:circuitWatts"], config["gpu:powerLimit"], config["gpu:powerLimits"]) == (1200, 300, {"l4": 72})


def test_a_terminal_names_one_node_after_the_other_where_none_shows_a_gpu(project: Path) -> None:
    code, said = _at_a_terminal(project, "gpu-1=rtx-3090x2\ngpu-2=t4x1\n\n0\n250\n", *OFFLINE)
    assert code == 0, said
    config = yaml.safe_load(_file(project).read_text())["config"]
    assert [each["name"] for each in config["gpu:nodes"]] == ["gpu-1", "gpu-2"]
    assert config["gpu:powerLimit"] == 250


def test_the_end_of_the_input_is_an_interrupt(project: Path) -> None:
    code, said = _at_a_terminal(project, "\x04", *OFFLINE)
    assert (code, "interrupted; nothing is written" in said) == (130, True)
    assert not _file(project).exists()
