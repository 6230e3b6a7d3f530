"""The rules between keys: each with the keys it compares, and judged when those are sound, whatever else is wrong."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from gpuctl.settings import boot_image, dra_rules, limit_rules, talos_rules
from gpuctl.settings.circuit_rule import no_circuit_is_overloaded
from gpuctl.settings.gpu_models import watts_are_in_order
from gpuctl.settings.model import Settings
from gpuctl.settings.mps import mps_is_possible, mps_keys_are_for_mps, mps_takes_one_slice_for_a_pod
from gpuctl.settings.nodes import GpuNode
from gpuctl.settings.profile_names import profiles_have_one_name
from gpuctl.settings.refusal import Path, Problem
from gpuctl.settings.whole_gpus import uuids_are_of_one_gpu, whole_gpus_are_beside_shared_ones


@dataclass(frozen=True)
class Sound:
    """Settings in which every unsound value is left out: unset, at its default, or a stand-in where it is required."""

    settings: Settings
    unsound: frozenset[Path]
    """Where values were left out."""

    @cached_property
    def _places(self) -> frozenset[Path]:
        """The unsound keys, of the stack and of each node, without what is inside them."""
        return frozenset(path[:3] if path[0] == "nodes" else path[:1] for path in self.unsound)

    @cached_property
    def lacking(self) -> frozenset[str]:
        """Keys with an unsound value: `slices` of the stack, `nodes.slices` of some node."""
        return frozenset(
            f"nodes.{path[2]}" if len(path) == 3 else str(path[0]) for path in self._places if len(path) != 2
        )

    def lacks(self, key: str) -> bool:
        """Whether a key has an unsound value; an entry that is no node lacks all."""
        return key in self.lacking or (key.startswith("nodes.") and self._has_bad_entries)

    @cached_property
    def _has_bad_entries(self) -> bool:
        return any(len(path) == 2 for path in self._places)

    def without_nodes_lacking(self, keys: tuple[str, ...]) -> Settings:
        """The settings with a stand-in for each node that has an unsound value for one of some keys."""
        lacking = {path[1] for path in self.unsound if path[0] == "nodes" and path[2:3] and path[2] in keys}
        if not lacking:
            return self.settings
        nodes = [
            GpuNode(name=f"entry-{index}", slices=2) if index in lacking else node
            for index, node in enumerate(self.settings.nodes)
        ]
        return self.settings.model_copy(update={"nodes": tuple(nodes)})

    def given(self, index: int, key: str) -> bool:
        """Whether a node has a key, with a sound value or not."""
        field = _FIELDS[key]
        return ("nodes", index, key) in self._places or getattr(self.settings.nodes[index], field) is not None


class Rule(NamedTuple):
    """A rule, and the keys without which it cannot judge."""

    needs: tuple[str, ...]
    judge: Callable[[Sound], Iterable[Problem]]


def _of(judge: Callable[[Settings], Iterable[Problem]], *node_keys: str) -> Callable[[Sound], Iterable[Problem]]:
    """A rule about settings in which a node with an unsound value for one of some keys is a stand-in."""
    return lambda sound: judge(sound.without_nodes_lacking(node_keys))


def _names_are_different(sound: Sound) -> Iterator[Problem]:
    unsound = {path[1] for path in sound.unsound if path[0] == "nodes" and (len(path) == 2 or path[2:3] == ("name",))}
    named = {index: node.name for index, node in enumerate(sound.settings.nodes) if index not in unsound}
    return limit_rules.names_are_different(sound.settings, named)


def _gpus_are_declared_in_one_way(sound: Sound) -> Iterator[Problem]:
    for index, node in enumerate(sound.settings.nodes):
        if ("nodes", index) in sound.unsound:
            continue
        given = frozenset(key for key in _FIELDS if sound.given(index, key))
        values = {key: getattr(node, field) for key, field in _FIELDS.items()}
        yield from limit_rules.gpus_are_declared_in_one_way(index, given, values)


def _limits_are_of_cards_that_are_there(sound: Sound) -> Iterator[Problem]:
    return limit_rules.limits_are_of_cards_that_are_there(sound.settings, all_known=not any(map(sound.lacks, _CARDS)))


_FIELDS = {"gpus": "gpus", "gpu": "gpu", "count": "count_of_gpu"}

_LIMITS = ("nodes", "powerManagement", "powerLimit", "powerLimits")
_CARDS = ("nodes.gpus", "nodes.gpu", "nodes.count")
_MPS = ("sharing", "memoryPerSliceMiB", "threadsPerSlicePercent")
_SHARING = ("slices", "wholeGpus", "sharedGpus", "gpus", "gpu", "count", "backend", "talosVersion", *_MPS)
_BACKEND = ("nodes", "backend")
_TALOS = ("nodes", "talosVersion")
_IMAGE = ("systemExtensions", "kernelArguments", "overlay", "fabricManager", "secureBoot")

RULES = (
    Rule(("nodes",), _of(limit_rules.there_are_nodes)),
    Rule(("nodes",), _gpus_are_declared_in_one_way),
    Rule(("gpuModels",), _of(watts_are_in_order)),
    Rule(("nodes",), _of(limit_rules.node_limits_are_within_range)),
    Rule(_LIMITS, _of(limit_rules.limit_is_within_every_range, "powerLimit")),
    Rule(("nodes", "gpuModels", "powerManagement", "powerLimits"), _limits_are_of_cards_that_are_there),
    Rule(("allocationPolicy", "devicePluginVersion"), _of(limit_rules.policy_is_known_to_the_plugin)),
    Rule(("usage", "usageMetrics", "memoryBudget"), _of(limit_rules.use_is_watched)),
    Rule(("nodes", "slices", "renameByDefault"), _of(limit_rules.renaming_is_for_shared_gpus, "slices")),
    Rule((*_BACKEND, "talosVersion"), _of(dra_rules.backends_have_their_ground, "backend", "talosVersion")),
    Rule((*_BACKEND, "kubernetesVersion"), _of(dra_rules.dra_has_its_kubernetes, "backend", "talosVersion")),
    Rule((*_BACKEND, "slices"), _of(dra_rules.dra_shares_all_gpus_of_a_node, "backend", "wholeGpus", "slices")),
    Rule(
        (*_BACKEND, "renameByDefault", "allocationPolicy", "failRequestsGreaterThanOne"),
        _of(dra_rules.keys_mean_something_to_a_backend, "backend"),
    ),
    Rule((*_TALOS, "defaultRuntime"), _of(dra_rules.nothing_needs_a_missing_toolkit, "talosVersion")),
    Rule(("nodes", "slices"), _of(whole_gpus_are_beside_shared_ones, *_SHARING)),
    Rule(("nodes",), _of(uuids_are_of_one_gpu, "wholeGpus", "sharedGpus")),
    Rule((*_BACKEND, "slices", *_MPS), _of(mps_is_possible, *_SHARING)),
    Rule((*_BACKEND, "slices", *_MPS), _of(mps_keys_are_for_mps, *_SHARING)),
    Rule(
        ("nodes", "slices", "sharing", "failRequestsGreaterThanOne", "devicePluginVersion"),
        _of(mps_takes_one_slice_for_a_pod, *_SHARING),
    ),
    Rule(("nodes", "slices", "backend", "talosVersion", *_MPS), _of(profiles_have_one_name, *_SHARING, "profile")),
    Rule((*_TALOS, "talosContract"), _of(talos_rules.contracts_are_not_newer, "talosVersion", "talosContract")),
    Rule((*_TALOS, "kubernetesVersion"), _of(talos_rules.kubernetes_runs_on_talos, "talosVersion")),
    Rule((*_TALOS, "driverChannel"), _of(talos_rules.driver_knows_every_gpu, "talosVersion", "driverChannel")),
    Rule(("nodes", "kernelModules"), _of(talos_rules.modules_fit_every_gpu, "kernelModules")),
    Rule(("systemExtensions",), _of(boot_image.extensions_are_named_once)),
    Rule((*_IMAGE, "schematic", "installerImage"), _of(boot_image.image_is_declared_in_one_way)),
    Rule(
        (*_TALOS, "driverChannel", "kernelModules", "schematic", "installerImage"),
        _of(boot_image.own_image_fits_every_node, "talosVersion", "driverChannel", "kernelModules"),
    ),
    Rule(("talosVersion", "installerImage"), _of(boot_image.image_is_of_the_release)),
    Rule(("criCustomization", "defaultRuntime"), _of(talos_rules.fragment_can_be_merged)),
    Rule(
        (
            *(*_TALOS, "talosApply", "talosEndpoint", "talosClientConfiguration", "talosMachineConfiguration"),
            *("talosContract", "nodes.talosVersion", "nodes.talosContract"),
        ),
        _of(talos_rules.apply_has_what_it_needs),
    ),
    Rule(("nodes",), _names_are_different),
    Rule(("nodes", "otherGpuNodes"), _of(limit_rules.other_nodes_are_not_the_stacks, "name")),
    Rule(
        (
            *(*_LIMITS, *_CARDS, "nodes.powerLimit", "nodeBaseWatts", "nodes.baseWatts"),
            *("circuitWatts", "nodes.circuitWatts"),
        ),
        _of(no_circuit_is_overloaded),
    ),
)
"""In the order in which they are judged: what a rule finds wrong is unsound for those after it."""
