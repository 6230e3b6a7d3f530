"""Property tests are repeatable, and no slow machine makes one fail; a node for the power-limit agent."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.fixtures.power_agent import Node

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def bare_node(tmp_path: Path) -> Iterator[Node]:
    """A node without nvidia-smi."""
    node = Node(tmp_path)
    yield node
    for agent in node.agents:
        if agent.process and agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


@pytest.fixture
def node(bare_node: Node) -> Node:
    """A node without GPUs."""
    bare_node.install_nvidia_smi()
    return bare_node
