"""Other programs: what they say, and that nothing of them stays when they take too long."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpuctl.cluster.programs import InstalledPrograms, ended

_HOLDS = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '300']).pid, file=open(sys.argv[1], 'w'))"
"""It starts another program, which holds the output open."""


def _runs(process: str) -> bool:
    state = Path(f"/proc/{process}/stat")
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("then", ["; time.sleep(300)", ""])
def test_a_program_that_takes_too_long_takes_along_what_it_started(tmp_path: Path, then: str) -> None:
    """Whether it hangs itself, or is over and has left somebody with its output."""
    child, began = tmp_path / "child", time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        ended([sys.executable, "-c", _HOLDS + then, str(child)], 5)
    while _runs(child.read_text().strip()) and time.monotonic() - began < 30:
        time.sleep(0.02)
    assert not _runs(child.read_text().strip())
    assert time.monotonic() - began < 30


def test_a_check_hears_that_there_was_no_answer() -> None:
    ran = InstalledPrograms().run("sleep", "300", seconds=0.2)
    assert ran is not None
    assert (ran.exit_code, ran.reason) == (124, "no answer within 0.2 s")
