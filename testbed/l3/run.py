"""The whole run: up, the product deployed, every proof, evidence files, GPU settings compared, down."""

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from testbed.cluster import Cluster
from testbed.errors import BedError
from testbed.gpus import MODELS, NodeSpec
from testbed.l3 import report, settings
from testbed.l3.product import NODE, STACK, Product
from testbed.l3.proofs import PROOFS, Bench, Outcome
from testbed.l3.workload import import_image
from testbed.progress import say, step


def run(evidence: Path, proofs: Sequence[str], rehearsal: NodeSpec | None) -> bool:
    """Makes the proofs; returns whether all hold and no GPU setting changed.

    Args:
        evidence: the folder for the evidence files.
        proofs: of PROOFS.
        rehearsal: a node with simulated GPUs instead of this machine's own; what needs CUDA is then left out.

    Raises:
        BedError: the cluster cannot be brought up here.
    """
    evidence.mkdir(parents=True, exist_ok=True)
    started = _now()
    before = {} if rehearsal else settings.read()
    boards = list(rehearsal.boards) if rehearsal else [_board(gpu["name"]) for gpu in before.values()]
    cluster = Cluster(STACK)
    cluster.down()  # a run that was killed
    try:
        cluster.up([rehearsal or NodeSpec(NODE)], real_gpu=rehearsal is None)
        import_image(cluster.nodes[NODE], simulated=rehearsal is not None)
        memory = MODELS[boards[0]].memory_mib
        bench = Bench(Product(cluster), boards[0], len(boards), memory, rehearsal is not None, evidence)
        outcomes = [_prove(proof, bench) for proof in proofs]
    finally:
        cluster.down()
    after = {} if rehearsal else settings.read()
    changed = settings.differences(before, after)
    for sentence in changed:
        say(sentence)
    document = {
        "started": started,
        "finished": _now(),
        "system": platform.platform(),
        "simulated": rehearsal is not None,
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "settings": {"before": before, "after": after, "changed": changed},
    }
    (evidence / "run.json").write_text(json.dumps(document, indent=2) + "\n")
    (evidence / "run.md").write_text(report.markdown(document))
    return not changed and all(outcome.holds or outcome.skipped for outcome in outcomes)


def _prove(name: str, bench: Bench) -> Outcome:
    """One proof; one that breaks off does not stop the others."""
    prove: Callable[[Bench], Outcome] = PROOFS[name]
    with step(f"proof {name}"):
        try:
            outcome = prove(bench)
        except (BedError, OSError, KeyError) as error:
            outcome = Outcome(name, "", holds=False, observed=[f"it broke off: {error}"])
    if not (outcome.holds or outcome.skipped):
        (bench.evidence / f"{name}.failed.txt").write_text(_state(bench.product))
    verdict = f"skipped: {outcome.skipped}" if outcome.skipped else "holds" if outcome.holds else "DOES NOT HOLD"
    say("\n  ".join([f"proof {name}: {verdict}", *outcome.observed]))
    return outcome


def _state(product: Product) -> str:
    """What a failed proof left, for whoever looks for the reason later."""
    commands = (
        ("kubectl", "get", "pods", "-A", "-o", "wide"),
        ("kubectl", "describe", "pods", "-A"),
        ("kubectl", "describe", "nodes"),
        ("kubectl", "get", "events", "-A"),
        (
            "kubectl",
            "logs",
            "-n",
            "gpu-device-plugin",
            "--all-containers",
            "--prefix",
            "--tail=200",
            "-l",
            "app.kubernetes.io/part-of=gpu-sharing",
        ),
    )
    return "\n".join(
        f"$ {' '.join(command)}\n{done.stdout}{done.stderr}" for command in commands for done in [product.run(*command)]
    )


def _board(name: str) -> str:
    for key, model in MODELS.items():
        if model.name == name:
            return key
    raise BedError(
        f"GPU model {name!r} is not in testbed/gpus.py, MODELS: add it there, with the key of gpuctl's catalogue"
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
