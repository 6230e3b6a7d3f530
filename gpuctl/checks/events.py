"""What Kubernetes reports of the stack's own objects: the reason why something did not happen stands only there."""

from typing import Any

from gpuctl.checks.context import Context
from gpuctl.cluster import AccessDeniedError, Manifest


def last_warning(context: Context, kind: str, name: str) -> str:
    """The newest warning about an object in the stack's namespace; empty when there is none, or it may not be read."""
    return context.once(_warnings).get((kind, name), "")


def _warnings(context: Context) -> dict[tuple[str, str], str]:
    try:
        events = context.cluster.list("Event", context.settings.namespace, {"type": "Warning"})
    except AccessDeniedError:
        return {}
    return {
        (event["involvedObject"]["kind"], event["involvedObject"]["name"]): event["message"]
        for event in sorted(events, key=_time)
    }


def _time(event: Manifest) -> Any:
    return event.get("lastTimestamp") or event.get("eventTime") or ""
