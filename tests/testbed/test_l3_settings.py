"""The settings of real GPUs are read and compared; a stand-in plays nvidia-smi."""

from pathlib import Path

import pytest

from testbed.errors import BedError
from testbed.l3 import settings
from testbed.l3.report import markdown

FIRST, SECOND = "GPU-11111111-0000-0000-0000-000000000000", "GPU-22222222-0000-0000-0000-000000000000"
SMI = """\
#!/bin/sh
echo "$*" >>"$0.log"
case $1 in
  --query-gpu=uuid) printf '%s\\n' GPU-11111111-0000-0000-0000-000000000000 GPU-22222222-0000-0000-0000-000000000000 ;;
  --query-gpu=power.limit) cat "$0.watts" ;;
  --query-gpu=clocks.applications.*) echo 'Field is not a valid field to query.' && exit 2 ;;
  *) printf '%s\\n' Default Default ;;
esac
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "nvidia-smi"
    program.write_text(SMI)
    program.chmod(0o755)
    _limit(program, "700.00 W", "700.00 W")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return program


def _limit(program: Path, *watts: str) -> None:
    program.with_suffix(".watts").write_text("\n".join(watts) + "\n")


def _record(before: settings.Settings, after: settings.Settings) -> dict[str, object]:
    changed = settings.differences(before, after)
    outcome = {"proof": "shared", "claim": "a claim", "holds": True, "observed": ["a | b"], "skipped": ""}
    when = {"started": "2026-11-29T13:00:00Z", "finished": "2026-11-29T13:05:00Z", "system": "Linux"}
    return {**when, "outcomes": [outcome], "settings": {"before": before, "after": after, "changed": changed}}


@pytest.mark.usefixtures("smi")
def test_settings_that_stay_have_no_differences() -> None:
    before = settings.read()
    assert before[SECOND]["power.limit"] == "700.00 W"
    assert settings.differences(before, settings.read()) == []
    assert "No setting changed." in markdown(_record(before, settings.read()))


def test_a_power_limit_that_changed_is_named_with_both_values(smi: Path) -> None:
    before = settings.read()
    _limit(smi, "700.00 W", "650.00 W")
    after = settings.read()
    assert settings.differences(before, after) == [f"GPU {SECOND}: power.limit was 700.00 W and is 650.00 W"]
    page = markdown(_record(before, after))
    assert "| power.limit | 700.00 W | **700.00 W, then 650.00 W** |" in page
    assert "No setting changed" not in page


@pytest.mark.usefixtures("smi")
def test_a_gpu_that_is_gone_or_new_is_a_difference() -> None:
    both = settings.read()
    first = {FIRST: both[FIRST]}
    assert settings.differences(both, first) == [f"GPU {SECOND} is gone"]
    assert settings.differences(first, both) == [f"GPU {SECOND} is new"]


@pytest.mark.usefixtures("smi")
def test_a_field_that_this_nvidia_smi_does_not_know_is_recorded_as_unknown() -> None:
    assert settings.read()[FIRST]["clocks.applications.graphics"] == "not known to this nvidia-smi"


def test_nvidia_smi_is_only_asked(smi: Path) -> None:
    settings.read()
    asked = smi.with_suffix(".log").read_text().splitlines()
    assert len(asked) == 16
    assert all(line.startswith("--query-gpu=") and line.endswith(" --format=csv,noheader") for line in asked)


def test_a_machine_without_nvidia_smi_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BedError, match="nvidia-smi is not on PATH"):
        settings.read()
