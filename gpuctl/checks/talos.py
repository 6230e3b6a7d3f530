"""Whether the GPU nodes run the stack's Talos, with the image that brings the driver.

Talos itself says what a node runs: as `osImage`, and as labels and annotations `extensions.talos.dev/NAME` of the node;
annotations where a value is no valid label, such as the schematic's ID of 64 digits. Without them, talosctl is asked.
"""

from collections.abc import Iterator

from gpuctl.checks.context import Context
from gpuctl.checks.model import Category, Check, Result, checks_of, failed, listed, passed, skipped
from gpuctl.checks.nodes import present_nodes
from gpuctl.cluster import Node
from gpuctl.cluster.programs import json_documents
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.schematic import extension_versions, installer_image, schematic_id
from gpuctl.desired.talos import MODULES
from gpuctl.observed.nodes import SCHEMATIC, extensions, talos_release
from gpuctl.preflight.talos_nodes import going_back, held_by_talos, without_ground

TALOS = Category("talos-node", "Talos on the GPU nodes")

_OWNER = "siderolabs/"
"""What the Image Factory writes before the name of an extension, and a node does not."""
_UPGRADE = (
    "Upgrade the node, which reboots it: the command is in the output of `gpuctl talos patch --stack lab -o patches`."
)


@Check(
    "TAL001",
    TALOS,
    "every GPU node runs the Talos release of the stack file",
    cause="The node was upgraded without the stack file, or the other way round",
    example="node gpu-1 runs Talos v1.12.4 and the stack file says v1.13.9",
    confirm=("kubectl --context admin@lab get nodes -o wide",),
    fix=(
        "Tell the stack what the nodes run: `pulumi config set gpu:talosVersion VERSION --stack lab`.",
        _UPGRADE,
    ),
    severity="warning",
)
def talos_is_the_stacks(context: Context) -> Iterator[Result]:
    """Driver versions, patches and the installer image all follow from the release."""
    for desired, node in present_nodes(context):
        wanted = context.settings.talos_version_of(desired.declared)
        runs = talos_release(node)
        if runs is None:
            yield _not_talos(node)
        elif runs == wanted:
            yield passed(f"node {node.name} runs Talos {runs}", node.name)
        else:
            fact = f"node {node.name} runs Talos {runs} and the stack file says {wanted}"
            yield failed(fact, _upgrade(context, desired), node.name)


@Check(
    "TAL002",
    TALOS,
    "every GPU node's image has the stack's NVIDIA extensions",
    cause="The node was installed with an image without the NVIDIA extensions, or with those of the other channel",
    example="node gpu-1 lacks the extension nvidia-container-toolkit-production",
    confirm=("talosctl -n ADDRESS get extensions",),
    fix=(
        _UPGRADE,
        "Changing machine.install.image alone installs nothing on a node that is installed.",
    ),
)
def extensions_are_there(context: Context) -> Iterator[Result]:
    """Driver and container toolkit reach a node only inside its image."""
    for desired, node in present_nodes(context):
        wanted = list(_expected(context, desired))
        if talos_release(node) is None:
            yield _not_talos(node)
            continue
        if not desired.profile.sharing.bare and (fact := without_ground(node)):
            yield failed(fact, going_back(desired), node.name)
            continue
        found = extensions(node) or _asked(context, desired)
        if isinstance(found, Result):
            yield found
        elif missing := [name for name in wanted if name not in found]:
            others = [name for name in found if "nvidia" in name and name not in wanted]
            cause = f"its image has {listed(others)} instead" if others else "its image was made without it"
            fact = f"node {node.name} lacks the extension {listed(missing)}"
            yield failed(fact, _upgrade(context, desired), node.name, cause)
        else:
            yield passed(f"node {node.name} has {listed(wanted)}", node.name)


@Check(
    "TAL003",
    TALOS,
    "every GPU node's NVIDIA extensions have the versions of its Talos release",
    cause="The node's image is of another Talos release than the stack file says, or was made elsewhere",
    example="node gpu-1: nvidia-container-toolkit-production is 595.58.03-v1.19.0 and not 595.91.07-v1.19.1",
    confirm=("talosctl -n ADDRESS get extensions", "gpuctl talos schematic --stack lab"),
    fix=(_UPGRADE,),
    severity="warning",
)
def extension_versions_fit(context: Context) -> Iterator[Result]:
    """A kernel module loads only in the kernel it was built for; driver and toolkit must be of one version."""
    for desired, node in present_nodes(context):
        wanted = {name: version for name, version in _expected(context, desired).items() if version}
        found = extensions(node)
        known = [name for name in wanted if name in found]
        if talos_release(node) is None:
            yield _not_talos(node)
        elif not known:
            yield skipped(f"node {node.name} has no label of an extension whose version is known here", node.name)
        elif other := [
            f"{name} is {found[name]} and not {wanted[name]}" for name in known if found[name] != wanted[name]
        ]:
            yield failed(f"node {node.name}: {'; '.join(other)}", _upgrade(context, desired), node.name)
        else:
            yield passed(f"node {node.name} has {', '.join(f'{name} {wanted[name]}' for name in known)}", node.name)


