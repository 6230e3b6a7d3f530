"""A plan as a comment on a pull request: the sentence first, what may hurt never folded away, the rest in folds.

Whatever comes from a stack file may come from a stranger's fork: nothing of it may become markup.
"""

import html
import re
from collections.abc import Iterator, Sequence

from gpuctl.plan.differences import Difference
from gpuctl.plan.stack_plan import StackPlan
from gpuctl.plan.words import COLUMNS, cells, headline, unchanged

MARKER = "<!-- gpuctl plan -->"
"""By this line a comment is found again, to be updated."""

_LONGEST = 60_000
"""Characters; GitHub refuses a comment of more than 65,536."""
_ROWS = 100
"""Rows of the table, and sentences of one kind, before the others are only counted."""
_ALERTS = {"removal": "CAUTION", "warning": "WARNING", "note": "NOTE"}


def markdown(plans: list[StackPlan], base: str, head: str) -> str:
    """The comment for all stacks.

    Args:
        plans: one for each stack, changed or not.
        base: how the older side is called.
        head: how the newer side is called.
    """
    parts = [MARKER, f"### GPU capacity: {_text(headline(plans))}", *_tables(plans)]
    if same := unchanged(plans):
        parts.append(f"Unchanged: {_text(same)}.")
    for plan in plans:
        parts += _mistakes(plan)
        parts += _alerts(plan)
    room = _LONGEST - sum(map(len, parts))
    parts += _folds(plans, room)
    parts.append(
        f"<sub>{_text(base)} → {_text(head)}, computed from the stack files; memory per slice is an average.</sub>"
    )
    return "\n\n".join(parts) + "\n"


def _tables(plans: Sequence[StackPlan]) -> Iterator[str]:
    rows = [(plan.stack, change) for plan in plans for change in plan.nodes]
    if rows:
        headings = ["Stack", "Node", *(name for name, _ in COLUMNS)]
        lines = [headings, ["---", "---", *("--:" for _ in COLUMNS)]]
        lines += [[stack, change.name, *cells(change)] for stack, change in rows[:_ROWS]]
        yield "\n".join("| " + " | ".join(map(_text, line)) + " |" for line in lines) + _more(rows, "\n\n")


def _mistakes(plan: StackPlan) -> Iterator[str]:
    if plan.after.mistakes:
        yield f"**{_text(plan.stack)} cannot be deployed:**\n\n{_fenced(plan.after.mistakes)}"
    elif plan.before.mistakes:
        yield f"{_text(plan.stack)} had mistakes, so nothing is compared:\n\n{_fenced(plan.before.mistakes)}"


def _alerts(plan: StackPlan) -> Iterator[str]:
    for kind, alert in _ALERTS.items():
        texts = [found.text for found in plan.consequences if found.kind == kind]
        if texts:
            lines = [f"> - **{_text(plan.stack)}**: {_text(text)}" for text in texts[:_ROWS]]
            yield "\n".join([f"> [!{alert}]", *lines]) + _more(texts, "\n> - ")


def _more(found: Sequence[object], before: str) -> str:
    left = len(found) - _ROWS
    return f"{before}and {left} more: `gpuctl plan -o json`" if left > 0 else ""


def _folds(plans: Sequence[StackPlan], room: int) -> Iterator[str]:
    """What the objects look like, as far as there is room."""
    for plan in plans:
        for title, found in (("Kubernetes objects", plan.objects), ("Talos patches", plan.talos)):
            if not found:
                continue
            fold = _fold(f"{plan.stack}: {title}, {_counted(found)}", "\n\n".join(map(_difference, found)))
            if len(fold) > room:
                fold = _fold(f"{plan.stack}: {title}, {_counted(found)}", _too_long(plan, found))
            room -= len(fold)
            yield fold


def _too_long(plan: StackPlan, found: Sequence[Difference]) -> str:
    names = "\n".join(f"- {each.action} {_text(each.name)}" for each in found)
    return f"{names}\n\nToo long for a comment: `gpuctl plan --stack {plan.stack} -o markdown`"


def _counted(found: Sequence[Difference]) -> str:
    actions = ("create", "update", "delete")
    counts = [(action, sum(each.action == action for each in found)) for action in actions]
    return ", ".join(f"{action} {count}" for action, count in counts if count)


def _difference(found: Difference) -> str:
    return f"{found.action} {_text(found.name)}\n\n{_fenced(found.diff, 'diff')}"


def _fold(summary: str, body: str) -> str:
    return f"<details><summary>{_text(summary)}</summary>\n\n{body}\n\n</details>"


def _fenced(text: str, language: str = "") -> str:
    """A code block that nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _text(text: str) -> str:
    """Text in which nothing is markup or calls a person, but for code between backquotes."""
    parts = text.replace("\n", " ").split("`")
    if len(parts) % 2 == 0:  # one backquote without its other half
        return _inert(text.replace("\n", " "))
    return "`".join(part.replace("|", "\\|") if index % 2 else _inert(part) for index, part in enumerate(parts))


def _inert(text: str) -> str:
    return re.sub(r"([\\`*_~|\[\]])", r"\\\1", html.escape(text, quote=False)).replace("@", "&#64;")
