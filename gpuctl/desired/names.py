"""What the objects have in common: names and labels, and how they are written."""

from collections.abc import Mapping
from typing import Any

import yaml

from gpuctl.desired.profiles import DEFAULT

Manifest = dict[str, Any]
"""A Kubernetes object as it stands in a YAML file."""

RUNTIME_CLASS = "nvidia"
"""Also the name of the handler that NVIDIA's Talos extension registers with containerd."""
PRESENT_LABEL = "nvidia.com/gpu.present"
"""The label by which NVIDIA's own charts find GPU nodes."""
PROFILE_LABEL = "nvidia.com/device-plugin.config"
"""The label by which NVIDIA's own charts give a node its device-plugin configuration."""
PART_OF = ("app.kubernetes.io/part-of", "gpu-sharing")
"""The label by which the project knows its own objects."""
OWNER = "gpu-sharing/stack"
"""The annotation that says of which stack an object is, or a node's labels: `PROJECT/STACK`."""
FIELD_MANAGER = "gpu-sharing"
"""Under which the API server knows what the stack set; always the same, so that a stack whose records were lost can
still change and take away what it made."""
CLUSTER_UID = "clusterUid"
"""The stack output with the UID of the cluster that the stack was deployed to."""
CHECKSUM_ANNOTATION = "checksum/config"
"""Changes with the configuration a pod reads, so that the pod is rolled; Helm's usual name for it."""


def labels(component: str, profile: str = DEFAULT) -> dict[str, str]:
    """The recommended Kubernetes labels of an object."""
    return selector(component, profile) | dict([PART_OF]) | {"app.kubernetes.io/managed-by": "pulumi"}


def selector(component: str, profile: str) -> dict[str, str]:
    """The labels that tell a DaemonSet its pods; they can never change."""
    return {"app.kubernetes.io/name": component, "app.kubernetes.io/instance": profile}


def node_labels(label: str) -> dict[str, str]:
    """What a GPU node must be labelled with for the pods of its profile, whose label this is, to run there."""
    return {PRESENT_LABEL: "true", PROFILE_LABEL: label}


class _Dumper(yaml.CSafeDumper):
    pass


def _text(dumper: Any, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def yaml_text(*documents: object) -> str:
    """Documents as a person would write them: keys in their order, texts of several lines as blocks, no references."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=1000)


def contested(set_by_another: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """The node labels that the stack would have to share with another owner, as long as both agree.

    That a node has GPUs is said by many, at the same value for ever: alone it is no reason to take it from them.
    """
    both = [name for name in wanted if name in set_by_another]
    return both if any(name != PRESENT_LABEL or set_by_another[name] != wanted[name] for name in both) else []
