"""Templates of claims, for pods that want of a DRA device what `nvidia.com/gpu: 1` cannot say."""

import json
from typing import Any

from gpuctl.desired.dra import DRIVER
from gpuctl.desired.names import Manifest
from gpuctl.settings import Settings
from gpuctl.settings.values import node_name_like

_GPU = "gpu"
"""Of the request in each claim."""


def claim_templates(settings: Settings, namespace: str) -> list[Manifest]:
    """One of each kind, with the figures of the stack, for a namespace of its users; their names say what they ask for.

    A claim for memory reserves it among claims that say how much they need, and the driver enforces none of it.

    Args:
        settings: of the stack, of whose nodes some are of backend dra.
        namespace: where pods are to use them.
    """
    nodes = [node for node in settings.nodes if settings.backend_of(node) == "dra"]
    shares = max((settings.slices_of(node) for node in nodes), default=1)
    models = {cards.gpu: cards.model.name for node in nodes for cards in node.cards if cards.model}
    shared = {f"{count}-shares": _capacity(shares=str(count)) for count in sorted({2, shares}) if 1 < count <= shares}
    memory = {"12gi-of-memory": _capacity(memory="12Gi")} if shares > 1 else {}
    by_model = {f"a-{node_name_like(gpu)}": _selected("productName", name) for gpu, name in models.items()}
    by_uuid = {"by-uuid": _selected("uuid", _ANY_UUID)}
    asked: dict[str, dict[str, Any]] = {"one-share": {}, **shared, **memory, **by_model, **by_uuid}
    return [_template(f"gpu-{name}", namespace, request) for name, request in asked.items()]


_ANY_UUID = "GPU-00000000-0000-0000-0000-000000000000"
"""To be replaced by that of a GPU: `gpuctl status --output json` lists them."""


def _capacity(**requests: str) -> dict[str, Any]:
    return {"capacity": {"requests": requests}}


def _selected(attribute: str, value: str) -> dict[str, Any]:
    """By what the driver says of a GPU; a text of CEL is one of JSON."""
    expression = f"device.attributes['{DRIVER}'].{attribute} == {json.dumps(value)}"
    return {"selectors": [{"cel": {"expression": expression}}]}


def _template(name: str, namespace: str, request: dict[str, Any]) -> Manifest:
    exactly = {"deviceClassName": DRIVER} | request
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"spec": {"devices": {"requests": [{"name": _GPU, "exactly": exactly}]}}},
    }
