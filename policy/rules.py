"""The rules of the policy pack: what Pulumi is about to deploy in, one message for each violation out.

They share gpuctl/data/gpus.yaml with the product and no code, so that a mistake of its code is not repeated here.
They import no Pulumi: `__main__.py` hands them to the engine.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import yaml
from node_access import (
    POWER_LIMIT,
    capabilities_are_those_shipped,
    containers_are_unprivileged,
    containers_of_a_pod_are_apart,
    host_paths_are_those_shipped,
    kernel_parameters_stay,
    namespaces_of_the_host_are_not_entered,
    ports_of_the_host_are_not_taken,
    privileges_do_not_grow,
    root_is_only_who_needs_it,
    system_calls_are_filtered,
)
from objects import Properties, at, containers, items, kind_of, name_of, pods
from roles import (
    bindings_name_roles_of_the_stack,
    roles_are_those_shipped,
    slices_are_of_the_own_node,
    the_api_is_left_alone,
)

PUBLISHED_IMAGE = "nvcr.io/nvidia/k8s-device-plugin"
LEAST_MEMORY_MIB = 1024
"""Of a slice: a CUDA program takes several hundred MiB before it computes anything."""

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_VERSION = re.compile(r"v\d+\.\d+\.\d+(-rc\.\d+)?(-ubi\d+|-ubuntu\d+\.\d+)?")
_OWN = ("app.kubernetes.io/part-of", "gpu-sharing")
_POD_SECURITY = "pod-security.kubernetes.io"
_LEFT_ALONE = "none"
"""Instead of watts, of GPUs whose limit nobody holds."""
_LEVELS = ("restricted", "baseline", "privileged")
_MODELS: list[dict[str, Any]] = list(
    yaml.safe_load((Path(__file__).parents[1] / "gpuctl" / "data" / "gpus.yaml").read_text()).values()
)


def images_are_pinned(resource: Properties) -> Iterator[str]:
    """A digest always says the same image; of tags, only NVIDIA's version tags are never moved."""
    for container in containers(resource):
        image: str = container.spec.get("image") or ""
        name, _, tag = image.rpartition(":")
        if not name or "/" in tag:  # the colon is before a port
            name, tag = image, ""
        if _DIGEST.search(image) or (name == PUBLISHED_IMAGE and _VERSION.fullmatch(tag)):
            continue
        what = f"has the tag {tag}" if tag else "has no tag, which means latest"
        yield (
            f"{container}: image {image!r} {what}, and may be another image tomorrow. Fix it: pulumi config "
            f"set gpu:devicePluginImage {name or 'NAME'}@sha256:DIGEST, or {PUBLISHED_IMAGE} with a version"
        )


def power_limits_are_in_the_catalogue(resource: Properties) -> Iterator[str]:
    """A limit for one model is in the range of that model; any other is one that at least some model takes."""
    if (resource.get("kind"), name_of(resource)) != ("DaemonSet", POWER_LIMIT):
        return
    for container in containers(resource):
        values: dict[str, str] = {each["name"]: each.get("value") or "" for each in items(container.spec, "env")}
        fix = (
            "Fix it: pulumi config set gpu:powerLimit WATTS, or that of the node or model, or fix gpuctl/data/gpus.yaml"
        )
        every = values.get("POWER_LIMIT_WATTS", "")
        if reason := _refused(every, ""):
            yield f"{container}: POWER_LIMIT_WATTS is {every!r}, and {reason}. {fix}"
        for line in values.get("POWER_LIMITS", "").splitlines():
            _, watts, model = (*line.split(maxsplit=2), "", "", "")[:3]
            if watts != _LEFT_ALONE and (reason := _refused(watts, model)):
                yield f"{container}: POWER_LIMITS has {line!r}, and {reason}. {fix}"


def namespaces_say_their_pod_security(resource: Properties) -> Iterator[str]:
    """The level is stated, and `privileged` is for the namespace of the device plugin alone."""
    if resource.get("kind") != "Namespace":
        return
    labels = at(resource, "metadata", "labels")
    key, value = _OWN
    for mode in ("enforce", "warn", "audit"):
        label = f"{_POD_SECURITY}/{mode}"
        level = labels.get(label)
        if level not in _LEVELS:
            yield (
                f"Namespace {name_of(resource)}: label {label} is {level!r}, so the cluster's default decides which "
                f"pods may run. Fix it: set it to one of {', '.join(_LEVELS)}"
            )
        elif level == "privileged" and labels.get(key) != value:
            yield (
                f"Namespace {name_of(resource)}: label {label} is 'privileged', which only the stack's own namespace "
                "needs, for the device plugin's folder and the power limit. Fix it: set it to baseline"
            )


