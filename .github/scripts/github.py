"""GitHub's API by way of `gh`, for the scripts of this folder. GH_TOKEN says who asks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

BOT = "github-actions[bot]"
"""Who writes what a workflow writes."""
LONGEST = 65_536
"""Characters of a comment or an issue."""

_PAGE = 100
Record = dict[str, Any]


def repository() -> str:
    """OWNER/NAME of the repository whose workflow this is."""
    return os.environ["GITHUB_REPOSITORY"]


def run_url() -> str:
    """The page of this run."""
    return f"{os.environ['GITHUB_SERVER_URL']}/{repository()}/actions/runs/{os.environ['GITHUB_RUN_ID']}"


def api(method: str, path: str, body: Record | None = None) -> Any:
    """The answer to a request; a refusal ends the program with gh's words."""
    words = ["gh", "api", "--method", method, path, *(["--input", "-"] if body else [])]
    done = subprocess.run(
        words, input=json.dumps(body) if body else None, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{method} {path}: gh ended with {done.returncode}")
    return json.loads(done.stdout or "null")


def every(path: str) -> Iterator[Record]:
    """All entries of a list, page by page.

    Args:
        path: of the list, with its query if it has one.
    """
    separator = "&" if "?" in path else "?"
    page = 1
    while entries := api("GET", f"{path}{separator}per_page={_PAGE}&page={page}"):
        yield from entries
        if len(entries) < _PAGE:
            return
        page += 1


def own(path: str, marker: str) -> Record | None:
    """The first entry of a list that a workflow wrote and that begins with a marker."""
    for entry in every(path):
        author: Record = entry["user"] or {}  # none, when the account is gone
        if author.get("login") == BOT and (entry["body"] or "").startswith(marker):
            return entry
    return None
