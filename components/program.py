"""What the program does before it declares anything: read the settings, and ask the cluster whether they fit it."""

import asyncio
import contextlib
import os
from collections.abc import Generator

import pulumi
from pulumi.runtime import config, is_dry_run

from gpuctl.cluster import ClusterError, cluster_uid, connect
from gpuctl.desired.monitoring import without_operator
from gpuctl.desired.names import CLUSTER_UID
from gpuctl.desired.ownership import foreign
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
                f"Fix it: pulumi config set --secret --stack {pulumi.get_stack()} {key} <FILE, and change the secret"
            )
    for warning in settings.warnings:
        pulumi.log.warn(warning)
    return settings


def consult_cluster(settings: Settings) -> dict[str, pulumi.Input[str]]:
    """Makes sure that the cluster is the one the settings mean, and has nothing of others in the stack's way.

    Pulumi itself previews against a cluster that does not exist without a word, would make a phantom of a node
    that does not, and takes over a namespace that does, so that `pulumi destroy` deletes what others have in it.

    Returns:
        The stack output that tells which cluster this is; not known in a preview that does not reach it.

    Raises:
        pulumi.RunError: a declared node is not there, an object of others is, or the Prometheus operator is not and the
            stack has alerts for it; or, outside a preview, the cluster cannot be reached.
    """
    try:
        cluster = connect(settings.context, settings.kubeconfig)
        present, in_the_way = {node.name for node in cluster.nodes()}, foreign(settings, cluster.get)
        no_operator = without_operator(settings, pulumi.get_stack(), cluster.get)
        uid = cluster_uid(cluster)
    except ClusterError as error:
        if not is_dry_run():
            raise pulumi.RunError(f"{error}; nothing was changed") from None
        pulumi.log.warn(f"{error}; this preview compares with Pulumi's own records and has not seen the cluster")
        return {CLUSTER_UID: _unknown()}
    missing = [node.name for node in settings.nodes if node.name not in present]
    if missing:
        raise pulumi.RunError(
            f"context {settings.context} has no node {', '.join(missing)}; it has {', '.join(sorted(present))}. "
            "Fix gpu:nodes, or gpu:context when this is another cluster; "
            f"see: kubectl --context {settings.context} get nodes"
        )
    if in_the_way:
        raise pulumi.RunError("\n".join(f"{each.fact}. {each.advice}" for each in in_the_way))
    if no_operator:
        raise pulumi.RunError(no_operator)
    return {CLUSTER_UID: uid}


@contextlib.contextmanager
def no_ambient_kubeconfig() -> Generator[None]:
    """Keeps the path in KUBECONFIG out of the stack's records; the provider still reads the variable, as kubectl does.

    Pulumi's Python SDK would make it an input of a provider that is declared. The same stack would then differ on each
    machine, and `pulumi preview --expect-no-changes` would fail on all but the one that deployed it.
    """
    ambient = os.environ.pop("KUBECONFIG", None)
    try:
        yield
    finally:
        if ambient is not None:
            os.environ["KUBECONFIG"] = ambient


def _unknown() -> pulumi.Output[str]:
    """A value that only an update will know."""
    value, is_known = asyncio.Future[str](), asyncio.Future[bool]()
    value.set_result("")
    is_known.set_result(False)
    return pulumi.Output(set(), value, is_known)
