"""What the program does before it declares anything: read the settings, and ask the cluster whether they fit it."""

import pulumi
from pulumi.runtime import config, is_dry_run

from gpuctl.cluster import ClusterError, connect
from gpuctl.settings import Settings, SettingsError, read_config


def stack_settings() -> Settings:
    """The settings of the stack that is being deployed, with a warning for each that cannot be vouched for.

    Raises:
        pulumi.RunError: they have mistakes.
    """
    try:
        settings = read_config(pulumi.get_stack(), config.CONFIG.get() or config.get_config_env())
    except SettingsError as error:
        raise pulumi.RunError(str(error)) from None
    for warning in settings.warnings:
        pulumi.log.warn(warning)
    return settings


def consult_cluster(settings: Settings) -> None:
    """Makes sure that the cluster is the one the settings mean.

    Pulumi itself previews against a cluster that does not exist without a word, and would make a phantom of a node
    that does not.

    Raises:
        pulumi.RunError: a declared node is not there; or, outside a preview, the cluster cannot be reached.
    """
    try:
        present = connect(settings.context, settings.kubeconfig).node_names()
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
