"""How a report is printed for people while its run goes on."""

from collections.abc import Iterator
from typing import Protocol

from gpuctl.checks.report import Entry, Report
from gpuctl.forms.line import Line


class ForPeople(Protocol):
    """A form that grows: what is settled stands on the screen, and nothing that stands there changes."""

    def head(self, stack: str, context: str) -> Iterator[Line]:
        """What stands above everything.

        Args:
            stack: its name.
            context: of the kubeconfig; empty when the stack file could not be read.
        """
        ...

    def settled(self, entry: Entry) -> Iterator[Line]:
        """What can be printed now that one more check is settled, in the order of the registry."""
        ...

    def end(self, report: Report) -> Iterator[Line]:
        """What is left to print when all are settled."""
        ...


def whole(form: ForPeople, report: Report) -> Iterator[Line]:
    """A report whose run is over."""
    yield from form.head(report.stack, report.context)
    for entry in report.entries:
        yield from form.settled(entry)
    yield from form.end(report)
