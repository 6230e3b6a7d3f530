"""What a stack may say about the taints of its nodes, in the words of a pod's specification."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from gpuctl.settings.refusal import RemoveKey, SettingRefused
from gpuctl.settings.values import Structure

_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}")
_ALLOWED = {
    "operator": re.compile("Exists|Equal"),
    "value": re.compile(rf"({_NAME})?"),
    "effect": re.compile("NoSchedule|PreferNoSchedule|NoExecute"),
    "key": _KEY,
}


def _is_a_toleration(toleration: dict[str, str]) -> dict[str, str]:
    """By the API server's own rules, but that no operator means Exists where there is no value."""
    for part, text in toleration.items():
        if part not in _ALLOWED or not _ALLOWED[part].fullmatch(text):
            raise SettingRefused(
                "is not a toleration {key, operator, value, effect} as in a pod's specification, "
                "such as {key: gpu} or {key: dedicated, value: gpu, effect: NoSchedule}",
                RemoveKey(),
            )
    exists = toleration.get("operator", "Equal" if "value" in toleration else "Exists") == "Exists"
    if exists and "value" in toleration:
        raise SettingRefused("has operator Exists, which takes no value", RemoveKey())
    if "key" not in toleration and toleration.get("operator") != "Exists":
        raise SettingRefused("has no key; {operator: Exists} tolerates every taint", RemoveKey())
    return toleration


def _text(value: object) -> object:
    """As a taint has it: `pulumi config set --path` stores true and 1 as a truth value and a number."""
    if isinstance(value, bool | int):
        return str(value).lower()
    return value


Toleration = Annotated[dict[str, Annotated[str, BeforeValidator(_text)]], AfterValidator(_is_a_toleration), Structure]
