"""Whether MPS gives each slice a memory limit and a part of the multiprocessors, to pods of several users at once."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from testbed.l3.product import Product
from testbed.l3.workload import REFUSED, Ended, Load, Workload

SECONDS = 40
"""How long neighbours compute."""
_USERS = (0, 1000, 2000)
_MEMORY_MIB = 16384
_BEYOND_MIB = 4096
_CONTEXT_MIB = 3072
"""More than a CUDA context takes of a slice's limit beside what a program asks for."""


def observe(
    product: Product, resource: str, limit_mib: int, beside: Sequence[Load], evidence: Path
) -> dict[str, Ended]:
    """Runs pods of three users in three slices, and in the fourth one that asks for too much, then one that does not.

    Args:
        product: deployed with MPS, 4 slices.
        resource: of the slices.
        limit_mib: memory of a slice.
        beside: what runs on other GPUs meanwhile.
        evidence: the file for what each pod said.
    """
    workload = Workload(product)
    users = [Load(f"user-{user}", resource, _MEMORY_MIB, seconds=SECONDS, user=user) for user in _USERS]
    beyond = Load("beyond-the-limit", resource, limit_mib + _BEYOND_MIB, seconds=5)
    within = Load("within-the-limit", resource, limit_mib - _CONTEXT_MIB, seconds=5)
    workload.start(*users, *beside)
    workload.start(beyond)
    time.sleep(1)  # the kubelet has its slice again
    workload.start(within)
    ended = workload.finish()
    document = {load.name: asdict(load) | asdict(ended[load.name]) for load in (*users, *beside, beyond, within)}
    evidence.write_text(json.dumps(document, indent=2) + "\n")
    return ended


def mistakes(ended: Mapping[str, Ended]) -> list[str]:
    """What MPS did not do, of what `observe` saw."""
    found: list[str] = []
    beyond = ended["beyond-the-limit"]
    if beyond.exit_code != REFUSED or "OUT_OF_MEMORY" not in beyond.said:
        found.append(f"an allocation beyond the limit was not refused for want of memory: {beyond.said}")
    slices = {name: each for name, each in ended.items() if name not in ("beyond-the-limit", "whole")}
    for name, each in ended.items():
        if name != "beyond-the-limit" and (each.exit_code or "Test PASSED" not in each.said):
            found.append(f"{name} ended with {each.exit_code}: {each.said}")
    if "whole" in ended:
        of = ended["whole"].multiprocessors
        bad = {name: each.multiprocessors for name, each in slices.items() if not 0 < each.multiprocessors <= of / 3}
        found += [f"{name} has {count} of {of} multiprocessors" for name, count in bad.items()]
    spans = [each.span for name, each in slices.items() if name.startswith("user-")]
    together = min(end for _, end in spans) - max(start for start, _ in spans)
    if together < SECONDS / 2:
        found.append(f"the pods of users {', '.join(map(str, _USERS))} ran together for {max(together, 0):.0f} s only")
    return found


def summary(ended: Mapping[str, Ended]) -> list[str]:
    """One sentence for each pod."""
    return [f"{name}: {re.sub(r'(start|end)=[0-9.]+ ', '', each.said)}" for name, each in ended.items()]
