"""Prints reports on standard output, in the form that was asked for; loaded only by verbs that run checks."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.text import Text

from gpuctl.checks.report import Report
from gpuctl.report.doctor import doctor
from gpuctl.report.document import document
from gpuctl.report.symbols import can_print_symbols
from gpuctl.report.table import short, summary, table


def print_lines(lines: Iterable[Text]) -> None:
    """Lines that stay whole however narrow the screen is, in colour where that shows."""
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line)


def print_for_people(reports: Sequence[Report], *, only_bad: bool) -> None:
    """Each report, and a summary of several."""
    _print_each(reports, short if only_bad else table)


def print_diagnoses(reports: Sequence[Report]) -> None:
    """What is wrong with each, why, and what fixes it; and a summary of several."""
    _print_each(reports, doctor)


def _print_each(reports: Sequence[Report], form: Callable[..., Iterable[Text]]) -> None:
    in_ascii = not can_print_symbols(sys.stdout.encoding)
    for index, report in enumerate(reports):
        print_lines([Text()] if index else [])
        print_lines(form(report, in_ascii=in_ascii))
    if len(reports) > 1:
        print_lines([Text(), *summary(reports, in_ascii=in_ascii)])


def print_json(document_: object) -> None:
    """One document."""
    print(json.dumps(document_, indent=2))


def print_for_machines(reports: Sequence[Report]) -> None:
    """One document with all reports."""
    print_json(document(reports))
