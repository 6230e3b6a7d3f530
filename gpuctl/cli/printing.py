"""Prints reports on standard output while their runs go on; loaded only by verbs that run checks."""

import sys
from collections.abc import Callable

from gpuctl.checks.report import Entry, Report
from gpuctl.forms.line import line
from gpuctl.forms.output import print_lines
from gpuctl.report.people import ForPeople
from gpuctl.report.symbols import can_print_symbols
from gpuctl.report.table import summary


class Screen:
    """For people: each category of checks as it is settled, one stack after the other, and a summary of several."""

    def __init__(self, form: Callable[..., ForPeople]) -> None:
        self._form = form
        self._in_ascii = not can_print_symbols(sys.stdout.encoding)
        self._reports = list[Report]()
        self._growing: ForPeople | None = None

    def settled(self, stack: str, context: str, entry: Entry) -> None:
        """Prints what one more check of a stack makes whole."""
        print_lines(self._of(stack, context).settled(entry))

    def end(self, report: Report) -> None:
        """Prints what is left of a stack."""
        print_lines(self._of(report.stack, report.context).end(report))
        self._reports.append(report)
        self._growing = None

    def close(self) -> None:
        """Prints the summary."""
        if len(self._reports) > 1:
            print_lines([line(), *summary(self._reports, in_ascii=self._in_ascii)])

    def _of(self, stack: str, context: str) -> ForPeople:
        if self._growing is None:
            self._growing = self._form(in_ascii=self._in_ascii)
            print_lines([line()] if self._reports else [])
            print_lines(self._growing.head(stack, context))
        return self._growing
