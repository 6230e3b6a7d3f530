"""All checks, in the order in which a person would look: what comes first is the likely cause of what comes later."""

from collections.abc import Collection

from gpuctl.checks import (
    capacity,
    competitors,
    dra,
    drift,
    gpu_stack,
    kubernetes_api,
    mps,
    nodes,
    plugin_config,
    power_limit,
    pulumi_state,
    runtime,
    sharing,
    stack_file,
    talos,
    usage,
    whole_gpus,
    workloads,
    workstation,
)
from gpuctl.checks.model import Check

CHECKS: tuple[Check, ...] = (
    *stack_file.CHECKS,
    *kubernetes_api.CHECKS,
    *pulumi_state.CHECKS,
    *nodes.CHECKS,
    *talos.CHECKS,
    *gpu_stack.CHECKS,
    *plugin_config.CHECKS,
    *runtime.CHECKS,
    *capacity.CHECKS,
    *whole_gpus.CHECKS,
    dra.no_node_is_counted_twice,
    *mps.CHECKS,
    *power_limit.CHECKS,
    *usage.CHECKS,
    *competitors.CHECKS,
    *workloads.CHECKS,
    dra.pods_get_the_gpus_of_their_claims,
    dra.priority_is_heeded,
    *drift.CHECKS,
    *sharing.CHECKS,
)
"""Every check of a cluster."""

PREREQUISITES: tuple[Check, ...] = (
    *workstation.PROGRAMS,
    *stack_file.CHECKS,
    *workstation.STACK,
    kubernetes_api.api_answers,
    kubernetes_api.kubernetes_runs_on_talos,
    nodes.nodes_exist,
    nodes.nodes_take_pods,
    *workstation.CLUSTER,
)
"""What must hold before the first `pulumi up`; only `gpuctl doctor --pre` asks those of the workstation."""


def selected(
    only: Collection[str] = (), but: Collection[str] = (), *, deep: bool = False, sharing: bool = False
) -> list[Check]:
    """The checks of a run; those that end a run when they fail are always among them.

    Args:
        only: ids or categories; none means all.
        but: ids or categories to leave out.
        deep: with those that look into pods of others or run long.
        sharing: with those that make pods; without it, naming one selects nothing.

    Raises:
        KeyError: a name is neither an id nor a category.
    """
    known = {check.id for check in CHECKS} | {check.category.name for check in CHECKS}
    for name in (*only, *but):
        if name not in known:
            raise KeyError(name)
    return [
        check
        for check in CHECKS
        if check.fatal or ((sharing or not check.makes_pods) and _is_wanted(check, only, but, deep=deep))
    ]


def _is_wanted(check: Check, only: Collection[str], but: Collection[str], *, deep: bool) -> bool:
    names = {check.id, check.category.name}
    if names & set(but):
        return False
    return bool(names & set(only)) if only else deep or not check.deep
