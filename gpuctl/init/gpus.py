"""Which GPUs a node has: by the labels of NVIDIA's GPU Feature Discovery, or as a person writes it.

The labels are those of k8s-device-plugin, internal/lm: the product is the GPU's name with hyphens for blanks, and
`-SHARED` after it where a plugin shares it. With MIG they count parts of GPUs, and the product says so. Of a node with
GPUs of several models they name one.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from gpuctl.cluster import Node
from gpuctl.settings.catalogue import CATALOGUE, GpuModel, key_of
from gpuctl.settings.values import MOST_GPUS

Gpus = Mapping[str, int]
"""GPU model, as a stack file has it -> how many of them a node has."""

FORM = "MODELxCOUNT"
EXAMPLE = "rtx-3090x2"

_PRODUCT, _COUNT, _MEMORY = (f"nvidia.com/gpu.{part}" for part in ("product", "count", "memory"))
_SHARED, _MIG = "-SHARED", "-MIG-"
_GROUP = re.compile(r"\s*(.*\S)\s*x\s*([0-9]{1,3})\s*")


class Labelled(NamedTuple):
    """What the labels of a node say of its GPUs."""

    gpus: Gpus | None
    """None where they do not say it all."""
    said: str
    """In their words; empty where they say nothing."""


def labelled(node: Node) -> Labelled:
    """The GPUs of a node by its labels."""
    product, count = node.labels.get(_PRODUCT, ""), node.labels.get(_COUNT, "")
    if not product:
        return Labelled(None, "")
    if _MIG in product:
        return Labelled(None, f"MIG is on: label {_PRODUCT} is {product}")
    if not re.fullmatch("[0-9]{1,3}", count, re.ASCII) or not 1 <= int(count) <= MOST_GPUS:
        return Labelled(None, f"label {_PRODUCT} is {product}, and {_COUNT} no number of GPUs")
    model = _model(product.removesuffix(_SHARED), node.labels.get(_MEMORY, ""))
    return Labelled({model: int(count)}, f"its labels say {count} x {product}")


def gpus_of(text: str) -> Gpus | None:
    """GPUs as a person writes them, such as `rtx-3090x2` or `rtx-3090x1,l4x2`; None of another text.

    `none` is a node without any.
    """
    if text.strip() == "none":
        return {}
    counts = Counter[str]()
    for part in text.split(","):
        found = _GROUP.fullmatch(part)
        if found is None or int(found[2]) == 0:
            return None
        counts[key_of(found[1])] += int(found[2])
    return counts


def text_of(gpus: Gpus) -> str:
    """GPUs in the form in which `gpus_of` reads them."""
    return ",".join(f"{model}x{count}" for model, count in gpus.items()) or "none"


def _model(product: str, memory: str) -> str:
    """The key of a product, by its memory where two have the name; one that is not known, as the label has it."""
    alike = {key: model for key, model in CATALOGUE.items() if _labelled(model) == product.casefold()}
    if not alike:
        return product
    if not re.fullmatch("[0-9]{1,9}", memory, re.ASCII):
        return next(iter(alike))
    return min(alike, key=lambda key: abs((alike[key].memory_mib or 0) - int(memory)))


def _labelled(model: GpuModel) -> str:
    return model.name.replace(" ", "-").casefold()
