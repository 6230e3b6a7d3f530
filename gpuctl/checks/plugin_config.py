"""Whether the device plugin runs with the configuration that the stack asks for: it reads it once, when it starts."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from gpuctl.checks.context import Context
from gpuctl.checks.daemon_pods import log, pod_on
from gpuctl.checks.gpu_stack import GPU_STACK
from gpuctl.checks.model import Guide, Result, check, failed, passed, skipped
from gpuctl.checks.side_by_side import side_by_side
from gpuctl.checks.wording import counted
from gpuctl.cluster import Pod
from gpuctl.desired.device_plugin import NAME
from gpuctl.desired.device_plugin.config import config_hash, plugin_config
from gpuctl.desired.names import CHECKSUM_ANNOTATION
from gpuctl.desired.profiles import Profile, profiles
from gpuctl.settings import GpuNode

_LOADED = "Running with config:"
"""What the plugin writes before the configuration it has loaded, as JSON of several lines (v0.17 to v0.20)."""
_RESTART = (
    "Make the plugin read it again: `kubectl --context admin@lab rollout restart daemonset/nvidia-device-plugin "
    "-n gpu-device-plugin`."
)


@check(
    "STK006",
    GPU_STACK,
    "every device-plugin pod was started for the present configuration",
    Guide(
        cause="The configuration was changed by hand, or its rollout has not come to the node",
        example="the device plugin on gpu-1 was started for configuration 1b2c3d4e5f and the stack's is d68ff34465",
        confirm=("kubectl --context admin@lab rollout status daemonset/nvidia-device-plugin -n gpu-device-plugin",),
        fix=("Wait for the rollout, or run `pulumi up --refresh --stack lab`.", _RESTART),
    ),
    retry=True,
)
def pods_are_of_the_configuration(context: Context) -> Iterator[Result]:
    """By the checksum on the pod: a changed ConfigMap alone reaches no plugin."""
    hashes = {profile.name: config_hash(context.settings, profile)[:10] for profile in profiles(context.settings)}
    for profile, node, pod in _pods(context):
        wanted = hashes[profile.name]
        has = pod.metadata.annotations.get(CHECKSUM_ANNOTATION, "none")[:10]
        if has == wanted:
            yield passed(f"the device plugin on {node.name} was started for configuration {wanted}", node.name)
        else:
            yield failed(
                f"the device plugin on {node.name} was started for configuration {has} and the stack's is {wanted}",
                f"pulumi up --refresh --stack {context.stack}",
                node.name,
            )


@check(
    "STK007",
    GPU_STACK,
    "every device plugin has loaded the sharing that the stack asks for",
    Guide(
        cause="The plugin started before the configuration changed, or a variable in its pod wins over the file",
        example="the device plugin on gpu-1 runs with 6 slices per GPU, and the stack asks for 4 slices per GPU",
        confirm=("kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-device-plugin",),
        fix=(_RESTART, "The ConfigMap itself is another: see STK003."),
    ),
    retry=True,
)
def plugins_have_loaded_the_sharing(context: Context) -> Iterator[Result]:
    """By what the plugin itself writes when it starts."""
    pods = list(_pods(context))
    logs = side_by_side(lambda found: log(context, found[2]), pods)
    for (profile, node, pod), lines in zip(pods, logs, strict=True):
        loaded = _loaded(lines)
        wanted = _sharing(plugin_config(context.settings, profile))
        subject = f"the device plugin on {node.name}"
        if loaded is None:
            reason = "its log cannot be read, or is too long by now"
            yield skipped(f"what {subject} has loaded is not known: {reason}", node.name)
        elif (runs := _sharing(loaded)) == wanted:
            yield passed(f"{subject} runs with {wanted}", node.name)
        else:
            restart = ("rollout", "restart", "-n", pod.namespace, f"daemonset/{profile.named(NAME)}")
            fact = f"{subject} runs with {runs}, and the stack asks for {wanted}"
            yield failed(fact, context.kubectl(*restart), node.name)


def _pods(context: Context) -> Iterator[tuple[Profile, GpuNode, Pod]]:
    """The device plugin's pod of each node that has one.

    Raises:
        AccessDeniedError: pods may not be read.
    """
    _ = context.pods
    for profile in profiles(context.settings):
        for node in profile.nodes:
            if pod := pod_on(context, NAME, node.name):
                yield profile, node, pod


def _loaded(lines: Sequence[str]) -> dict[str, Any] | None:
    """The configuration that the plugin loaded last; None when its log does not say."""
    starts = [index for index, line in enumerate(lines) if line.endswith(_LOADED)]
    if not starts:
        return None
    try:
        return json.JSONDecoder().raw_decode("\n".join(lines[starts[-1] + 1 :]))[0]
    except json.JSONDecodeError:
        return None


def _sharing(config: dict[str, Any]) -> str:
    """How GPUs are shared by a configuration, in words; what the plugin leaves out is its default."""
    slicing: dict[str, Any] = config.get("sharing", {}).get("timeSlicing") or {}
    slices: dict[str, int] = {each["name"]: each["replicas"] for each in slicing.get("resources") or ()}
    if not slices:
        return "whole GPUs"
    told = [f"{counted(replicas, 'slice')} per GPU of {name}" for name, replicas in sorted(slices.items())]
    told += ["under the name of shared GPUs"] if slicing.get("renameByDefault") else []
    told += ["more than one in a pod refused"] if slicing.get("failRequestsGreaterThanOne") else []
    return ", ".join(told)


CHECKS = (pods_are_of_the_configuration, plugins_have_loaded_the_sharing)
