"""What is said while something takes long."""

import re

import pytest

from testbed import progress
from testbed.progress import step


def test_a_step_says_when_it_begins_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    with step("building"):
        assert capsys.readouterr().err == "testbed: building: ...\n"
    assert re.fullmatch(r"testbed: building: done in \d\.\d s\n", capsys.readouterr().err)


def test_a_step_that_fails_does_not_say_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), step("building"):
        raise RuntimeError
    assert "done" not in capsys.readouterr().err


def test_a_long_step_says_again_that_it_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.01)
    said = ""
    with step("building"):
        while said.count("building: ... 0 s\n") < 2:
            said += capsys.readouterr().err


def test_results_on_standard_output_stay_clean(capsys: pytest.CaptureFixture[str]) -> None:
    with step("building"):
        progress.say("a line")
    assert capsys.readouterr().out == ""
