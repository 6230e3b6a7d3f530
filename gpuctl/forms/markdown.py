"""Markdown as GitHub and GitLab read it, in which text of others stays text.

It mentions nobody, links nowhere, is no HTML, no image, no emoji and no formula, and ends nothing that surrounds it.
"""

import html
import re
from collections.abc import Iterable, Iterator, Sequence

from gpuctl.forms.text import one_line, visible

_BREAK = "&#8203;"
"""A space without width: escapes do not help against what is searched for in the finished page."""
_SEARCHED = re.compile(
    r"(?<![A-Za-z0-9_])@|@(?=[\w.-]*\.\w)"  # a mention, a mail address
    r"|[#!](?=\d)"  # an issue, a merge request
    r"|:(?=//)|www(?=\.)"  # an address
    r"|:(?=[\w+-]*[A-Za-z+-][\w+-]*:)"  # an emoji
)
_MARKUP = str.maketrans({each: f"\\{each}" for each in "\\`*_~|[]"} | {"$": "&#36;"})
_CODE = re.compile(r"(?<!`)(`[^`|\n]+`)(?!`)")
"""A code span of one backquote: without another in it, nothing but the next one can end it. A bar would end a cell."""
_LEADING = re.compile(r"^(\d*)(?=[#+=/.)-])")
"""Before what makes a line a heading, a list or, to GitLab, a command."""


def escaped(text: str) -> str:
    """Text that shows as it is, within a paragraph, a heading or a cell."""
    return _inert(visible(text.strip()))


def paragraph(text: str) -> str:
    """Text that shows as it is, where a line begins with it."""
    return _LEADING.sub(r"\1\\", escaped(text))


def with_code(text: str) -> str:
    """A sentence that shows as it is, but for code between single backquotes."""
    parts = _CODE.split(visible(text.strip()))
    return "".join(part if index % 2 else _inert(part) for index, part in enumerate(parts))


def code(text: str) -> str:
    """A code span with whatever is in the text; not for a table, where a bar ends the cell."""
    text = one_line(text) or " "
    pad = " " if text.strip() and (text[0] in "` " or text[-1] in "` ") else ""
    fence = _fence(text, 1)
    return f"{fence}{pad}{text}{pad}{fence}"


def fenced(text: str, language: str = "") -> str:
    """A code block that nothing in it can end."""
    fence = _fence(text, 3)
    return "\n".join([f"{fence}{language}", visible(text), fence])


def fold(summary: str, body: str) -> str:
    """A body that shows when somebody opens its summary, in which nothing but HTML is markup.

    Args:
        summary: as it is.
        body: as Markdown.
    """
    return f"<details><summary>{_unlinked(one_line(summary))}</summary>\n\n{body}\n\n</details>"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """The lines of a table.

    Args:
        headings: of the columns, as Markdown.
        rows: of cells, as Markdown.
        right: which columns are aligned to the right.
    """
    yield _row(headings)
    yield f"|{'|'.join('--:' if column in right else '---' for column in range(len(headings)))}|"
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _inert(text: str) -> str:
    return _unlinked(text).translate(_MARKUP).replace("\n", "<br>")


def _unlinked(text: str) -> str:
    return _SEARCHED.sub(rf"\g<0>{_BREAK}", html.escape(text, quote=False))


def _fence(text: str, least: int) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)