def runtime_classes_exist(resources: Sequence[Properties]) -> Iterator[str]:
    """A pod that names a RuntimeClass which is not there is never made, and its DaemonSet applies without an error."""
    handlers = {name_of(each): each.get("handler") for each in resources if each.get("kind") == "RuntimeClass"}
    usable = {name for name, handler in handlers.items() if handler}
    usable |= {each["existingRuntimeClass"] for each in resources if "existingRuntimeClass" in each}
    for resource in resources:
        for wanted in (pod.get("runtimeClassName") for pod in pods(resource)):
            if wanted and wanted not in usable:
                yield (
                    f"{kind_of(resource)} {name_of(resource)}: runtimeClassName is {wanted!r}, and the stack has no "
                    "RuntimeClass of that name with a handler, so its pods would never start. Fix it: declare it"
                )


def slices_leave_memory(resources: Sequence[Properties]) -> Iterator[str]:
    """From the stack's own figures: the ConfigMap with the slices does not know which GPUs they are cut from."""
    for resource in resources:
        for node, mebibytes in at(resource, "memoryPerSliceMiB").items():
            if mebibytes is not None and mebibytes < LEAST_MEMORY_MIB:
                yield (
                    f"node {node}: a slice has {mebibytes:.0f} MiB of GPU memory on average, less than "
                    f"{LEAST_MEMORY_MIB}; a CUDA program takes several hundred before it computes anything. "
                    "Fix it: pulumi config set gpu:slices FEWER, or slices of the node"
                )


_Judged = TypeVar("_Judged")


class Rule(NamedTuple, Generic[_Judged]):
    """A rule as the engine knows it."""

    name: str
    statement: str
    violations: Callable[[_Judged], Iterator[str]]
    mandatory: bool = True
    """Whether a violation ends preview and update; else it is shown only."""


RESOURCE_RULES: list[Rule[Properties]] = [
    Rule("image-pinned", "An image has a digest or is NVIDIA's with a version.", images_are_pinned),
    Rule(
        "no-privileged-container",
        "No container is privileged but the stack's own on nodes without container toolkit.",
        containers_are_unprivileged,
    ),
    Rule(
        "capabilities",
        "Containers drop all capabilities; only the power limit adds one.",
        capabilities_are_those_shipped,
    ),
    Rule(
        "host-namespaces",
        "No pod enters a namespace of its node; only the usage watcher has its process ids.",
        namespaces_of_the_host_are_not_entered,
    ),
    Rule("process-namespace", "No pod shares its processes among its containers.", containers_of_a_pod_are_apart),
    Rule("sysctls", "No pod sets a parameter of the kernel.", kernel_parameters_stay),
    Rule("host-ports", "No container takes a port of its node.", ports_of_the_host_are_not_taken),
    Rule("host-path", "Only the product's own folders of a node are mounted.", host_paths_are_those_shipped),
    Rule("seccomp", "Containers run under the runtime's seccomp profile.", system_calls_are_filtered),
    Rule("privilege-escalation", "No container gains rights, or sees more of /proc.", privileges_do_not_grow),
    Rule("root", "Only the device plugin, MPS and the power limit are root.", root_is_only_who_needs_it),
    Rule("roles", "A role reads, and writes what the CronJob and the DRA driver write.", roles_are_those_shipped),
    Rule("api-extensions", "Nothing is put into the API server's way.", the_api_is_left_alone),
    Rule(
        "power-limit-range",
        "Power limits are in the ranges of gpuctl/data/gpus.yaml.",
        power_limits_are_in_the_catalogue,
    ),
    Rule(
        "pod-security",
        "A namespace states its Pod Security level, and only the own is privileged.",
        namespaces_say_their_pod_security,
    ),
]
"""Each judges one resource."""

STACK_RULES: list[Rule[Sequence[Properties]]] = [
    Rule("bindings", "A binding names a role that the stack declares.", bindings_name_roles_of_the_stack),
    Rule("own-slices", "The DRA driver writes the ResourceSlices of its own node only.", slices_are_of_the_own_node),
    Rule("runtime-class", "A RuntimeClass that pods name exists.", runtime_classes_exist),
    Rule("slice-memory", "Each slice has enough memory for a CUDA program.", slices_leave_memory, mandatory=False),
]
"""Each judges all resources together."""


def _refused(watts: str, model: str) -> str:
    """Why a limit cannot be; empty when it can, or when nothing is known of the model."""
    if not watts.isdecimal():
        return "the limit is no whole number of watts"
    ranges = [each["watts"] for each in _MODELS if not model or each["name"] == model]
    lowest = min((least for least, _, _ in ranges if least is not None), default=0)
    highest = max((most for _, _, most in ranges if most is not None), default=None)
    takes = f"{model} takes" if model else "the models of gpuctl/data/gpus.yaml take"
    if int(watts) < lowest:
        return f"{takes} at least {lowest} W"
    if highest is not None and int(watts) > highest:
        return f"{takes} at most {highest} W"
    return ""
