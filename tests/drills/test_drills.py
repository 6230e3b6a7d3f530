"""Faults on real kubelets while GPU pods run: everything comes right in time, and no pod at work notices.

`make drills` holds all of them and prints the table of docs/reliability.md; `make test` the short ones.
"""

import os

import pytest

from tests.drills import control_plane_faults, node_faults, stack_faults
from tests.drills.conftest import ROWS
from tests.drills.drill import DRILLS, Drill, held
from tests.drills.field import Field

# settling after one that failed, the fault, and what it may take
pytestmark = [pytest.mark.node, pytest.mark.timeout(1500)]

FAULTS = (control_plane_faults, node_faults, stack_faults)
"""Their drills are in the table once they are imported."""
ALL = os.environ.get("DRILLS") == "all"


@pytest.mark.parametrize("drill", [each for each in DRILLS.values() if ALL or each.short], ids=lambda drill: drill.name)
def test_everything_comes_right_and_pods_at_work_go_on(field: Field, drill: Drill) -> None:
    row = held(drill, field)
    ROWS.append(row)
    print(row)  # with -s, at once
    work = row.kept.split("/")
    assert drill.pods_end or work[0] == work[1], "a pod at work was restarted"
    assert row.verify.split()[0] == "0"
    assert row.left_over == "-"
