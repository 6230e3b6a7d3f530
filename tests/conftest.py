"""How the tests are spread over processes (`pytest -n 2`, as `make test` runs them), and interrupted."""

import signal
from pathlib import Path

import pytest

# what a shell runs in the background ignores Ctrl-C, and so would the programs that tests start and interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)

_SHARED_CLUSTER = ("cluster", "node", "drills", "demo", "testbed", "monitoring", "talos_node", "dra_node")
_CLUSTER_SECONDS = 1800
"""Ends a test that hangs; longer than all waits of a test together, each of which ends by itself."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps tests that share a cluster in one process: those of a folder, on one release of Talos; others go anywhere.

    A test on a cluster gets more time than the others.
    """
    root = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(root).parts[0]
        if folder in _SHARED_CLUSTER:
            item.add_marker(pytest.mark.xdist_group(folder + _release(item)))
        if any(item.get_closest_marker(marker) for marker in ("cluster", "node", "talos_node")):
            item.add_marker(pytest.mark.timeout(_CLUSTER_SECONDS, func_only=True))


def _release(item: pytest.Item) -> str:
    """The release of Talos that a test on nodes of several is for."""
    callspec = getattr(item, "callspec", None)
    return callspec.params["release"] if callspec and item.get_closest_marker("talos_node") else ""
