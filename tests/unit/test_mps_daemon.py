"""The MPS daemon's scripts in a real shell, with a control program that answers as NVIDIA's of driver 580 does."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.power_agent import SHELL

SCRIPTS = Path(__file__).parents[2] / "gpuctl" / "desired" / "mps_daemon"
SECONDS = 30
FIRST, SECOND = "GPU-d24ded43-23d4-7ac2-45b3-f2c0f8dd0b59", "GPU-0b8f7f52-31d0-4f3e-b3a9-6a1e5a9c4d21"

CONTROL = r"""#!/bin/sh
cd "$FAKE"
say() { printf '[2026-11-29 12:57:22.452 Control   529] %s\n' "$*"; }
case ${1-} in
  -f)
    [ "${2-}" != -multiuser-server ] || [ ! -e old ] || { echo 'usage: nvidia-cuda-mps-control [-d | -f]'; exit 1; }
    [ ! -e broken ] || { say 'Failed to start: 1' && exit 1; }
    echo "$$ ${2-}" >>starts
    say 'Starting control daemon using socket /mps/control'
    touch serving
    trap 'rm -f serving; exit 0' TERM
    while [ -e serving ]; do
      [ ! -e say ] || { cat say && rm say; }
      sleep 0.1
    done ;;
  '')
    read -r command index value
    [ -e serving ] || { echo 'Cannot find MPS control daemon process' >&2 && exit 1; }
    echo "$command${index:+ $index}${value:+ $value}" >>asked
    case $command in
      set_default_device_pinned_mem_limit) [ -e deaf ] || echo "$value" >"memory.$index" ;;
      get_default_device_pinned_mem_limit)
        read -r limit 2>/dev/null <"memory.$index" || limit=0M
        limit=${limit%M} && if [ "$limit" -ge 1024 ]; then echo "$((limit / 1024))G"; else echo "${limit}M"; fi ;;
      set_default_active_thread_percentage) [ -e "deaf to threads" ] || echo "$index.0" | tee threads ;;
      get_default_active_thread_percentage) cat threads 2>/dev/null || echo 100.0 ;;
      ps) cat ps ;;
    esac ;;
