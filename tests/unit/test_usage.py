"""The watcher's lines are read as they are written, and joined with the pods whose processes they name."""

from datetime import UTC, datetime, timedelta

import pytest

from gpuctl.usage.holders import Holder, Idle, Kind, holders
from gpuctl.usage.log import Failure, Process, Sample, parse_all

FIRST, SECOND = "GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64cd", "GPU-4efb1f24-08ed-c06e-6ce4-427025308b8f"
TRAINER, NOTEBOOK, GONE = (f"{n}198be16-5c1a-4a4e-9d0e-0a1b2c3d4e5f" for n in (1, 2, 3))
NAMES = {TRAINER: "team/trainer", NOTEBOOK: "team/notebook"}
NOON = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


def process_line(
    pod: str, sm: object, memory: object = 4096, gpu: str = FIRST, time: str = "12:00:00", **more: str
) -> str:
    said = {"pid": "533", "container": "c0ffee", "name": "python3", "mem_pct": "7"} | more
    return (
        f"time=2026-11-25T{time}Z level=info msg=process gpu={gpu} pid={said['pid']} pod={pod} "
        f"container={said['container']} memory_mib={memory} sm_pct={sm} mem_pct={said['mem_pct']} name={said['name']}"
    )


def gpu_line(
    processes: int, gpu: str = FIRST, time: str = "12:00:00", util: object = 0, index: int = 0, draw: object = 120.5
) -> str:
    return (
        f"time=2026-11-25T{time}Z level=info msg=gpu gpu={gpu} index={index} memory_mib=9216 memory_total_mib=24576 "
        f"util_pct={util} draw_w={draw} processes={processes}"
    )


def read(*lines: str) -> list[Sample]:
    return [said for said in parse_all(lines) if isinstance(said, Sample)]


def held_by(*lines: str, held: dict[str, dict[str, int]] | None = None) -> list[Holder]:
    """With slices of 6 GiB."""
    return holders(read(*lines), NAMES, held or {}, lambda _, slices: 6144 * slices, timedelta(seconds=90))


class TestReading:
    def test_a_sample_has_its_gpu_and_every_figure_of_its_processes(self) -> None:
        [sample] = parse_all([process_line(TRAINER, 44) + "\n", gpu_line(1, util=51) + "\n"])
        process = Process(533, TRAINER, "c0ffee", memory=4096, sm=44, bandwidth=7, name="python3")
        assert sample == Sample(NOON, FIRST, 0, 9216, 24576, utilization=51, draw=120.5, processes=(process,))

    def test_what_could_not_be_seen_is_none_and_what_is_of_no_pod_is_empty(self) -> None:
        unseen = process_line("unknown", "unknown", "unknown", container="unknown", mem_pct="unknown", name="unknown")
        [sample] = read(unseen, process_line("none", 0, container="none"), gpu_line(2, util="unknown"))
        assert sample.utilization is None
        assert [(p.pod, p.container, p.memory, p.sm, p.bandwidth) for p in sample.processes] == [
            (None, None, None, None, None),
            ("", "", 4096, 0, 7),
        ]

    def test_the_line_of_a_watcher_that_does_not_say_the_draw_yet_is_read(self) -> None:
        [older] = read(gpu_line(0).replace("draw_w=120.5 ", ""))
        assert (older.memory_used, older.draw) == (9216, None)

    def test_a_sample_that_is_still_being_written_is_left_out(self) -> None:
        assert read(process_line(TRAINER, 44), process_line(NOTEBOOK, 3)) == []
        assert len(read(gpu_line(0), process_line(TRAINER, 44, time="12:00:30"))) == 1

    @pytest.mark.parametrize("lost", ["", process_line(TRAINER, 44)[:90], process_line(TRAINER, "[N/A]")])
    def test_a_sample_of_which_a_line_is_lost_is_left_out_whole(self, lost: str) -> None:
        """Its pod would seem to hold nothing."""
        assert read(lost, process_line(NOTEBOOK, 3), gpu_line(2)) == []

    def test_a_time_without_a_zone_is_left_out_and_the_others_stay(self) -> None:
        """It could not be compared with them."""
        zoneless = gpu_line(0, time="12:00:30").replace("30Z", "30")
        assert [sample.time for sample in read(gpu_line(0), zoneless)] == [NOON]

    def test_processes_belong_to_the_sample_of_their_own_time(self) -> None:
        [sample] = read(process_line(TRAINER, 44), gpu_line(0, time="12:00:30"))
        assert sample.processes == ()

    def test_gpus_are_told_apart(self) -> None:
        lines = (process_line(TRAINER, 1), process_line(NOTEBOOK, 2, gpu=SECOND))
        first, second = read(*lines, gpu_line(1), gpu_line(1, gpu=SECOND))
        assert (first.processes[0].pod, second.processes[0].pod) == (TRAINER, NOTEBOOK)

    def test_what_nvidia_smi_did_not_answer_is_read_too(self) -> None:
        line = 'time=2026-11-25T12:00:00Z level=error msg=query_failed of=gpus exit=15 message="GPU is lost."'
        assert list(parse_all(["noise", line])) == [Failure(NOON, "gpus", "GPU is lost.")]


