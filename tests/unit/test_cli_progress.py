"""What a long command says on standard error while it works."""

import io
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar

import pytest
import typer

from gpuctl.cli import progress as module
from gpuctl.cli.options import duration
from gpuctl.cli.progress import progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _Timer:
    """Goes off when a test says that it is time."""

    running: ClassVar[list["_Timer"]] = []

    def __init__(self, _: float, function: Callable[..., None], arguments: list[str]) -> None:
        self._function, self._arguments = function, arguments

    def start(self) -> None:
        self.running.append(self)

    def cancel(self) -> None:
        self.running.remove(self)

    @classmethod
    def time_is_up(cls) -> None:
        for timer in cls.running:
            timer._function(*timer._arguments)


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> type[_Timer]:
    monkeypatch.setattr(_Timer, "running", [])
    monkeypatch.setattr(module, "Timer", _Timer)
    return _Timer


def test_only_what_takes_long_is_told(timers: type[_Timer], capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as at:
        at.tell("lab", "the nodes: they are there")
        at.tell("prod", "the nodes: they are there")
        at.tell("lab", "the nodes: they are Ready")
        timers.time_is_up()
    assert capsys.readouterr().err == "prod: the nodes: they are there\nlab: the nodes: they are Ready\n"


def test_a_run_that_goes_on_after_the_end_is_not_heard(capsys: pytest.CaptureFixture[str]) -> None:
    """Else a line of another stack would stand below the one that says that all was interrupted."""
    with progress() as at:
        at.tell("lab", "waiting: one")
    at.tell("homelab", "waiting: two")
    assert capsys.readouterr().err == "lab: waiting: one\n"


def test_nothing_is_told_after_the_end(timers: type[_Timer], capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as at:
        at.tell("lab", "the nodes: they are there")
    timers.time_is_up()
    assert capsys.readouterr().err == ""


def test_every_reason_to_wait_is_told_at_once_and_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as at:
        at.tell("lab", "waiting: gpu-1 is not there")
        at.tell("prod", "waiting: gpu-7 offers nothing")
    assert capsys.readouterr().err == "lab: waiting: gpu-1 is not there\nprod: waiting: gpu-7 offers nothing\n"


def test_a_terminal_shows_one_line_that_keeps_the_reason_of_a_wait() -> None:
    shown: list[str] = []
    line = module.OneLine(shown.append)
    line.tell("lab", "the nodes: they are there")
    line.tell("lab", "waiting: gpu-1 is not there")
    line.tell("lab", "the nodes: they are there")
    line.tell("prod", "the nodes: they are there")
    assert shown == [
        "lab: the nodes: they are there",
        "lab: waiting: gpu-1 is not there",
        "lab: waiting: gpu-1 is not there; prod: the nodes: they are there",
    ]


def test_a_terminal_shows_brackets_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a reason they are no markup."""
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress() as at:
        at.tell("lab", "waiting: gpu:nodes[0] and [/bold] are wrong")
    assert "gpu:nodes[0] and [/bold] are wrong" in terminal.getvalue()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("2d", 172800), ("0s", 0)]
)
def test_a_length_of_time_is_read(text: str, seconds: int) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 m", "1.5h", "5min", "1h30"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no length of time: write 90s, 5m, 1h30m or 2d"):
        duration(text)
