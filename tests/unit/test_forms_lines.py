"""What a terminal, a pipe and the log of a CI job are given: whole lines that steer nothing."""

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpuctl.forms.line import line
from gpuctl.forms.output import complain, json_text, print_lines
from gpuctl.forms.table import table
from gpuctl.forms.text import shortened

_TEXT = st.lists(
    st.sampled_from([*"ab [/]:#\n\r\t\x1b\x07\x9b\u202e", "[bold]", "::error::", "##[error]", "##vso[", "é", "界"]),
    max_size=10,
).map("".join)
_COMMAND = re.compile(r"^\s*::|##\[|##vso\[")
"""How GitHub Actions and Azure Pipelines find a command in a log."""


@settings(max_examples=200)
@given(st.lists(_TEXT, max_size=3))
@example(["::error::x"])
@example([":", ":set-output::"])
def test_a_line_is_one_line_and_obeyed_by_nobody(parts: list[str]) -> None:
    plain = line(*parts).plain
    assert plain.isprintable()
    assert not _COMMAND.search(plain)


def test_control_characters_show() -> None:
    assert line("a\x1b[2J\u202e\nb\tc").plain == r"a\x1b[2J\u202e\nb c"


def test_brackets_are_no_markup() -> None:
    assert line("[/bold] admin@homelab[prod]").plain == "[/bold] admin@homelab[prod]"


def test_styles_are_the_only_control_sequences() -> None:
    assert line(("a\x1b[2J", "bold red"), "b").colored == "\x1b[1;31ma\\x1b[2J\x1b[0mb"


def test_a_table_keeps_its_columns() -> None:
    shown = table(
        ["NODE", "GPUS", "WATTS"],
        [["gpu-1", "2 x a\n1 x b", "600"], ["界", line(("1 x c", "red")), ""]],
        right=["WATTS"],
    )
    assert [each.plain for each in shown] == [
        "NODE   GPUS   WATTS",
        "gpu-1  2 x a    600",
        "       1 x b",
        "界     1 x c",
    ]


@settings(max_examples=100)
@given(st.lists(st.lists(_TEXT, min_size=2, max_size=2), max_size=4))
def test_every_cell_is_whole_whatever_the_width(rows: list[list[str]]) -> None:
    shown = [each.plain for each in table(["A", "B"], rows)]
    for row in rows:
        for each in (part for cell in row for part in cell.splitlines()):
            assert any(line(each).plain.strip().removeprefix(r"\x3a") in drawn for drawn in shown)


@pytest.mark.parametrize("columns", ["20", "200"])
def test_a_pipe_gets_whole_names(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    names = [f"worker-{'long' * 40}-{index}" for index in range(2)]
    print_lines(table(["NODE", "nvidia.com/gpu.shared"], [[name, "8"] for name in names]))
    out = capsys.readouterr().out.splitlines()
    assert [row.split() for row in out] == [["NODE", "nvidia.com/gpu.shared"], *([name, "8"] for name in names)]


def test_colours_are_for_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    print_lines([line(("a", "red"))])
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_lines([line(("a", "red"))])
    assert capsys.readouterr().out == "a\n\x1b[31ma\x1b[0m\n"
    monkeypatch.setenv("TERM", "dumb")
    print_lines([line(("a", "red"))])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    print_lines([line(("a", "red"))])
    assert capsys.readouterr().out == "a\na\n"


def test_a_complaint_is_no_command_to_the_ci_system(capsys: pytest.CaptureFixture[str]) -> None:
    complain("gpuctl: error: it said\n::error::free GPUs\n##[error]\x1b[2J")
    assert capsys.readouterr().err == "gpuctl: error: it said\n\\x3a:error::free GPUs\n\\x23#[error]\\x1b[2J\n"


@given(st.recursive(_TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3)))
def test_a_document_is_the_same_json_and_no_command(document: object) -> None:
    text = json_text(document)
    assert json.loads(text) == document
    assert not any(_COMMAND.search(each) for each in text.splitlines())


def test_what_is_shortened_says_how_long_it_was() -> None:
    assert (shortened("@" * 14_000, 3), shortened("abc", 3)) == ("@@@… (14000 characters)", "abc")
