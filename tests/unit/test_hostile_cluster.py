"""Whatever a cluster says of itself, in names, logs, errors and annotations: it shows, and steers nobody."""

import json
import random
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from typer.testing import CliRunner

from gpuctl.cli import running
from gpuctl.cli.app import app
from gpuctl.cluster import AccessDeniedError, Cluster, ClusterError, Executed, UnreachableError
from gpuctl.settings import Settings, read_stack
from tests.fixtures.agent_lines import answering
from tests.fixtures.checks import FakePrograms
from tests.fixtures.fake_cluster import FakeCluster
from tests.fixtures.fuzzing import fuzz
from tests.fixtures.watcher_lines import gpu, process, writes

TEXTS = (
    *("\x1b[31m", "\n::error::x", "::set-output name=a::b", "##[error]", "##vso[task]", "\r\x1b]0;t\x07", "\x85::x"),
    *("|", "`x`", "```\n", "<script>alert(1)</script>", "<!-- gpuctl plan -->", "]]>", "&amp;", "@octocat", "[a](b)"),
    *("\u202egnp", "\ud800", "\x00", "\ufffe", "x" * 1_000_000),
)
VERBS = (
    *(["verify", "-o", "table"], ["verify", "-o", "short"], ["verify", "-o", "markdown"], ["verify", "-o", "json"]),
    *(["doctor"], ["doctor", "-o", "json"], ["status"], ["status", "-o", "json"], ["usage"], ["power", "history"]),
)
WATCHED = read_stack("lab").model_copy(update={"usage": True})
METHODS = ("version", "nodes", "pods", "get", "list", "log", "execute", "replace", "may")
SGR = re.compile(r"\x1b\[[0-9;]*m")


def _texts(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the texts in an object are."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key, each in cast("dict[str, Any]", value).items():
            yield from _texts(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(cast("list[Any]", value)):
            yield from _texts(each, (*path, index))


def _change(chance: random.Random, thing: dict[str, Any], text: str) -> None:
    """One text of an object has this one in it or is it, or there is one label more."""
    if chance.random() < 0.2:
        thing["metadata"].setdefault(chance.choice(["labels", "annotations"]), {})[f"k{text}"] = f"v{text}"
        return
    *above, last = chance.choice(list(_texts(thing)))
    place: Any = thing
    for step in above:
        place = place[step]
    before = place[last]
    place[last] = before + text if chance.random() < 0.7 else text


def _hostile(chance: random.Random, text: str) -> FakeCluster:
    cluster = answering(WATCHED, {"gpu-1": 8, "gpu-2": 6, "gpu-3": 8})
    now = datetime.now(UTC)
    times = (now - timedelta(seconds=30), now)
    lines = (line for each in times for line in (process("GPU-1", "uid-1", 9, 9, each), gpu("GPU-1", 0, 1, each)))
    writes(cluster, "gpu-1", list(lines))
    pools: tuple[Any, ...] = (cluster.node_objects, cluster.pod_objects, cluster.objects)
    for _ in range(chance.choice([1, 3, 30])):
        pool = chance.choice(pools)
        _change(chance, pool[chance.choice(list(pool))], text)
    for pod, lines in cluster.logs.items():
        cluster.logs[pod] = [*lines, *(f"{line}{text}" for line in lines), text]
    if chance.random() < 0.2:
        cluster.server_version = text
    if chance.random() < 0.3:
        kind = chance.choice([ClusterError, AccessDeniedError, UnreachableError])
        cluster.failures[chance.choice(METHODS)] = kind(f"said {text}")
    if chance.random() < 0.3:
        for pod, answer in cluster.commands.items():
            cluster.commands[pod] = lambda words, answer=answer: _with(answer(words), text)
    return cluster


def _with(answer: Executed, text: str) -> Executed:
    return answer._replace(**{key: value + text for key, value in answer._asdict().items() if isinstance(value, str)})


def _readable(objects: Sequence[dict[str, Any]], kind: Any) -> list[Any]:
    """As the real client reads them: one that is no such object is left out."""
    found: list[Any] = []
    for each in objects:
        try:
            found.append(msgspec.convert(each, kind))
        except msgspec.ValidationError:
            continue
    return found


def _assert_it_is_text(said: str) -> None:
    for line in said.split("\n"):
        assert line.isprintable(), ascii(line[:200])
        assert not line.lstrip().startswith("::"), line[:200]
        assert "##[" not in line, line[:200]
        assert "##vso[" not in line, line[:200]


def test_nothing_in_a_cluster_steers_who_reads_about_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, reached = tmp_path / "junit.xml", list[Cluster]()

    def connect(*_: object) -> Cluster:
        return reached[-1]

    def read(*_: object, **__: object) -> Settings:
        return WATCHED

    monkeypatch.setattr("gpuctl.cluster.connect", connect)
    monkeypatch.setattr("gpuctl.cli.options.read_stack", read)
    monkeypatch.setattr(running, "InstalledPrograms", FakePrograms)
    monkeypatch.setattr("tests.fixtures.fake_cluster._converted", _readable)

    def attempt(chance: random.Random) -> str:
        reached.append(_hostile(chance, chance.choice(TEXTS)))
        words, colored = chance.choice(VERBS), chance.choice(["1", None])
        more = ["--junit", str(report)] if "table" in words else []
        done = CliRunner().invoke(app, [*words, "--stack", "lab", *more], env={"FORCE_COLOR": colored})
        assert done.exception is None or isinstance(done.exception, SystemExit), (words, done.exception)
        if more:
            ElementTree.parse(report)
        if "json" in words and done.stdout:
            json.loads(done.stdout)
            assert done.stdout.isascii()
        _assert_it_is_text(SGR.sub("", done.output) if colored else done.output)
        return f"exit {done.exit_code}"

    assert set(fuzz("clusters", attempt, least=25)) == {"exit 0", "exit 1", "exit 3"}
