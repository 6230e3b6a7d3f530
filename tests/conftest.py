"""How the tests are spread over processes (`pytest -n 2`, as `make test` runs them)."""

from pathlib import Path

import pytest

_SHARED_CLUSTER = ("cluster", "node", "demo", "testbed")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests of a folder whose cluster they share in one process; the others go wherever there is room."""
    root = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(root).parts[0]
        if folder in _SHARED_CLUSTER:
            item.add_marker(pytest.mark.xdist_group(folder))
