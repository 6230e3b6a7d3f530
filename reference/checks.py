"""The check reference, docs/checks.md, written from the registry."""

from collections.abc import Iterator
from itertools import groupby

from gpuctl.checks.model import Check
from gpuctl.checks.registry import CHECKS, PREREQUISITES

_ALL = (*CHECKS, *(check for check in PREREQUISITES if check not in CHECKS))
"""Those of the cluster, then those that only `gpuctl doctor --pre` asks."""

_INTRODUCTION = """\
# Check reference

<!-- Generated from gpuctl/checks by `make generate`. -->

What `gpuctl verify` and `gpuctl doctor` ask, in the order in which they ask it: what stands first is the likely cause
of what comes later. [verify.md](verify.md) tells how the commands are used. The examples are of a stack `lab` with the
context `admin@lab`; the commands print theirs for the cluster at hand.

An id never changes its meaning. A failing check of severity `warning` is advice and fails a run only with `--strict`.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *_overview(), *_chapters()])


def _overview() -> Iterator[str]:
    yield "| id | category | severity | statement |"
    yield "|---|---|---|---|"
    for check in _ALL:
        yield f"| [{check.id}](#{check.id.lower()}) | {check.category.name} | {check.severity} | {check.title} |"
    yield ""


def _chapters() -> Iterator[str]:
    for category, checks in groupby(_ALL, key=lambda check: check.category):
        yield f"## {category.name}: {category.title}\n"
        for check in checks:
            yield from _section(check)


def _section(check: Check) -> Iterator[str]:
    mark = "\N{MULTIPLICATION SIGN}" if check.severity == "error" else "‼"
    yield f"### {check.id}\n"
    yield f"**{check.title}**{_traits(check)}\n"
    yield f"{check.cause}.\n"
    yield f"```text\n{mark} {check.title}\n    {check.example}\n```\n"
    if check.confirm:
        yield "What shows more:\n"
        yield "```sh\n" + "\n".join(check.confirm) + "\n```\n"
    yield "What fixes it:\n"
    yield "\n".join(f"- {step}" for step in check.fix) + "\n"


def _traits(check: Check) -> str:
    traits = {
        "everything after it is unknown until it passes": check.fatal,
        "`--wait` waits for it": check.retry,
        "asked by `gpuctl doctor` only": check.deep,
        "asked by `gpuctl doctor --pre` only": check not in CHECKS,
        "asked by `gpuctl verify --sharing` only": check.makes_pods,
        "advice": check.severity == "warning",
    }
    told = [trait for trait, holds in traits.items() if holds]
    return f" ({'; '.join(told)})" if told else ""
