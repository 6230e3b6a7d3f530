"""Which taints the stack's pods tolerate."""

from collections.abc import Mapping

from gpuctl.settings import Settings

Toleration = dict[str, str]

OWN: tuple[Toleration, ...] = (
    {"key": "nvidia.com/gpu", "operator": "Exists"},
    {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
)
"""Of every stack, before those of its stack file."""


def tolerations(settings: Settings) -> list[Toleration]:
    """What each of the stack's pods tolerates."""
    return [*OWN, *map(_written, settings.tolerations)]


def tolerates(toleration: Mapping[str, str], key: str, value: str, effect: str) -> bool:
    """Whether a toleration is one of a taint, as the scheduler sees it: no key is every key, no effect every effect."""
    return (
        toleration.get("key", key) == key
        and toleration.get("effect", effect) == effect
        and (toleration.get("operator") == "Exists" or toleration.get("value", "") == value)
    )


def _written(said: dict[str, str]) -> Toleration:
    """With its operator, in the order of the Kubernetes reference."""
    whole = {"operator": "Equal" if "value" in said else "Exists"} | said
    return {part: whole[part] for part in ("key", "operator", "value", "effect") if part in whole}
