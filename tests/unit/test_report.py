"""What a report looks like in each of its forms: whole outputs, kept as files that open in their own viewers."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Sequence

import pytest
from syrupy.assertion import SnapshotAssertion

from gpuctl.checks.model import Outcome, Result, failed, passed
from gpuctl.checks.report import Report
from gpuctl.forms.line import Line
from gpuctl.report.doctor import Doctor, doctor_document
from gpuctl.report.document import document
from gpuctl.report.junit import junit
from gpuctl.report.markdown import markdown
from gpuctl.report.people import ForPeople, whole
from gpuctl.report.symbols import can_print_symbols
from gpuctl.report.table import Short, Table, summary
from tests.fixtures.reports import CLASS, OFFERED, green, large, late, mixed, report_of, two_stacks, unreachable
from tests.fixtures.reports import wrong_settings as wrong
from tests.fixtures.snapshots import JsonFile, MarkdownFile, TextFile


class _XmlFile(TextFile):
    file_extension = "xml"


def _screen(lines: Iterable[Line]) -> str:
    return "".join(f"{line.plain}\n" for line in lines)


def _for_people(form: Callable[[], ForPeople]) -> Callable[[Sequence[Report]], str]:
    def shown(reports: Sequence[Report]) -> str:
        screens = "\n".join(_screen(whole(form(), report)) for report in reports)
        return screens + (f"\n{_screen(summary(reports))}" if len(reports) > 1 else "")

    return shown


def _doctors_document(reports: Sequence[Report]) -> str:
    """Only what it adds to that of gpuctl verify."""
    whole = doctor_document(reports)
    return json.dumps([stack["findings"] for stack in whole["stacks"]], indent=2) + "\n"


FORMS: dict[str, tuple[Callable[[Sequence[Report]], str], type[TextFile]]] = {
    "table": (_for_people(Table), TextFile),
    "short": (_for_people(Short), TextFile),
    "json": (lambda reports: json.dumps(document(reports), indent=2) + "\n", JsonFile),
    "junit": (junit, _XmlFile),
    "markdown": (markdown, MarkdownFile),
    "doctor": (_for_people(Doctor), TextFile),
    "doctor json": (_doctors_document, JsonFile),
}
RUNS = {
    "all green": [green()],
    "mixed": [mixed()],
    "too late": [late()],
    "unreachable": [unreachable()],
    "wrong settings": [wrong()],
    "two stacks": two_stacks(),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("form", FORMS)
def test_a_report(form: str, run: str, snapshot: SnapshotAssertion) -> None:
    shown, file = FORMS[form]
    assert shown(RUNS[run]) == snapshot(extension_class=file)


@pytest.mark.parametrize("form", ["table", "short", "markdown", "doctor"])
def test_a_thousand_nodes_are_cut_for_people(form: str, snapshot: SnapshotAssertion) -> None:
    shown, file = FORMS[form]
    assert shown([large()]) == snapshot(extension_class=file)


@pytest.mark.parametrize("form", ["json", "junit", "doctor json"])
def test_a_thousand_nodes_are_whole_for_machines(form: str) -> None:
    shown, _ = FORMS[form]
    text = shown([large()])
    assert [f"gpu-{number} offers 0 of 8" in text for number in range(2, 1001)] == [True] * 999


def test_a_warning_is_no_failure_in_junit() -> None:
    """It would turn a build red for advice."""
    root = ElementTree.fromstring(junit([report_of((CLASS, Result(Outcome.WARN, "it could be better")))]))
    assert (root[0].get("failures"), root[0].get("errors"), root[0].get("tests")) == ("0", "0", "1")
    assert [(part.tag, part.text) for part in root[0][0]] == [
        ("system-out", "it could be better\nsee docs/checks.md#stk001")
    ]


def test_what_a_log_says_neither_steers_a_terminal_nor_breaks_xml() -> None:
    fact, cause = "it said \x1b[2J\x00\x07", "because of \x1b]0;title\x07"
    report = report_of((CLASS, failed(fact, "kubectl logs", cause=cause)))
    ElementTree.fromstring(junit([report]))
    shown = "".join(form([report]) for form, _ in FORMS.values())
    assert {character for character in shown if not character.isprintable()} == {"\n"}


def test_a_fact_that_does_not_name_its_subject_gets_it() -> None:
    report = report_of((OFFERED, failed("nothing is offered", "kubectl get nodes", "gpu-1")))
    assert "    gpu-1: nothing is offered\n" in _screen(whole(Table(), report))


def test_markdown_shows_a_fact_as_it_is() -> None:
    report = report_of((OFFERED, failed("<none> of `a` *b* [c] | d", "kubectl get nodes")))
    assert r"- &lt;none&gt; of \`a\` \*b\* \[c\] \| d" in markdown([report])


@pytest.mark.parametrize("form", [Table, Short, Doctor])
def test_ascii_is_enough_for_a_report(form: Callable[..., ForPeople]) -> None:
    assert _screen(whole(form(in_ascii=True), mixed())).isascii()


@pytest.mark.parametrize(("encoding", "can"), [("utf-8", True), ("ascii", False), ("latin-1", False), ("none", False)])
def test_symbols_are_printed_where_they_can_be(encoding: str, can: bool) -> None:
    assert can_print_symbols(encoding) is can


def test_the_counts_of_the_verdict_are_of_checks_and_not_of_nodes() -> None:
    report = report_of((OFFERED, passed("a", "a"), failed("b", "", "b"), failed("c", "", "c")), (CLASS, passed("d")))
    assert _screen(whole(Short(), report)).splitlines()[-1] == '1 failed, 1 passed in 0.5 s: cluster "lab" is NOT ready'
