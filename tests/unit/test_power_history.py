"""What the samples of the agent add up to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuctl.power.history import History, histories
from gpuctl.power.log import Sample

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def _look(minute: float, draw: float | None = 200, **changes: object) -> Sample:
    look = Sample(
        time=NOON + minute * MINUTE,
        gpu="GPU-1",
        index=0,
        name="NVIDIA GeForce RTX 3090",
        desired=300,
        limit=300,
        enforced=300,
        draw=draw,
        default=350,
        minimum=100,
        maximum=375,
        utilization=50,
        temperature=60,
        memory_used=1024,
        memory_total=24576,
        throttle=frozenset(),
        persistence=True,
        at_limit=True,
    )
    return replace(look, **changes)  # pyright: ignore[reportArgumentType] (any field)


def _history(*samples: Sample) -> History:
    (found,) = histories("gpu-1", samples, MINUTE)
    return found


def test_a_steady_draw_for_an_hour_is_so_many_watt_hours() -> None:
    found = _history(*(_look(minute) for minute in range(61)))
    assert (found.energy, found.mean, found.peak) == (pytest.approx(200), pytest.approx(200), 200)
    assert found.covered == timedelta(hours=1)


def test_between_two_looks_the_draw_is_taken_to_change_evenly() -> None:
    found = _history(_look(0, 100), _look(1, 300))
    assert found.energy == pytest.approx(200 / 60)
    assert (found.mean, found.peak) == (pytest.approx(200), 300)


@given(st.lists(st.floats(0, 700), min_size=2, max_size=40))
def test_the_mean_is_never_outside_what_was_seen(draws: list[float]) -> None:
    found = _history(*(_look(minute, draw) for minute, draw in enumerate(draws)))
    assert found.mean is not None
    assert min(draws) - 1e-6 <= found.mean <= max(draws) + 1e-6
    assert found.peak == max(draws)


def test_a_gap_without_looks_is_not_guessed_at() -> None:
    """A node that was off for an hour drew nothing that the agent saw."""
    found = _history(_look(0), _look(1), _look(61), _look(62))
    assert found.covered == 2 * MINUTE
    assert found.energy == pytest.approx(2 * 200 / 60)


@pytest.mark.parametrize(("later", "covered"), [(2.5, 2.5), (3, 3), (3.1, 0), (30, 0)])
def test_a_sample_that_came_late_is_no_gap_until_three_are_missing(later: float, covered: float) -> None:
    """A half-hour without samples must not be billed as draw."""
    assert _history(_look(0), _look(later)).covered == covered * MINUTE


def test_what_the_card_does_not_tell_counts_as_nothing_known_and_not_as_zero() -> None:
    found = _history(_look(0, 100), _look(1, None), _look(2, 200), _look(3, 200))
    assert (found.mean, found.energy) == (pytest.approx(200), pytest.approx(200 / 60))
    silent = _history(_look(0, None, utilization=None, throttle=None), _look(1, None, utilization=None, throttle=None))
    assert (silent.energy, silent.mean, silent.peak, silent.at_cap, silent.utilization) == (None,) * 5


def test_the_time_at_the_cap_is_that_of_the_looks_that_found_it_there() -> None:
    capped = frozenset({"sw_power_cap"})
    found = _history(_look(0, throttle=capped), _look(1), _look(2), _look(3), _look(4))
    assert found.at_cap == pytest.approx(0.25)


def test_utilisation_is_a_mean_over_time() -> None:
    found = _history(_look(0, utilization=100), _look(0.5, utilization=0), _look(2))
    assert found.utilization == pytest.approx(25)


def test_one_look_alone_has_a_draw_and_no_energy() -> None:
    found = _history(_look(0, 123))
    assert (found.mean, found.peak, found.energy, found.at_cap) == (123, 123, 0, None)


def test_cards_are_kept_apart_by_uuid_and_told_in_order() -> None:
    samples = [_look(0, gpu="GPU-b", index=1), _look(1, gpu="GPU-a", index=0), _look(1, gpu="GPU-b", index=1)]
    assert [(each.index, each.gpu, len(each.samples)) for each in histories("gpu-1", samples, MINUTE)] == [
        (0, "GPU-a", 1),
        (1, "GPU-b", 2),
    ]


def test_the_logs_of_two_agents_are_put_together_in_the_order_of_time() -> None:
    found = _history(_look(2, 300), _look(3, 300), _look(0, 100), _look(1, 100))
    assert (found.begin, found.end, found.covered) == (NOON, NOON + 3 * MINUTE, 3 * MINUTE)


def test_draws_are_means_of_equal_parts_with_holes_where_nobody_looked() -> None:
    found = _history(_look(0, 100), _look(1, 200), _look(9, 300), _look(10, 500))
    assert found.draws(NOON, NOON + 10 * MINUTE, 5) == [150, None, None, None, 400]
    assert found.draws(NOON + MINUTE, NOON + 9 * MINUTE, 2) == [200, 300]
