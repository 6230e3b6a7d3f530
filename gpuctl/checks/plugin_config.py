"""Whether the device plugin runs with the configuration that the stack asks for: it reads it once, when it starts."""

from collections.abc import Iterator
from typing import Any

from gpuctl.checks.context import Context, side_by_side
from gpuctl.checks.gpu_stack import GPU_STACK
from gpuctl.checks.model import Check, Result, Subject, checks_of, counted, failed, passed, skipped
from gpuctl.checks.own_pods import pod_on
from gpuctl.checks.serving import restart
from gpuctl.cluster import Pod
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.device_plugin.config import config_hash, plugin_config
from gpuctl.desired.names import CHECKSUM_ANNOTATION
from gpuctl.desired.sharing import SharedGpus
from gpuctl.observed.plugin_log import loaded_config, replicas

_RESTART = (
    "Make the plugin read it again: `kubectl --context admin@lab rollout restart daemonset/nvidia-device-plugin "
    "-n gpu-device-plugin`."
)


@Check(
    "STK006",
    GPU_STACK,
    "every device-plugin pod was started for the present configuration",
    cause="The configuration was changed by hand, or its rollout has not come to the node",
    example="the device plugin on gpu-1 was started for configuration 1b2c3d4e5f and the stack's is d68ff34465",
    confirm=("kubectl --context admin@lab rollout status daemonset/nvidia-device-plugin -n gpu-device-plugin",),
    fix=("Wait for the rollout, or run `pulumi up --refresh --stack lab`.", _RESTART),
    retry=True,
)
def pods_are_of_the_configuration(context: Context) -> Iterator[Result]:
    """By the checksum on the pod: a changed ConfigMap alone reaches no plugin."""
    for node, group, pod in _pods(context):
        wanted, subject = config_hash(context.settings, group)[:10], Subject(node.name, component=group.component)
        has = pod.metadata.annotations.get(CHECKSUM_ANNOTATION, "none")[:10]
        if has == wanted:
            yield passed(f"the device plugin on {node.name} was started for configuration {wanted}", subject)
        else:
            yield failed(
                f"the device plugin on {node.name} was started for configuration {has} and the stack's is {wanted}",
                f"pulumi up --refresh --stack {context.stack}",
                subject,
            )


@Check(
    "STK007",
    GPU_STACK,
    "every device plugin has loaded the sharing that the stack asks for",
    cause="The plugin started before the configuration changed, or a variable in its pod wins over the file",
    example="the device plugin on gpu-1 runs with 6 slices per GPU, and the stack asks for 4 slices per GPU",
    confirm=("kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-device-plugin",),
    fix=(_RESTART, "The ConfigMap itself is another: see STK003."),
    retry=True,
)
def plugins_have_loaded_the_sharing(context: Context) -> Iterator[Result]:
    """By what the plugin itself writes when it starts."""
    pods = list(_pods(context))
    logs = side_by_side(lambda found: context.log(found[2]), pods)
    for (node, group, _), lines in zip(pods, logs, strict=True):
        config = loaded_config(lines)
        wanted = _sharing(plugin_config(context.settings, group))
        plugin, subject = f"the device plugin on {node.name}", Subject(node.name, component=group.component)
        if config is None:
            reason = "its log cannot be read, or is too long by now"
            yield skipped(f"what {plugin} has loaded is not known: {reason}", subject)
        elif (runs := _sharing(config)) == wanted:
            yield passed(f"{plugin} runs with {wanted}", subject)
        else:
            yield failed(
                f"{plugin} runs with {runs}, and the stack asks for {wanted}", restart(context, node, group), subject
            )


def loaded(context: Context, node: DesiredNode, group: SharedGpus) -> dict[str, Any] | None:
    """The configuration that the device plugin of some GPUs has loaded; None where its log does not say."""
    pod = pod_on(context, group.component, node.name)
    return loaded_config(context.log(pod)) if pod else None


def _pods(context: Context) -> Iterator[tuple[DesiredNode, SharedGpus, Pod]]:
    """The device plugin's pods of each node, with the GPUs that they offer.

    Raises:
        AccessDeniedError: pods may not be read.
    """
    _ = context.pods
    for node in context.desired.nodes.values():
        for group in node.groups if node.name not in context.desired.by_dra else ():
            if pod := pod_on(context, group.component, node.name):
                yield node, group, pod


def _sharing(config: dict[str, Any]) -> str:
    """How GPUs are shared by a configuration, in words; what the plugin leaves out is its default."""
    slices = replicas(config)
    if not slices:
        return "whole GPUs"
    is_mps = bool(config["sharing"].get("mps"))
    slicing: dict[str, Any] = config["sharing"]["mps" if is_mps else "timeSlicing"]
    ways = [f"{counted(number, 'slice')} per GPU of {name}" for name, number in sorted(slices.items())]
    ways += ["by MPS"] if is_mps else []
    ways += ["under the name of shared GPUs"] if slicing.get("renameByDefault") else []
    ways += ["more than one in a pod refused"] if slicing.get("failRequestsGreaterThanOne") else []
    return ", ".join(ways)


CHECKS = checks_of(vars())
