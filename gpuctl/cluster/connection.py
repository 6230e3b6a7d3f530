"""A connection to the one cluster that a stack names."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx2
import yaml
from lightkube import Client, KubeConfig
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.resources.core_v1 import Namespace, Node
from lightkube.resources.node_v1 import RuntimeClass

_TIMEOUT_SECONDS = 5
_DEFAULT_KUBECONFIG = "~/.kube/config"
_KINDS: Mapping[str, Any] = {"Namespace": Namespace, "RuntimeClass": RuntimeClass}
_NOT_FOUND = 404
_FAILURES = (httpx2.HTTPError, ConfigError, OSError, ValueError)
"""Of a request: the two last are a login command that is not there, and an answer that is no JSON."""


class ClusterError(Exception):
    """The cluster cannot be reached."""


class Cluster(Protocol):
    """What the project asks of a cluster."""

    def node_names(self) -> set[str]:
        """The names of its nodes.

        Raises:
            ClusterError: it does not answer, or refuses.
        """
        ...

    def labels(self, kind: str, name: str) -> Mapping[str, str] | None:
        """The labels of a Namespace or RuntimeClass; None when there is none of that name.

        Raises:
            ClusterError: it does not answer, or refuses.
        """
        ...


def connect(context: str, kubeconfig: str | None) -> Cluster:
    """The cluster of a context; it is not spoken to yet.

    Args:
        context: in the kubeconfig.
        kubeconfig: path; None takes what KUBECONFIG lists, else ~/.kube/config.

    Raises:
        ClusterError: there is no kubeconfig or no such context.
    """
    listed = kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT_KUBECONFIG
    paths = [Path(path).expanduser() for path in listed.split(os.pathsep) if path]
    try:
        return _LightkubeCluster(_config(context, paths))
    except (ConfigError, AssertionError, KeyError, OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ClusterError(f"kubeconfig {listed} cannot be used: {error}") from error


class _LightkubeCluster:
    def __init__(self, config: SingleConfig) -> None:
        timeout = httpx2.Timeout(_TIMEOUT_SECONDS)
        self._client: Any = Client(config, timeout=timeout)  # its own types are partly unknown
        self._context = config.context_name
        self._server = config.cluster.server

    def node_names(self) -> set[str]:
        try:
            return {node.metadata.name for node in self._client.list(Node)}
        except _FAILURES as error:
            raise self._unreachable(error) from error

    def labels(self, kind: str, name: str) -> Mapping[str, str] | None:
        try:
            return self._client.get(_KINDS[kind], name).metadata.labels or {}
        except _FAILURES as error:
            if isinstance(error, ApiError) and error.status.code == _NOT_FOUND:
                return None
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ClusterError:
        return ClusterError(f"context {self._context} ({self._server}) cannot be reached: {error}")


def _config(context: str, paths: Sequence[Path]) -> SingleConfig:
    """The context's part of several kubeconfigs: as in kubectl, the first one that has a name counts."""
    documents: list[Any] = [yaml.safe_load(path.read_text()) or {} for path in paths if path.is_file()]
    if not documents:
        raise ConfigError("it does not exist. Fetch one: talosctl kubeconfig")
    if not all(isinstance(document, dict) for document in documents):
        raise ConfigError("it is no kubeconfig")
    merged = {key: _entries(documents, key) for key in ("clusters", "contexts", "users")}
    known = [entry["name"] for entry in merged["contexts"]]
    if context not in known:
        raise ConfigError(f"it has no context {context}; it has {', '.join(known) or 'none'}")
    kubeconfig: Any = KubeConfig  # the type of its method's parameter is partly unknown
    return kubeconfig.from_dict(merged, fname=paths[0]).get(context_name=context)


def _entries(documents: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for document in reversed(documents):  # the last entry of a name is the one that counts
        entries += document.get(key) or []
    return entries
