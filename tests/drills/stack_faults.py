"""Faults of the stack: what people and Pulumi's engine do to it. Most need `pulumi up`, which is part of the drill."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import yaml

from testbed.cluster import Cluster
from testbed.gpus import NodeSpec
from tests.drills.drill import Fault, drill
from tests.drills.field import STACK, WATTS, Field
from tests.node.bed import GPU, NAMESPACE, PLUGIN, POWER, REPOSITORY

_OTHER = "drills-other"
_LABELS = ("nvidia.com/gpu.present-", "nvidia.com/device-plugin.config-")


def _repaired(field: Field) -> None:
    done = field.up()
    assert done.returncode == 0, done.stdout + done.stderr


def _on_the_circuit(field: Field) -> float:
    (gpu,) = field.bed.gpus("gpu-2")
    return gpu.power_limit


@drill("DaemonSet of the device plugin deleted, `pulumi up`")
def plugin_daemon_set_deleted(field: Field) -> Fault:
    field.bed.output("kubectl", "delete", "daemonset", "-n", NAMESPACE, PLUGIN)
    yield
    _repaired(field)


@drill("DaemonSet of the agent deleted, `pulumi up`", within=180)
def agent_daemon_set_deleted(field: Field) -> Fault:
    field.bed.output("kubectl", "delete", "daemonset", "-n", NAMESPACE, POWER)
    time.sleep(15)
    yield
    assert _on_the_circuit(field) == WATTS, "a limit that protects a circuit is kept"
    _repaired(field)


@drill("labels of gpu-2 removed, `pulumi up`", within=180)
def labels_removed(field: Field) -> Fault:
    field.bed.output("kubectl", "label", "node", "gpu-2", *_LABELS)
    time.sleep(15)
    yield
    assert _on_the_circuit(field) == WATTS, "a limit that protects a circuit is kept"
    _repaired(field)


@drill("namespace deleted; `pulumi up` while it ends, and once it is gone", within=180)
def namespace_deleted(field: Field) -> Fault:
    field.bed.output("kubectl", "delete", "namespace", NAMESPACE, "--wait=false")
    begun = time.monotonic()
    refused = field.up()
    assert refused.returncode != 0, refused.stdout
    assert "is being deleted since" in refused.stdout + refused.stderr, refused.stdout + refused.stderr
    assert time.monotonic() - begun < 120, "refused, and not waited for"
    yield
    field.bed.output("kubectl", "wait", "--for=delete", f"namespace/{NAMESPACE}", "--timeout=110s")
    assert _on_the_circuit(field) == WATTS, "a limit that protects a circuit is kept"
    _repaired(field)


@drill("plugin's DaemonSet edited by hand, `pulumi up`")
def edited_by_hand(field: Field) -> Fault:
    change = {
        "spec": {"template": {"spec": {"containers": [{"name": PLUGIN, "env": [{"name": "BY", "value": "hand"}]}]}}}
    }
    field.bed.output("kubectl", "patch", "daemonset", "-n", NAMESPACE, PLUGIN, "-p", json.dumps(change))
    yield
    _repaired(field)


@drill("kubelet of gpu-2 stopped during `pulumi up`: it fails, and the next does not", pods_end=True, within=300)
def node_away_during_up(field: Field) -> Fault:
    """The node counts as Ready for most of a minute more. The provider waits up to ten minutes for a DaemonSet."""
    node = field.node("gpu-2")
    with field.deploying(slices=6) as up:
        try:
            field.wait(lambda: any("lock" in each for each in field.left_over()), 60)
            node.stop_kubelet()
            said, _ = up.communicate(timeout=750)
            assert up.returncode != 0, said
            yield
        finally:
            node.start_kubelet()
    field.wait(lambda: field.bed.allocatable("gpu-2") > 0, 120)
    _repaired(field)


@drill("`pulumi up` killed at three moments, `pulumi cancel`, `pulumi up`", within=300)
def up_killed(field: Field) -> Fault:
    for number, seconds in enumerate((2, 6, 10)):
        with field.deploying(slices=6 + number) as up:
            time.sleep(seconds)
            up.send_signal(signal.SIGKILL)
            up.communicate()
        field.bed.run("pulumi", "cancel", "--yes", "--stack", STACK)
    yield
    _repaired(field)
    for remedy in field.remedies("PUL003"):
        field.bed.output(*remedy.split())


@drill("two `pulumi up` at once")
def two_ups(field: Field) -> None:
    with field.deploying() as first:
        field.wait(lambda: any("lock" in each for each in field.left_over()), 60)
        second = field.up()
        said, _ = first.communicate(timeout=400)
    assert first.returncode == 0, said
    assert second.returncode != 0, second.stdout
    assert "locked" in second.stdout + second.stderr


@drill("two clusters deployed at once, by two stacks of one project", within=180)
def two_clusters(field: Field) -> None:
    """Slices change in both meanwhile; KUBECONFIG is the first one's in both updates."""
    bed, other = field.bed, Cluster(_OTHER)
    other.down()  # a run that was killed
    try:
        other.up([NodeSpec.parse("gpu-1=rtx-3090x1")])
        keys = {"context": other.context, "kubeconfig": str(other.kubeconfig), "slices": 3}
        nodes = [{"name": "gpu-1", "gpu": "rtx-3090", "count": 1}]
        config = {f"gpu:{key}": value for key, value in (keys | {"nodes": nodes, "powerLimit": WATTS}).items()}
        other.stack_file.write_text(yaml.safe_dump({"config": config}))
        bed.output("pulumi", "stack", "init", _OTHER, "--cwd", bed.environment["TMPDIR"])
        environment = bed.environment | {"PULUMI_OPTION_CONFIG_FILE": str(other.stack_file)}
        command = ["pulumi", "up", "--yes", "--skip-preview", "--stack", _OTHER]
        with field.deploying(slices=6) as first:
            second = subprocess.run(
                command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400, check=False
            )
            said, _ = first.communicate(timeout=400)
        assert (first.returncode, second.returncode) == (0, 0), said + second.stdout + second.stderr
        assert other.api.nodes()["gpu-1"]["status"]["allocatable"][GPU] == "3"
        assert (bed.allocatable("gpu-1"), bed.allocatable("gpu-2")) == (12, 6)
    finally:
        other.down()
        bed.run("pulumi", "stack", "rm", "--force", "--yes", _OTHER)
    _repaired(field)


