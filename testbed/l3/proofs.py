"""What is proven on real GPUs: for each claim a stack, what is seen of it, and evidence files."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from testbed.l3 import mps, usage
from testbed.l3.product import NODE, Product
from testbed.l3.workload import IMAGE, Load, Workload

GPU, SHARED = "nvidia.com/gpu", "nvidia.com/gpu.shared"
SLICES = 4


@dataclass
class Outcome:
    """What came of one proof."""

    proof: str
    claim: str
    holds: bool
    observed: list[str] = field(default_factory=list[str])
    skipped: str = ""
    """Why it could not be tried here."""


@dataclass(frozen=True)
class Bench:
    """Where proofs are made."""

    product: Product
    gpu: str
    """The catalogue's key of the GPUs' model."""
    count: int
    memory_mib: int
    """Of each GPU."""
    simulated: bool
    evidence: Path
    """The folder of the evidence files."""

    def stack(self, **node: object) -> dict[str, object]:
        """The keys of a stack with this machine's GPUs, whose limits are left alone."""
        nodes = [{"name": NODE, "gpu": self.gpu, "count": self.count, **node}]
        return {"slices": SLICES, "powerManagement": False, "nodes": nodes}

    def prove_sharing(self, name: str) -> tuple[bool, list[str]]:
        """Runs every check and the coexistence proof, with its evidence under a name."""
        evidence = ("--evidence", str(self.evidence / name))
        code, outcomes, bad = self.product.verify("--sharing", "--cuda-image", IMAGE, *evidence)
        counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        return code == 0, [f"gpuctl verify --sharing ended with {code}: {counted}", *bad]


def shared(bench: Bench) -> Outcome:
    """Every GPU in slices."""
    found = Outcome(
        "shared", f"{bench.count} GPUs with {SLICES} slices each serve {SLICES} pods each at once", holds=False
    )
    bench.product.deploy(bench.stack(), {GPU: bench.count * SLICES})
    found.holds, found.observed = bench.prove_sharing("shared")
    return found


def used(bench: Bench) -> Outcome:
    """The usage watcher, beside CUDA pods of known load."""
    found = Outcome("usage", "gpuctl says who uses a shared GPU, and how much of it", holds=False)
    if bench.simulated:
        found.skipped = "simulated GPUs compute nothing"
        return found
    stack = bench.stack() | {"usage": True, "usageInterval": usage.INTERVAL}
    bench.product.deploy(stack, {GPU: bench.count * SLICES})
    pods = usage.observe(bench.product, GPU, bench.evidence / "usage.md")
    mistakes = usage.mistakes(pods)
    found.holds = not mistakes
    found.observed = mistakes or [
        f"{name}: {pod.driver_mib} MiB by the driver and by gpuctl; SM % of {pod.busy_percent}: {pod.seen_percent}"
        for name, pod in pods.items()
    ]
    document = {name: asdict(pod) for name, pod in pods.items()}
    (bench.evidence / "usage.json").write_text(json.dumps(document, indent=2) + "\n")
    return found


def whole_beside_shared(bench: Bench) -> Outcome:
    """One GPU whole, the others in slices."""
    slices = (bench.count - 1) * SLICES
    claim = f"one node offers {GPU}: 1 and {SHARED}: {slices}, and the whole GPU has no neighbours"
    found = Outcome("whole-beside-shared", claim, holds=False)
    if bench.count == 1:
        found.skipped = "it needs two GPUs"
        return found
    bench.product.deploy(bench.stack(wholeGpus=1), {GPU: 1, SHARED: slices})
    found.holds, found.observed = bench.prove_sharing("whole-beside-shared")
    if not bench.simulated:
        workload = Workload(bench.product)
        workload.start(Load("whole", GPU), *(Load(f"share-{number}", SHARED) for number in range(slices)))
        rounds = {name: ended.rounds for name, ended in workload.finish().items()}
        found.observed.append(f"rounds in 10 s, all pods at once: {rounds}")
        found.holds &= 0 < max(rounds[f"share-{number}"] for number in range(slices)) < rounds["whole"] / 2
    return found


def limited_by_mps(bench: Bench) -> Outcome:
    """Slices by MPS, beside a whole GPU where there are two."""
    found = Outcome(
        "mps", "a slice by MPS has a memory limit, and its neighbours go on when a pod runs into it", holds=False
    )
    if bench.simulated:
        found.skipped = "simulated GPUs compute nothing"
        return found
    node, offers = ({"wholeGpus": bench.count - 1}, {GPU: bench.count - 1}) if bench.count > 1 else ({}, {})
    resource = SHARED if offers else GPU
    bench.product.deploy(bench.stack(**node) | {"sharing": "mps"}, offers | {resource: SLICES})
    found.holds, found.observed = bench.prove_sharing("mps")
    beside = [Load("whole", GPU, seconds=mps.SECONDS)] if offers else []
    ended = mps.observe(bench.product, resource, bench.memory_mib // SLICES, beside, bench.evidence / "mps-limits.json")
    mistakes = mps.mistakes(ended)
    found.holds &= not mistakes
    found.observed += [*mps.summary(ended), *mistakes]
    return found


PROOFS: dict[str, Callable[[Bench], Outcome]] = {
    "shared": shared,
    "usage": used,
    "whole-beside-shared": whole_beside_shared,
    "mps": limited_by_mps,
}
"""In the order in which they are made."""
