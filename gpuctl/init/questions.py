"""What cannot be known from a cluster: each as a question to a person, and as the option that answers it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gpuctl.init.draft import declared
from gpuctl.init.gpus import EXAMPLE, FORM, Gpus
from gpuctl.init.look import View
from gpuctl.init.power import range_of
from gpuctl.settings.refusal import listed


class Question(NamedTuple):
    """Something that only a person knows."""

    option: str
    """That answers it."""
    example: str
    """Of its value; the proposal where there is one."""
    text: str
    is_proposal: bool = False
    """Whether the example may be taken for the answer."""


def about_context(contexts: Sequence[str]) -> Question:
    """Which cluster is meant."""
    there = listed(contexts) or "none"
    return Question(
        "--context", contexts[0] if contexts else "admin@lab", f"Context of the kubeconfig, which has {there}"
    )


def about_gpus(view: View, said: Mapping[str, Gpus]) -> list[tuple[str, Question]]:
    """Which GPUs nodes have, by node; of no node in particular where none is known to have any."""
    nodes = declared(view, said)
    if not nodes:
        return [("", Question("--node", f"{_some(view.names)}={EXAMPLE}", _no_node(view)))]
    return [
        (
            node.name,
            Question(
                "--node",
                f"{node.name}={node.example}",
                f"GPUs of {node.name}, as {FORM} or none ({'; '.join(node.remarks) or 'nothing is known of them'})",
            ),
        )
        for node in nodes
        if not node.gpus
    ]


def about_another() -> Question:
    """One more node, where no node shows what it has."""
    return Question("--node", "no more", f"Another GPU node, as NAME={FORM}", is_proposal=True)


def about_circuit() -> Question:
    """What the breaker allows."""
    return Question(
        "--circuit", "0", "Watts that the circuit of all these nodes takes, 0 if not known", is_proposal=True
    )


def about_watts(models: Iterable[str], proposal: int) -> Question:
    """The power limit."""
    ranges = "; ".join(f"{model} {range_of(model)}" for model in models)
    return Question(
        "--watts", str(proposal), f"Power limit in watts of each GPU ({ranges or 'not known yet'})", is_proposal=True
    )


def _some(names: Sequence[str] | None) -> str:
    return names[0] if names else "gpu-1"


def _no_node(view: View) -> str:
    others = [f"{each.name} {each.why}" for each in view.left]
    left = f"; {listed(others, separator='; ')}" if others else ""
    there = "" if view.names is None else f"; the nodes are {listed(view.names) or 'none'}{left}"
    sign = (
        "no cluster was asked" if view.names is None else "no node of the cluster shows a GPU that is free to be shared"
    )
    return f"GPU node, as NAME={FORM} ({sign}{there})"
