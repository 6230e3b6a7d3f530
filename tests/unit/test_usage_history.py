"""What each holder had and used of the GPUs over a time, added up; every figure is written down."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gpuctl.usage.account import Level, Name, rows
from gpuctl.usage.history import NodeHistory, Tenure, Use, Window, history
from gpuctl.usage.holders import Kind
from gpuctl.usage.log import Process, Sample

GPU, OTHER = "GPU-1", "GPU-2"
NOON = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = Window(NOON, NOON + 24 * HOUR, parts=24)


def after(hours: float) -> datetime:
    return NOON + hours * HOUR


def sample(hours: float, *processes: tuple[str | None, int | None, int | None], **more: object) -> Sample:
    """A GPU that draws 200 W, so many hours after noon, with processes of these pods, MiB and SM shares."""
    said = {"gpu": GPU, "utilization": 0, "draw": 200.0} | more
    on = tuple(Process(1, pod, "c", memory, sm, 0, "python3") for pod, memory, sm in processes)
    return Sample(after(hours), index=0, memory_used=0, memory_total=24576, processes=on, **said)  # pyright: ignore[reportArgumentType]


def seen(*samples: Sample, gap: timedelta = 2 * HOUR, **tenures: Tenure) -> NodeHistory:
    found = history(samples, tenures, {GPU: 0.25, OTHER: 1.0}, gap, DAY)
    assert found is not None
    return found


def test_a_sample_holds_until_the_next_one() -> None:
    use = seen(sample(0, ("pod", 2048, 50)), sample(1, ("pod", 4096, 100)), sample(2)).uses["pod"]
    assert (use.held, use.used, use.memory, use.energy) == (0.5, 1.5, 6, 400)
    assert use.last == after(1)


def test_of_a_time_without_samples_nothing_is_known() -> None:
    found = seen(
        sample(0, ("pod", 2048, 50)), sample(3, ("pod", 2048, 50)), sample(4), pod=Tenure(0.25, NOON, after(4))
    )
    assert (found.hours, found.energy, found.uses["pod"].held, found.uses["pod"].used) == (1, 200, 0.25, 0.5)


def test_samples_before_the_time_that_is_asked_for_are_no_part_of_it() -> None:
    found = seen(sample(-1, ("pod", 2048, 50)), sample(0, ("pod", 2048, 50)), sample(1))
    assert (found.begin, found.hours, found.uses["pod"].used) == (NOON, 1, 0.5)


def test_two_watchers_that_hand_over_to_each_other_count_no_time_twice() -> None:
    old = [sample(hours, ("pod", 2048, 50)) for hours in (0, 1, 2)]
    new = [sample(hours, ("pod", 2048, 50)) for hours in (1.5, 2.5)]
    assert (seen(*old, *new).hours, seen(*old, *new).uses["pod"].used) == (2.5, 1.25)


class TestEnergy:
    """A GPU that draws 200 W for an hour."""

    def test_is_shared_out_by_what_each_computed_with_what_is_certain_and_what_is_possible(self) -> None:
        found = seen(
            sample(0, ("one", 0, 60), ("two", 0, 20)), sample(1, ("one", 0, 10), ("two", 0, 0)), sample(2), sample(3)
        )
        one, two = found.uses["one"], found.uses["two"]
        assert (one.energy, one.energy_least, one.energy_most) == (350, 200, 400)
        assert (two.energy, two.energy_least, two.energy_most) == (50, 0, 200)
        assert found.energy == 600

    def test_is_nobodys_while_nobody_computes(self) -> None:
        found = seen(sample(0, ("pod", 2048, 0)), sample(1))
        assert (found.energy, found.uses["pod"].energy, found.uses["pod"].energy_most) == (200, 0, 0)

    def test_is_not_known_where_the_gpu_does_not_tell_its_draw(self) -> None:
        found = seen(sample(0, ("pod", 2048, 50), draw=None), sample(1, draw=None))
        assert (found.energy, found.uses["pod"].energy, found.uses["pod"].used) == (None, None, 0.5)

    def test_is_not_shared_out_where_one_share_is_not_known(self) -> None:
        found = seen(sample(0, ("one", 0, 60), ("two", 0, None)), sample(1))
        assert (found.uses["one"].energy, found.uses["two"].used, found.uses["two"].unknown) == (None, None, 1)


class TestHeld:
    def test_a_pod_holds_its_slices_without_a_process_too(self) -> None:
        found = seen(sample(0), sample(1), sample(2), sleeper=Tenure(0.5, after(0.5), after(24)))
        use = found.uses["sleeper"]
        assert (use.held, use.used, use.memory, use.energy, use.last) == (0.75, 0, 0, 0, None)

    def test_the_gpus_of_a_node_are_one_time_to_a_pod(self) -> None:
        both = [sample(hours, gpu=gpu) for hours in (0, 1) for gpu in (GPU, OTHER)]
        found = seen(*both, pod=Tenure(0.25, NOON, after(24)))
        assert (found.hours, found.uses["pod"].held) == (2, 0.25)

    def test_a_pod_that_ended_before_holds_nothing(self) -> None:
        assert "done" not in seen(sample(2), sample(3), done=Tenure(1, NOON, after(1))).uses

    def test_one_that_the_cluster_does_not_know_any_more_held_a_slice_while_it_had_a_process(self) -> None:
        found = seen(
            sample(0, ("gone", 1024, 0)), sample(1), sample(2, ("gone", 1024, 0), gpu=OTHER), sample(3, gpu=OTHER)
        )
        assert found.uses["gone"].held == 1.25

    def test_programs_of_the_node_hold_nothing(self) -> None:
        use = seen(sample(0, ("", 1024, 100)), sample(1)).uses[""]
        assert (use.held, use.used) == (0, 1)


def test_the_use_of_a_time_is_in_the_part_in_which_it_was() -> None:
    use = seen(sample(0, ("pod", 0, 50)), sample(1, ("pod", 0, 0)), sample(2, ("pod", 0, None)), sample(3)).uses["pod"]
    assert use.parts == {0: 0.5, 1: 0}


def test_the_last_sample_counts_no_time_and_tells_who_computes_now() -> None:
    use = seen(sample(0, ("pod", 0, 0)), sample(1, ("pod", 0, 7))).uses["pod"]
    assert (use.used, use.last) == (0, after(1))


def test_a_container_that_is_restarted_between_two_samples_is_the_same_pod() -> None:
    """It has another process and another container's id."""
    before = sample(0, ("pod", 1024, 50))
    other = Process(7, "pod", "d", 1024, 50, 0, "python3")
    use = seen(before, replace(sample(1), processes=(other,)), sample(2)).uses["pod"]
    assert (use.held, use.used, use.memory) == (0.5, 1, 2)


