"""What else in the cluster sets up GPUs: two owners of one thing undo each other's work."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from gpuctl.checks.context import Context
from gpuctl.checks.model import Check, Result, Subject, checks_of, failed, listed, passed
from gpuctl.checks.own_pods import pod_on
from gpuctl.checks.workloads import PODS, is_own
from gpuctl.cluster import Pod
from gpuctl.desired.power_limit import NAME as POWER_LIMIT
from gpuctl.desired.usage import NAME as USAGE
from gpuctl.observed.gpu_software import PLUGINS, SETUPS, gpu_software, sets_power_limits
from gpuctl.observed.pods import warnings


@Check(
    "POD020",
    PODS,
    "the API server admits the stack's pods",
    cause="The cluster refuses the pods: by the namespace's Pod Security level, a quota, or for want of an object",
    example='daemonset/nvidia-device-plugin gets no pods: violates PodSecurity "baseline:latest": hostPath volumes',
    confirm=("kubectl --context admin@lab describe daemonset -n gpu-device-plugin",),
    fix=(
        "`pulumi up --refresh --stack lab` puts the namespace's labels back: Talos enforces the level baseline on "
        "every namespace that does not say privileged.",
        "A quota: raise it. Another object: the message names it.",
    ),
    retry=True,
)
def own_pods_are_allowed(context: Context) -> Iterator[Result]:
    """A DaemonSet whose pods are forbidden applies without an error; only its events show it."""
    settings = context.settings
    agents = (*[POWER_LIMIT] * settings.power_management, *[USAGE] * settings.usage)
    wanted = {
        name: (*node.plugins, *node.daemons, *agents)
        for name, node in context.desired.nodes.items()
        if name in context.nodes
    }
    lacking = {
        each for node, components in wanted.items() for each in components if pod_on(context, each, node) is None
    }
    refusals = _refusals(context) if lacking else {}
    daemon_sets = (each["metadata"] for each in context.desired.manifests if each["kind"] == "DaemonSet")
    made = {each["name"]: each["labels"]["app.kubernetes.io/name"] for each in daemon_sets}
    for name, message in refusals.items():
        pod_security = "violates PodSecurity" in message
        cause = f"namespace {context.settings.namespace} does not allow privileged pods" if pod_security else ""
        fix = f"pulumi up --refresh --stack {context.stack}"
        describe = context.kubectl("describe", "daemonset", "-n", context.settings.namespace, name)
        fact = f"daemonset/{name} gets no pods: {message}"
        subject = Subject(kind="daemonset", name=name, component=made.get(name, ""))
        yield failed(fact, fix if pod_security else describe, subject, cause)
    if not refusals:
        yield passed("the API server refuses none of the stack's pods")


@Check(
    "POD010",
    PODS,
    "no other device plugin serves the stack's nodes",
    cause="Two offer the same GPUs: of device plugins the kubelet believes the last; beside the DRA driver, GPUs count "
    "twice",
    example="another NVIDIA device plugin runs on gpu-1: kube-system/nvidia-device-plugin-daemonset-x7k2p",
    confirm=("kubectl --context admin@lab get daemonsets -A -o wide",),
    fix=(
        "Keep one of the two: remove the other, or keep it off these nodes with its node selector.",
        "After that: `kubectl rollout restart -n gpu-device-plugin daemonset/nvidia-device-plugin`.",
    ),
)
def no_other_device_plugin(context: Context) -> Iterator[Result]:
    """By image, so that another name does not hide it; on other nodes it is none of the stack's business."""
    found = _found(context, PLUGINS, set(context.desired.nodes))
    for (what, namespace), pods in found.items():
        yield _competitor(context, f"{what} runs on {_nodes(pods)}", namespace, pods)
    if not found:
        yield passed("nothing but the stack offers the GPUs of its nodes")


