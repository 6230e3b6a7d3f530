"""The record of a run as a page for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def markdown(record: Record) -> str:
    """The page; the record is that of run.json."""
    return "\n".join(_lines(record)) + "\n"


def _lines(record: Record) -> Iterator[str]:
    gpus: Mapping[str, Mapping[str, str]] = record["settings"]["before"]
    yield "# The product on real GPUs" if gpus else "# A rehearsal on simulated GPUs"
    yield ""
    yield f"Written by `python -m testbed l3`, {record['started']} to {record['finished']}, on {record['system']}."
    yield ""
    rows = [(each["proof"], each["claim"], _verdict(each), _cell(each["observed"])) for each in record["outcomes"]]
    yield from _table(("proof", "claim", "verdict", "seen"), rows)
    if gpus:
        yield from ("", "## Settings of the GPUs, before and after", "")
        fields = list(next(iter(gpus.values())))
        after: Mapping[str, Mapping[str, str]] = record["settings"]["after"]
        values = [
            (field, *(_pair(gpus[uuid][field], after.get(uuid, {}).get(field)) for uuid in gpus)) for field in fields
        ]
        yield from _table(("", *gpus), values)
        yield from ("", _cell(record["settings"]["changed"]) or "No setting changed.")


def _verdict(outcome: Record) -> str:
    return (
        f"not tried: {outcome['skipped']}"
        if outcome["skipped"]
        else "holds"
        if outcome["holds"]
        else "**does not hold**"
    )


def _pair(before: str, after: str | None) -> str:
    return before if after == before else f"**{before}, then {after}**"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (heading, ["---"] * len(heading), *rows):
        yield f"| {' | '.join(row)} |"


def _cell(sentences: Sequence[str]) -> str:
    return "<br>".join(sentence.replace("|", "\\|").replace("\n", " ") for sentence in sentences)
