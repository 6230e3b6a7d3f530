"""Keeps one issue for each stack open while its cluster is not what was deployed: `drift_issue.py STACK OUTCOME`.

It reads what drift.sh wrote; OUTCOME is that of its step: `success` or `failure`.
"""

import sys
from pathlib import Path

import github

_SHOWN = 25_000
"""Characters of each part; the end has the errors and the count."""


def main(stack: str, outcome: str) -> None:
    """Opens, updates or closes the issue of a stack."""
    marker = f"<!-- gpuctl drift: {stack} -->\n"
    issues = f"repos/{github.repository()}/issues"
    before = github.own(f"{issues}?state=open", marker)
    if outcome == "success":
        if before:
            github.api("POST", f"{issues}/{before['number']}/comments", {"body": f"All is well: {github.run_url()}"})
            github.api("PATCH", f"{issues}/{before['number']}", {"state": "closed"})
        return
    body = marker + _report(stack)
    if before:
        github.api("PATCH", f"{issues}/{before['number']}", {"body": body})
    else:
        github.api("POST", issues, {"title": f"Cluster of stack {stack} is not what was deployed", "body": body})


def _report(stack: str) -> str:
    preview, verify = _end(Path(f"drift/{stack}.txt")), _end(Path(f"verify/{stack}.md"))
    return (
        f"Seen by [this run]({github.run_url()}), last. `pulumi up --refresh --stack {stack}` makes the cluster what "
        f"the stack says; this issue closes when nothing differs any more.\n\n{verify}\n"
        f"<details><summary>pulumi preview --refresh</summary>\n\n{_fenced(preview)}\n\n</details>\n"
    )


def _end(file: Path) -> str:
    return file.read_text()[-_SHOWN:] if file.exists() else ""


def _fenced(text: str) -> str:
    fence = "`" * 3
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
