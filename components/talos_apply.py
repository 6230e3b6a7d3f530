"""The nodes' Talos configuration, applied by the stack when its settings ask for it."""

import importlib
from typing import Any

import pulumi
import yaml

from gpuctl.desired.talos import provider_patches
from gpuctl.settings import Settings

_PROVIDER = "pulumiverse_talos.machine"
_CERTIFICATES = {"ca_certificate": "ca", "client_certificate": "crt", "client_key": "key"}
"""Field of the provider's -> key in a context of a talosconfig."""


def apply_patches(settings: Settings, parent: pulumi.Resource) -> None:
    """Gives each node its patch. The provider merges with the configuration it is given, not with the node's own.

    It upgrades nothing: driver and toolkit come with the installer image, so a node needs an upgrade to it, which
    reboots the node at a time that only you can choose.

    Raises:
        pulumi.RunError: the provider is not installed, or the client's configuration is none.
    """
    machine = _provider()
    client = _client(settings)
    configuration = pulumi.Output.secret(_secret(settings.talos_machine_configuration))
    patches = provider_patches(settings)
    for node in settings.nodes:
        machine.ConfigurationApply(
            node.name,
            node=node.address or node.name,
            endpoint=settings.talos_endpoint,
            client_configuration=client,
            machine_configuration_input=configuration,
            config_patches=[patches[node.name]],
            apply_mode=settings.talos_apply_mode,
            opts=pulumi.ResourceOptions(parent=parent),
        )


def _provider() -> Any:
    try:
        return importlib.import_module(_PROVIDER)
    except ModuleNotFoundError:
        raise pulumi.RunError(
            "gpu:talosApply = true: needs the package pulumiverse-talos, which is not installed. Fix it: "
            ".venv/bin/pip install --no-deps --require-hashes -r requirements-talos.txt"
        ) from None


def _client(settings: Settings) -> dict[str, pulumi.Output[str]]:
    """The certificates of the talosconfig's current context, in Base64 as the file has them."""
    try:
        document: Any = yaml.safe_load(_secret(settings.talos_client_configuration))
        context = document["contexts"][document["context"]]
        return {field: pulumi.Output.secret(str(context[key])) for field, key in _CERTIFICATES.items()}
    except (yaml.YAMLError, KeyError, TypeError):  # without any of its content, which is secret
        raise pulumi.RunError(
            "gpu:talosClientConfiguration is no talosconfig with a current context and its ca, crt and key. Fix it: "
            f"pulumi config set --secret --stack {pulumi.get_stack()} gpu:talosClientConfiguration <~/.talos/config"
        ) from None


def _secret(value: Any) -> str:
    return value.get_secret_value()
