"""The tests that ask Talos' own configuration library, where it can be built."""

import pytest

from testbed.errors import BedError
from testbed.gobuild import go_version


@pytest.fixture(scope="session", autouse=True)
def go() -> None:
    """Go, without which none of the libraries can be built; they are built by the first test that asks one."""
    try:
        go_version()
    except BedError as error:
        pytest.skip(str(error))
