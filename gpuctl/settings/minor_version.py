"""Release lines: `v1.13.9` and `v1.13` are both of the line (1, 13)."""

import re

Minor = tuple[int, int]


def minor_of(version: str) -> Minor:
    """The release line of a version."""
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)


def format_minor(of: Minor) -> str:
    """A line as people write it: `v1.13`."""
    return f"v{of[0]}.{of[1]}"
