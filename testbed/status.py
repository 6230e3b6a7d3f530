"""What is up, as a table for people."""

from rich.markup import escape
from rich.table import Table

from testbed.cluster import Cluster
from testbed.gpus import SimulatedGpu
from testbed.kube_api import Object, is_ready

_GPU = "nvidia.com/gpu"


def table(cluster: Cluster) -> Table:
    """One cluster: its processes, nodes and GPUs."""
    rows = Table("part", "name", "state", title=escape(f"{cluster.context}  {cluster.control_plane.server}"))
    processes = cluster.control_plane.processes | ({"kwok": cluster.kwok.pid} if cluster.has_kwok else {})
    for name, pid in processes.items():
        rows.add_row("process", name, f"pid {pid}" if pid else "[red]not running[/]")
    try:
        for name, node in cluster.api.nodes().items():
            rows.add_row("node", escape(name), _node_state(node))
    except OSError as error:
        rows.add_row("node", "all", f"[red]unknown: the API server does not answer ({escape(str(error))})[/]")
    for name, node in cluster.every_node.items():
        if not node.running:
            rows.add_row("node", escape(name), "[red]its daemons do not run[/]")
        for index, gpu in enumerate(node.gpus):
            rows.add_row("gpu", escape(f"{name}/{index} {gpu.model.name}"), _gpu_state(gpu))
    return rows


def _node_state(node: Object) -> str:
    status: dict[str, dict[str, str]] = node["status"]
    offers = status.get("allocatable", {}).get(_GPU, "0"), status.get("capacity", {}).get(_GPU, "0")
    return f"{'Ready' if is_ready(node) else '[red]not Ready[/]'}, {_GPU} {offers[0]} of {offers[1]}"


def _gpu_state(gpu: SimulatedGpu) -> str:
    model = gpu.model
    span = f"default {model.default_watts}, {model.min_watts} to {model.max_watts}"
    limit = f"limit {gpu.power_limit:.0f} W ({span})"
    faults = [f"Xid {xid}" for xid in gpu.xids] + (["lost"] if gpu.lost else [])
    return ", ".join([limit, f"{gpu.utilization} %", f"{gpu.temperature} °C", *(f"[red]{f}[/]" for f in faults)])
