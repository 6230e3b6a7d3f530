"""What a stack file says, from what was seen of a cluster and what a person said."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gpuctl.init.gpus import Gpus
from gpuctl.init.image import Driver, driver_for, image_entries, usual_driver
from gpuctl.init.look import Seen, View
from gpuctl.init.power import limits, power_entries, proposed, take_limits
from gpuctl.init.text import Entry, Item, stack_file
from gpuctl.settings import Settings
from gpuctl.settings.checking import check
from gpuctl.settings.refusal import SetValue, listed
from gpuctl.settings.talos_rules import DOCUMENTS_FROM
from gpuctl.settings.talos_tables import KUBERNETES_MINORS, TALOS_MINORS, has_toolkit, minor_of

USUAL_TALOS: str = Settings.model_fields["talos_version"].default
USUAL_SLICES: int = Settings.model_fields["slices"].default
"""What a stack file without these keys means."""


@dataclass(frozen=True)
class Answers:
    """What a person said."""

    context: str
    gpus: Mapping[str, Gpus]
    """By node; a node without GPUs is left out."""
    watts: int
    circuit_watts: int
    """0 where it is not known."""
    slices: int
    talos: str | None = None
    """Release of all nodes, whatever they report."""


@dataclass(frozen=True)
class Draft:
    """A stack file before it is text."""

    head: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def text(self) -> str:
        """The stack file."""
        return stack_file(self.head, self.entries)

    @property
    def values(self) -> dict[str, object]:
        """Key without `gpu:` -> value, of those that count."""
        return {entry.key: entry.plain for entry in self.entries if entry.is_set}


def declared(view: View, said: Mapping[str, Gpus]) -> list[Seen]:
    """The nodes that a stack file names: those that were seen with GPUs, as a person says where one does.

    Args:
        view: of the cluster.
        said: GPUs by node.
    """
    seen = {node.name: node for node in view.nodes}
    nodes = [replace(seen.get(name, Seen(name)), gpus=said.get(name) or seen[name].gpus) for name in [*seen, *said]]
    by_name = {node.name: node for node in nodes}
    return [node for name, node in by_name.items() if said.get(name) != {}]


def models_of(view: View, said: Mapping[str, Gpus]) -> list[str]:
    """The models of all GPUs that take a power limit, as far as they are known."""
    return take_limits(dict.fromkeys(model for node in declared(view, said) for model in node.gpus or {}))


def proposed_watts(stack: str, view: View, answers: Answers) -> int:
    """The usual power limit as far as GPUs and circuit allow it; the answers' own does not count."""
    usual = replace(answers, watts=proposed(models_of(view, answers.gpus)))
    found = check(draft(stack, view, usual).values)
    problems = [] if isinstance(found, Settings) else found
    lower = (each for problem in problems if problem.path == ("circuitWatts",) for each in problem.remedies)
    fitting = (int(each.value) for each in lower if isinstance(each, SetValue) and each.path == ("powerLimit",))
    return next(fitting, usual.watts)


def draft(stack: str, view: View, answers: Answers) -> Draft:
    """The stack file of a cluster.

    Args:
        stack: its name.
        view: what was seen.
        answers: what was said; with what is seen they give the GPUs of every node.
    """
    nodes = declared(view, answers.gpus)
    talos = answers.talos or _usual_talos(nodes)
    releases = {node.name: talos if answers.talos else node.talos or talos for node in nodes}
    drivers = {node.name: driver_for(node, node.gpus or {}, releases[node.name]) for node in nodes}
    asked = f"context {answers.context}" if view.names is not None else "what was said; no cluster was asked"
    entries = (
        Entry("context", answers.context, ["The one cluster that this stack may touch"]),
        *_talos(talos, releases.values(), view, is_known=bool(answers.talos or any(node.talos for node in nodes))),
        *(image_entries(nodes, drivers) if drivers else ()),
        *_backend(talos),
        Entry("slices", answers.slices, ["Pods that share each GPU"]),
        *power_entries(limits(models_of(view, answers.gpus), answers.watts)),
        *_circuit(answers.circuit_watts),
        *_tolerations(nodes),
        Entry("nodes", _nodes(nodes, talos, releases, drivers), ["The GPU nodes", *_left_out(view, nodes)]),
        *_others(view),
    )
    head = (f"Written by `gpuctl init {stack}` from {asked}. Every key: docs/configuration.md", *view.remarks)
    return Draft(head, entries)


