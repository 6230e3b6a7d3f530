"""One real control plane for all tests of this folder; kwok plays its nodes."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from testbed import tools
from testbed.cluster import Cluster
from testbed.errors import BedError
from tests.cluster.pulumi_stack import Environment, Stack, clear

NAME = "l1"
NODES = ("gpu-1", "gpu-2")
GPU_1 = {"name": "gpu-1", "gpu": "rtx-3090", "count": 2}
"""The first node as a stack file declares it."""

_NUMBERS = itertools.count(1)

MakeStack = Callable[..., Stack]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with two nodes whose pods become ready by themselves."""
    try:
        for tool in (tools.kubernetes, tools.kwok, tools.provider, tools.commands):
            tool()
    except BedError as problem:
        pytest.skip(str(problem))
    cluster = Cluster(NAME)
    cluster.down()  # a run that was killed
    try:
        cluster.up()
        for node in NODES:
            cluster.add_kwok_node(node)
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def environment(cluster: Cluster) -> Environment:
    """What leads kubectl and pulumi to the cluster."""
    return cluster.environment()


@pytest.fixture(scope="session")
def make_stack(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> MakeStack:
    """Makes a stack of a name, by default in the environment of the cluster."""
    folder = tmp_path_factory.mktemp("stacks")

    def make(name: str, other: Environment = environment) -> Stack:
        return Stack(name, other, folder)

    return make


@pytest.fixture
def stack(cluster: Cluster, make_stack: MakeStack) -> Iterator[Stack]:
    """A stack of the test's own with valid settings, on a cluster that has nothing of the project."""
    number = next(_NUMBERS)
    stack = make_stack(f"own-{number}")
    stack.configure(context=cluster.context, namespace=f"gpu-own-{number}", nodes=[GPU_1])
    yield stack
    stack.remove()
    clear(stack.environment)
