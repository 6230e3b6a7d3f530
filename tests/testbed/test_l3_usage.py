"""Which readings of the usage watcher are right, beside what the driver says."""

from dataclasses import replace

import pytest

from testbed.l3.usage import PodUsage, mistakes

GPU = "GPU-1"
BUSY = PodUsage(16384, 100, GPU, 16926, [16926, 16926], [44, 51])
ALSO_BUSY = PodUsage(8192, 100, GPU, 8734, [8734, 8734], [55, 48])
IDLE = PodUsage(2048, 0, GPU, 2590, [2590, 2590], [0, 0])


def test_two_busy_pods_that_share_the_time_and_an_idle_one_are_right() -> None:
    assert mistakes({"a": BUSY, "b": ALSO_BUSY, "c": IDLE}) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (replace(IDLE, seen_mib=[2590, 2591]), "c: the driver says 2590 MiB, gpuctl 2590, 2591"),
        (replace(IDLE, seen_mib=[2590, None]), "c: the driver says 2590 MiB, gpuctl 2590, nothing"),
        (replace(IDLE, driver_mib=512, seen_mib=[512, 512]), "c asked for 2048 MiB and has 512"),
        (replace(IDLE, driver_mib=4097, seen_mib=[4097, 4097]), "c asked for 2048 MiB and has 4097"),
        (replace(IDLE, seen_percent=[0, 3]), "c computes nothing, and gpuctl says 0, 3 %"),
    ],
)
def test_a_wrong_reading_is_named(wrong: PodUsage, said: str) -> None:
    assert mistakes({"a": BUSY, "b": ALSO_BUSY, "c": wrong}) == [said]


@pytest.mark.parametrize("seen", [[30, 20], [None, None], [80, 90]])
def test_busy_pods_must_have_the_time_of_their_gpu_together_and_not_more(seen: list[int | None]) -> None:
    [said] = mistakes({"a": replace(BUSY, seen_percent=seen), "b": replace(ALSO_BUSY, seen_percent=[49, 49])})
    assert said.startswith("GPU-1 is busy all the time, and gpuctl says ")
