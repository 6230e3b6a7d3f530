"""Where drills take place: a cluster with two nodes and GPU pods at work, and what is measured there.

The nodes run this machine's own system, or Talos, where nobody can end one program of a node: those drills are skipped.
"""

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess, Popen

import pytest

from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.gpus import NodeSpec, SimulatedGpu
from testbed.node import Node
from testbed.talos_node.releases import release_of
from tests.node.bed import INTERVAL, NAMESPACE, PLUGIN, POWER, Bed, Config, Object, gpu_pod
from tests.talos_node.bed import TalosBed

NODES = (NodeSpec.parse("gpu-1=rtx-3090x2"), NodeSpec.parse("gpu-2=rtx-4090x1"))
WATTS = 300
SLICES = {"gpu-1": 8, "gpu-2": 4}
AT_WORK = {"gpu-1": 3, "gpu-2": 2}
"""GPU pods that run meanwhile, by node."""
STACK = "l2"

_CHECK = re.compile(r"\b[a-z]{3}\d{3}\b", re.IGNORECASE)


class Field:
    """The cluster with what is deployed and at work on it."""

    def __init__(self, cluster: Cluster, talos: str) -> None:
        """The release of Talos that the nodes run; none is this machine's own system."""
        self.cluster = cluster
        self.bed = TalosBed(cluster, release_of(talos)) if talos else Bed(cluster)
        if isinstance(self.bed, TalosBed):
            self.bed.write_stack_file(self.stack_file())
            self.bed.patch_all()

    @property
    def control_plane(self) -> ControlPlane:
        """Of the plain bed, whose programs can be ended one by one."""
        if not isinstance(self.cluster.control_plane, ControlPlane):
            pytest.skip("Talos lets nobody end one program of its control plane")
        return self.cluster.control_plane

    def node(self, name: str) -> Node:
        """A node that runs this machine's own system."""
        if isinstance(self.bed, TalosBed):
            pytest.skip("Talos lets nobody end one program of a node")
        return self.cluster.nodes[name]

    def restart_kubelet(self, name: str) -> None:
        """Restarts a node's kubelet, as its system does it."""
        if isinstance(self.bed, TalosBed):
            self.bed.talosctl(name, "service", "kubelet", "restart")
        else:
            self.node(name).restart_kubelet()

    def boot(self, name: str) -> None:
        """A node loses its power and boots, or, on Talos, reboots; its driver forgets limits."""
        if isinstance(self.bed, TalosBed):
            self.bed.talosctl(name, "reboot", "--wait", "--timeout", "4m")
        else:
            self.node(name).lose_power()
        for gpu in self.bed.gpus(name):
            gpu.reload_driver()
        self.cluster.up()

    def stack_file(self, **config: object) -> Config:
        """Four slices per GPU at 300 W; only gpu-2 is on a circuit that is known."""
        nodes: list[Config] = [
            {"name": "gpu-1", "gpu": "rtx-3090", "count": 2},
            {"name": "gpu-2", "gpu": "rtx-4090", "count": 1, "circuitWatts": 2000},
        ]
        usual: Config = {"powerLimit": WATTS, "powerInterval": INTERVAL, "nodes": nodes}
        if isinstance(self.bed, TalosBed):
            usual |= {"talosVersion": self.bed.release.version, "driverChannel": "production"}
            for node in nodes:
                node["address"] = self.bed.address(node["name"])
        return usual | config

    def settle(self) -> None:
        """Deploys the usual stack and puts the pods to work, where they are not."""
        if not self.is_right():
            self.cluster.up()  # what a drill that failed left ended
            self.bed.deploy(self.stack_file())
        there = self.bed.pods()
        wanted = {f"work-{node}-{at}": node for node, pods in AT_WORK.items() for at in range(pods)}
        if missing := [gpu_pod(name, node) for name, node in wanted.items() if name not in there]:
            self.bed.create(*missing)
        self.wait(lambda: self.is_right() and set(self.bed.phases().values()) == {"Running"}, 180)

    def is_right(self) -> bool:
        """Whether every slice is offered, every limit held, and every pod of the stack and at work ready."""
        try:
            offered = {name: self.bed.allocatable(name) for name in SLICES}
            held = all(abs(gpu.power_limit - WATTS) <= 1 and not gpu.lost for gpu in self.gpus)
            return offered == SLICES and held and self._works() and all(map(self._serves, (PLUGIN, POWER)))
        except (OSError, KeyError):
            return False

    def replace_failed(self) -> None:
        """Makes pods at work anew that their kubelet has refused, as their controller would."""
        for name, pod in self.bed.pods().items():
            if _is_at_work(pod) and pod["status"].get("phase") == "Failed":
                self.bed.output("kubectl", "delete", "pod", name)
                self.bed.create(gpu_pod(name, pod["spec"]["nodeName"]))

    @property
    def gpus(self) -> list[SimulatedGpu]:
        """Every GPU of the cluster."""
        return [gpu for name in SLICES for gpu in self.bed.gpus(name)]

    def containers(self) -> dict[str, str]:
        """Pod at work -> its container, which is another one when it was restarted."""
        pods = {name: pod for name, pod in self.bed.pods().items() if _is_at_work(pod)}
        return {name: pod["status"]["containerStatuses"][0].get("containerID", "") for name, pod in pods.items()}

    def wait(self, holds: Callable[[], bool], seconds: float) -> float:
        """Waits until something holds; returns the seconds it took."""
        begun = time.monotonic()
        while not holds():
            assert time.monotonic() - begun < seconds, f"not within {seconds:.0f} s"
            time.sleep(0.25)
        return time.monotonic() - begun

    @contextmanager
    def watched(self) -> Generator[list[float]]:
        """The seconds that some GPU's limit was above what is wanted, the worst GPU's; known at the end."""
        above, done = dict.fromkeys((gpu.uuid for gpu in self.gpus), 0.0), threading.Event()
        gpus, worst = self.gpus, list[float]()

        def watch() -> None:
            before = time.monotonic()
            while not done.wait(0.1):
                now = time.monotonic()
                for gpu in gpus:
                    above[gpu.uuid] += (now - before) * (gpu.power_limit > WATTS + 1)
                before = now

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield worst
        finally:
            done.set()
            watcher.join()
            worst.append(max(above.values()))

    def gpuctl(self, verb: str) -> str:
        """What `gpuctl verify` or `doctor` says: its exit code and the checks it names."""
        done = self.bed.run(sys.executable, "-m", "gpuctl", verb, "--stack", STACK, seconds=300)
        named = list(dict.fromkeys(name.upper() for name in _CHECK.findall(done.stdout)))[:3] if done.returncode else []
        why = named or (done.stdout + done.stderr).splitlines()[-1:] if done.returncode else []
        return " ".join([str(done.returncode), *why])

    def remedies(self, check: str) -> list[str]:
        """The commands with which doctor ends what a check found."""
        said = self.bed.run(sys.executable, "-m", "gpuctl", "doctor", "--stack", STACK, "-o", "json", seconds=300)
        (report,) = json.loads(said.stdout)["stacks"]
        checks = [each for category in report["categories"] for each in category["checks"] if each["id"] == check]
        return [found["remedy"] for each in checks for found in each["results"] if "remedy" in found]

    def up(self, *flags: str, **config: object) -> CompletedProcess[str]:
        """Runs `pulumi up` for the usual stack, or one with other keys."""
        self.bed.changed_by_hand()
        self.bed.write_stack_file(self.stack_file(**config))
        return self.bed.run("pulumi", "up", "--yes", "--skip-preview", "--stack", STACK, *flags, seconds=400)

    @contextmanager
    def deploying(self, **config: object) -> Generator[Popen[str]]:
        """Starts `pulumi up` for a stack with other keys, and interrupts it at the end if it runs still."""
        up = self.bed.start_deploying(self.stack_file(**config))
        try:
            yield up
        finally:
            if up.poll() is None:
                self.bed.stop_deploying(up)

    def left_over(self) -> list[str]:
        """What a drill has left behind."""
        home = Path(self.bed.environment["PULUMI_HOME"])
        locks = [path.name for path in home.parent.rglob("locks/**/*.json")]
        providers = [pid for pid in _orphans("pulumi-resource-kubernetes") if str(home) in _environment(pid)]
        return [*(f"lock {name}" for name in locks), *(f"provider process {pid}" for pid in providers)]

    def _works(self) -> bool:
        """By what the kubelets say of containers: a pod is Running for Kubernetes while its node boots."""
        pods = (self.cluster.api.get("/api/v1/namespaces/default/pods") or {})["items"]
        states = [pod["status"].get("containerStatuses", []) for pod in pods if _is_at_work(pod)]
        return all(state and state[0]["ready"] for state in states)

    def _serves(self, daemon_set: str) -> bool:
        live = self.cluster.api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{daemon_set}")
        status = (live or {}).get("status", {})
        counts = ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady")
        return [status.get(count) for count in counts] == [len(SLICES)] * len(counts)


def _is_at_work(pod: Object) -> bool:
    return pod["metadata"]["name"].startswith("work-")


def processes_of(node: Node, program: str) -> list[int]:
    """The processes of a node that run a program."""
    return [pid for pid in node.processes() if Path(command(pid).partition("\0")[0]).name == program]


def command(pid: int) -> str:
    """The command line of a process, each argument ended by a zero byte; empty when it is gone."""
    return _read(pid, "cmdline")


def _orphans(program: str) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if program in command(pid).partition("\0")[0] and _parent(pid) == 1]


def _environment(pid: int) -> str:
    return _read(pid, "environ")


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""