esac
"""
NVIDIA_SMI = """#!/bin/sh
cd "$FAKE"
echo "$*" >>smi_calls
while [ -e slow ]; do sleep 0.1; done
[ ! -e no_driver ] || { echo 'NVIDIA-SMI has failed: no communication with the driver.' && exit 9; }
cat gpus
"""
SUPERVISOR = """#!/bin/sh
cd "$FAKE"
echo $$ >>supervisors
[ ! -e wrong ] || exit 3
trap 'echo ended >>supervisors; exit 0' TERM
while :; do sleep 0.1; done
"""
HEADING = "PID       ID        SERVER         DEVICE                    NAMESPACE      COMMAND        \n"


class Daemon:
    """The folder of a pod, in which files say what the programs do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir()
        for name, text in (("nvidia-cuda-mps-control", CONTROL), ("nvidia-smi", NVIDIA_SMI)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (folder / "supervisor.sh").write_text(SUPERVISOR)
        (folder / "gpus").write_text(f"0, {FIRST}, 143771\n1, {SECOND}, 24576\n")
        (folder / "ps").write_text(HEADING)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "FAKE": str(folder),
            "MPS_STATE": str(folder / "state"),
            "MPS_SLICES": "4",
            "MPS_THREADS_PERCENT": "25",
            "MPS_INTERVAL": "0.2",
            "CUDA_MPS_PIPE_DIRECTORY": str(folder / "mps" / "nvidia.com" / "gpu" / "pipe"),
            "SUPERVISOR": str(folder / "supervisor.sh"),
            "SUPERVISOR_STATE": str(folder),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, script: str = "daemon.sh", *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [*SHELL, SCRIPTS / script, *arguments],
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self.process

    def ready(self) -> subprocess.CompletedProcess[str]:
        command = [*SHELL, SCRIPTS / "daemon.sh", "ready"]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def is_ready(self) -> bool:
        return self.ready().returncode == 0

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def told(self, event: str) -> list[str]:
        """What the daemon's own lines say of an event, without their times."""
        found = (re.match(rf"time=\S+ level=\S+ msg={event} (.*)", line) for line in self.lines("output"))
        return [match[1] for match in found if match]

    def write(self, name: str, text: str) -> None:
        (self.folder / f"{name}.new").write_text(text)
        (self.folder / f"{name}.new").rename(self.folder / name)


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {SECONDS} s"
        time.sleep(0.05)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    if daemon.process:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait()


def test_every_gpu_gets_its_own_share_as_the_limit_of_a_slice(daemon: Daemon) -> None:
    daemon.start("daemon.sh", "run")
    wait_for(lambda: len(daemon.told("serving")) == 2)
    assert daemon.told("serving") == [
        f"gpu={FIRST} index=0 memory_total_mib=143771 memory_mib=35942 threads_pct=25 clients=0",
        f"gpu={SECOND} index=1 memory_total_mib=24576 memory_mib=6144 threads_pct=25 clients=0",
    ]
    assert (daemon.lines("memory.0"), daemon.lines("memory.1"), daemon.lines("threads")) == (
        ["35942M"],
        ["6144M"],
        ["25.0"],
    )


@pytest.mark.parametrize("memory", ["4096", "512", "5000"])
def test_a_limit_of_the_stack_file_comes_before_the_share(daemon: Daemon, memory: str) -> None:
    daemon.environment["MPS_MEMORY_MIB"] = memory
    daemon.start("daemon.sh", "run")
    wait_for(daemon.is_ready)
    assert (daemon.lines("memory.0"), daemon.lines("memory.1")) == ([f"{memory}M"], [f"{memory}M"])


def test_one_server_is_for_all_users_and_without_that_the_log_says_so(daemon: Daemon) -> None:
    daemon.start("daemon.sh", "run")
    wait_for(daemon.is_ready)
    assert daemon.lines("starts")[0].endswith(" -multiuser-server")
    assert daemon.told("single_user") == []


def test_an_older_control_program_serves_one_user_at_a_time(daemon: Daemon) -> None:
    (daemon.folder / "old").touch()
    daemon.start("daemon.sh", "run")
    wait_for(daemon.is_ready)
    assert [line.partition(" ")[2] for line in daemon.lines("starts")] == [""]
    assert daemon.told("single_user") == [
        'message="clients of several users take turns, and only those of root are served"'
    ]


def test_it_is_ready_once_its_limits_are_set(daemon: Daemon) -> None:
    assert daemon.ready().stdout == "its limits are not set yet\n"
    daemon.start("daemon.sh", "run")
    wait_for(daemon.is_ready)
    (daemon.folder / "serving").unlink()
    assert daemon.ready().returncode == 1


def test_after_a_kill_it_is_not_ready_before_its_limits_are_set_anew(daemon: Daemon) -> None:
    (daemon.folder / "state").mkdir()
    (daemon.folder / "state" / "ready").touch()
    (daemon.folder / "slow").touch()
    daemon.start("daemon.sh", "run")
    wait_for(lambda: bool(daemon.lines("smi_calls")))
    assert daemon.ready().stdout == "its limits are not set yet\n"
    (daemon.folder / "slow").unlink()
    wait_for(daemon.is_ready)


@pytest.mark.parametrize(("obstacle", "said"), [("deaf", "memory_mib=35942"), ("deaf to threads", "threads_pct=25")])
def test_a_limit_that_is_not_taken_ends_the_container(daemon: Daemon, obstacle: str, said: str) -> None:
    (daemon.folder / obstacle).touch()
    assert daemon.start("daemon.sh", "run").wait(SECONDS) == 1
    (line,) = daemon.told("limit_refused")
    assert said in line
    assert not daemon.is_ready()


def test_without_a_driver_it_ends_and_says_why(daemon: Daemon) -> None:
    (daemon.folder / "no_driver").touch()
    assert daemon.start("daemon.sh", "run").wait(SECONDS) == 1
    assert daemon.told("no_gpus") == ['message="NVIDIA-SMI has failed: no communication with the driver."']


def test_a_control_daemon_that_cannot_start_ends_the_container(daemon: Daemon) -> None:
    (daemon.folder / "broken").touch()
    assert daemon.start("daemon.sh", "run").wait(SECONDS) == 1
    assert any("Failed to start" in line for line in daemon.lines("output"))


def test_a_control_daemon_that_ends_later_ends_the_container(daemon: Daemon) -> None:
    process = daemon.start("daemon.sh", "run")
    wait_for(daemon.is_ready)
    os.kill(int(daemon.lines("starts")[0].split()[0]), signal.SIGKILL)
    assert process.wait(SECONDS) == 1
    assert daemon.told("control_ended") == ["exit=137"]


def test_it_ends_with_its_control_daemon_when_the_pod_does(daemon: Daemon) -> None:
    process = daemon.start("daemon.sh", "run")
    wait_for(daemon.is_ready)
    process.terminate()
    assert process.wait(SECONDS) == 0
    wait_for(lambda: not (daemon.folder / "serving").exists())
    assert daemon.ready().stdout == "its limits are not set yet\n"


def test_clients_are_counted_by_gpu_and_told_when_they_change(daemon: Daemon) -> None:
    daemon.start("daemon.sh", "run")
    wait_for(lambda: len(daemon.told("serving")) == 2)
    row = "55{0}       {0}         558            {1}    ?              python3        \n"
    daemon.write("ps", HEADING + row.format(5, FIRST[:22]) + row.format(6, FIRST[:22]) + row.format(7, SECOND[:22]))
    wait_for(lambda: len(daemon.told("serving")) == 4)
    assert [line.rpartition(" ")[2] for line in daemon.told("serving")] == [
        "clients=0",
        "clients=0",
        "clients=2",
        "clients=1",
    ]


def test_what_the_server_says_is_passed_on_and_questions_are_not(daemon: Daemon) -> None:
    daemon.start("daemon.sh", "run")
    wait_for(daemon.is_ready)
    head = "[2026-11-29 12:57:24.445 "
    daemon.write(
        "say",
        f"{head}Control   529] Accepting connection...\n{head}Control   529] NEW UI\n{head}Control   529] Cmd:ps\n"
        f"{head}Control   529] 25.0\n{head}Server   558] Client {{PID: 555, Context ID: 0}} connected\n"
        f"{head}Control   529] UI closed\n{head}Control   529] User did not send valid credentials\n"
        f"{head}Control   529] Server 558 exited with status 1\n",
    )
    wait_for(lambda: any("exited with status 1" in line for line in daemon.lines("output")))
    passed = [line.partition("] ")[2] for line in daemon.lines("output") if line.startswith(head)]
    assert passed == ["Client {PID: 555, Context ID: 0} connected", "Server 558 exited with status 1"]


def test_it_never_touches_a_setting_of_a_gpu(daemon: Daemon) -> None:
    daemon.start("daemon.sh", "run")
    wait_for(daemon.is_ready)
    assert daemon.lines("smi_calls") == ["--query-gpu=index,uuid,memory.total --format=csv,noheader,nounits"]


def test_slices_are_offered_while_the_daemon_serves(daemon: Daemon) -> None:
    process = daemon.start("offer.sh")
    wait_for(lambda: any("no MPS daemon answers" in line for line in daemon.lines("output")))
    assert (daemon.lines("supervisors"), (daemon.folder / "offering").exists()) == ([], False)
    (daemon.folder / "serving").touch()
    wait_for(lambda: len(daemon.lines("supervisors")) == 1)
    wait_for((daemon.folder / "offering").exists)
    (daemon.folder / "serving").unlink()
    wait_for(lambda: "ended" in daemon.lines("supervisors"))
    assert not (daemon.folder / "offering").exists()
    (daemon.folder / "serving").touch()
    wait_for(lambda: len(daemon.lines("supervisors")) == 3)
    assert process.poll() is None


def test_a_plugin_that_exits_as_it_starts_ends_its_container_with_its_code(daemon: Daemon) -> None:
    (daemon.folder / "serving").touch()
    (daemon.folder / "wrong").touch()
    assert daemon.start("offer.sh").wait(SECONDS) == 3


def test_the_plugin_ends_in_order_when_its_pod_does(daemon: Daemon) -> None:
    (daemon.folder / "serving").touch()
    process = daemon.start("offer.sh")
    wait_for(lambda: len(daemon.lines("supervisors")) == 1)
    time.sleep(0.3)  # its trap is set
    process.terminate()
    assert process.wait(SECONDS) == 0
    assert daemon.lines("supervisors")[1:] == ["ended"]


def test_the_control_script_has_the_folders_of_talos_and_not_its_own() -> None:
    """The plugin starts it with two variables, neither of which is PATH."""
    text = (SCRIPTS / "control.sh").read_text()
    paths = {key: re.search(rf"{key}=(\S+)", text) for key in ("PATH", "LD_LIBRARY_PATH")}
    folders = {key: match[1].split(":") for key, match in paths.items() if match}
    assert "/usr/local/bin" in folders["PATH"]
    assert "/mps-daemon" not in folders["PATH"]
    assert {"/usr/local/glibc/usr/lib", "/usr/local/lib", "/lib64"} <= {*folders["LD_LIBRARY_PATH"]}
