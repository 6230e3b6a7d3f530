"""Whether the usage watcher says of each pod what the driver says of its process, read by another way."""

import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.errors import BedError
from testbed.l3.product import Object, Product
from testbed.l3.workload import Load, Workload

INTERVAL = 5
"""Seconds between two samples of the watcher: the least that the settings allow."""
_SAMPLES = 4
_OVERHEAD_MIB = 2048
"""More than a CUDA context and its code take beside what a program asked for."""
_FULL_PERCENT = (80, 105)
"""What busy pods have of the multiprocessors' time together: the driver's samples are coarse and rounded."""
_SECONDS = 600


@dataclass
class PodUsage:
    """One pod."""

    asked_mib: int
    busy_percent: int
    gpu: str
    """UUID."""
    driver_mib: int
    """What nvidia-smi says of its process, asked on the machine itself."""
    seen_mib: list[int | None] = field(default_factory=list[int | None])
    """What gpuctl says, by sample."""
    seen_percent: list[int | None] = field(default_factory=list[int | None])


def observe(product: Product, resource: str, account: Path) -> dict[str, PodUsage]:
    """Runs three busy pods and an idle one, each with other memory; pod -> what was seen of it.

    Args:
        product: deployed, with the watcher.
        resource: of the slices.
        account: the file for what `gpuctl usage` says of these pods.
    """
    workload = Workload(product)
    loads = [
        Load("busy-16-gib", resource, 16384, seconds=_SECONDS),
        Load("busy-8-gib", resource, 8192, seconds=_SECONDS),
        Load("busy-4-gib", resource, 4096, seconds=_SECONDS),
        Load("idle-2-gib", resource, 2048, busy_percent=0, seconds=_SECONDS),
    ]
    workload.start(*loads)
    try:
        time.sleep(INTERVAL)  # what a first launch takes beside its own memory is taken by then
        driver = _by_pod(workload.pods())
        pods = {load.name: PodUsage(load.memory_mib, load.busy_percent, *driver[load.name]) for load in loads}
        time.sleep(2 * INTERVAL)  # a sample that was begun before the pods is over
        for _ in range(_SAMPLES):
            _add_sample(pods, product.usage())
            time.sleep(INTERVAL)
        account.write_text(product.account())
    finally:
        workload.delete()
    return pods


def mistakes(pods: Mapping[str, PodUsage]) -> list[str]:
    """What of it the watcher did not say right."""
    found: list[str] = []
    for name, pod in pods.items():
        if any(seen != pod.driver_mib for seen in pod.seen_mib):
            found.append(f"{name}: the driver says {pod.driver_mib} MiB, gpuctl {_spoken(pod.seen_mib)}")
        if not pod.asked_mib <= pod.driver_mib <= pod.asked_mib + _OVERHEAD_MIB:
            found.append(f"{name} asked for {pod.asked_mib} MiB and has {pod.driver_mib}")
        if pod.busy_percent == 0 and any(pod.seen_percent):
            found.append(f"{name} computes nothing, and gpuctl says {_spoken(pod.seen_percent)} %")
    for gpu in {pod.gpu for pod in pods.values() if pod.busy_percent}:
        together = sum(_mean(pod.seen_percent) for pod in pods.values() if pod.gpu == gpu)
        if not _FULL_PERCENT[0] <= together <= _FULL_PERCENT[1]:
            found.append(f"{gpu} is busy all the time, and gpuctl says {together:.0f} % of its pods together")
    return found


def _add_sample(pods: Mapping[str, PodUsage], rows: Sequence[Object]) -> None:
    by_pod = {row["pod"]: row for row in rows}
    for name, pod in pods.items():
        row = by_pod.get(f"default/{name}", {})
        pod.seen_mib.append(row.get("memoryMiB"))
        pod.seen_percent.append(row.get("smPercent"))


def _by_pod(pods: Mapping[str, Object]) -> dict[str, tuple[str, int]]:
    """Pod -> GPU and MiB of its process, from nvidia-smi and the process's cgroup on this machine."""
    command = ["nvidia-smi", "--query-compute-apps=gpu_uuid,pid,used_memory", "--format=csv,noheader,nounits"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {pod["metadata"]["uid"]: name for name, pod in pods.items()}
    found: dict[str, tuple[str, int]] = {}
    for line in listing.splitlines():
        gpu, pid, mib = (word.strip() for word in line.split(","))
        uid = re.search(r"/pod([0-9a-f-]{36})/", Path(f"/proc/{pid}/cgroup").read_text())
        if uid and uid[1] in names:
            found[names[uid[1]]] = (gpu, int(mib))
    if missing := names.values() - found.keys():
        raise BedError(f"nvidia-smi lists no process of {', '.join(sorted(missing))}:\n{listing}")
    return found


def _mean(values: Sequence[int | None]) -> float:
    return sum(value or 0 for value in values) / len(values)


def _spoken(values: Sequence[int | None]) -> str:
    return ", ".join("nothing" if value is None else str(value) for value in values)
