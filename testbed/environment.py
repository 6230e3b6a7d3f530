"""The environment in which programs work with a cluster: kubectl, pulumi and the project itself."""

import os
import sys
from pathlib import Path

from testbed.go_tools import PROVIDER_VERSION
from testbed.layout import ClusterDir

_CLIENT_TIMEOUT_SECONDS = 60


def prepare(directory: ClusterDir, provider: Path | None) -> None:
    """Makes the folders that the environment names, with the Kubernetes provider, if any, installed for Pulumi."""
    plugin = directory.pulumi_home / "plugins" / f"resource-kubernetes-v{PROVIDER_VERSION}"
    for folder in (plugin, directory.pulumi_state, directory.temporary):
        folder.mkdir(parents=True, exist_ok=True)
    link = plugin / "pulumi-resource-kubernetes"
    link.unlink(missing_ok=True)
    if provider:
        link.symlink_to(provider)


def environment(directory: ClusterDir, commands: Path, address: str) -> dict[str, str]:
    """This process's environment with all that leads to the cluster, and to no other.

    Args:
        directory: of the cluster.
        commands: the folder with kubectl and pulumi.
        address: of the API server, which no proxy can reach.
    """
    direct = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    direct = f"{direct},{address}" if direct else address
    return os.environ | {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "KUBECONFIG": str(directory.kubeconfig),
        "KUBECACHEDIR": str(directory.kubectl_cache),
        "NO_PROXY": direct,
        "no_proxy": direct,  # Go prefers the former, Python the latter
        "GPU_TESTBED_PYTHON": sys.executable,
        "PULUMI_HOME": str(directory.pulumi_home),
        "PULUMI_BACKEND_URL": f"file://{directory.pulumi_state}",
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_OPTION_CONFIG_FILE": str(directory.stack_file),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_K8S_CLIENT_TIMEOUT": str(_CLIENT_TIMEOUT_SECONDS),
        "TMPDIR": str(directory.temporary),
    }
