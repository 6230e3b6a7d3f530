"""Whether Pulumi itself would change something: its records, the stack file and the cluster agree."""

import json
from collections.abc import Iterator
from typing import Any

from gpuctl.checks.context import NO_PULUMI, Context
from gpuctl.checks.model import Category, Check, Result, checks_of, failed, listed, passed, skipped
from gpuctl.cluster.programs import Ran

DRIFT = Category("drift", "Pulumi's records")

_PREVIEW = ("preview", "--refresh", "--expect-no-changes")
"""Without --refresh Pulumi compares with its own records and does not see what others changed."""
_SECONDS = 120
_CHANGED = "no changes were expected"
_UNHEALTHY = "Refreshed resource is in an unhealthy state"
"""What Pulumi warns of an object that is as the stack asks for it and does not work yet: it counts it as a change."""
_UNCHANGED = ("same", "refresh", "read")


@Check(
    "DRF001",
    DRIFT,
    "Pulumi would change nothing",
    cause="The stack file was changed and `pulumi up` was not run, or someone changed an object by hand",
    example="Pulumi would update ConfigMap nvidia-device-plugin-config, create RuntimeClass nvidia",
    confirm=("pulumi preview --refresh --diff --stack lab",),
    fix=("`pulumi up --refresh --stack lab` brings the cluster to what the stack says.",),
    deep=True,
)
def nothing_has_drifted(context: Context) -> Iterator[Result]:
    """A preview runs the whole program and takes several seconds."""
    ran = context.pulumi(*_PREVIEW, "--json", "--stack", context.stack, seconds=_SECONDS)
    if ran is None:
        yield skipped(f"whether Pulumi would change something is not known: {NO_PULUMI}")
        return
    digest = _digest(ran)
    if ran.exit_code == 0:
        yield passed("Pulumi would change nothing")
    elif _CHANGED in ran.stderr:
        steps = [step for step in digest.get("steps", []) if step["op"] not in _UNCHANGED]
        unready = [step for step in steps if _is_only_unready(step, digest)]
        if steps and len(unready) == len(steps):
            names = listed([_change(step).partition(" ")[2] for step in unready])
            yield passed(f"Pulumi would change nothing, only wait again for {names}, which is not ready (STK005)")
            return
        changes = listed([_change(step) for step in steps if step not in unready])
        yield failed(f"Pulumi would {changes or 'change something'}", f"pulumi up --refresh --stack {context.stack}")
    else:
        said_so = [each["message"] for each in digest.get("diagnostics", []) if each["severity"] == "error"]
        reason = " ".join(said_so[0].split()) if said_so else ran.reason
        yield skipped(
            f"whether Pulumi would change something is not known: {reason}",
            remedy=f"pulumi preview --refresh --stack {context.stack}",
        )


def _digest(ran: Ran) -> dict[str, Any]:
    """What a preview prints as JSON; nothing where it got no further, or prints events one by one."""
    try:
        return json.loads(ran.stdout)
    except json.JSONDecodeError:
        return {}


def _is_only_unready(step: dict[str, Any], digest: dict[str, Any]) -> bool:
    """Whether Pulumi would update an object only because that is not ready: nothing in it differs."""
    warned = {each.get("urn") for each in digest.get("diagnostics", []) if _UNHEALTHY in each.get("message", "")}
    before: dict[str, Any] = step.get("oldState") or {}
    unready = step["urn"] in warned or bool(before.get("initErrors"))
    return step["op"] == "update" and unready and not step.get("diffReasons")


def _change(step: dict[str, Any]) -> str:
    """`update ConfigMap nvidia-device-plugin-config`."""
    *_, kind, name = step["urn"].replace("::", ":").split(":")
    return f"{step['op']} {kind} {name}"


CHECKS = checks_of(vars())
