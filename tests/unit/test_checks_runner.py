"""A run of checks: what stops it, what is asked again, and which exit code it ends with."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest

from gpuctl.checks import runner
from gpuctl.checks.context import Context
from gpuctl.checks.model import Category, Check, Outcome, Result, failed, passed
from gpuctl.checks.registry import CHECKS
from gpuctl.checks.report import Entry, Report
from gpuctl.checks.runner import Wait, run
from gpuctl.cluster import AccessDeniedError, UnreachableError
from gpuctl.settings import Settings
from gpuctl.sharing.record import Record
from tests.fixtures.checks import FakePrograms, context_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster

_CATEGORY = Category("test", "tests")
Run = Callable[[Context], Iterable[Result]]


def _check(
    id_: str, *results: Result | Exception, fatal: bool = False, retry: bool = False, advice: bool = False
) -> Check:
    """A check that gives one result after another each time it is asked, and the last one from then on."""
    answers = itertools.chain(results, itertools.repeat(results[-1]))

    def run(_: Context) -> Iterator[Result]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        yield answer

    severity = "warning" if advice else "error"
    return Check(id_, _CATEGORY, id_, "cause", "example", (), (), severity, fatal=fatal, retry=retry)(run)


def _run(*checks: Check, wait: Wait | None = None) -> tuple[Report, list[str]]:
    said: list[str] = []
    return run(checks, context_of(FakeCluster()), said.append, wait), said


def _outcomes(report: Report) -> list[str]:
    return [entry.outcome.value for entry in report.entries]


@pytest.fixture(autouse=True)
def _time_flies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sleep moves the clock and takes no time."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(runner.time, "sleep", sleep)
    monkeypatch.setattr(runner.time, "monotonic", lambda: now[0])


GOOD, BAD = passed("it is so"), failed("it is not so", "fix it")


def test_what_passes_leaves_a_cluster_ready() -> None:
    report, _ = _run(_check("A", GOOD), _check("B", GOOD))
    assert (_outcomes(report), report.ready, report.exit_code()) == (["pass", "pass"], True, 0)


def test_a_failure_does_not_keep_others_from_being_told() -> None:
    report, _ = _run(_check("A", BAD), _check("B", GOOD))
    assert (_outcomes(report), report.exit_code()) == (["fail", "pass"], 1)


def test_nothing_can_be_told_after_a_fatal_failure() -> None:
    report, _ = _run(_check("A", BAD, fatal=True), _check("B", GOOD))
    assert _outcomes(report) == ["fail", "skip"]
    assert report.entries[1].results[0].fact == "unknown until A passes"


def test_advice_is_a_warning_and_fails_only_a_strict_run() -> None:
    report, _ = _run(_check("A", BAD, advice=True))
    assert (_outcomes(report), report.exit_code(), report.exit_code(strict=True)) == (["warn"], 0, 1)


def test_what_may_not_be_read_is_skipped_with_the_reason() -> None:
    report, _ = _run(_check("A", AccessDeniedError("pods is forbidden")), _check("B", GOOD))
    assert (_outcomes(report), report.entries[0].results[0].fact) == (["skip", "pass"], "pods is forbidden")


def test_a_cluster_that_stops_answering_ends_the_run_with_3() -> None:
    report, _ = _run(_check("A", GOOD), _check("B", UnreachableError("gone")), _check("C", BAD))
    assert (_outcomes(report), report.exit_code()) == (["pass", "error", "skip"], 3)


def test_a_check_that_breaks_is_an_error_of_its_own_and_no_traceback() -> None:
    report, _ = _run(_check("A", ZeroDivisionError("division by zero")), _check("B", GOOD))
    assert (_outcomes(report), report.exit_code()) == (["error", "pass"], 1)
    assert "ZeroDivisionError: division by zero" in report.entries[0].results[0].fact


def test_waiting_ends_as_soon_as_everything_holds() -> None:
    report, said = _run(_check("A", BAD, BAD, GOOD, retry=True), wait=Wait(60, 5))
    assert (report.exit_code(), report.seconds) == (0, 10)
    assert [line for line in said if line.startswith("waiting")] == ["waiting: it is not so"]


def test_the_end_of_the_wait_is_124() -> None:
    report, _ = _run(_check("A", BAD, retry=True), wait=Wait(20, 5))
    assert (_outcomes(report), report.exit_code(), report.seconds) == (["fail"], 124, 20)


def test_a_failure_that_waiting_cannot_fix_ends_the_wait_at_once() -> None:
    report, _ = _run(_check("A", BAD, retry=True), _check("B", BAD), wait=Wait(20, 5))
    assert (report.exit_code(), report.seconds) == (1, 0)


def test_what_passed_is_not_asked_again() -> None:
    report, _ = _run(_check("A", GOOD, BAD), _check("B", BAD, GOOD, retry=True), wait=Wait(60, 5))
    assert _outcomes(report) == ["pass", "pass"]


def test_what_a_fatal_failure_left_out_is_told_once_that_is_fixed() -> None:
    report, _ = _run(_check("A", BAD, GOOD, fatal=True, retry=True), _check("B", GOOD), wait=Wait(60, 5))
    assert _outcomes(report) == ["pass", "pass"]


def test_a_cluster_that_answers_again_while_waiting_is_no_failure() -> None:
    report, _ = _run(_check("A", UnreachableError("gone"), GOOD), wait=Wait(60, 5))
    assert (_outcomes(report), report.exit_code()) == (["pass"], 0)


def test_each_look_is_a_fresh_one() -> None:
    cluster = FakeCluster()
    context = context_of(cluster)

    def nodes(look: Context) -> Iterator[Result]:
        found = len(look.nodes)
        cluster.add_node(f"gpu-{found}")
        yield passed("") if found == 2 else failed("", "")

    report = run(
        [Check("A", _CATEGORY, "A", "cause", "example", (), (), retry=True)(nodes)],
        context,
        lambda _: None,
        Wait(60, 5),
    )
    assert report.entries[0].outcome is Outcome.PASS


def test_ids_are_used_once() -> None:
    ids = [check.id for check in CHECKS]
    assert len(ids) == len(set(ids))


def test_a_check_that_makes_pods_is_asked_once_and_after_all_others() -> None:
    proof = replace(_check("P", GOOD, BAD), makes_pods=True)
    report, said = _run(_check("A", BAD, BAD, GOOD, retry=True), proof, wait=Wait(60, 5))
    assert (_outcomes(report), said[-1]) == (["pass", "pass"], "tests: P")
    assert said.count("tests: P") == 1


def test_nothing_makes_pods_after_a_fatal_failure() -> None:
    report, said = _run(_check("A", BAD, fatal=True), replace(_check("P", GOOD), makes_pods=True))
    assert (_outcomes(report), "tests: P" in said) == (["fail", "skip"], False)


def test_the_proof_is_run_once_whether_it_could_be_run_or_not() -> None:
    calls: list[int] = []

    def prove(*_: object) -> Record:
        calls.append(1)
        raise AccessDeniedError("namespaces is forbidden")

    context = Context("lab", settings_of, lambda _: FakeCluster(), FakePrograms(), prove)
    for _ in range(2):
        with pytest.raises(AccessDeniedError):
            _ = context.sharing
    assert calls == [1]


def _settled(*checks: Check, wait: Wait | None = None) -> tuple[list[str], Report]:
    """Each entry handed on, with what was asked for by then."""
    log: list[str] = []

    def settled(entry: Entry) -> None:
        log.append(f"{entry.check.id} {entry.outcome.value}")

    report = run(
        checks, context_of(FakeCluster()), lambda line: log.append(line.removeprefix("tests: ")), wait, settled
    )
    return log, report


def test_each_check_is_handed_on_as_soon_as_it_is_settled() -> None:
    log, _ = _settled(_check("A", GOOD), _check("B", BAD), _check("C", GOOD))
    assert log == ["A", "A pass", "B", "B fail", "C", "C pass"]


def test_while_waiting_nothing_that_may_change_is_handed_on_and_nothing_after_it() -> None:
    log, _ = _settled(_check("A", GOOD), _check("B", BAD, GOOD, retry=True), _check("C", GOOD), wait=Wait(60, 5))
    assert log == ["A", "A pass", "B", "C", "waiting: it is not so", "B", "B pass", "C pass"]


def test_what_was_skipped_may_still_be_found_out_while_waiting() -> None:
    log, _ = _settled(_check("A", BAD, GOOD, fatal=True, retry=True), _check("B", GOOD), wait=Wait(60, 5))
    assert log == ["A", "waiting: it is not so", "A", "A pass", "B", "B pass"]


@pytest.mark.parametrize("wait", [None, Wait(20, 5)])
def test_everything_is_handed_on_once_and_in_the_reports_order(wait: Wait | None) -> None:
    proof = replace(_check("P", GOOD), makes_pods=True)
    log, report = _settled(_check("A", BAD, retry=True), proof, _check("B", GOOD), wait=wait)
    handed_on = [line for line in log if " " in line and not line.startswith("waiting")]
    assert handed_on == ["A fail", "B pass", "P pass"]
    assert [entry.check.id for entry in report.entries] == ["A", "B", "P"]


def test_another_look_keeps_the_stack_and_the_connection() -> None:
    reads, connections = list[int](), list[int]()

    def read() -> Settings:
        reads.append(1)
        return settings_of()

    def connect(_: Settings) -> FakeCluster:
        connections.append(1)
        return FakeCluster()

    context = Context("lab", read, connect, FakePrograms())
    _ = context.cluster
    following = context.again().again()
    assert following.cluster is context.cluster
    assert following.desired is context.desired
    assert (len(reads), len(connections)) == (1, 1)


def test_a_connection_that_was_not_made_is_tried_again() -> None:
    context = Context("lab", settings_of, lambda _: FakeCluster(), FakePrograms())
    assert context.again().cluster.version() == "v1.34.2"
