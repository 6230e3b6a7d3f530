"""A plan as a comment on a pull request: the sentence first, what may hurt never folded away, the rest in folds.

Whatever comes from a stack file may come from a stranger's fork: nothing of it may become markup.
"""

from collections.abc import Iterator, Sequence

from gpuctl.forms.command import command
from gpuctl.forms.markdown import code, escaped, fenced, fold, table, with_code
from gpuctl.forms.text import shortened
from gpuctl.plan.differences import Difference
from gpuctl.plan.stack_plan import StackPlan
from gpuctl.plan.words import COLUMNS, cells, headline, unchanged

MARKER = "<!-- gpuctl plan -->"
"""By this line a comment is found again, to be updated."""

_LONGEST = 60_000
"""Characters; GitHub refuses a comment of more than 65,536."""
_ROWS = 100
"""Rows of the table, and sentences of one kind, before the others are only counted."""
_FEW = 5
"""Sentences of one kind where there is no room for more."""
_TABLE, _NAME, _SENTENCE, _MISTAKES = 20_000, 100, 1000, 5000
"""Characters of the table, a cell, a sentence, and the mistakes of a stack."""
_ALERTS = {"removal": "CAUTION", "warning": "WARNING", "note": "NOTE"}
_ALL = "`gpuctl plan -o json`"


class _Comment:
    """Parts that GitHub takes as one comment."""

    def __init__(self) -> None:
        self._parts, self._room, self._is_whole = list[str](), _LONGEST, True

    def add(self, *forms: str) -> None:
        """Adds the first of some forms of a part for which there is room."""
        for form in forms:
            if len(form) < self._room:
                self._parts.append(form)
                self._room -= len(form) + len("\n\n")
                return
        self._is_whole = False

    def text(self, end: str) -> str:
        """All of it, and what stands at its end."""
        left = [] if self._is_whole else [f"There is more than a comment holds: {_ALL}"]
        return "\n\n".join([*self._parts, *left, end]) + "\n"


def markdown(plans: Sequence[StackPlan], base: str, head: str) -> str:
    """The comment for all stacks.

    Args:
        plans: one for each stack, changed or not.
        base: how the older side is called.
        head: how the newer side is called.
    """
    comment = _Comment()
    comment.add(f"{MARKER}\n\n### GPU capacity: {escaped(shortened(headline(plans), _SENTENCE))}")
    for part in _tables(plans):
        comment.add(part)
    if same := unchanged(plans):
        comment.add(f"Unchanged: {escaped(shortened(same, _SENTENCE))}.")
    for plan in plans:
        for part in _mistakes(plan):
            comment.add(part)
        for kind in _ALERTS:
            _add_alert(comment, plan, kind)
    for plan in plans:
        for title, found in (("Kubernetes objects", plan.objects), ("Talos patches", plan.talos)):
            if found:
                summary = f"{plan.stack}: {title}, {_counted(found)}"
                whole = "\n\n".join(map(_difference, found))
                comment.add(fold(summary, whole), fold(summary, _too_long(plan, found)))
    sides = " → ".join(escaped(shortened(side, _NAME)) for side in (base, head))
    return comment.text(f"<sub>{sides}, computed from the stack files; memory per slice is an average.</sub>")


def _tables(plans: Sequence[StackPlan]) -> Iterator[str]:
    rows = [(plan.stack, change.name, *cells(change)) for plan in plans for change in plan.nodes]
    if not rows:
        return
    headings = ["Stack", "Node", *(name for name, _ in COLUMNS)]
    shown = ([escaped(shortened(cell, _NAME)) for cell in row] for row in rows[:_ROWS])
    lines, room = list[str](), _TABLE
    for line in table(headings, shown, right=range(2, len(headings))):
        room -= len(line)
        if room > 0:
            lines.append(line)
    left = len(rows) - (len(lines) - 2)
    yield "\n".join(lines) + (f"\n\nand {left} more: {_ALL}" if left else "")


def _mistakes(plan: StackPlan) -> Iterator[str]:
    if plan.after.mistakes:
        yield f"**{escaped(plan.stack)} cannot be deployed:**\n\n{fenced(shortened(plan.after.mistakes, _MISTAKES))}"
    elif plan.before.mistakes:
        had = f"{escaped(plan.stack)} had mistakes, so nothing is compared:"
        yield f"{had}\n\n{fenced(shortened(plan.before.mistakes, _MISTAKES))}"


def _add_alert(comment: _Comment, plan: StackPlan, kind: str) -> None:
    texts = [found.text for found in plan.consequences if found.kind == kind]
    if texts:
        comment.add(*(_alert(plan.stack, _ALERTS[kind], texts, most) for most in (_ROWS, _FEW)))


def _alert(stack: str, alert: str, texts: Sequence[str], most: int) -> str:
    sentences = [f"**{escaped(stack)}**: {with_code(shortened(text, _SENTENCE))}" for text in texts[:most]]
    if left := len(texts) - len(sentences):
        sentences.append(f"and {left} more: {_ALL}")
    return "\n".join([f"> [!{alert}]", *(f"> - {sentence}" for sentence in sentences)])


def _too_long(plan: StackPlan, found: Sequence[Difference]) -> str:
    names = "\n".join(f"- {each.action} {escaped(each.name)}" for each in found)
    whole = command("gpuctl", "plan", "--stack", plan.stack, "-o", "markdown")
    return f"{names}\n\nToo long for a comment: {code(whole)}"


def _counted(found: Sequence[Difference]) -> str:
    actions = ("create", "update", "delete")
    counts = [(action, sum(each.action == action for each in found)) for action in actions]
    return ", ".join(f"{action} {count}" for action, count in counts if count)


def _difference(found: Difference) -> str:
    return f"{found.action} {escaped(found.name)}\n\n{fenced(found.diff, 'diff')}"
