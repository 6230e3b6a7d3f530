"""Everything a stack file may say: the sharing of the GPUs, and the Talos of the nodes.

The order of the fields matters: a rule that compares keys stands at the last of them and sees the others.
"""

import difflib
from collections.abc import Sequence
from typing import Literal

from pydantic import ValidationInfo, field_validator

from gpuctl.settings import talos_rules
from gpuctl.settings.catalogue import CATALOGUE
from gpuctl.settings.circuits import Circuits
from gpuctl.settings.cri_fragment import check_fragment
from gpuctl.settings.minor_version import Minor, minor_of
from gpuctl.settings.nodes import GpuNode
from gpuctl.settings.refusal import SettingRefused, SetValue
from gpuctl.settings.talos_rules import CDI_FROM, DOCUMENTS_FROM
from gpuctl.settings.talos_tables import RELEASES, Release
from gpuctl.settings.values import (
    FactoryHost,
    OptionalAddress,
    OptionalKubernetes,
    OptionalSecret,
    OptionalTalosMinor,
    OptionalText,
    TalosVersion,
)


class Settings(Circuits):
    """Everything one stack file says."""

    talos_version: TalosVersion = "v1.13.9"
    """Talos release of the GPU nodes."""
    talos_contract: OptionalTalosMinor = None
    """Talos line that wrote the nodes' configuration, when they were installed; unset: that of `talosVersion`."""
    kubernetes_version: OptionalKubernetes = None
    """Kubernetes version of the cluster, to be checked against `talosVersion`; unset: not checked."""
    driver_channel: Literal["production", "lts"] = "production"
    """NVIDIA driver branch of the Talos extensions."""
    kernel_modules: Literal["open", "proprietary"] = "open"
    """Flavour of the NVIDIA kernel modules; open ones need Turing or newer."""
    fabric_manager: bool = False
    """Whether the image contains NVIDIA's fabric manager, which GPUs behind an NVSwitch need."""
    image_factory: FactoryHost = "factory.talos.dev"
    """Host of the Talos Image Factory that makes the installer image."""
    secure_boot: bool = False
    """Whether the nodes boot with SecureBoot, which takes another installer image."""
    install_disk_selector: OptionalText = None
    """The nodes' `diskSelector.match`, for configurations of Talos v1.14 on; unset: no image in the patch."""
    default_runtime: bool = False
    """Whether every pod of a GPU node runs under the NVIDIA runtime, asked or not; meant for Talos up to v1.12."""
    cri_customization: OptionalText = None
    """What the nodes' 20-customization.part must say besides: containerd configuration, TOML."""
    talos_endpoint: OptionalAddress = None
    """Talos API that `talosApply` speaks to, such as a control-plane node."""
    talos_client_configuration: OptionalSecret = None
    """Content of a talosconfig, for `talosApply`; `pulumi config set --secret` only."""
    talos_machine_configuration: OptionalSecret = None
    """Configuration of the GPU nodes without patches, for `talosApply`; `pulumi config set --secret` only."""
    talos_apply_mode: Literal["staged_if_needing_reboot", "staged", "no_reboot", "auto", "reboot"] = (
        "staged_if_needing_reboot"
    )
    """What `talosApply` does with a change that needs a reboot."""
    talos_apply: bool = False
    """Whether the stack applies the Talos patches itself; if not, they are outputs only."""

    @property
    def talos_minor(self) -> Minor:
        """The release line of Talos: (1, 13) of `v1.13.9`."""
        return minor_of(self.talos_version)

    @property
    def release(self) -> Release | None:
        """What the NVIDIA extensions of the Talos release contain; None when that is not known."""
        return RELEASES.get(self.talos_version)

    def contract_of(self, node: GpuNode) -> Minor:
        """The line of Talos that wrote a node's configuration."""
        return minor_of(node.talos_contract or self.talos_contract or self.talos_version)

    def disk_selector_of(self, node: GpuNode) -> str | None:
        """The expression that selects the node's install disk; None when it is not told."""
        return node.install_disk_selector or self.install_disk_selector

    @property
    def warnings(self) -> list[str]:
        """What is accepted although it cannot be vouched for, one sentence each."""
        unknown = [
            f"node {node.name}: GPU {cards.gpu!r} is not in the catalogue{_meant(cards.gpu)}; its power range "
            "and memory are unknown here, so only the card itself will say whether the limit is legal"
            for node in self.nodes
            for cards in node.cards
            if cards.model is None
        ]
        unchecked = [
            f"the circuit of {circuit.name} is not checked: without gpu:powerManagement its cards draw up to their own "
            "default limits, which are not all known here"
            for circuit in self.circuits
            if circuit.used_watts is None
        ]
        return unknown + unchecked + self._talos_warnings()

    def _talos_warnings(self) -> list[str]:
        warnings: list[str] = []
        if self.release is None:
            warnings.append(
                f"Talos {self.talos_version} is not in config/talos_releases.json: the versions of its NVIDIA driver "
                "and toolkit are unknown here, and so is whether they know these GPUs"
            )
        if self.default_runtime and self.talos_minor >= CDI_FROM:
            warnings.append(
                f"gpu:defaultRuntime is not documented for Talos {self.talos_version}: from v1.13 on pods get their "
                "GPUs through CDI, and whether a node works with it is not known here"
            )
        return warnings

    @field_validator("talos_contract")
    @classmethod
    def _contract_is_not_newer_than_talos(cls, contract: str | None, info: ValidationInfo) -> str | None:
        if "talos_version" in info.data:
            nodes: Sequence[GpuNode] = info.data.get("nodes", ())
            talos_rules.contracts_are_not_newer(contract, info.data["talos_version"], nodes)
        return contract

    @field_validator("kubernetes_version")
    @classmethod
    def _kubernetes_runs_on_talos(cls, kubernetes: str | None, info: ValidationInfo) -> str | None:
        if kubernetes and "talos_version" in info.data:
            talos_rules.kubernetes_runs_on_talos(kubernetes, info.data["talos_version"])
        return kubernetes

    @field_validator("driver_channel")
    @classmethod
    def _driver_knows_every_gpu(cls, channel: str, info: ValidationInfo) -> str:
        if "talos_version" in info.data:
            talos_rules.driver_knows_every_gpu(channel, info.data["talos_version"], info.data.get("nodes", ()))
        return channel

    @field_validator("kernel_modules")
    @classmethod
    def _modules_fit_every_gpu(cls, flavour: str, info: ValidationInfo) -> str:
        talos_rules.modules_fit_every_gpu(flavour, info.data.get("nodes", ()))
        return flavour

    @field_validator("cri_customization")
    @classmethod
    def _fragment_can_be_merged(cls, fragment: str | None, info: ValidationInfo) -> str | None:
        if fragment:
            check_fragment(fragment, default_runtime=info.data.get("default_runtime", False))
        return fragment

    @field_validator("talos_apply")
    @classmethod
    def _apply_has_what_it_needs(cls, wanted: bool, info: ValidationInfo) -> bool:
        needed = ("talos_endpoint", "talos_client_configuration", "talos_machine_configuration")
        missing = [f"gpu:{cls.model_fields[key].alias}" for key in needed if info.data.get(key) is None]
        if wanted and missing:
            raise SettingRefused(f"needs {', '.join(missing)} as well", SetValue("false"))
        usual: str | None = info.data.get("talos_contract") or info.data.get("talos_version")
        nodes: Sequence[GpuNode] = info.data.get("nodes", ())
        contracts = [contract for node in nodes if (contract := node.talos_contract or usual)]
        if wanted and any(minor_of(contract) >= DOCUMENTS_FROM for contract in contracts):
            raise SettingRefused(
                "goes through pulumiverse_talos, which cannot read a configuration written by Talos v1.14 or newer; "
                "apply the patches with talosctl, see: gpuctl talos patch --help",
                SetValue("false"),
            )
        return wanted


def _meant(gpu: str) -> str:
    close = difflib.get_close_matches(gpu.lower().replace(" ", "-"), CATALOGUE, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
