"""What a reader on GitHub sees of hostile text: the text itself, and no markup; by the parser that GitHub uses."""

import re
from html.parser import HTMLParser
from importlib import import_module
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpuctl.forms.markdown import code, escaped, fenced, fold, paragraph, table, with_code
from gpuctl.plan.consequence import Consequence
from gpuctl.plan.differences import Difference
from gpuctl.plan.figures import NodeFigures
from gpuctl.plan.markdown import MARKER, markdown
from gpuctl.plan.side import Side
from gpuctl.plan.stack_plan import NodeChange, StackPlan

_GITHUB: Any = import_module("cmarkgfm")  # without types
_RAW = _GITHUB.cmark.Options.CMARK_OPT_UNSAFE | _GITHUB.cmark.Options.CMARK_OPT_FOOTNOTES
_FRAGMENTS = st.sampled_from(
    [
        *"`@#!:/\\*_~|[]()<>&$+-=.1 ax\n\t\x1b\u202e",
        *(
            "``",
            "```",
            "@octocat",
            "www.",
            "https://",
            "a@b.cd",
            "<img src=x>",
            "<!-- ",
            "-->",
            "[x](https://e.example)",
        ),
        *("![x](y)", ":x:", "</details>", "&amp;", "&#64;", "1. ", "~~", "[^1]"),
    ]
)
HOSTILE = st.lists(_FRAGMENTS, max_size=12).map("".join)
_A3 = "``` @octocat <img src=https://evil.example/p.png> [click](https://evil.example) `"


class _Page(HTMLParser):
    """What a page shows, and the tags in it."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.text, self.prose, self.opened = "", "", list[str]()
        self._cells = list[int]()
        self._code = 0
        self.feed(_GITHUB.github_flavored_markdown_to_html(markdown, _RAW))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.opened.append(tag)
        self._cells += [len(self.text)] if tag == "td" else []
        self._code += tag == "code"
        self.text += "\n" if tag == "br" else ""

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag == "code"

    def handle_data(self, data: str) -> None:
        self.text += data.replace("\u200b", "")
        self.prose += "" if self._code else data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment hides {data}")

    def cell(self, number: int) -> list[str]:
        """The words of a cell of the table's body."""
        first, end = self._cells[number : number + 2]
        return self.text[first:end].split()

    @property
    def tags(self) -> set[str]:
        """Those that are in it at all."""
        return set(self.opened)

    @property
    def calls(self) -> list[str]:
        """What GitHub and GitLab search the finished page for, outside code."""
        return re.findall(r"(?<![A-Za-z0-9_])@\w|[#!]\d|:[+-]?\w+[A-Za-z]\w*:|://|www\.", self.prose)


def _shown(text: str) -> str:
    """Every character visible: control characters as escapes."""
    lines = text.strip().splitlines()
    return "\n".join(
        "".join(
            each if each.isprintable() else " " if each == "\t" else each.encode("unicode_escape").decode()
            for each in line
        )
        for line in lines
    )


@settings(max_examples=300)
@given(HOSTILE)
@example(_A3)
@example("# x")
@example("1. x")
@example("/close")
def test_escaped_text_is_shown_as_it_is_and_is_no_markup(text: str) -> None:
    page = _Page(paragraph(text))
    assert (page.text.strip(), page.tags - {"p", "br"}, page.calls) == (_shown(text).strip(), set(), [])


@settings(max_examples=300)
@given(HOSTILE)
@example(_A3)
@example("run `pulumi destroy` @octocat ` <b>")
@example("`` `a` @b` ``")
def test_in_a_sentence_only_code_is_markup(text: str) -> None:
    page = _Page(f"- **lab**: {with_code(text)}")
    shown = page.text.strip().removeprefix("lab:").strip()
    assert (page.tags - {"ul", "li", "strong", "br", "code"}, page.calls) == (set(), [])
    assert shown.replace("`", "").split() == _shown(text).replace("`", "").split()


def test_code_between_backquotes_stays_code() -> None:
    page = _Page(with_code("run `pulumi destroy` first"))
    assert (page.tags, page.text.strip()) == ({"p", "code"}, "run pulumi destroy first")


@settings(max_examples=200)
@given(st.lists(HOSTILE, min_size=2, max_size=2))
def test_no_cell_ends_its_column_or_its_row(cells: list[str]) -> None:
    page = _Page("\n".join(table(["A", "B"], [list(map(escaped, cells))], right=[1])))
    assert (page.tags - {"table", "thead", "tbody", "tr", "th", "td", "br"}, page.calls) == (set(), [])
    assert page.text.split() == ["A", "B", *(word for cell in cells for word in _shown(cell).split())]


@settings(max_examples=200)
@given(HOSTILE)
def test_nothing_ends_a_code_block(text: str) -> None:
    page = _Page(f"{fenced(text, 'sh')}\n\nthe end")
    assert page.tags == {"pre", "code", "p"}
    assert page.prose.strip() == "the end"


@settings(max_examples=200)
@given(HOSTILE)
def test_nothing_ends_a_code_span(text: str) -> None:
    page = _Page(f"a {code(text)} b")
    assert page.tags == {"p", "code"}
    assert page.prose.split() == ["a", "b"]


@settings(max_examples=200)
@given(HOSTILE)
@example("my_stack: 2 objects")
def test_a_summary_shows_as_it_is(text: str) -> None:
    """It is HTML, in which Markdown's escapes would show."""
    page = _Page(fold(text, "body"))
    assert (page.tags, page.calls) == ({"details", "summary", "p"}, [])
    shown = text.replace("\n", r"\n").replace("\t", " ").replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
    assert page.text.split() == [*shown.split(), "body"]


_BREAKING = st.lists(
    st.one_of(
        HOSTILE, st.sampled_from(["\r", "\x0b", "\x85", "\u2028", "\u2029", "````", "~~~", "</td>", "\n\n# x\n"])
    ),
    max_size=6,
).map(lambda parts: "".join(parts)[:100])  # longer ones are shortened


@settings(max_examples=100, deadline=None)
@given(_BREAKING, _BREAKING, _BREAKING)
@example("a | b\u2028| c", "```\n@octocat", "![img](//e.example)")
@example("</summary></details><img src=x>", "a", "b")
def test_nothing_in_a_plan_leaves_its_cell_its_code_or_its_fold(stack: str, node: str, model: str) -> None:
    """As if the settings refused no character of a name, a context or a model."""
    figures = NodeFigures(model, 4, 8, {}, None, (), None)
    found = StackPlan(
        stack,
        Side(),
        Side(),
        (NodeChange(node, figures, figures),),
        [Consequence("warning", f"{node} has {model}, run `x {node}`")],
        (Difference(f"Node {node}", "update", f"-{model}\n+{node}"),),
    )
    broken = StackPlan(stack, Side(), Side(mistakes=f"{node} = {model}"))
    page = _Page(markdown([found, broken], stack, node).removeprefix(MARKER))
    assert page.calls == []
    assert [page.cell(number) for number in range(3)] == [_shown(each).split() for each in (stack, node, model)]
    assert [page.opened.count(tag) for tag in ("h3", "table", "tr", "th", "td", "details", "pre", "img", "a")] == [
        1,
        1,
        2,
        8,
        8,
        1,
        2,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("admin@lab", "admin@lab"),
        ("@octocat", "@&#8203;octocat"),
        ("my_stack", r"my\_stack"),
        ("a\nb", "a<br>b"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    ],
)
def test_no_more_is_escaped_than_must_be(text: str, markdown: str) -> None:
    assert escaped(text) == markdown
