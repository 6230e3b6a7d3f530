"""Daemons and their records."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import process
from testbed.errors import BedError

SLEEP = ["sleep", "60"]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    process.stop(tmp_path, "daemon", seconds=0)


def test_a_started_daemon_is_alive_in_a_session_of_its_own(directory: Path) -> None:
    """Ctrl-C in the terminal that started it does not reach it."""
    process.start(directory, "daemon", SLEEP)
    pid = process.pid(directory, "daemon")
    assert pid is not None
    assert os.getsid(pid) == pid
    command_line, deadline = Path(f"/proc/{pid}/cmdline"), time.monotonic() + 30
    while command_line.read_bytes() != b"sleep\x0060\0":  # a moment later than its record
        assert time.monotonic() < deadline


def test_a_daemon_whose_start_is_interrupted_is_recorded_all_the_same(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cleans up after Ctrl-C finds it."""
    run = subprocess.run

    def interrupted(*arguments: Any, **options: Any) -> None:
        run(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.start(directory, "daemon", SLEEP)
    assert process.alive(directory, "daemon")


def test_a_stopped_daemon_is_gone_and_may_be_stopped_again(directory: Path) -> None:
    process.start(directory, "daemon", SLEEP)
    running = Path(f"/proc/{process.pid(directory, 'daemon')}/cmdline")
    process.stop(directory, "daemon")
    assert not running.exists() or not running.read_bytes()  # empty until it is reaped
    assert not process.alive(directory, "daemon")
    assert not (directory / "daemon.pid").exists()
    process.stop(directory, "daemon")


def test_a_daemon_that_ignores_sigterm_is_killed(directory: Path) -> None:
    process.start(directory, "daemon", ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done"])
    log = process.log_file(directory, "daemon")
    process.wait(directory, "daemon", "it ignores SIGTERM", lambda: "deaf" in log.read_text(), 30)
    process.stop(directory, "daemon", seconds=0.1)
    assert not process.alive(directory, "daemon")


def test_a_process_id_used_again_by_another_process_is_left_alone(directory: Path) -> None:
    with subprocess.Popen(SLEEP) as other:
        (directory / "daemon.pid").write_text(f"{other.pid} 1\n")  # 1: started just after the machine
        assert not process.alive(directory, "daemon")
        process.stop(directory, "daemon", seconds=0)
        assert other.poll() is None
        other.kill()


def test_a_daemon_that_nobody_reaped_yet_counts_as_ended(directory: Path) -> None:
    with subprocess.Popen(SLEEP) as child:
        started = Path(f"/proc/{child.pid}/stat").read_text().split()[21]
        (directory / "daemon.pid").write_text(f"{child.pid} {started}\n")
        assert process.alive(directory, "daemon")
        child.send_signal(signal.SIGKILL)
        while Path(f"/proc/{child.pid}/stat").read_text().split()[2] != "Z":
            time.sleep(0.01)
        assert not process.alive(directory, "daemon")


def test_waiting_for_a_daemon_that_ends_fails_at_once_with_its_last_words(directory: Path) -> None:
    process.start(directory, "daemon", ["sh", "-c", "echo no such flag >&2; exit 1"])
    with pytest.raises(BedError, match=r"(?s)daemon ended before it answers.*daemon\.log.*no such flag"):
        process.wait(directory, "daemon", "it answers", lambda: False, 60)


def test_waiting_ends_when_the_time_is_over(directory: Path) -> None:
    process.start(directory, "daemon", SLEEP)
    with pytest.raises(BedError, match="waited 0 s until it answers"):
        process.wait(directory, "daemon", "it answers", lambda: False, 0.05)


def test_a_daemon_gets_no_proxy(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would send what is meant for the bridge to the proxy."""
    monkeypatch.setenv("https_proxy", "http://proxy.invalid")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid")
    monkeypatch.setenv("KEPT", "yes")
    process.start(directory, "daemon", ["sh", "-c", "env; echo end; sleep 60"])
    log = process.log_file(directory, "daemon")
    process.wait(directory, "daemon", "it printed", lambda: "end\n" in log.read_text(), 30)
    assert "proxy.invalid" not in log.read_text()
    assert "KEPT=yes" in log.read_text()
