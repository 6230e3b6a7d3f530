"""What the program does before it declares anything: read the settings, and ask the cluster whether they fit it."""

import pulumi
from pulumi.runtime import config, is_dry_run

from gpuctl.cluster import Cluster, ClusterError, connect
from gpuctl.desired.manifests import manifests
from gpuctl.desired.names import PART_OF
from gpuctl.settings import Settings, SettingsError, read_config

SECRETS = ("gpu:talosClientConfiguration", "gpu:talosMachineConfiguration")
"""Keys whose values must be encrypted in the stack file."""


def stack_settings() -> Settings:
    """The settings of the stack that is being deployed, with a warning for each that cannot be vouched for.

    Raises:
        pulumi.RunError: they have mistakes, or a secret among them is no secret.
    """
    try:
        settings = read_config(pulumi.get_stack(), config.CONFIG.get() or config.get_config_env())
    except SettingsError as error:
        raise pulumi.RunError(str(error)) from None
    for key in SECRETS:
        if config.CONFIG.get().get(key) and not config.is_config_secret(key):
            raise pulumi.RunError(
                f"{key} is stored as plain text, and it is a secret. "
                f"Mend it: pulumi config set --secret --stack {pulumi.get_stack()} {key} <FILE, and change the secret"
            )
    for warning in settings.warnings:
        pulumi.log.warn(warning)
    return settings


def consult_cluster(settings: Settings) -> None:
    """Makes sure that the cluster is the one the settings mean, and has nothing of others in the stack's way.

    Pulumi itself previews against a cluster that does not exist without a word, would make a phantom of a node
    that does not, and takes over a namespace that does, so that `pulumi destroy` deletes what others have in it.

    Raises:
        pulumi.RunError: a declared node is not there, or an object of others is; or, outside a preview, the cluster
            cannot be reached.
    """
    try:
        cluster = connect(settings.context, settings.kubeconfig)
        present, foreign = {node.name for node in cluster.nodes()}, _foreign(cluster, settings)
    except ClusterError as error:
        if not is_dry_run():
            raise pulumi.RunError(f"{error}; nothing was changed") from None
        pulumi.log.warn(f"{error}; this preview compares with Pulumi's own records and has not seen the cluster")
        return
    missing = [node.name for node in settings.nodes if node.name not in present]
    if missing:
        raise pulumi.RunError(
            f"context {settings.context} has no node {', '.join(missing)}; it has {', '.join(sorted(present))}. "
            "Mend gpu:nodes, or gpu:context when this is another cluster; "
            f"see: kubectl --context {settings.context} get nodes"
        )
    if foreign:
        raise pulumi.RunError("\n".join(foreign))


def _foreign(cluster: Cluster, settings: Settings) -> list[str]:
    """One sentence for each object that exists and is not the project's; what is in the namespace goes with it."""
    label, value = PART_OF
    found: list[str] = []
    for manifest in manifests(settings):
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        existing = None if "namespace" in manifest["metadata"] else cluster.get(kind, name)
        if existing is None or existing["metadata"].get("labels", {}).get(label) == value:
            continue
        found.append(
            f"{kind} {name} exists already and was not made by this project: it would be taken over, and deleted by "
            "`pulumi destroy` with all that it holds. Hand it over: "
            f"kubectl --context {settings.context} label {kind.lower()} {name} {label}={value}"
            + (", or choose another gpu:namespace" if kind == "Namespace" else "")
        )
    return found
