"""Columns for people, as wide as what is in them: nothing is cut or wrapped, on a screen as in a pipe."""

import unicodedata
from collections.abc import Collection, Iterator, Sequence

from gpuctl.forms.line import Line, Part, line

Cell = str | Line
"""A text of one or several lines, or a line with styles."""

_GAP = "  "


def table(headings: Sequence[str], rows: Sequence[Sequence[Cell]], right: Collection[str] = ()) -> Iterator[Line]:
    """The headings, and below each its cells.

    Args:
        headings: of the columns.
        rows: a cell for each heading.
        right: headings of the columns of figures, which are aligned to the right.
    """
    sides = [heading in right for heading in headings]
    laid = [[_lines(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(_width(each) for cells in column for each in cells) for column in zip(*laid, strict=True)]
    for number, cells in enumerate(laid):
        for index in range(max(map(len, cells))):
            row = [cell[index] if index < len(cell) else _EMPTY for cell in cells]
            yield _row(row, widths, sides, "" if number else "bold")


_EMPTY = line("")


def _lines(cell: Cell) -> list[Line]:
    return [cell] if isinstance(cell, Line) else [line(each) for each in cell.splitlines()] or [_EMPTY]


def _row(cells: Sequence[Line], widths: Sequence[int], right: Sequence[bool], style: str) -> Line:
    parts = list[Part]()
    last = max((index for index, cell in enumerate(cells) if cell.parts and cell.plain), default=-1)
    for index, cell in enumerate(cells[: last + 1]):
        blank = " " * (widths[index] - _width(cell))
        shown = [(text, styles or style) for text, styles in cell.parts]
        gap = _GAP if index else ""
        parts += [gap + blank, *shown] if right[index] else [gap, *shown, blank if index < last else ""]
    return line(*parts)


def _width(shown: Line) -> int:
    """Columns of a terminal: those of most Asian scripts and of emoji take two."""
    text = shown.plain
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else not unicodedata.combining(each) for each in text)
