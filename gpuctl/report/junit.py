"""A report for the test view of a CI system: a suite per stack and category, a case per check."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import groupby

from gpuctl.checks.model import Category, Outcome
from gpuctl.checks.report import Entry, Report
from gpuctl.report.words import findings, said, with_remedies

_TAGS = {Outcome.FAIL: "failure", Outcome.ERROR: "error", Outcome.SKIP: "skipped"}


def junit(reports: Sequence[Report]) -> str:
    """An XML document; a warning is a case that passes, with what it says as output, because it is only advice."""
    root = ElementTree.Element("testsuites", name="gpuctl verify")
    for report in reports:
        for category, entries in groupby(report.entries, key=lambda entry: entry.check.category):
            root.append(_suite(report, category, list(entries)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True).decode() + "\n"


def _suite(report: Report, category: Category, entries: Sequence[Entry]) -> ElementTree.Element:
    name = f"{report.stack}.{category.name}"
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        timestamp=report.started.isoformat(timespec="seconds"),
        time=f"{sum(entry.seconds for entry in entries):.3f}",
        tests=str(len(entries)),
        failures=_count(entries, Outcome.FAIL),
        errors=_count(entries, Outcome.ERROR),
        skipped=_count(entries, Outcome.SKIP),
    )
    for entry in entries:
        check = entry.check
        case = ElementTree.SubElement(
            suite, "testcase", classname=name, name=f"{check.id} {check.title}", time=f"{entry.seconds:.3f}"
        )
        if entry.outcome in (Outcome.FAIL, Outcome.ERROR):
            found = ElementTree.SubElement(case, _TAGS[entry.outcome], type=check.id, message=check.title)
            found.text = _hint(entry)
        elif entry.outcome is Outcome.SKIP:
            ElementTree.SubElement(case, "skipped", message=said(entry.results[0]))
        elif entry.outcome is Outcome.WARN:
            ElementTree.SubElement(case, "system-out").text = _hint(entry)
    return suite


def _count(entries: Sequence[Entry], outcome: Outcome) -> str:
    return str(sum(entry.outcome is outcome for entry in entries))


def _hint(entry: Entry) -> str:
    lines: list[str] = []
    for facts, cause, remedy in with_remedies(findings(entry)):
        lines += [*facts, *([cause] if cause else []), *([f"try: {remedy}"] if remedy else [])]
    return "\n".join([*lines, f"see {entry.check.anchor}"])
