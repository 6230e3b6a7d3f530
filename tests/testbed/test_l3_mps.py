"""When MPS is taken to limit slices, from what CUDA pods said."""

import pytest

from testbed.l3.mps import mistakes, summary
from testbed.l3.workload import Ended

PASSED = "NVIDIA H200 start={}.50 end={}.25 rounds=900 Test PASSED"
REFUSED = "refused 40038 MiB: CUDA_ERROR_OUT_OF_MEMORY (2), free 35303 of 143771 MiB"


def _load(start: int = 100, end: int = 140, multiprocessors: int = 32, code: int = 0) -> Ended:
    took = f"NVIDIA H200, {multiprocessors} multiprocessors, took 16384 MiB, start={start}.50"
    return Ended(code, (took, PASSED.format(start, end)))


GOOD = {
    "user-0": _load(),
    "user-1000": _load(101, 141),
    "user-2000": _load(101, 141),
    "whole": _load(multiprocessors=132),
    "beyond-the-limit": Ended(3, (REFUSED,)),
    "within-the-limit": _load(110, 115),
}


def test_a_refusal_beyond_the_limit_and_neighbours_that_go_on_are_right() -> None:
    assert mistakes(GOOD) == []
    assert summary(GOOD)[-2:] == [
        f"beyond-the-limit: {REFUSED}",
        "within-the-limit: NVIDIA H200 rounds=900 Test PASSED",
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"beyond-the-limit": _load()},
            f"an allocation beyond the limit was not refused for want of memory: {PASSED.format(100, 140)}",
        ),
        (
            {"beyond-the-limit": Ended(1, ("cuInit: CUDA_ERROR_MPS_CONNECTION_FAILED (805)",))},
            "an allocation beyond the limit was not refused for want of memory: "
            "cuInit: CUDA_ERROR_MPS_CONNECTION_FAILED (805)",
        ),
        (
            {
                "within-the-limit": Ended(
                    1, (GOOD["user-0"].lines[0], "cuCtxSynchronize: CUDA_ERROR_MPS_CLIENT_TERMINATED")
                )
            },
            "within-the-limit ended with 1: cuCtxSynchronize: CUDA_ERROR_MPS_CLIENT_TERMINATED",
        ),
        ({"user-1000": _load(multiprocessors=132)}, "user-1000 has 132 of 132 multiprocessors"),
        ({"user-1000": _load(138, 178)}, "the pods of users 0, 1000, 2000 ran together for 2 s only"),
        ({"user-1000": _load(141, 181)}, "the pods of users 0, 1000, 2000 ran together for 0 s only"),
    ],
)
def test_what_mps_did_not_do_is_named(changed: dict[str, Ended], said: str) -> None:
    assert mistakes(GOOD | changed) == [said]


def test_without_a_whole_gpu_no_count_of_multiprocessors_is_judged() -> None:
    assert mistakes({name: each for name, each in GOOD.items() if name != "whole"}) == []
