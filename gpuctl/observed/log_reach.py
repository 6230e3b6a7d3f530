"""How far back the logs of a DaemonSet's pods reach."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from gpuctl.cluster import Pod


def by_node(pods: Iterable[Pod]) -> dict[str, list[Pod]]:
    """Node -> the pods there: while one hands over to the next there are two."""
    found: dict[str, list[Pod]] = {}
    for pod in pods:
        found.setdefault(pod.node, []).append(pod)
    return found


def shortfall(
    title: str, node: str, pods: Sequence[Pod], begin: datetime | None, asked: datetime, slack: timedelta
) -> str:
    """Why a node's log reaches back less far than asked; empty when it reaches.

    Args:
        title: of the pods, such as `usage watcher`.
        node: its name.
        pods: those on it.
        begin: the first sample that was read; None without any.
        asked: from when on samples are wanted.
        slack: how much later the first may be.
    """
    if not pods:
        return f"{node}: no pod of the {title} runs there"
    if begin is None:
        return f"{node}: its {title.split()[-1]} has said nothing of any GPU in this time; see: gpuctl verify"
    if begin - asked <= slack:
        return ""
    made = _made(pods)
    cause = (
        "then its pod began"
        if made and made > begin - slack
        else "earlier lines are gone: the container began anew, or the kubelet rotated its log"
    )
    return f"{node}: covered only from {begin.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} on; {cause}"


def _made(pods: Sequence[Pod]) -> datetime | None:
    """When the first of some pods was made; None where a pod does not say it."""
    try:
        return min(datetime.fromisoformat(pod.metadata.creation_timestamp).astimezone(UTC) for pod in pods)
    except (ValueError, OverflowError):
        return None
