"""What a long command says on standard error while it works."""

import io
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import typer

from gpuctl.cli import progress as module
from gpuctl.cli.options import duration
from gpuctl.cli.progress import progress


def _poll(text: Callable[[], str]) -> str:
    """The first text that is not empty, within a minute."""
    for _ in range(600):
        if found := text():
            return found
        time.sleep(0.1)
    return ""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_quick_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as tell:
        tell("lab", "the nodes: they are there")
        tell("lab", "the nodes: they are Ready")
    assert capsys.readouterr().err == ""


def test_what_takes_long_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONG_SECONDS", 0)
    with progress() as tell:
        tell("lab", "the nodes: they are there")
        assert _poll(lambda: capsys.readouterr().err) == "lab: the nodes: they are there\n"


def test_every_reason_to_wait_is_told_at_once_and_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as tell:
        tell("lab", "waiting: gpu-1 is not there")
        tell("prod", "waiting: gpu-7 offers nothing")
    assert capsys.readouterr().err == "lab: waiting: gpu-1 is not there\nprod: waiting: gpu-7 offers nothing\n"


def test_a_terminal_shows_one_line_that_keeps_the_reason_of_a_wait() -> None:
    shown: list[str] = []
    line = module._OneLine(shown.append)  # pyright: ignore[reportPrivateUsage]
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
    with progress() as tell:
        tell("lab", "waiting: gpu:nodes[0] and [/bold] are wrong")
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
