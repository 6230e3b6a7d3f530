"""Hands the rules to Pulumi's engine: `pulumi preview --policy-pack policy`."""

from collections.abc import Callable, Sequence
from typing import Any

from objects import Properties
from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from rules import RESOURCE_RULES, STACK_RULES, Rule

_STACK = "pulumi:pulumi:Stack"
"""Its outputs are those of the component again."""


def _level(rule: Rule[Any]) -> EnforcementLevel:
    return EnforcementLevel.MANDATORY if rule.mandatory else EnforcementLevel.ADVISORY


def _resource(rule: Rule[Properties]) -> Callable[[ResourceValidationArgs, ReportViolation], None]:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        for message in rule.violations(args.props):
            report(message, None)

    return validate


def _stack(rule: Rule[Sequence[Properties]]) -> Callable[[StackValidationArgs, ReportViolation], None]:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for message in rule.violations([each.props for each in args.resources if each.resource_type != _STACK]):
            report(message, None)

    return validate


PolicyPack(  # serves until the engine ends it
    "gpu-sharing",
    [
        *(
            ResourceValidationPolicy(each.name, each.statement, _resource(each), _level(each))
            for each in RESOURCE_RULES
        ),
        *(StackValidationPolicy(each.name, each.statement, _stack(each), _level(each)) for each in STACK_RULES),
    ],
)
