"""The one comment about GPU capacity on a pull request: `comment.py plan FOLDER` or `comment.py verified FOLDER`.

`plan` posts what the pull request's own run computed. The run may be that of a stranger's fork, so its artifact is
text and nothing else: which pull request it belongs to is asked of GitHub and never read from it.
`verified` adds to the comment of a merged pull request what the clusters are now.
"""

import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

import github

MARKER = "<!-- gpuctl plan -->"
"""First line of the comment, by which it is found again."""
VERIFIED = "<!-- gpuctl verify -->"
"""What follows it was seen after the merge."""


def plan(folder: Path) -> None:
    """Posts the plan in a folder; one that changes nothing only replaces an earlier one."""
    body = _body(folder / "comment.md")
    number = _pull_request()
    if number is None:
        print("no open pull request has this commit as its head, or more than one has: nothing is posted")
        return
    _post(number, body, only_update=(folder / "unchanged").exists())


def verified(folder: Path) -> None:
    """Adds the reports in a folder to the comment of the pull request whose merge this commit is."""
    reports = [path.read_text() for path in sorted(folder.glob("*.md"))]
    number = _merged()
    if number is None or not reports:
        print("this commit is no merge of a pull request, or nothing was verified: nothing is posted")
        return
    before = github.own(_comments(number), MARKER)
    kept = before["body"].partition(VERIFIED)[0].rstrip() if before else MARKER
    heading = f"{kept}\n\n{VERIFIED}\n## [Deployed and verified]({github.run_url()})\n"
    body = "\n".join([heading, *reports])
    if len(body) > github.LONGEST:
        body = "\n".join([heading, *(report.partition("\n")[0] for report in reports)])
    _post(number, body)


def _body(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if not text.startswith(f"{MARKER}\n"):
        sys.exit(f"{file.name} does not begin with {MARKER}: it is no plan, and is not posted")
    if len(text) > github.LONGEST:
        sys.exit(f"{file.name} has {len(text)} characters, and GitHub takes {github.LONGEST}: it is not posted")
    return text


def _pull_request() -> int | None:
    run = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text())["workflow_run"]
    head = quote(f"{run['head_repository']['owner']['login']}:{run['head_branch']}", safe="")
    found = [
        pull["number"]
        for pull in github.every(f"repos/{github.repository()}/pulls?state=open&head={head}")
        if _is_of(run, pull)
    ]
    return found[0] if len(found) == 1 else None


def _is_of(run: github.Record, pull: github.Record) -> bool:
    source: github.Record = pull["head"]["repo"] or {}  # none, when the fork is gone
    return source.get("id") == run["head_repository"]["id"] and pull["head"]["sha"] == run["head_sha"]


def _merged() -> int | None:
    commit = os.environ["GITHUB_SHA"]
    for each in github.every(f"repos/{github.repository()}/commits/{commit}/pulls"):
        if each["merged_at"] and each["merge_commit_sha"] == commit:
            return each["number"]
    return None


def _comments(number: int) -> str:
    return f"repos/{github.repository()}/issues/{number}/comments"


def _post(number: int, body: str, *, only_update: bool = False) -> None:
    before = github.own(_comments(number), MARKER)
    if before:
        github.api("PATCH", f"repos/{github.repository()}/issues/comments/{before['id']}", {"body": body})
    elif not only_update:
        github.api("POST", _comments(number), {"body": body})


if __name__ == "__main__":
    {"plan": plan, "verified": verified}[sys.argv[1]](Path(sys.argv[2]))
