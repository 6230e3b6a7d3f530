"""Whether slices by MPS really have the limits that the stack asks for."""

from collections.abc import Iterator
from typing import Any

from gpuctl.checks.context import Context
from gpuctl.checks.model import Category, Check, Result, Subject, checks_of, counted, failed, listed, passed, skipped
from gpuctl.checks.own_pods import name_on, pod_on, running_on, why_not_working
from gpuctl.checks.plugin_config import loaded
from gpuctl.checks.serving import restart
from gpuctl.cluster import Pod
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.device_plugin import MPS as DAEMON
from gpuctl.desired.device_plugin.mps import ROOT
from gpuctl.desired.sharing import Mode, SharedGpus
from gpuctl.observed.devices import users
from gpuctl.observed.mps_log import has_one_user, serving, trouble
from gpuctl.observed.plugin_log import replicas

MPS = Category("mps", "MPS")

_NONE = "no node shares its GPUs by MPS"
_LOGS = "kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-mps-control-daemon"
_RESTART = "Make the pods of the node anew that use its GPUs: `kubectl --context admin@lab delete pod -n team trainer`."


@Check(
    "MPS001",
    MPS,
    "the MPS daemon serves on every node that shares by MPS",
    cause="NVIDIA's control daemon or its server does not start, or its limits are refused",
    example="the MPS daemon on gpu-1 does not serve: its server ends as it starts, for each client again",
    confirm=(_LOGS,),
    fix=(
        "Libraries that are not found: `gpuctl doctor` says which versions of Talos are known for it; update the node.",
        "Another MPS daemon on the node: remove it; two cannot serve the same GPUs.",
        "While none serves, the node offers no slice: pods wait, and none runs without its limit.",
    ),
    retry=True,
)
def daemons_serve(context: Context) -> Iterator[Result]:
    """By the state of its pod, which is ready only with its limits set, and by what its server says."""
    for node, _ in _served(context):
        daemon, about = f"the MPS daemon on {node.name}", Subject(node.name, component=DAEMON)
        if (seen := context.nodes.get(node.name)) is None or not seen.ready:
            yield skipped(f"{node.name} is {'not Ready' if seen else 'not in the cluster'}", node.name)
        elif why := why_not_working(context, DAEMON, node.name):
            cause = trouble(_log(context, node.name)) or why.cause
            yield failed(f"{daemon} does not serve", why.remedy, why.on(node.name), cause, why.reason)
        elif found := trouble(_log(context, node.name)):
            logs = context.kubectl("logs", "-n", context.settings.namespace, name_on(context, DAEMON, node.name))
            yield failed(f"{daemon} does not serve: {found}", logs, about, found, found)
        else:
            alone = ", one user at a time" if has_one_user(_log(context, node.name)) else ""
            yield passed(f"{daemon} serves{alone}", about)
    if not _served(context):
        yield skipped(_NONE)


@Check(
    "MPS002",
    MPS,
    "a slice has the memory and the threads that the stack asks for",
    cause="The daemon runs since before the last change, or was changed by hand",
    example="GPU-d24ded43 of gpu-1 gives a slice 6144 MiB and 25 % of its threads, and the stack asks for 4096 MiB "
    "and 25 %",
    confirm=(_LOGS, "gpuctl capacity --stack lab"),
    fix=("Run `pulumi up --refresh --stack lab`; the programs that use the GPUs end with the daemon.",),
    retry=True,
)
def limits_are_the_stacks(context: Context) -> Iterator[Result]:
    """By what the daemon reads back from NVIDIA's control daemon."""
    for node, group in _served(context):
        found = serving(_log(context, node.name))
        if not found:
            silence = running_on(context, DAEMON, "MPS daemon", node.name)
            reason = silence if isinstance(silence, str) else "its log cannot be read, or is too long by now"
            yield skipped(f"which limits slices of {node.name} have is not known: {reason}", node.name)
        for gpu in found:
            wanted = group.share_mib(gpu.total_mib), group.threads_percent
            about = Subject(node.name, gpu.gpu, component=DAEMON)
            limits = f"{gpu.memory_mib} MiB and {gpu.threads_percent} % of its threads"
            has = f"{gpu.gpu} of {node.name} gives a slice {limits}"
            if (gpu.memory_mib, gpu.threads_percent) == wanted:
                yield passed(has, about)
            else:
                fact = f"{has}, and the stack asks for {wanted[0]} MiB and {wanted[1]} %"
                yield failed(fact, f"pulumi up --refresh --stack {context.stack}", about)
    if not _served(context):
        yield skipped(_NONE)