@drill("state lost, `pulumi stack init`, `pulumi up`", within=180)
def state_lost(field: Field) -> Fault:
    state = Path(field.bed.environment["PULUMI_BACKEND_URL"].removeprefix("file://"))
    shutil.rmtree(state / ".pulumi" / "stacks")
    yield
    field.bed.output("pulumi", "stack", "init", STACK, "--cwd", field.bed.environment["TMPDIR"])
    _repaired(field)


@drill("state cut off, its backup restored, `pulumi up`", within=180)
def state_cut_off(field: Field) -> Fault:
    state = Path(field.bed.environment["PULUMI_BACKEND_URL"].removeprefix("file://"))
    (file,) = state.rglob(f"stacks/**/{STACK}.json")
    backup = state / "backup.json"
    field.bed.output("pulumi", "stack", "export", "--stack", STACK, "--file", str(backup))
    file.write_text(file.read_text()[:1000])
    yield
    file.unlink()
    field.bed.output("pulumi", "stack", "init", STACK, "--cwd", field.bed.environment["TMPDIR"])
    field.bed.output("pulumi", "stack", "import", "--stack", STACK, "--file", str(backup))
    _repaired(field)


@drill("image that no registry has: `pulumi up` interrupted, then the right one", within=300)
def image_gone(field: Field) -> Fault:
    with field.deploying(devicePluginImage="localhost:1/no-such-image:v0.18.2"):
        field.wait(lambda: "ErrImagePull" in field.bed.output("kubectl", "get", "pods", "-n", NAMESPACE), 250)
        yield
    _repaired(field)
