"""The device plugin's supervisor in a real shell, with a plugin and an nvidia-smi that do what files say."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.power_agent import SHELL

SCRIPT = Path(__file__).parents[2] / "gpuctl" / "desired" / "device_plugin" / "supervisor.sh"
SECONDS = 30
UUID = "GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64cd"
XID = f"XidCriticalError: Xid=79 on Device={UUID}::0; marking device as unhealthy."
ALL = "Error waiting for event: GPU is lost; Marking all devices as unhealthy"

PLUGIN = """#!/bin/sh
cd "$FAKE" && echo $$ >>starts
echo '  {"back\\slash": 1}'
[ ! -e broken ] || { echo 'error: number of replicas must be >= 2' && exit 3; }
trap 'exit 0' TERM
while :; do
  [ ! -e say ] || { cat say && rm say; }
  sleep 0.1
done
"""
NVIDIA_SMI = """#!/bin/sh
cd "$FAKE"
[ ! -e lost ] || { echo 'GPU is lost.' && exit 15; }
case $1 in
  *recovery*) [ ! -e old ] || { echo 'Field "gpu_recovery_action" is not a valid field to query.' && exit 2; }
    cat recovery ;;
  *) echo GPU-8eb0778b ;;
esac
"""


class Supervisor:
    def __init__(self, folder: Path, pause: int) -> None:
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir()
        for name, text in (("nvidia-device-plugin", PLUGIN), ("nvidia-smi", NVIDIA_SMI)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (folder / "recovery").write_text("None\nN/A\n")
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "FAKE": str(folder),
            "SUPERVISOR_STATE": str(folder),
            "SUPERVISOR_PAUSE": str(pause),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [*SHELL, SCRIPT], env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        return self.process

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    @property
    def starts(self) -> list[int]:
        """The process id of the plugin, each time it was started."""
        path = self.folder / "starts"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def say(self, line: str) -> None:
        """Lets the plugin write a line."""
        draft = self.folder / "draft"
        draft.write_text(f"{line}\n")
        draft.rename(self.folder / "say")


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {SECONDS} s"
        time.sleep(0.05)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, pause=1)
    yield supervisor
    if supervisor.process:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(supervisor.process.pid, signal.SIGKILL)
        supervisor.process.wait()


def test_what_the_plugin_writes_is_passed_on_as_it_is(supervisor: Supervisor) -> None:
    supervisor.start()
    wait_for(lambda: '  {"back\\slash": 1}\n' in supervisor.output)


def test_a_plugin_that_is_killed_again_and_again_is_started_again_within_seconds(supervisor: Supervisor) -> None:
    process = supervisor.start()
    for kills in range(1, 5):
        wait_for(lambda kills=kills: len(supervisor.starts) == kills)
        os.kill(supervisor.starts[-1], signal.SIGKILL)
    wait_for(lambda: len(supervisor.starts) == 5)
    assert process.poll() is None
    assert "the plugin ended with 137" in supervisor.output


def test_a_plugin_that_exits_as_it_starts_ends_the_container_with_its_code(supervisor: Supervisor) -> None:
    (supervisor.folder / "broken").touch()
    assert supervisor.start().wait(SECONDS) == 3
    assert "number of replicas must be >= 2" in supervisor.output


def test_what_an_ending_plugin_leaves_open_costs_the_next_one_no_line(supervisor: Supervisor) -> None:
    """Two readers of one pipe would share its bytes between them."""
    plugin = supervisor.folder / "programs" / "nvidia-device-plugin"
    plugin.write_text(PLUGIN.replace("trap ", "sleep 30 &\ntrap ", 1))
    supervisor.start()
    wait_for(lambda: len(supervisor.starts) == 1)
    os.kill(supervisor.starts[0], signal.SIGKILL)
    wait_for(lambda: len(supervisor.starts) == 2)
    written = "".join(f"line {number} of a plugin that writes a lot\n" for number in range(3000))
    supervisor.say(written)
    wait_for(lambda: "line 2999" in supervisor.output)
    assert written in supervisor.output


@pytest.mark.parametrize("line", [XID, ALL])
def test_a_gpu_that_was_taken_out_of_service_is_offered_again_once_every_gpu_answers(
    supervisor: Supervisor, line: str
) -> None:
    supervisor.start()
    wait_for(lambda: len(supervisor.starts) == 1)
    (supervisor.folder / "lost").touch()
    supervisor.say(line)
    time.sleep(4)
    assert len(supervisor.starts) == 1
    (supervisor.folder / "lost").unlink()
    wait_for(lambda: len(supervisor.starts) == 2)
    assert "every GPU answers: the plugin is started again" in supervisor.output
    time.sleep(3)
    assert len(supervisor.starts) == 2


def test_a_gpu_that_needs_a_reset_stays_out_of_service(supervisor: Supervisor) -> None:
    (supervisor.folder / "recovery").write_text("None\nDrain and Reset\n")
    supervisor.start()
    wait_for(lambda: len(supervisor.starts) == 1)
    supervisor.say(XID)
    time.sleep(4)
    assert len(supervisor.starts) == 1
    (supervisor.folder / "recovery").write_text("None\nNone\n")
    wait_for(lambda: len(supervisor.starts) == 2)


def test_a_driver_that_knows_no_recovery_action_is_asked_whether_its_gpus_answer(supervisor: Supervisor) -> None:
    (supervisor.folder / "old").touch()
    supervisor.start()
    wait_for(lambda: len(supervisor.starts) == 1)
    supervisor.say(XID)
    wait_for(lambda: len(supervisor.starts) == 2)


def test_a_gpu_that_errs_again_is_tried_later_each_time(supervisor: Supervisor) -> None:
    supervisor.start()
    waits: list[float] = []
    for tries in range(1, 4):
        wait_for(lambda tries=tries: len(supervisor.starts) == tries)
        supervisor.say(XID)
        begun = time.monotonic()
        wait_for(lambda tries=tries: len(supervisor.starts) == tries + 1)
        waits.append(time.monotonic() - begun)
    assert waits[1] >= 2
    assert waits[2] >= 4


def test_the_end_of_the_pod_ends_the_plugin(supervisor: Supervisor) -> None:
    process = supervisor.start()
    wait_for(lambda: len(supervisor.starts) == 1)
    process.terminate()
    assert process.wait(SECONDS) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(supervisor.starts[0], 0)
