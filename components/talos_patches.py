"""What the GPU nodes' Talos configuration must contain."""

import importlib
from typing import Any

import pulumi

from gpuctl.desired.schematic import installer_image, schematic_id
from gpuctl.desired.talos import provider_patches, talos_patches
from gpuctl.desired.talosconfig import client_configuration
from gpuctl.settings import Settings

_PROVIDER = "pulumiverse_talos.machine"


class TalosPatches(pulumi.ComponentResource):
    """The Talos patch of each node and the installer image it names, as outputs; applied when the settings say so.

    It upgrades nothing: driver and toolkit come with the installer image, so a node needs an upgrade to it, which
    reboots the node at a time that only you can choose.
    """

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpu:index:TalosPatches", name, None, opts)
        if settings.talos_apply:
            self._apply(settings)
        self.outputs = {
            "schematicId": schematic_id(settings),
            "installerImage": installer_image(settings),
            "patches": talos_patches(settings),
        }
        self.register_outputs(self.outputs)

    def _apply(self, settings: Settings) -> None:
        """One resource per node. Its provider merges with the configuration it is given, not with the node's own."""
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
                opts=pulumi.ResourceOptions(parent=self),
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
