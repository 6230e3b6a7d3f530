"""One cluster for all drills, and the table of what was measured, printed at the end."""

import os
from collections.abc import Iterator

import pytest

from testbed.cluster import Cluster
from tests.drills.drill import Row
from tests.drills.field import NODES, Field
from tests.node.bed import require_real_nodes

NAME = "drills"
TALOS = os.environ.get("TALOS", "")
"""The release that the nodes run; `make drills TALOS=v1.13.9` sets it."""
ROWS: list[Row] = []


@pytest.fixture(scope="session")
def field() -> Iterator[Field]:
    """The cluster; nothing is deployed yet."""
    require_real_nodes()
    cluster = Cluster(NAME)
    cluster.down()  # a run that was killed
    try:
        cluster.up(NODES, talos=TALOS)
        yield Field(cluster, TALOS)
    finally:
        cluster.down()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ROWS:
        terminalreporter.section("drills")
        terminalreporter.write_line("| drill | recovery, s | pods kept | s above | doctor | verify | left over |")
        terminalreporter.write_line("|---|--:|--:|--:|---|---|---|")
    for row in ROWS:
        cells = (row.drill, f"{row.recovery:.1f}", row.kept, f"{row.above:.1f}", row.doctor, row.verify, row.left_over)
        terminalreporter.write_line(f"| {' | '.join(cells)} |")
