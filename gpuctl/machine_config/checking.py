"""Everything that is wrong with a machine configuration, as far as it is about GPUs.

Talos' own validation accepts most of it. What only that validation can know, such as misspelt keys, is left to
`talosctl validate`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gpuctl.desired.names import node_labels
from gpuctl.desired.profiles import profile_of
from gpuctl.desired.schematic import image_is_chosen, installer_image
from gpuctl.machine_config import cri_rules, install_rules, kernel_rules, label_rules, shape_rules
from gpuctl.machine_config.document import MachineConfig
from gpuctl.machine_config.finding import Finding, Rule, Subject
from gpuctl.settings import GpuNode, Settings
from gpuctl.settings.talos_tables import UNUSABLE, minor_of

RULES: tuple[Rule, ...] = (
    *shape_rules.RULES,
    *install_rules.RULES,
    *kernel_rules.RULES,
    *cri_rules.RULES,
    *label_rules.RULES,
)


@dataclass(frozen=True)
class Wanted:
    """A node of a stack, whose configuration a file should be."""

    settings: Settings
    node: GpuNode


def check(config: MachineConfig, talos_version: str, wanted: Wanted | None = None) -> list[Finding]:
    """The findings, in the order of the configuration's parts.

    Args:
        config: a whole configuration or a patch; of a patch it is not asked what is missing.
        talos_version: of the node.
        wanted: also compares installer image, labels and default runtime with those of this node.
    """
    subject = Subject(config, talos_version, minor_of(talos_version))
    if wanted:
        labels = node_labels(profile_of(wanted.settings, wanted.node).label)
        image, chosen = installer_image(wanted.settings.on(wanted.node)), image_is_chosen(wanted.settings)
        runtime = wanted.settings.default_runtime
        subject = replace(subject, image=image, image_is_chosen=chosen, default_runtime=runtime)
        if wanted.settings.label_nodes:
            subject = replace(subject, labels_of_the_stack=labels)
        else:
            subject = replace(subject, labels=labels)
    return list(_findings(subject))


def _findings(subject: Subject) -> Iterator[Finding]:
    if subject.talos_version in UNUSABLE:
        reason = f"Talos {subject.talos_version}: {UNUSABLE[subject.talos_version]}"
        yield Finding("release", "installer image", reason, "choose another release")
    for rule in RULES:
        yield from rule(subject)
