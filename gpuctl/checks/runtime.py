"""Whether driver and container runtime work inside pods: nvidia-smi, run there."""

from collections.abc import Iterator
from functools import partial

from gpuctl.checks.context import Context, side_by_side
from gpuctl.checks.model import Category, Check, Result, Subject, checks_of, counted, failed, passed, skipped
from gpuctl.checks.own_pods import pod_on
from gpuctl.cluster import AccessDeniedError, ClusterError, Executed, Pod
from gpuctl.desired.desired import DesiredNode

RUNTIME = Category("runtime", "driver and runtime in pods")

_OWN = ["/busybox/sh", "-c", "PATH=$PATH:/usr/local/nvidia/bin:/usr/local/bin:/usr/bin; exec nvidia-smi -L"]
"""The runtime mounts nvidia-smi at the host's path, which need not be on the PATH of the image."""
_THEIRS = ["nvidia-smi", "-L"]
_CAUSES = {
    9: "the NVIDIA driver is not loaded on the node",
    12: "the driver's library is not in the pod: driver and toolkit of the node do not fit together",
    127: "the NVIDIA runtime mounted no nvidia-smi: its handler is not that of the RuntimeClass, or not installed",
}
"""Exit codes of nvidia-smi by its manual page; 127 is the shell's."""
_GPU_LOST = 15
"""Of nvidia-smi as well: the driver works, and one GPU does not."""
_MISMATCH = "Driver/library version mismatch"


@Check(
    "RUN001",
    RUNTIME,
    "the NVIDIA driver answers in the stack's own pods",
    cause="No driver is loaded, or its kernel modules and its libraries are of two versions",
    example="nvidia-smi on gpu-1 ends with 18: Failed to initialize NVML: Driver/library version mismatch",
    confirm=("talosctl -n ADDRESS get extensions", "talosctl -n ADDRESS read /proc/driver/nvidia/version"),
    fix=(
        "Both extensions must be of one Talos release: `gpuctl talos patch --stack lab`, then upgrade the node.",
        "After an upgrade without a reboot: `talosctl -n ADDRESS reboot`.",
    ),
    deep=True,
)
def driver_answers(context: Context) -> Iterator[Result]:
    """In the device plugin's pods, which see all GPUs that they offer."""
    nodes = context.desired.nodes.values()
    yield from side_by_side(partial(_own, context), [(node, each) for node in nodes for each in node.plugins])


@Check(
    "RUN002",
    RUNTIME,
    "pods with a slice still see their GPU",
    cause="The node's daemons were reloaded, and running containers have lost their devices",
    example="nvidia-smi in default/trainer ends with 255: Failed to initialize NVML: Unknown Error",
    confirm=("kubectl --context admin@lab exec -n default trainer -- nvidia-smi -L",),
    fix=("Make the pod anew: `kubectl delete pod -n default trainer`. A new one gets its devices again.",),
    severity="warning",
    deep=True,
)
def users_see_their_gpu(context: Context) -> Iterator[Result]:
    """Only in pods that hold a slice and brought or got nvidia-smi; NVIDIA/nvidia-container-toolkit issue 48."""
    users = [pod for name in context.desired.nodes for pod in context.users.get(name, [])]
    yield from side_by_side(partial(_theirs, context), [pod for pod in users if pod.status.phase == "Running"])
    if not users:
        yield skipped("no pod holds a slice")


def _own(context: Context, plugin: tuple[DesiredNode, str]) -> Result:
    node, component = plugin
    pod = pod_on(context, component, node.name)
    if pod is None or not any(status.state.running for status in pod.status.container_statuses):
        return skipped(f"no device plugin runs on {node.name}", node.name)
    try:
        done = context.cluster.execute(pod.name, pod.namespace, _OWN)
    except AccessDeniedError:
        raise
    except ClusterError as error:
        return skipped(f"the device plugin's pod on {node.name} cannot be entered: {error}", node.name)
    if done.exit_code == 0:
        return passed(f"nvidia-smi on {node.name} lists {counted(done.stdout.count('GPU-'), 'GPU')}", node.name)
    if done.exit_code == _GPU_LOST:
        return passed(f"the driver on {node.name} answers that a GPU is lost", node.name)
    said = _said(done)
    cause = "kernel modules and libraries of the driver are of two versions" if _MISMATCH in said else ""
    extensions = f"talosctl -n {node.declared.address or node.name} get extensions"
    fact = f"nvidia-smi on {node.name} ends with {done.exit_code}: {said}"
    return failed(fact, extensions, node.name, cause or _CAUSES.get(done.exit_code, ""))


def _theirs(context: Context, pod: Pod) -> Result:
    resources, name = {*context.desired.resources}, f"{pod.namespace}/{pod.name}"
    subject = Subject(node=pod.node, kind="pod", name=name)
    beside = (box for box in pod.spec.init_containers if box.restart_policy == "Always")
    running = (box for box in (*pod.spec.containers, *beside) if resources & box.resources.limits.keys())
    if (container := next((box.name for box in running), None)) is None:
        return skipped(f"{name} had its GPU while it started, and no container of it has one now", subject)
    try:
        done = context.cluster.execute(pod.name, pod.namespace, _THEIRS, container=container)
    except AccessDeniedError:
        raise
    except ClusterError as error:
        return skipped(f"{name} cannot be entered, or has no nvidia-smi: {error}", subject)
    if done.exit_code == 0:
        return passed(f"{name} sees {counted(done.stdout.count('GPU-'), 'GPU')}", subject)
    if "NVML" not in _said(done):
        return skipped(f"{name} has no nvidia-smi that works there: {_said(done)}", subject)
    fact = f"nvidia-smi in {name} ends with {done.exit_code}: {_said(done)}"
    return failed(fact, context.kubectl("delete", "pod", "-n", pod.namespace, pod.name), subject)


def _said(done: Executed) -> str:
    """The first line of what a command printed."""
    return next(iter((done.stdout + done.stderr).strip().splitlines()), "nothing")


CHECKS = checks_of(vars())
