"""What `gpuctl verify` costs on a large cluster, against kubectl: 1,000 nodes, 8,000 GPUs, 10,000 pods; or 5,000 nodes.

kubectl lists the same nodes and pods as its usual table, which costs it less than JSON. kwok plays the nodes: no agent
answers there, so checks that ask one tell that it does not.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import yaml

from bench import crowd
from bench.measured import in_turns
from gpuctl.desired.desired import desired_state
from gpuctl.settings import read_config
from testbed.cluster import Cluster

_CLUSTER = "bench"
_GPUS = 8
"""Of each node."""
_MANAGERS = 10
_ROUNDS = 5


def run() -> None:
    """Medians of runs in turns, twice: the second time the pods have far more managed fields."""
    with _cluster(nodes=1000, pods=10_000) as environment:
        _measure(environment, "managed fields of one manager")
        crowd.add_managed_fields(environment, _MANAGERS)
        _measure(environment, f"managed fields of {_MANAGERS} more managers")


def run_largest() -> None:
    """As many nodes as Kubernetes is made for (kubernetes.io, Considerations for large clusters)."""
    with _cluster(nodes=5000, pods=20_000) as environment:
        _measure(environment, "managed fields of one manager")


@contextmanager
def _cluster(nodes: int, pods: int) -> Generator[crowd.Environment]:
    """The environment of commands that reach a cluster with a stack of so many nodes."""
    cluster = Cluster(_CLUSTER)
    cluster.down()  # a run that was killed
    try:
        cluster.up()
        cluster.add_kwok_node("control-1")
        said = [{"name": f"gpu-{i}", "gpu": "rtx-4090", "count": _GPUS} for i in range(nodes)]
        config = {"gpu:context": cluster.context, "gpu:nodes": said}
        cluster.stack_file.write_text(yaml.safe_dump({"config": config}))
        environment = cluster.environment()
        crowd.populate(environment, desired_state(read_config(_CLUSTER, config)), pods)
        yield environment
    finally:
        cluster.down()


def _measure(environment: crowd.Environment, title: str) -> None:
    kubectl = ["kubectl", "get", "nodes,pods", "--all-namespaces"]
    verify = [str(Path(sys.executable).with_name("gpuctl")), "verify", "--stack", _CLUSTER]
    costs = in_turns({"kubectl get nodes,pods -A": kubectl, "gpuctl verify": verify}, _ROUNDS, environment)
    base = next(iter(costs.values()))
    print(f"pods with {title}")
    for name, one in costs.items():
        print(f"  {name:27} {one.seconds:6.1f} s   {one.seconds / base.seconds:4.2f} x", end="")
        print(f"   {one.cpu_seconds:6.1f} s of CPU   exit {one.exit_code}   {one.peak_mib:5.0f} MiB")