@Check(
    "MPS003",
    MPS,
    "the device plugin sends its pods to the MPS daemon",
    cause="The plugin started before the configuration changed, or a variable in its pod wins over the file",
    example="the device plugin on gpu-1 shares by time slicing, and its pods run on the bare GPU",
    confirm=("kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-device-plugin",),
    fix=("Make the plugin read its configuration again: `kubectl rollout restart daemonset/nvidia-device-plugin`.",),
    retry=True,
)
def plugins_send_pods_to_the_daemon(context: Context) -> Iterator[Result]:
    """By what the plugin itself writes when it starts."""
    for node, group in _served(context):
        about = Subject(node.name, component=group.component)
        config = loaded(context, node, group)
        if config is None:
            yield skipped(f"how the device plugin on {node.name} shares is not known: its log does not say", about)
            continue
        flags: dict[str, Any] = config.get("flags") or {}
        sharing: dict[str, Any] = config.get("sharing") or {}
        plugin = f"the device plugin on {node.name}"
        if not sharing.get("mps"):
            how = "by time slicing" if replicas(config) else "no GPU"
            fact = f"{plugin} shares {how}, and its pods run on the bare GPU"
            yield failed(fact, restart(context, node, group), about)
        elif (root := flags.get("mpsRoot")) != ROOT:
            fact = f"{plugin} sends its pods to a daemon in {root}, and the stack's is in {ROOT}"
            yield failed(fact, restart(context, node, group), about)
        else:
            yield passed(f"{plugin} sends its pods to the MPS daemon", about)
    if not _served(context):
        yield skipped(_NONE)


@Check(
    "MPS004",
    MPS,
    "every pod with a slice began after the MPS daemon, so that it has a limit",
    cause="Pods of before run on the bare GPU, without a limit, or have lost their server and end with errors",
    example="2 pods of gpu-1 have slices since before its MPS daemon, and no limit: team/notebook, team/trainer",
    confirm=("gpuctl status --stack lab", _LOGS),
    fix=(_RESTART, "What the daemon's restart was: `kubectl describe pod` of the daemon says when, and why."),
)
def pods_are_clients(context: Context) -> Iterator[Result]:
    """By the times of the daemon's container and of theirs; how many programs are connected is said besides."""
    for node, group in _served(context):
        daemon = running_on(context, DAEMON, "MPS daemon", node.name)
        if isinstance(daemon, str):
            yield skipped(f"which pods of {node.name} have a limit is not known: {daemon}", node.name)
            continue
        pods = users(context.pods, group.resource).get(node.name, [])
        old = sorted(f"{pod.namespace}/{pod.name}" for pod in pods if _is_older(pod, daemon))
        if old:
            have = "has a slice" if len(old) == 1 else "have slices"
            fact = f"{counted(len(old), 'pod')} of {node.name} {have} since before its MPS daemon, and no limit"
            first = next(pod for pod in pods if f"{pod.namespace}/{pod.name}" == old[0])
            remedy = context.kubectl("delete", "pod", "-n", first.namespace, first.name)
            yield failed(f"{fact}: {listed(old)}", remedy, node.name)
        else:
            clients = sum(gpu.clients for gpu in serving(_log(context, node.name)))
            programs = f"{counted(clients, 'program')} {'is' if clients == 1 else 'are'} connected"
            yield passed(f"{counted(len(pods), 'pod')} of {node.name} with slices by MPS; {programs}", node.name)
    if not _served(context):
        yield skipped(_NONE)


@Check(
    "MPS005",
    MPS,
    "each pod that gets a slice by MPS reaches the daemon",
    cause="The plugin gives its pods another folder than the daemon's, or a policy of the cluster takes it away",
    example="gpu-1: 3 of 8 pods with slices by MPS do not reach the daemon: share-0, share-1, share-2",
    confirm=("kubectl --context admin@lab exec -n team trainer -- sh -c 'ls -l $CUDA_MPS_PIPE_DIRECTORY'", _LOGS),
    fix=(
        "A CUDA program that finds no daemon runs on the bare GPU, without a limit: find out who changes the mounts or "
        "the variable CUDA_MPS_PIPE_DIRECTORY of pods, such as an admission webhook.",
    ),
    makes_pods=True,
)
def pods_reach_the_daemon(context: Context) -> Iterator[Result]:
    """By what the proof's pods find in the folder that the plugin gave them."""
    served = {(node.name, group.resource) for node, group in _served(context)}
    for node in context.sharing.nodes:
        if (node.name, node.resource) not in served:
            continue
        pods = [pod for pod in context.sharing.pods_on(node) if pod.finished and not pod.problem]
        if lost := [pod.name for pod in pods if pod.mps != "reached"]:
            fact = f"{node.name}: {len(lost)} of {counted(len(pods), 'pod')} with slices by MPS do not reach the daemon"
            logs = context.kubectl("logs", "-n", context.settings.namespace, name_on(context, DAEMON, node.name))
            yield failed(f"{fact}: {listed(lost)}", logs, node.name)
        elif pods:
            have = f"{counted(len(pods), 'pod')} with slices by MPS"
            yield passed(f"{node.name}: {have}, each reaches the daemon", node.name)
    if not served:
        yield skipped(_NONE)


def _served(context: Context) -> list[tuple[DesiredNode, SharedGpus]]:
    """The nodes with GPUs that MPS shares, and those.

    Raises:
        AccessDeniedError: pods may not be read.
    """
    _ = context.pods
    nodes = context.desired.nodes.values()
    return [(node, group) for node in nodes for group in node.groups if group.mode is Mode.MPS]


def _log(context: Context, node: str) -> list[str]:
    pod = pod_on(context, DAEMON, node)
    return context.log(pod) if pod else []


def _is_older(pod: Pod, daemon: Pod) -> bool:
    """Whether all that runs of a pod began before the daemon; in one that has not begun, nothing did."""
    began = [status.state.running.started_at for status in pod.status.container_statuses if status.state.running]
    serves = [status.state.running.started_at for status in daemon.status.container_statuses if status.state.running]
    return bool(began and serves) and max(began) < min(serves)


CHECKS = checks_of(vars())
