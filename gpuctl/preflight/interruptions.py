"""Which programs an update would end: those that use GPUs by MPS lose their server with the daemon of their node."""

from collections.abc import Callable, Iterator, Sequence

from gpuctl.cluster import Pod
from gpuctl.desired.desired import Desired
from gpuctl.desired.device_plugin import MPS
from gpuctl.desired.device_plugin.mps import checksums
from gpuctl.desired.names import CHECKSUM_ANNOTATION
from gpuctl.desired.sharing import RENAMED_RESOURCE, RESOURCE
from gpuctl.forms.command import command
from gpuctl.settings.refusal import listed

Pods = Callable[..., Sequence[Pod]]
"""Asks the cluster for pods: of all namespaces, or of one with some labels."""


def interruptions(desired: Desired, stack: str, pods: Pods) -> Iterator[str]:
    """Why programs that run would end, each node with what is to be done first; none where the stack file allows it.

    Args:
        desired: what the stack asks for.
        stack: its name.
        pods: asks the cluster for them.
    """
    if desired.settings.interrupt_pods:
        return
    wanted = checksums(desired)
    daemons = pods(desired.settings.namespace, {"app.kubernetes.io/name": MPS})
    ending = [each for each in daemons if each.metadata.annotations.get(CHECKSUM_ANNOTATION) != wanted.get(each.node)]
    everyone = pods() if ending else ()
    for daemon in ending:
        users = [pod for pod in everyone if pod.node == daemon.node and pod.active and pod.asks_for(_resource(daemon))]
        if users:
            names = listed(sorted(f"{pod.namespace}/{pod.name}" for pod in users))
            drain = ("drain", daemon.node, "--ignore-daemonsets", "--delete-emptydir-data")
            yield (
                f"the MPS daemon of node {daemon.node} would be replaced or go, and the programs of pods that use its "
                f"GPUs would end with errors: {names}. Let them end first, such as by "
                f"{command('kubectl', '--context', desired.settings.context, *drain)}; or have them interrupted: "
                f"{command('pulumi', 'config', 'set', '--stack', stack, 'gpu:interruptPods', 'true')}"
            )


def _resource(daemon: Pod) -> str:
    """What its clients ask for: the folder where it serves says so."""
    folders = (each.value for box in daemon.spec.containers for each in box.env if each.name.endswith("PIPE_DIRECTORY"))
    return RENAMED_RESOURCE if any(RENAMED_RESOURCE in folder for folder in folders) else RESOURCE
