"""Faults of nodes and of what runs on them."""

import json
import os
import signal
import time

from tests.drills.drill import Fault, drill
from tests.drills.field import WATTS, Field, command, processes_of
from tests.node.bed import NAMESPACE, PLUGIN, POWER

_KILLS = 5
_STATE = "/var/lib/kubelet/plugins/gpu-power-limit"
_STRANGER = "stranger"
_CHECKPOINT = "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"


@drill("device plugin: pod deleted")
def plugin_deleted(field: Field) -> None:
    field.bed.restart_plugin("gpu-1")


@drill("device plugin: killed five times", short=True, within=60)
def plugin_killed(field: Field) -> None:
    """Each time as soon as it runs again: the kubelet would wait longer each time."""
    killed = 0

    def runs_anew() -> bool:
        return bool(set(processes_of(field.node("gpu-1"), PLUGIN)) - {killed})

    for _ in range(_KILLS):
        field.wait(runs_anew, 60)
        (killed,) = processes_of(field.node("gpu-1"), PLUGIN)
        os.kill(killed, signal.SIGKILL)


@drill("device plugin: one of another owner serves the same GPUs, and is removed", within=180)
def second_plugin(field: Field) -> Fault:
    """The kubelet then knows the other one alone, and hands out nothing once that is gone."""
    template = field.bed.get("daemonset", "-n", NAMESPACE, PLUGIN)["spec"]["template"]
    (plugin,) = template["spec"]["containers"]
    kept = ("device-plugins",)
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _STRANGER, "namespace": NAMESPACE, "labels": {"app": _STRANGER}},
        "spec": {
            "runtimeClassName": "nvidia",
            "nodeName": "gpu-1",
            "volumes": [each for each in template["spec"]["volumes"] if each["name"] in kept],
            "containers": [
                {
                    "name": _STRANGER,
                    "image": plugin["image"],
                    "command": ["nvidia-device-plugin"],
                    "env": [each for each in plugin["env"] if each["name"].startswith("NVIDIA_")],
                    "volumeMounts": [each for each in plugin["volumeMounts"] if each["name"] in kept],
                }
            ],
        },
    }
    field.bed.output("kubectl", "create", "-f", "-", text=json.dumps(stranger))
    field.wait(lambda: field.bed.allocatable("gpu-1") == 2, 90)
    yield
    field.bed.output("kubectl", "delete", "pod", "-n", NAMESPACE, _STRANGER)


@drill("power-limit agent: pod deleted with --force")
def agent_deleted(field: Field) -> None:
    pod = field.bed.name_of(POWER, "gpu-1")
    field.bed.output("kubectl", "delete", "pod", "-n", NAMESPACE, pod, "--force", "--grace-period=0")


@drill("power-limit agent: killed, limit moved", short=True)
def agent_killed(field: Field) -> None:
    for pid in field.node("gpu-1").processes():
        if "agent.sh\0run" in command(pid):
            os.kill(pid, signal.SIGKILL)
    field.bed.gpus("gpu-1")[0].drift(350)


@drill("driver reloaded on both nodes")
def driver_reloaded(field: Field) -> None:
    for gpu in field.gpus:
        gpu.reload_driver()


@drill("limit moved every 3 s, for 30 s")
def limit_moved(field: Field) -> Fault:
    gpu = field.bed.gpus("gpu-1")[0]
    for move in range(10):
        gpu.drift(350)
        time.sleep(3)
        if move == 8:
            yield


@drill("GPU lost for 20 s", short=True)
def gpu_lost(field: Field) -> Fault:
    gpu = field.bed.gpus("gpu-1")[0]
    gpu.lose()
    try:
        field.wait(lambda: field.bed.allocatable("gpu-1") == 0, 60)
        time.sleep(15)
        yield
    finally:
        gpu.recover()


@drill("GPU with Xid 79")
def gpu_with_xid(field: Field) -> None:
    field.bed.gpus("gpu-1")[0].raise_xid(79)
    field.wait(lambda: field.bed.allocatable("gpu-1") < 8, 60)


@drill("kubelet restarted")
def kubelet_restarted(field: Field) -> None:
    field.restart_kubelet("gpu-1")


@drill("kubelet restarted, its checkpoint of devices lost")
def checkpoint_lost(field: Field) -> None:
    node = field.node("gpu-1")
    node.stop_kubelet()
    node.run("rm", "-f", _CHECKPOINT)
    node.start_kubelet()


@drill("containerd killed, 5 s down")
def containerd_killed(field: Field) -> None:
    node = field.node("gpu-1")
    node.kill_containerd()
    time.sleep(5)
    node.start_containerd()


@drill("node boots", pods_end=True, within=300)
def node_boots(field: Field) -> None:
    field.boot("gpu-2")


@drill("agent's folder on the node is full, its pod replaced", within=180)
def folder_full(field: Field) -> Fault:
    """The pod sees the full file system from its start; it goes on when there is space again."""
    node = field.node("gpu-1")
    node.run("mount", "-t", "tmpfs", "-o", "size=64k", "full", _STATE)
    node.run("sh", "-c", f"head -c 70000 /dev/zero >{_STATE}/filler")
    try:
        field.bed.output("kubectl", "delete", "pod", "-n", NAMESPACE, field.bed.name_of(POWER, "gpu-1"))
        time.sleep(10)
        yield
        assert all(gpu.power_limit <= WATTS for gpu in field.bed.gpus("gpu-1"))
    finally:
        node.run("rm", "-f", f"{_STATE}/filler")
        field.wait(field.is_right, 120)
        node.run("umount", _STATE)
        field.bed.output("kubectl", "delete", "pod", "-n", NAMESPACE, field.bed.name_of(POWER, "gpu-1"))
