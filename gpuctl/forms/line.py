"""A line for people: whatever it is made of shows and steers nothing; its parts may have a style."""

from dataclasses import dataclass

from gpuctl.forms.text import inert, one_line

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
"""Style -> its number in a terminal's control sequence."""

Part = str | tuple[str, str]
"""Text, or text and its styles, separated by blanks."""


@dataclass(frozen=True)
class Line:
    """Parts that are safe to show, each with its styles."""

    parts: tuple[tuple[str, str], ...]

    @property
    def plain(self) -> str:
        """What stands in it."""
        return inert("".join(text for text, _ in self.parts))

    @property
    def colored(self) -> str:
        """The same with the control sequences of its styles."""
        return inert("".join(_styled(text, styles) for text, styles in self.parts))


def line(*parts: Part) -> Line:
    """A line of parts, which are shown as they are."""
    pairs = ((part, "") if isinstance(part, str) else part for part in parts)
    return Line(tuple((one_line(text), styles) for text, styles in pairs))


def _styled(text: str, styles: str) -> str:
    return f"\x1b[{';'.join(STYLES[style] for style in styles.split())}m{text}\x1b[0m" if styles else text
