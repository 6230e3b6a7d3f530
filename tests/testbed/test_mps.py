"""The simulated MPS, compiled, with the product's daemon on it and programs that allocate memory."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed import driver
from testbed.gpus import NodeSpec

DAEMON = Path(__file__).parents[2] / "gpuctl" / "desired" / "mps_daemon" / "daemon.sh"
SPEC = NodeSpec.parse("gpu-1=rtx-3090x2")
SECONDS = 20


class Node:
    """A folder with the programs of a driver and the GPUs of a node."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder = folder
        for program in binaries.iterdir():
            (folder / program.name).hardlink_to(program)
        driver.simulated(folder, SPEC, folder, folder)
        (folder / "pipe").mkdir()
        self.environment = {
            "PATH": f"{folder}:/usr/bin:/bin",
            "GPUSIM_CONFIG": str(folder / "gpus.conf"),
            "GPUSIM_STATE": str(folder / "gpu"),
            "CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"),
            "MPS_STATE": str(folder / "state"),
            "MPS_SLICES": "4",
            "MPS_THREADS_PERCENT": "25",
            "MPS_INTERVAL": "0.2",
        }
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, env=self.environment | environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.started.append(process)
        return process

    def serve(self, **environment: str) -> subprocess.Popen[str]:
        """Starts the product's daemon; waits until it has set its limits."""
        daemon = self.start("sh", str(DAEMON), "run", **environment)
        wait_for((self.folder / "state" / "ready").exists)
        return daemon

    def program(self, mib: int, seconds: int = 0, *fault: str) -> subprocess.Popen[str]:
        return self.start("gpu-client", str(mib), str(seconds), *fault)

    def ask(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nvidia-cuda-mps-control"],
            env=self.environment,
            input=command,
            capture_output=True,
            text=True,
            check=False,
            executable=self.folder / "nvidia-cuda-mps-control",
        )


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {SECONDS} s"
        time.sleep(0.05)


def ended(program: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = program.communicate(timeout=SECONDS)
    return program.returncode, said


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("driver")
    driver.build(directory)
    return directory


@pytest.fixture
def node(tmp_path: Path, binaries: Path) -> Iterator[Node]:
    node = Node(tmp_path, binaries)
    yield node
    for process in node.started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_program_over_its_limit_is_refused_and_its_neighbours_go_on(node: Node) -> None:
    node.serve()
    neighbour = node.program(6000, 2)
    wait_for(lambda: "gpu-client" in node.ask("ps").stdout)
    code, said = ended(node.program(6145))
    assert (code, said) == (2, f"mode=mps uuid={SPEC.uuids()[0]} limit_mib=6144 threads_pct=25 uid=0 out of memory\n")
    assert ended(node.program(6144))[0] == 0
    code, said = ended(neighbour)
    assert (code, said.splitlines()[-1]) == (0, "done")


def test_limits_of_the_daemon_are_those_of_its_clients(node: Node) -> None:
    node.serve(MPS_MEMORY_MIB="1000", MPS_THREADS_PERCENT="50")
    assert "limit_mib=1000 threads_pct=50" in ended(node.program(100))[1]
    assert ended(node.program(1001))[0] == 2


def test_without_a_daemon_a_program_has_the_bare_gpu(node: Node) -> None:
    assert ended(node.program(20000)) == (
        0,
        f"mode=bare uuid={SPEC.uuids()[0]} limit_mib=24576 threads_pct=100 uid=0\n",
    )


def test_programs_lose_their_server_with_the_daemon_and_the_next_daemon_serves_in_what_is_left(node: Node) -> None:
    daemon = node.serve()
    program = node.program(100, 10)
    wait_for(lambda: "gpu-client" in node.ask("ps").stdout)
    os.killpg(daemon.pid, signal.SIGKILL)
    code, said = ended(program)
    assert (code, said.splitlines()[-1]) == (3, "its MPS server is gone")
    (node.folder / "state" / "ready").unlink()
    node.serve()
    assert ended(node.program(100))[0] == 0


def test_a_fatal_fault_ends_the_programs_of_that_gpu(node: Node) -> None:
    node.serve()
    neighbour = node.program(100, 10)
    wait_for(lambda: "gpu-client" in node.ask("ps").stdout)
    assert ended(node.program(100, 10, "fault"))[0] == 3
    assert ended(neighbour)[0] == 3
    assert ended(node.program(100))[0] == 0


def test_a_server_that_is_not_found_leaves_clients_without_one(node: Node) -> None:
    (node.folder / "nvidia-cuda-mps-server").unlink()
    node.serve()
    assert ended(node.program(100)) == (3, "MPS client failed to connect\n")


def test_the_control_program_answers_in_the_form_of_driver_580(node: Node) -> None:
    node.serve()
    said = {command: node.ask(command).stdout for command in ("get_default_device_pinned_mem_limit 0", "ps")}
    assert said["get_default_device_pinned_mem_limit 0"] == "6G\n"
    assert said["ps"].split() == ["PID", "ID", "SERVER", "DEVICE", "NAMESPACE", "COMMAND"]
    assert node.ask("get_default_active_thread_percentage").stdout == "25.0\n"
