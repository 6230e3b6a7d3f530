"""A plan for programs."""

from dataclasses import asdict
from typing import Any

from gpuctl.plan.figures import NodeFigures
from gpuctl.plan.side import Side
from gpuctl.plan.stack_plan import StackPlan
from gpuctl.plan.words import headline

SCHEMA = 1
"""Raised when a key changes its meaning or goes."""


def document(plans: list[StackPlan], base: str, head: str) -> dict[str, Any]:
    """Everything a comment says, and the differences whole."""
    return {
        "schema": SCHEMA,
        "base": base,
        "head": head,
        "changed": any(plan.is_changed for plan in plans),
        "summary": headline(plans),
        "stacks": [_stack(plan) for plan in plans],
    }


def _stack(plan: StackPlan) -> dict[str, Any]:
    return {
        "stack": plan.stack,
        "changed": plan.is_changed,
        "resource": plan.resource,
        "resources": list(plan.resources),
        "before": _side(plan.before),
        "after": _side(plan.after),
        "nodes": [
            {"name": node.name, "before": _figures(node.before), "after": _figures(node.after)} for node in plan.nodes
        ],
        "consequences": [asdict(found) for found in plan.consequences],
        "objects": [asdict(found) for found in plan.objects],
        "talosPatches": [asdict(found) for found in plan.talos],
    }


def _side(side: Side) -> dict[str, Any]:
    return {"total": side.total, "exists": bool(side.desired or side.mistakes), "mistakes": side.mistakes}


def _figures(node: NodeFigures | None) -> dict[str, Any] | None:
    if node is None:
        return None
    return {
        "gpus": node.gpus,
        "slices": node.slices,
        "offered": node.offered,
        "offers": dict(node.offers),
        "memoryPerSliceMiB": node.memory_mib,
        "limitWatts": list(node.limits),
        "watts": node.watts,
    }
