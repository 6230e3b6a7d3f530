"""What a program does before it declares anything: read the settings, and ask the cluster whether they fit it."""

import contextlib
import os
from collections.abc import Generator, Sequence
from typing import cast

import pulumi
from pulumi.runtime import get_config_env, get_config_secret_keys_env, is_dry_run

from components.stack import GpuStack, owner
from gpuctl.cluster import Cluster, ClusterError, cluster_uid, connect
from gpuctl.desired.desired import Desired, desired_state
from gpuctl.desired.names import CLUSTER_UID, RUNTIME_CLASS
from gpuctl.preflight.ownership import unmarked
from gpuctl.preflight.provided import given_up
from gpuctl.preflight.refusals import refusals, see
from gpuctl.preflight.serving import left_behind
from gpuctl.settings import Settings, SettingsError, read_config
from gpuctl.settings.model import SECRET_FIELDS


def stack_desired() -> Desired:
    """What the stack that is being deployed asks for.

    Raises:
        pulumi.RunError: its settings have mistakes, or a secret among them is no secret.
    """
    return desired_state(stack_settings())


def stack_settings() -> Settings:
    """The settings of the stack that is being deployed, with a warning for each that cannot be vouched for.

    Raises:
        pulumi.RunError: they have mistakes, or a secret among them is no secret.
    """
    config, secrets = get_config_env(), get_config_secret_keys_env()
    try:
        settings = read_config(pulumi.get_stack(), config)
    except SettingsError as error:
        raise pulumi.RunError(str(error)) from None
    for key in SECRET_FIELDS.values():
        if config.get(key) and key not in secrets:
            raise pulumi.RunError(
                f"{key} is stored as plain text, and it is a secret. "
                f"Fix it: pulumi config set --secret --stack {pulumi.get_stack()} {key} <FILE, and change the secret"
            )
    for warning in settings.warnings:
        pulumi.log.warn(warning)
    return settings


def consult_cluster(desired: Desired) -> dict[str, pulumi.Input[str]]:
    """Makes sure that the cluster is the one the settings mean, and has nothing of others in the stack's way.

    Pulumi itself silently previews against a cluster that does not exist.

    Returns:
        The stack output that says which cluster this is; not known in a preview that does not reach it.

    Raises:
        pulumi.RunError: the cluster cannot take the stack; or, outside a preview, it cannot be reached.
    """
    try:
        cluster = _connected(desired)
        seen = see(cluster)
        reasons = refusals(desired, owner(), seen)
        without_owner, uid = unmarked(desired, seen.find), cluster_uid(cluster)
        deletes_class = given_up(desired, owner(), seen.find)
    except ClusterError as error:
        if not is_dry_run():
            raise pulumi.RunError(f"{error}; nothing was changed") from None
        pulumi.log.warn(f"{error}; this preview compares with Pulumi's own records and has not seen the cluster")
        return {CLUSTER_UID: pulumi.Output[str].from_input(cast("str", pulumi.UNKNOWN))}
    if reasons:
        raise pulumi.RunError("\n".join(reasons))
    if without_owner:
        pulumi.log.warn(
            f"{', '.join(without_owner)} do not say of which stack they are: an older version deployed them. They are "
            f"taken as those of {owner()}; if they are another stack's, deploy that one first"
        )
    if deletes_class:
        pulumi.log.warn(
            f"RuntimeClass {RUNTIME_CLASS} is one that {owner()} created, and gpu:createRuntimeClass is false: this "
            "update deletes it. Pods run on, and new ones are refused until its new owner has created it again"
        )
    return {CLUSTER_UID: uid}


def require_service(desired: Desired, stack: GpuStack) -> None:
    """Fails the update when it is done and has not come to every declared node; a preview has nothing to wait for."""

    def judge(_: Sequence[str]) -> None:
        try:
            reasons = [*left_behind(desired, pulumi.get_stack(), _connected(desired))]
        except ClusterError as error:
            reasons = [f"{error}; whether every node has what was deployed could not be determined"]
        if reasons:
            raise pulumi.RunError("\n".join(["the update has not come to every node:", *reasons]))

    if not is_dry_run():
        pulumi.Output.all(*(each.id for each in stack.objects)).apply(judge)


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


def _connected(desired: Desired) -> Cluster:
    return connect(desired.settings.context, desired.settings.kubeconfig)