class TestHolders:
    def test_the_figures_of_a_pods_processes_are_added_up(self) -> None:
        lines = (process_line(TRAINER, 40, 4096), process_line(TRAINER, 4, 2049, name="tensorboard"), gpu_line(2))
        assert held_by(*lines) == [
            Holder(
                gpu=FIRST,
                index=0,
                kind=Kind.POD,
                pod="team/trainer",
                memory=6145,
                share=6144,
                sm=44,
                bandwidth=14,
                processes=("python3", "tensorboard"),
                idle=None,
            )
        ]

    @pytest.mark.parametrize(("memory", "over"), [(6145, True), (6144, False), ("unknown", None)])
    def test_more_than_a_slice_of_the_memory_is_over(self, memory: object, over: bool | None) -> None:
        [holder] = held_by(process_line(TRAINER, 1, memory), gpu_line(1))
        assert (holder.share, holder.over) == (6144, over)

    def test_a_pod_with_two_slices_has_two_shares(self) -> None:
        [holder] = held_by(process_line(TRAINER, 1, 12288), gpu_line(1), held={FIRST: {TRAINER: 2}})
        assert (holder.share, holder.over) == (12288, False)

    def test_a_pod_with_a_slice_and_no_process_holds_nothing(self) -> None:
        [holder] = held_by(gpu_line(0), held={FIRST: {NOTEBOOK: 1}})
        assert (holder.pod, holder.memory, holder.sm, holder.processes, holder.idle) == (
            "team/notebook",
            0,
            0,
            (),
            None,
        )

    def test_processes_of_no_pod_of_one_that_is_gone_and_of_nobody_known_have_no_share(self) -> None:
        lines = [process_line(pod, 1) for pod in ("none", GONE, "unknown", TRAINER)]
        found = held_by(*lines, gpu_line(4))
        assert {(each.kind, each.pod, each.share, each.over) for each in found} == {
            (Kind.POD, "team/trainer", 6144, False),
            (Kind.HOST, "", None, None),
            (Kind.GONE, GONE, None, None),
            (Kind.UNKNOWN, "", None, None),
        }

    def test_gpus_stand_in_the_order_of_their_index_and_one_that_does_not_answer_any_more_is_not_there(self) -> None:
        lines = [process_line(TRAINER, 1), process_line(NOTEBOOK, 1, gpu=SECOND), gpu_line(1, index=1)]
        found = held_by(*lines, gpu_line(1, gpu=SECOND))
        assert [each.pod for each in found] == ["team/notebook", "team/trainer"]
        later = (process_line(TRAINER, 1, time="12:00:30"), gpu_line(1, time="12:00:30"))
        assert [each.pod for each in held_by(*lines, gpu_line(1, gpu=SECOND), *later)] == ["team/trainer"]

    def test_a_busy_gpu_on_which_nobody_computes_does_not_tell_who_does(self) -> None:
        [holder] = held_by(process_line(TRAINER, 0), gpu_line(1, util=10))
        assert (holder.sm, holder.idle) == (None, None)
        [holder] = held_by(process_line(TRAINER, 0), gpu_line(1, util=9))
        assert holder.sm == 0


class TestIdle:
    """Samples half a minute apart, the newest at noon and two minutes."""

    @staticmethod
    def idle(*shares: object) -> Idle | None:
        """Of a pod with these shares, None where it has no process."""
        lines: list[str] = []
        for number, share in enumerate(shares):
            time = f"12:{number // 2:02}:{number % 2 * 30:02}"
            lines += [process_line(TRAINER, share, time=time)] if share is not None else []
            lines += [gpu_line(int(share is not None), time=time)]
        [holder] = held_by(*lines, held={FIRST: {TRAINER: 1}})
        return holder.idle

    @pytest.mark.parametrize(
        ("shares", "seconds", "at_least"),
        [
            ((0, 0, 7, 0, 0), 60, False),
            ((0, 0, 0, 0, 0), 120, True),
            ((None, None, 0, 0, 0), 60, False),
            ((7, "unknown", 0, 0, 0), 60, True),
            ((0, 7, None, None, None), 90, False),
            ((None, 7, None, 0, 0), 90, False),
        ],
        ids=[
            "since its last work",
            "all that is read",
            "since it began",
            "to what is not known",
            "ended",
            "began anew",
        ],
    )
    def test_it_is_idle_since_it_last_computed(self, shares: tuple[object, ...], seconds: int, at_least: bool) -> None:
        assert self.idle(*shares) == Idle(timedelta(seconds=seconds), at_least)

    @pytest.mark.parametrize("shares", [(0, 0, 7), (0, 0, "unknown"), (None, None, None)])
    def test_one_that_computes_that_is_not_known_or_has_no_process_is_not_idle(
        self, shares: tuple[object, ...]
    ) -> None:
        assert self.idle(*shares) is None

    def test_of_a_time_without_samples_nothing_is_known(self) -> None:
        lines = [process_line(TRAINER, share, time=time) for share, time in ((9, "11:00:00"), (0, "12:00:00"))]
        [holder] = held_by(lines[0], gpu_line(1, time="11:00:00"), lines[1], gpu_line(1))
        assert holder.idle == Idle(timedelta(0), at_least=True)