def _usual_talos(nodes: Sequence[Seen]) -> str:
    releases = Counter(node.talos for node in nodes if node.talos)
    return releases.most_common(1)[0][0] if releases else USUAL_TALOS


def _backend(talos: str) -> Iterator[Entry]:
    if has_toolkit(talos):
        return
    yield Entry("backend", "dra", ["Its Talos has no NVIDIA container toolkit, without which no device plugin runs"])


def _talos(talos: str, releases: Collection[str], view: View, *, is_known: bool) -> Iterator[Entry]:
    yield Entry("talosVersion", talos, [] if is_known else ["Talos of the nodes: not known here, so check it"])
    if _minor(talos) >= DOCUMENTS_FROM:
        said = "If an older Talos wrote the nodes' configuration, its line: it decides the form of the patches"
        yield Entry("talosContract", "v1.13", [said], is_set=False)
    if version := re.match(r"v[0-9]+\.[0-9]+\.[0-9]+", view.kubernetes):  # vendors add to it
        unfit = [release for release in sorted({*releases, talos}) if not _runs(release, version[0])]
        said = f"As the API server says, and not one that Talos {', '.join(unfit)} is known to run"
        yield Entry("kubernetesVersion", version[0], [said] if unfit else [], is_set=not unfit)


def _runs(release: str, kubernetes: str) -> bool:
    first, last = KUBERNETES_MINORS.get(_minor(release), (TALOS_MINORS[0], TALOS_MINORS[0]))
    return first <= minor_of(kubernetes) <= last


def _minor(release: str) -> tuple[int, int]:
    """Of a release; that of the oldest line for a text that is none, which the settings refuse."""
    try:
        return minor_of(release)
    except ValueError:
        return TALOS_MINORS[0]


def _circuit(watts: int) -> Iterator[Entry]:
    said = ["Watts that the circuit of all nodes takes; limits that do not fit it are refused"]
    unknown = [*said, "Not known, so not checked"]
    yield Entry("circuitWatts", watts or 2000, said if watts else unknown, is_set=bool(watts))


def _tolerations(nodes: Sequence[Seen]) -> Iterator[Entry]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for node in nodes:
        for taint in node.taints:
            found.setdefault((taint.key, taint.value, taint.effect), []).append(node.name)
    if not found:
        return
    items = [
        Item({"key": key, **({"value": value} if value else {}), "effect": effect}, [f"A taint of {', '.join(names)}"])
        for (key, value, effect), names in found.items()
    ]
    yield Entry("tolerations", items, ["Without these the nodes' taints would keep the stack's pods off them"])


def _nodes(nodes: Sequence[Seen], talos: str, releases: Mapping[str, str], drivers: Mapping[str, Driver]) -> list[Item]:
    return [
        Item(_node(node, talos, releases, drivers), [f"{node.name}: {each}" for each in node.remarks]) for node in nodes
    ]


def _node(node: Seen, talos: str, releases: Mapping[str, str], drivers: Mapping[str, Driver]) -> dict[str, object]:
    gpus, usual, driver = node.gpus or {}, usual_driver(drivers), drivers[node.name]
    own: dict[str, object] = {"name": node.name}
    if len(gpus) == 1:
        own |= {"gpu": next(iter(gpus)), "count": next(iter(gpus.values()))}
    else:
        own["gpus"] = dict(gpus)
    own |= {"address": node.address} if node.address else {}
    own |= {"talosVersion": releases[node.name]} if releases[node.name] != talos else {}
    own |= {"driverChannel": driver.channel} if driver.channel != usual.channel else {}
    own |= {"kernelModules": driver.modules} if driver.modules != usual.modules else {}
    return own


def _left_out(view: View, nodes: Sequence[Seen]) -> Iterator[str]:
    accounted = {node.name for node in (*nodes, *view.left)}
    if others := [name for name in view.names or () if name not in accounted]:
        yield f"Without a sign of an NVIDIA GPU, or left out by --node: {listed(others)}"
    yield from (f"Left out: {each.name}, which {each.why}" for each in view.left if not each.is_others)


def _others(view: View) -> Iterator[Entry]:
    others = [each for each in view.left if each.is_others]
    if others:
        items = [Item(each.name, [f"{each.name} {each.why}"]) for each in others]
        yield Entry("otherGpuNodes", items, ["Left alone by the stack; to take one over, move it to gpu:nodes"])
