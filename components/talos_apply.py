"""The nodes' Talos configuration, applied by the stack when its settings ask for it."""

import importlib
from typing import Any

import pulumi

from gpuctl.desired.talos import provider_patches
from gpuctl.preflight.talosconfig import client_configuration
from gpuctl.settings import Settings

_PROVIDER = "pulumiverse_talos.machine"


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
    try:
        client = client_configuration(_secret(settings.talos_client_configuration))
    except ValueError as error:
        raise pulumi.RunError(
            f"gpu:talosClientConfiguration {error}. Fix it: "
            f"pulumi config set --secret --stack {pulumi.get_stack()} gpu:talosClientConfiguration <~/.talos/config"
        ) from None
    fields = {"ca_certificate": client.ca, "client_certificate": client.crt, "client_key": client.key}
    return {field: pulumi.Output.secret(value) for field, value in fields.items()}


def _secret(value: Any) -> str:
    return value.get_secret_value()