@Check(
    "TAL004",
    TALOS,
    "every GPU node's image is of the stack's schematic",
    cause="The image has further extensions or kernel arguments, or was not made for this stack",
    example="node gpu-1's image is of schematic 376567988a... and the stack's is 1deaeeb1ea...",
    confirm=("talosctl -n ADDRESS get extensions", "gpuctl talos schematic --stack lab"),
    fix=(
        "Nothing, when you added extensions to the schematic yourself: leave the check out with `--skip TAL004`.",
        _UPGRADE,
    ),
    severity="warning",
)
def schematic_is_the_stacks(context: Context) -> Iterator[Result]:
    """One schematic, with the NVIDIA extensions and what the stack file adds, serves every Talos release."""
    for desired, node in present_nodes(context):
        wanted = schematic_id(context.settings.on(desired.declared))
        runs = extensions(node).get(SCHEMATIC)
        if talos_release(node) is None:
            yield _not_talos(node)
        elif wanted is None:
            yield skipped("gpu:installerImage names no schematic", node.name)
        elif runs is None:
            yield skipped(f"node {node.name} does not say which schematic its image is of", node.name)
        elif runs == wanted:
            yield passed(f"node {node.name}'s image is of schematic {wanted[:10]}...", node.name)
        else:
            fact = f"node {node.name}'s image is of schematic {runs[:10]}... and the stack's is {wanted[:10]}..."
            yield failed(fact, _upgrade(context, desired), node.name)


@Check(
    "TAL005",
    TALOS,
    "every GPU node has loaded the NVIDIA kernel modules",
    cause="The machine configuration does not name the modules, or they are of another Talos build than the kernel",
    example="node gpu-1 has not loaded nvidia_uvm",
    confirm=("talosctl -n ADDRESS read /proc/modules", "talosctl -n ADDRESS dmesg"),
    fix=(
        "The extensions blacklist them, so the configuration must name all four: `gpuctl talos patch --stack lab`.",
        "`key was rejected by service` in the kernel's log: the extensions are of another Talos release. " + _UPGRADE,
    ),
    deep=True,
)
def modules_are_loaded(context: Context) -> Iterator[Result]:
    """Through the Talos API, which Kubernetes does not replace here; one call for each node."""
    for desired, node in present_nodes(context):
        if talos_release(node) is None:
            yield _not_talos(node)
            continue
        address = desired.declared.address or node.name
        read = ("talosctl", "-n", address, "read", "/proc/modules")
        ran = context.programs.run(*read, seconds=20)
        if ran is None:
            yield skipped("talosctl, which reads a node's kernel modules, is not installed here")
            return
        if ran.exit_code:
            yield skipped(f"the kernel modules of {node.name} cannot be read: {ran.reason}", node.name, " ".join(read))
            continue
        loaded = {line.split(" ", 1)[0] for line in ran.stdout.splitlines()}
        if missing := [name for name in MODULES if name not in loaded]:
            yield failed(
                f"node {node.name} has not loaded {', '.join(missing)}", f"talosctl -n {address} dmesg", node.name
            )
        else:
            yield passed(f"node {node.name} has loaded {', '.join(MODULES)}", node.name)


@Check(
    "TAL006",
    TALOS,
    "Talos sets no label that the stack sets",
    cause="The node has the patch of an older version of this project, which gave it the stack's labels as well",
    example="node gpu-1: its Talos configuration sets nvidia.com/device-plugin.config, which the stack sets [...]",
    confirm=("kubectl --context admin@lab get node gpu-1 -o jsonpath='{.metadata.annotations}'",),
    fix=(
        "Take them out with a patch that is computed from the node's configuration: the command is in the finding. "
        "Then `pulumi up --stack lab`: until that is done, the node has no label and offers no GPU.",
        "Or leave them to Talos: `pulumi config set gpu:labelNodes false --stack lab`. Then "
        "other slices take a Talos patch of each node first.",
    ),
    severity="warning",
)
def labels_have_one_owner(context: Context) -> Iterator[Result]:
    """By the annotation in which Talos writes down which labels it puts back."""
    found = {each.node: each for each in held_by_talos(context.desired, context.stack, context.nodes.values())}
    for _, node in present_nodes(context):
        if talos_release(node) is None:
            yield _not_talos(node)
        elif held := found.get(node.name):
            yield failed(held.fact, f"{held.remedy} && pulumi up --stack {context.stack}", node.name)
        else:
            yield passed(f"node {node.name} has no label of both Talos and the stack", node.name)


def _not_talos(node: Node) -> Result:
    system = node.status.node_info.os_image or "OS unknown"
    return skipped(f"node {node.name}: {system}, not Talos", node.name)


def _asked(context: Context, node: DesiredNode) -> dict[str, str] | Result:
    """The same from Talos itself; or why it cannot be asked."""
    get = ("talosctl", "-n", node.declared.address or node.name, "get", "extensions", "-o", "json")
    ran = context.programs.run(*get, seconds=20)
    if ran is None or ran.exit_code:
        reason = ran.reason if ran else "talosctl is not installed here"
        unknown = f"node {node.name} has no label extensions.talos.dev/..., and Talos cannot be asked: {reason}"
        return skipped(unknown, node.name, " ".join(get))
    layers = (resource["spec"]["metadata"] for resource in json_documents(ran.stdout))
    return {layer["name"]: layer["version"] for layer in layers}


def _expected(context: Context, node: DesiredNode) -> dict[str, str | None]:
    """Extension, as a node calls it -> version; None where that is not known."""
    versions = extension_versions(context.settings.on(node.declared))
    return {name.removeprefix(_OWNER): version for name, version in versions.items()}


def _upgrade(context: Context, node: DesiredNode) -> str:
    image = installer_image(context.settings.on(node.declared))
    return f"talosctl upgrade -n {node.declared.address or node.name} --image {image}"


CHECKS = checks_of(vars())
