"""ConfigMaps whose content never changes under one name, for programs that read them once."""

import hashlib
import json
from collections.abc import Mapping

from gpuctl.desired.names import Manifest

_DIGITS = 10


def unchanging(name: str, namespace: str, labels: Mapping[str, str], data: Mapping[str, str]) -> Manifest:
    """A ConfigMap with a hash of its content in its name; the API server refuses to change it.

    A kubelet gives a new pod the content that it last saw under a name, and behind an API server that was away this
    can be the former one: the program would run with that for good, and nobody notice.
    """
    digest = hashlib.sha256(json.dumps(dict(data), sort_keys=True).encode()).hexdigest()[:_DIGITS]
    metadata = {"name": f"{name}-{digest}", "namespace": namespace, "labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": dict(data)}
