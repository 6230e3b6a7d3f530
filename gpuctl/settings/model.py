"""Everything a stack file may say, key by key; what must hold between keys is in `rules`."""

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, SecretStr

from gpuctl.settings import circuits, values
from gpuctl.settings.boot_image import ExtensionName, KernelArgument, OptionalInstaller, OptionalSchematic, Overlay
from gpuctl.settings.catalogue import GpuModel, key_of, meant
from gpuctl.settings.circuits import Circuit
from gpuctl.settings.gpu_models import DescribedGpu
from gpuctl.settings.nodes import GpuGroup, GpuNode, Model, Mps, Sharing
from gpuctl.settings.refusal import listed
from gpuctl.settings.talos_rules import CDI_FROM
from gpuctl.settings.talos_tables import RELEASES, Minor, Release, has_toolkit, minor_of
from gpuctl.settings.tolerations import Toleration


class Settings(Model):
    """Everything one stack file says: the GPUs and their sharing, their power, and the Talos of their nodes."""

    context: Annotated[values.Text, Field(examples=["admin@homelab"])]
    """Context in the kubeconfig: the one cluster this stack may touch."""
    kubeconfig: values.OptionalText = None
    """Path of the kubeconfig; unset: what KUBECONFIG says, else ~/.kube/config."""
    nodes: Annotated[tuple[Annotated[GpuNode, values.Structure], ...], Field(json_schema_extra={"minItems": 1})]
    """The cluster's GPU nodes: list of {name, gpu, count, slices?, powerLimit?}; {name, gpus} with mixed GPUs."""
    gpu_models: Annotated[dict[str, Annotated[DescribedGpu, values.Structure]], values.Structure] = {}  # noqa: RUF012 (pydantic copies it)
    """GPU models that the catalogue has not, or has with other figures: {KEY: {name, generation, ...}}."""
    backend: values.Backend = "device-plugin"
    """What offers the GPUs to the scheduler: NVIDIA's device plugin, or its DRA driver; see docs/dra.md."""
    driver_image: values.DriverImage = values.DRIVER_IMAGE
    """Image of the DRA driver, v0.5.0, with tag or digest."""
    driver_root: values.HostFolder = "/usr/local"
    """Folder of the nodes with the `bin` and `lib64` of NVIDIA's driver, where `backend` is dra."""
    slices: values.Slices = 4
    """Time slices per GPU: how many pods can share each one. 1 means whole GPUs."""
    sharing: values.SharingMode = "time-slicing"
    """How pods share a GPU: `time-slicing`, in turns; `mps`, at once and with a memory limit; see docs/sharing.md."""
    memory_per_slice_mib: Annotated[values.SliceMebibytes, Field(alias="memoryPerSliceMiB")] = 0
    """Memory that a slice may use with `mps`; 0: its share of the GPU's."""
    threads_per_slice_percent: values.SlicePercent = 0
    """Part of a GPU's multiprocessors that a slice may use with `mps`; 0: its share of them."""
    interrupt_pods: values.Switch = False
    """Whether an update may replace a daemon of `mps` that programs use, which ends them; if not, it is refused."""
    power_management: values.Switch = True
    """Whether the power-limit DaemonSet is deployed."""
    power_limits: Annotated[dict[str, values.WattsOrNone], values.Structure] = {}  # noqa: RUF012 (pydantic copies it)
    """Watts instead of `powerLimit`, or `none`, by GPU model (as `gpu` of a node has it) or UUID."""
    power_limit: values.Watts = 300
    """Power limit in watts, for each GPU."""
    power_interval: values.IntervalSeconds = 60
    """Seconds between two checks of the limit."""
    namespace: values.NamespaceName = "gpu-device-plugin"
    """Namespace for everything namespaced; the stack creates it."""
    device_plugin_version: values.PluginVersion = "v0.18.2"
    """Version of the NVIDIA device plugin, v0.17 to v0.20."""
    device_plugin_image: values.OptionalImage = None
    """Image with tag or digest instead of the published one; `devicePluginVersion` says what is in it."""
    allocation_policy: values.OptionalPolicy = None
    """Which GPU gives the next slice: `distributed` (the emptiest) or `packed` (the fullest); from v0.20."""
    fail_requests_greater_than_one: values.Switch = True
    """Whether a pod that asks for several slices is refused: they would be no more compute than one."""
    rename_by_default: values.Switch = False
    """Whether slices are offered as nvidia.com/gpu.shared instead of nvidia.com/gpu."""
    label_nodes: values.Switch = True
    """Whether the stack labels its nodes; if not, the Talos patches or you must."""
    create_runtime_class: values.Switch = True
    """Whether the stack creates the RuntimeClass `nvidia`; if not, it uses the one that another tool owns."""
    other_gpu_nodes: tuple[values.NodeName, ...] = ()
    """GPU nodes of the cluster that others serve, by name: the stack leaves them alone, and no check reports them."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that the stack's pods tolerate besides `nvidia.com/gpu`: list of {key, operator?, value?, effect?}."""
    usage: values.Switch = False
    """Whether the usage DaemonSet is deployed, which says which pod uses how much of which GPU; see docs/usage.md."""
    usage_interval: values.IntervalSeconds = 30
    """Seconds between two samples of the GPUs' processes."""
    usage_metrics: values.Switch = False
    """Whether the usage DaemonSet serves what it sees to Prometheus, on a port of its pods; see docs/usage.md."""
    memory_budget: Literal["none", "observe"] = "none"
    """`observe`: `gpuctl verify --publish` leaves an Event on pods over their share of memory; see docs/usage.md."""
    monitoring: values.Switch = False
    """Whether the stack has alerts for the Prometheus operator and a dashboard for Grafana; see docs/monitoring.md."""
    rule_label: values.OptionalLabel = None
    """Label by which your Prometheus selects rules, such as `release=kube-prometheus-stack`; unset: none."""
    node_base_watts: values.BaseWatts = 150
    """Watts that a node draws besides its GPUs; counted on its circuit."""
    circuit_watts: values.CircuitWatts = 0
    """Watts of the circuit that feeds all nodes without one of their own; 0: not known, so not checked."""
    talos_version: values.TalosVersion = "v1.13.9"
    """Talos release of the GPU nodes."""
    talos_contract: values.OptionalTalosMinor = None
    """Talos minor version that wrote the nodes' configuration at installation; unset: that of `talosVersion`."""
    kubernetes_version: values.OptionalKubernetes = None
    """Kubernetes version of the cluster, to be checked against `talosVersion`; unset: not checked."""
    driver_channel: values.DriverChannel = "production"
    """NVIDIA driver branch of the Talos extensions."""
    kernel_modules: values.KernelModules = "open"
    """Flavour of the NVIDIA kernel modules; open ones need Turing or newer."""
    fabric_manager: values.Switch = False
    """Whether the image contains NVIDIA's fabric manager, which GPUs behind an NVSwitch need."""
    image_factory: values.FactoryHost = "factory.talos.dev"
    """Host of the Talos Image Factory that makes the installer image."""
    secure_boot: values.Switch = False
    """Whether the nodes boot with SecureBoot, which takes another installer image."""
    system_extensions: tuple[ExtensionName, ...] = ()
    """Further extensions in the image, such as `siderolabs/iscsi-tools`; those of NVIDIA are in it anyway."""
    kernel_arguments: tuple[KernelArgument, ...] = ()
    """Kernel arguments in the image's schematic, such as `intel_iommu=on`."""
    overlay: Overlay = {}  # noqa: RUF012 (pydantic copies it)
    """Overlay of a single-board computer, {name, image}, in the image's schematic."""
    schematic: OptionalSchematic = None
    """ID of a schematic of your own with NVIDIA's extensions, instead of the one that these keys make."""
    installer_image: OptionalInstaller = None
    """Installer image of your own with NVIDIA's extensions, the whole reference, instead of the Image Factory's."""
    install_disk_selector: values.OptionalText = None
    """The nodes' `diskSelector.match`, for configurations of Talos v1.14 on; unset: no image in the patch."""
    default_runtime: values.Switch = False
    """Whether every pod of a GPU node runs under the NVIDIA runtime, asked or not; meant for Talos up to v1.12."""
    cri_customization: values.OptionalDocument = None
    """What the nodes' 20-customization.part must say besides: containerd configuration, TOML."""
    talos_endpoint: values.OptionalAddress = None
    """Talos API that `talosApply` speaks to, such as a control-plane node."""
    talos_client_configuration: values.OptionalSecret = None
    """Content of a talosconfig, for `talosApply`; `pulumi config set --secret` only."""
    talos_machine_configuration: values.OptionalSecret = None
    """Configuration of the GPU nodes without patches, for `talosApply`; `pulumi config set --secret` only."""
    talos_apply_mode: Literal["staged_if_needing_reboot", "staged", "no_reboot", "auto", "reboot"] = (
        "staged_if_needing_reboot"
    )
    """What `talosApply` does with a change that needs a reboot."""
    talos_apply: values.Switch = False
    """Whether the stack applies the Talos patches itself; if not, they are outputs only."""

    _notes: tuple[str, ...] = ()

    def model_post_init(self, context: Any) -> None:
        """Keeps what the reader of the stack file noticed, which is the context of the validation."""
        self._notes = tuple(context or ())
        for node in self.nodes:
            node.know(self.described)

    @cached_property
    def described(self) -> dict[str, GpuModel]:
        """What the stack file says of GPU models, by key."""
        return {key: gpu.model for key, gpu in self.gpu_models.items()}

    def key_of(self, gpu: str) -> str:
        """The key of a GPU model for a key or a name as nvidia-smi prints it; another text as it is."""
        return key_of(gpu, self.described)

    def slices_of(self, node: GpuNode) -> int:
        """Time slices per GPU of a node."""
        return node.slices or self.slices

    def sharing_of(self, node: GpuNode) -> Sharing:
        """How the GPUs of a node are shared."""
        bare = not has_toolkit(self.talos_version_of(node))
        slices = self.slices_of(node)
        is_mps = slices > 1 and (node.sharing_mode or self.sharing) == "mps"
        memory, threads = node.memory_per_slice_mib, node.threads_per_slice_percent
        mps = Mps(
            self.memory_per_slice_mib if memory is None else memory,
            self.threads_per_slice_percent if threads is None else threads,
        )
        return Sharing(slices, *node.whole_and_shared, self.backend_of(node), bare, mps if is_mps else None)

    @property
    def usual_sharing(self) -> Sharing:
        """That of nodes with no keys of their own."""
        is_mps = self.slices > 1 and self.sharing == "mps"
        mps = Mps(self.memory_per_slice_mib, self.threads_per_slice_percent) if is_mps else None
        return Sharing(self.slices, backend=self.backend, bare=not has_toolkit(self.talos_version), mps=mps)

    def backend_of(self, node: GpuNode) -> values.Backend:
        """What offers the GPUs of a node."""
        return node.backend or self.backend

    def limit_of(self, node: GpuNode, cards: GpuGroup) -> int | None:
        """Power limit of each of these GPUs of a node, in watts, unless `powerLimits` has the UUID of one.

        The more a key says about a GPU, the more it counts: its UUID, its node, its model, all of them. None where the
        GPUs are left alone: a key says so, or they take no limit and no key gives them one.
        """
        if not (self.power_management and node.power_management):
            return None
        if node.power_limit or cards.gpu in self.limits_by_model:
            return node.power_limit or self.limits_by_model[cards.gpu]
        return None if cards.model and not cards.model.has_limit else self.power_limit

    @cached_property
    def limits_by_uuid(self) -> dict[str, int | None]:
        """GPU UUID -> its power limit in watts, None for none. Which node a GPU is in is not known here."""
        return {key: watts for key, watts in self.power_limits.items() if values.is_a_gpu_uuid(key)}

    @cached_property
    def limits_by_model(self) -> dict[str, int | None]:
        """Key of a GPU model -> the power limit of its GPUs in watts, None for none."""
        return {self.key_of(key): watts for key, watts in self.power_limits.items() if not values.is_a_gpu_uuid(key)}

    @property
    def image(self) -> str:
        """The device plugin's image reference."""
        return self.device_plugin_image or f"nvcr.io/nvidia/k8s-device-plugin:{self.device_plugin_version}"

    def base_of(self, node: GpuNode) -> int:
        """Watts that a node draws besides its GPUs."""
        return self.node_base_watts if node.base_watts is None else node.base_watts

    @property
    def circuits(self) -> tuple[Circuit, ...]:
        """The circuits that are known: the one of the stack, then those of single nodes."""
        return circuits.circuits(self)

    def most_watts(self, nodes: Iterable[GpuNode]) -> int | None:
        """What the GPUs of some nodes may draw together; None without limits, where a GPU's default is not known."""
        return circuits.most_watts(self, nodes)

    @property
    def talos_minor(self) -> Minor:
        """The minor version of Talos: (1, 13) of `v1.13.9`."""
        return minor_of(self.talos_version)

    @property
    def release(self) -> Release | None:
        """What the NVIDIA extensions of the Talos release contain; None when that is not known."""
        return RELEASES.get(self.talos_version)

    @property
    def talos_versions(self) -> tuple[str, ...]:
        """The Talos releases of the nodes, each once."""
        return tuple(dict.fromkeys(map(self.talos_version_of, self.nodes))) or (self.talos_version,)

    def talos_version_of(self, node: GpuNode) -> str:
        """Talos release of a node."""
        return node.talos_version or self.talos_version

    def release_of(self, node: GpuNode) -> Release | None:
        """What the NVIDIA extensions of a node's Talos release contain; None when that is not known."""
        return RELEASES.get(self.talos_version_of(node))

    def driver_channel_of(self, node: GpuNode) -> values.DriverChannel:
        """NVIDIA driver branch of a node's Talos extensions."""
        return node.driver_channel or self.driver_channel

    def kernel_modules_of(self, node: GpuNode) -> values.KernelModules:
        """Flavour of a node's NVIDIA kernel modules."""
        return node.kernel_modules or self.kernel_modules

    def on(self, node: GpuNode) -> "Settings":
        """The settings as they hold on one node, whose own Talos release, driver channel and modules are theirs."""
        own: dict[str, object] = {
            "talos_version": self.talos_version_of(node),
            "driver_channel": self.driver_channel_of(node),
            "kernel_modules": self.kernel_modules_of(node),
        }
        return self if all(getattr(self, key) == value for key, value in own.items()) else self.model_copy(update=own)

    def contract_of(self, node: GpuNode) -> Minor:
        """The minor version of Talos that wrote a node's configuration."""
        return minor_of(node.talos_contract or self.talos_contract or self.talos_version_of(node))

    def disk_selector_of(self, node: GpuNode) -> str | None:
        """The expression that selects the node's install disk; None when it is not known."""
        return node.install_disk_selector or self.install_disk_selector

    @property
    def warnings(self) -> list[str]:
        """What is accepted although it cannot be vouched for, one sentence each."""
        unknown = [
            f"node {node.name}: GPU {cards.gpu!r} is not in the catalogue{_meant(cards.gpu)}; its driver and kernel "
            "modules, its power limit, the memory of its slices and whether the node has this model are not checked: "
            "only the GPU itself will say. Describe it in gpu:gpuModels to have them checked"
            for node in self.nodes
            for cards in node.cards
            if cards.model is None
        ]
        unchecked = [
            f"the circuit of {circuit.name} is not checked: GPUs whose limits are not held draw up to their own "
            "default limits, which are not all known here"
            for circuit in self.circuits
            if circuit.used_watts is None
        ]
        unlimited = [
            f"node {node.name}: GPU {cards.gpu!r} is not known to take a power limit; "
            + ("one that is in force already is all that can be held there" if watts else "it is left alone")
            for node in self.nodes
            for cards in node.cards
            for watts in [self.limit_of(node, cards)]
            if cards.model and not cards.model.has_limit and self._lets_its_limit_be_held(node, cards)
        ]
        return [*self._notes, *unknown, *unlimited, *unchecked, *self._sharing_warnings(), *self._talos_warnings()]

    def _lets_its_limit_be_held(self, node: GpuNode, cards: GpuGroup) -> bool:
        """Whether no key says that the GPUs are to be left alone."""
        managed = self.power_management and node.power_management
        return managed and (node.power_limit or self.limits_by_model.get(cards.gpu, 0)) is not None

    def _sharing_warnings(self) -> list[str]:
        beside = [node.name for node in self.nodes if self.sharing_of(node).whole]
        alike = [node.name for node in self.nodes if not self.sharing_of(node).whole and self.slices_of(node) > 1]
        if not beside or not alike or self.rename_by_default:
            return []
        return [
            f"a pod that asks for nvidia.com/gpu gets a whole GPU on {listed(beside)} and a slice on {listed(alike)}: "
            "set gpu:renameByDefault to true to have all slices offered as nvidia.com/gpu.shared"
        ]

    def _talos_warnings(self) -> list[str]:
        unknown = [
            f"Talos {version} is not in gpuctl/data/talos_releases.json: the versions of its NVIDIA driver "
            "and toolkit are unknown here, and so is whether they know these GPUs"
            for version in self.talos_versions
            if version not in RELEASES
        ]
        undocumented = [
            f"gpu:defaultRuntime is not documented for Talos {version}: from v1.13 on pods get their "
            "GPUs through CDI, and whether a node works with it is not known here"
            for version in self.talos_versions
            if self.default_runtime and minor_of(version) >= CDI_FROM
        ]
        return unknown + undocumented


_KEY_OF_FIELD = {
    field: str(said.alias) for field, said in Settings.model_fields.items() if SecretStr in get_args(said.annotation)
}
SECRETS = tuple(_KEY_OF_FIELD.values())
"""The keys that are encrypted in a stack file and never shown, as messages have them: without the project's name."""
SECRET_FIELDS = {field: f"gpu:{key}" for field, key in _KEY_OF_FIELD.items()}
"""Field of the model -> key of the stack file."""


def _meant(gpu: str) -> str:
    close = meant(gpu)
    return f" (did you mean {close}?)" if close else ""
