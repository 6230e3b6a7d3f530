"""The agent's lines are read as they are written."""

from datetime import UTC, datetime

import pytest

from gpuctl.power.log import Event, Sample, faults, parse, parse_all

UUID = "GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64cd"
LINE = (
    f"time=2026-11-25T02:42:54Z level=info msg=sample gpu={UUID} index=0 "
    'name="NVIDIA H200" desired_w=600 limit_w=600 enforced_w=550 draw_w=81.46 default_w=700 min_w=200 max_w=700 '
    "util_pct=12 temp_c=37 mem_used_mib=1024 mem_total_mib=143771 throttle=sw_power_cap,hw_slowdown "
    "persistence=Enabled at_limit=true"
)
NOON = datetime(2026, 11, 25, 2, 42, 54, tzinfo=UTC)


def _look(line: str = LINE) -> Sample:
    said = parse(line)
    assert isinstance(said, Sample)
    return said


def test_a_look_is_read_with_every_figure() -> None:
    assert _look() == Sample(
        time=NOON,
        gpu=UUID,
        index=0,
        name="NVIDIA H200",
        desired=600,
        limit=600,
        enforced=550,
        draw=81.46,
        default=700,
        minimum=200,
        maximum=700,
        utilization=12,
        temperature=37,
        memory_used=1024,
        memory_total=143771,
        throttle=frozenset({"sw_power_cap", "hw_slowdown"}),
        persistence=True,
        at_limit=True,
    )


@pytest.mark.parametrize(("throttle", "capped"), [("none", False), ("gpu_idle", False), ("sw_power_cap", True)])
def test_a_card_is_at_its_cap_when_the_power_limit_slows_it(throttle: str, capped: bool) -> None:
    assert _look(LINE.replace("sw_power_cap,hw_slowdown", throttle)).capped is capped


def test_a_card_that_nothing_slows_has_no_reason() -> None:
    assert _look(LINE.replace("sw_power_cap,hw_slowdown", "none")).throttle == frozenset()


def test_what_a_card_does_not_tell_is_none_and_never_zero() -> None:
    line = LINE
    for field in ("index=0", "limit_w=600", "enforced_w=550", "draw_w=81.46", "util_pct=12", "persistence=Enabled"):
        line = line.replace(field, f"{field.split('=')[0]}=unknown")
    look = _look(line.replace("throttle=sw_power_cap,hw_slowdown", "throttle=unknown"))
    assert (look.index, look.limit, look.enforced, look.draw, look.utilization) == (None,) * 5
    assert (look.persistence, look.throttle, look.capped) == (None, None, None)


def test_anything_else_the_agent_says_is_an_event() -> None:
    line = f'time=2026-11-25T02:42:54Z level=error msg=refused gpu={UUID} desired_w=300 exit=4 message="it\'s so: no"'
    fields = {"desired_w": "300", "exit": "4", "message": "it's so: no"}
    assert parse(line) == Event(NOON, "error", "refused", UUID, fields)
    start = parse("time=2026-11-25T02:42:54Z level=info msg=start desired_w=300")
    assert start == Event(NOON, "info", "start", None, {"desired_w": "300"})


@pytest.mark.parametrize(
    "line",
    [
        "",
        "'0300' in POWER_LIMIT_WATTS: not whole watts",
        LINE[:120],
        LINE.replace("at_limit=true", ""),
        LINE.replace("02:42:54Z", "99:42:54Z"),
        LINE.replace("draw_w=81.46", "draw_w=[N/A]"),
        f"{LINE} Error: something else wrote here",
    ],
    ids=["nothing", "another's", "cut off", "a field short", "no time", "no number", "mixed"],
)
def test_a_line_that_is_not_whole_is_left_out(line: str) -> None:
    assert parse(line) is None


def test_of_many_lines_those_of_the_agent_are_read_in_their_order() -> None:
    lines = ["noise\n", f"{LINE}\n", "time=2026-11-25T02:42:54Z level=info msg=stop owner=nobody\n"]
    assert [type(said) for said in parse_all(lines)] == [Sample, Event]


def test_the_faults_of_a_status_are_told_apart_even_where_a_message_has_a_semicolon() -> None:
    status = f'refused gpu={UUID} desired_w=300 message="no; not now; lost gpu=GPU-1"; missing expected=2 found=1'
    assert faults(status) == [
        Event(None, "error", "refused", UUID, {"desired_w": "300", "message": "no; not now; lost gpu=GPU-1"}),
        Event(None, "error", "missing", None, {"expected": "2", "found": "1"}),
    ]


def test_a_sample_of_an_agent_that_was_deployed_before_is_read_as_well() -> None:
    """It called it a look, and runs on until the stack is updated."""
    assert parse(LINE.replace("msg=sample", "msg=look")) == parse(LINE) is not None


@pytest.mark.parametrize("status", ["ready", "the last look is 300 s old", ""])
def test_words_that_are_no_fault_have_none(status: str) -> None:
    assert faults(status) == []


@pytest.mark.parametrize(
    ("field", "attribute", "value"),
    [
        ("desired_w", "desired", 600),
        ("limit_w", "limit", 600),
        ("enforced_w", "enforced", 550),
        ("draw_w", "draw", 81.46),
        ("default_w", "default", 700),
        ("min_w", "minimum", 200),
        ("max_w", "maximum", 700),
        ("util_pct", "utilization", 12),
        ("temp_c", "temperature", 37),
        ("mem_used_mib", "memory_used", 1024),
        ("mem_total_mib", "memory_total", 143771),
    ],
)
def test_each_figure_is_that_of_its_field(field: str, attribute: str, value: float) -> None:
    assert getattr(_look(), attribute) == value
    assert getattr(_look(LINE.replace(f"{field}={value:g}", f"{field}=1")), attribute) == 1
