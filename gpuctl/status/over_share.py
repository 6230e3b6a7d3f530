"""An Event on each pod that holds more than its share of a GPU's memory, for whoever looks at the pod."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from gpuctl.checks.context import Context
from gpuctl.checks.usage import over_share
from gpuctl.cluster import Pod

_REASON = "GpuMemoryOverShare"


def over_share_events(context: Context, now: datetime) -> Iterator[dict[str, Any]]:
    """One for each pod and GPU; the same again counts on.

    Args:
        context: what the watchers and the cluster say.
        now: the time of the look.
    """
    pods = {f"{pod.namespace}/{pod.name}": pod for pod in context.pods}
    for holder, fact in over_share(context):
        if pod := pods.get(holder.pod):
            yield _event(context, pod, holder.gpu, fact, now)


def _event(context: Context, pod: Pod, gpu: str, fact: str, now: datetime) -> dict[str, Any]:
    name = f"gpu-over-share-{pod.metadata.uid}-{gpu.removeprefix('GPU-')[:8]}"
    before = context.get("Event", name, pod.namespace) or {}
    time = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": pod.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": pod.metadata.uid,
        },
        "type": "Warning",
        "reason": _REASON,
        "message": fact[:1024],  # the API's own limit
        "firstTimestamp": before.get("firstTimestamp", time),
        "lastTimestamp": time,
        "count": before.get("count", 0) + 1,
        "source": {"component": "gpuctl"},
    }
