"""Which cluster a context means: the kubeconfig, read as kubectl reads it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lightkube import KubeConfig
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ConfigError

from gpuctl.cluster.errors import UnreachableError

_DEFAULT = "~/.kube/config"


def access(context: str, kubeconfig: str | None) -> SingleConfig:
    """How to reach the cluster of a context.

    Args:
        context: in the kubeconfig.
        kubeconfig: path; None takes what KUBECONFIG lists, else ~/.kube/config.

    Raises:
        UnreachableError: there is no kubeconfig or no such context.
    """
    listed = kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT
    paths = [Path(path).expanduser() for path in listed.split(os.pathsep) if path]
    try:
        return _config(context, paths)
    except (ConfigError, AssertionError, KeyError, OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UnreachableError(f"kubeconfig {listed} cannot be used: {error}") from error


def service_account(folder: str) -> SingleConfig:
    """How a pod reaches the cluster it runs in, as its service account; a token that is renewed is read again.

    Args:
        folder: where the kubelet puts token and certificate.

    Raises:
        UnreachableError: this is no pod, or one without a service account's token.
    """
    try:
        found: Any = KubeConfig.from_service_account(folder).get()
    except (ConfigError, KeyError, OSError) as error:
        raise UnreachableError(f"this is no pod with a service account: {error} is missing") from error
    return found._replace(context_name="in-cluster")


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
