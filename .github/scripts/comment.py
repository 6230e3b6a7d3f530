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
    run = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text())["workflow_run"]
    number = _pull_request(run)
    if number is None:
        print("no open pull request has this commit as its head, or more than one has: nothing is posted")
        return
    text = (folder / "comment.md").read_text(encoding="utf-8", errors="replace")
    if not text.startswith(f"{MARKER}\n"):
        _post(number, _instead(run, "there is no plan"), only_update=True)
        sys.exit(f"comment.md does not begin with {MARKER}: it is no plan, and is not posted")
    if len(text) > github.LONGEST:
        _post(number, _instead(run, f"the plan has {len(text)} characters, more than a comment takes"))
        return
    _post(number, text, only_update=(folder / "unchanged").exists())


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
    verdicts = [report.partition("\n")[0] for report in reports]
    if len(body) > github.LONGEST:
        body = "\n".join([heading, *verdicts])
    if len(body) > github.LONGEST:  # the plan was posted before, and stands in its run
        body = "\n".join([MARKER, heading.removeprefix(kept), *verdicts])[: github.LONGEST]
    _post(number, body)


def _instead(run: github.Record, reason: str) -> str:
    """What takes the place of a comment on an earlier commit, which would hide what this one does."""
    commit, page = run["head_sha"][:12], run["html_url"]
    return f"{MARKER}\n\n### GPU capacity: not known of {commit}\n\nFor this commit {reason}: see [its run]({page}).\n"


def _pull_request(run: github.Record) -> int | None:
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