@Check(
    "POD011",
    PODS,
    "nothing else sets up the cluster's GPUs",
    cause="The GPU Operator or one of its parts is in the cluster: it labels nodes and deploys a device plugin too",
    example="NVIDIA's GPU Operator is in the cluster: gpu-operator/gpu-operator-5b6c7d8f9-2kq4z",
    confirm=("kubectl --context admin@lab get pods -A -l app.kubernetes.io/part-of=gpu-operator",),
    fix=(
        "Keep it off the stack's nodes: `kubectl label node gpu-1 nvidia.com/gpu.deploy.operands=false`.",
        "It serves other nodes only: name them in gpu:otherGpuNodes.",
        "Or leave GPUs to it, and take the stack away with `pulumi destroy`.",
    ),
    severity="warning",
)
def no_other_setup(context: Context) -> Iterator[Result]:
    """Anywhere in the cluster: an operator acts on nodes where it does not run, unless it has nodes of its own."""
    found = _found(context, SETUPS, set(context.desired.nodes) if context.settings.other_gpu_nodes else None)
    for (what, namespace), pods in found.items():
        yield _competitor(context, f"{what} is in the cluster", namespace, pods)
    if not found and context.settings.other_gpu_nodes:
        yield passed("no GPU Operator and none of its parts runs on the stack's nodes")
    elif not found:
        yield passed("no GPU Operator and none of its parts is in the cluster")


@Check(
    "POD012",
    PODS,
    "nothing that is known to set power limits runs besides",
    cause="Another agent writes power limits, and each undoes what the other has set",
    example="what looks like another power-limit agent runs on gpu-1: dynamo/gpu-power-agent-x7k2p",
    confirm=("kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-power-limit",),
    fix=("Remove the other agent, or leave the limits to it: `pulumi config set gpu:powerManagement false`.",),
    severity="warning",
)
def no_other_power_agent(context: Context) -> Iterator[Result]:
    """By name, image or the annotation of NVIDIA Dynamo; what is not known by these shows in its deeds (PWR006)."""
    if not context.settings.power_management:
        yield passed("the stack sets no power limits")
        return
    nodes = context.desired.nodes
    found: dict[str, list[Pod]] = defaultdict(list)
    for pod in context.pods:
        if pod.node in nodes and pod.active and not is_own(context, pod) and sets_power_limits(pod):
            found[pod.namespace].append(pod)
    for namespace, pods in found.items():
        yield _competitor(context, f"what looks like another power-limit agent runs on {_nodes(pods)}", namespace, pods)
    if not found:
        yield passed("no other power-limit agent is known on the stack's nodes")


def _refusals(context: Context) -> dict[str, str]:
    """DaemonSet -> why it could not make a pod, the last time."""
    events = context.cluster.list("Event", context.settings.namespace, {"reason": "FailedCreate"})
    return {name: found[-1].message for (kind, name), found in warnings(events).items() if kind == "DaemonSet"}


def _found(context: Context, known: Mapping[str, str], nodes: set[str] | None) -> dict[tuple[str, str], list[Pod]]:
    """What it is and its namespace -> its pods, on some nodes or on all."""
    found: dict[tuple[str, str], list[Pod]] = defaultdict(list)
    for pod in context.pods:
        concerns = pod.active and (nodes is None or pod.node in nodes) and not is_own(context, pod)
        if concerns and (what := gpu_software(pod, known)):
            found[what, pod.namespace].append(pod)
    return found


def _nodes(pods: list[Pod]) -> str:
    return listed(sorted({pod.node for pod in pods}))


def _competitor(context: Context, what: str, namespace: str, pods: list[Pod]) -> Result:
    names = listed([f"{namespace}/{pod.name}" for pod in pods])
    shown = context.kubectl("get", "daemonsets,deployments", "-n", namespace, "-o", "wide")
    return failed(f"{what}: {names}", shown, Subject(kind="namespace", name=namespace))


CHECKS = checks_of(vars())