def test_a_process_id_that_another_pod_has_later_is_that_pods_from_then_on() -> None:
    found = seen(sample(0, ("one", 1024, 50)), sample(1, ("two", 2048, 100)), sample(2))
    assert [(uid, use.used, use.memory) for uid, use in found.uses.items()] == [("one", 0.5, 1), ("two", 1, 2)]


def test_hundreds_of_pods_that_come_and_go_are_told_apart_and_nothing_is_lost() -> None:
    minutes = [sample(minute / 60, (f"pod-{minute}", 1024, 60)) for minute in range(600)]
    found = seen(*minutes, sample(10))
    assert len(found.uses) == 600
    assert round(sum(use.used or 0 for use in found.uses.values()), 6) == 6
    assert round(sum(use.energy or 0 for use in found.uses.values()), 6) == 2000
    assert {round(use.held * 60, 6) for use in found.uses.values()} == {0.25}


def test_memory_that_is_not_known_is_not_zero() -> None:
    assert seen(sample(0, ("pod", None, 50)), sample(1)).uses["pod"].memory is None


def test_a_node_without_a_sample_has_no_history() -> None:
    assert history([], {}, {}, HOUR, DAY) is None


class TestRows:
    NOTEBOOK = Name(Kind.POD, "team", "StatefulSet/notebook", "notebook-0")
    TRAINER = Name(Kind.POD, "team", "Job/train", "train-x")
    OTHER = Name(Kind.POD, "web", "Deployment/chat", "chat-1")

    def order(self, **uses: Use) -> list[str]:
        named = [(Name(Kind.POD, "team", f"Job/{name}", name), use) for name, use in uses.items()]
        return [each.name.pod for each in rows(named, Level.pod)]

    def test_who_held_most_and_used_nothing_stands_first_and_last_of_whom_it_is_not_known(self) -> None:
        assert self.order(
            busy=Use(held=1, used=0.9),
            unknown=Use(held=9),
            little=Use(held=1, used=0.1),
            idle=Use(held=2, used=0),
            idler=Use(held=3, used=0),
            host=Use(used=0),
        ) == ["idler", "idle", "little", "busy", "host", "unknown"]

    @pytest.mark.parametrize(
        ("level", "expected"),
        [
            (Level.namespace, [("web", "", "", 1), ("team", "", "", 3)]),
            (Level.workload, [("web", "Deployment/chat", "", 1), ("team", "Job/train", "", 3)]),
            (
                Level.pod,
                [
                    ("web", "Deployment/chat", "chat-1", 1),
                    ("team", "Job/train", "train-x", 1),
                    ("team", "Job/train", "train-y", 2),
                ],
            ),
        ],
    )
    def test_pods_are_added_up_to_what_is_asked_for(
        self, level: Level, expected: list[tuple[str, str, str, float]]
    ) -> None:
        again = self.TRAINER._replace(pod="train-y")
        uses = [
            (self.TRAINER, Use(held=1, used=1)),
            (again, Use(held=2, used=2.5, parts={3: 2.5})),
            (self.OTHER, Use(held=1, used=0.5)),
        ]
        found = rows(uses, level)
        assert [(*each.name[1:], each.use.held) for each in found] == expected

    def test_what_is_known_of_one_pod_is_kept_where_nothing_is_known_of_another(self) -> None:
        uses = [
            (self.TRAINER, Use(held=1, used=1, energy=5, energy_least=4, energy_most=6, last=NOON, parts={0: 1})),
            (self.TRAINER, Use(held=1, unknown=1)),
            (self.TRAINER, Use(held=1, used=0.5, energy=1, last=after(1), parts={0: 0.25, 1: 0.25})),
        ]
        [row] = rows(uses, Level.pod)
        assert row.use == Use(
            held=3,
            used=1.5,
            unknown=1,
            energy=6,
            energy_least=4,
            energy_most=6,
            last=after(1),
            parts={0: 1.25, 1: 0.25},
        )
