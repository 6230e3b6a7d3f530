"""Prometheus itself judges the alerts: promtool on series written down here, and a server on a simulated exporter."""

from pathlib import Path

import pytest

from testbed import debian
from testbed.errors import BedError


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder with prometheus and promtool; skips the test, with the reason, where there is none."""
    try:
        return debian.prometheus()
    except BedError as problem:
        pytest.skip(str(problem))
