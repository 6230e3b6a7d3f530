"""The rules for whole GPUs beside shared ones: a node has both kinds, and its keys say which GPU is which."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpuctl.settings.nodes import GpuNode
from gpuctl.settings.refusal import EditFile, Path, Problem, RemoveKey, SetValue

if TYPE_CHECKING:
    from gpuctl.settings.model import Settings


def whole_gpus_are_beside_shared_ones(settings: "Settings") -> Iterator[Problem]:
    """Some GPUs of a node are whole and the others shared; where all are alike, `slices` says so."""
    for index, node in enumerate(settings.nodes):
        yield from _of_node(settings, node, ("nodes", index))


def uuids_are_of_one_gpu(settings: "Settings") -> Iterator[Problem]:
    """A GPU is in one node, and whole or shared."""
    owners = dict[str, str]()
    for index, node in enumerate(settings.nodes):
        whole = node.whole_gpus if isinstance(node.whole_gpus, tuple) else ()
        for key, uuids in (("wholeGpus", whole), ("sharedGpus", node.shared_gpus)):
            for uuid in uuids:
                if uuid in owners:
                    reason = f"names {uuid}, which {owners[uuid]} names too"
                    yield Problem(("nodes", index, key), list(uuids), reason, [EditFile()])
                    break
                owners[uuid] = f"{key} of {node.name}"


def _of_node(settings: "Settings", node: GpuNode, here: Path) -> Iterator[Problem]:
    whole, shared = node.whole_gpus, node.shared_gpus
    path: Path = (*here, "wholeGpus")
    value = list(whole) if isinstance(whole, tuple) else whole
    count = len(whole) if isinstance(whole, tuple) else whole
    if shared and not isinstance(whole, tuple):
        reason = "says which GPUs are shared, and wholeGpus does not say by UUID which are whole"
        yield Problem((*here, "sharedGpus"), list(shared), reason, [RemoveKey()])
    elif not whole:
        return
    elif settings.slices_of(node) == 1:
        yield Problem(path, value, "stands beside 1 slice per GPU: all GPUs of the node are whole", [RemoveKey()])
    elif len(node.cards) > 1:
        reason = "needs GPUs of one model: which of several a whole GPU is of, the figures of the node could not say"
        yield Problem(path, value, reason, [RemoveKey()])
    elif count >= node.count:
        reason = f"leaves none of the {node.count} GPUs of the node to be shared; with all of them whole it has 1 slice"
        yield Problem(path, value, reason, [RemoveKey(), SetValue("1", (*here, "slices"))])
    elif isinstance(whole, tuple) and count + len(shared) != node.count:
        reason = (
            f"names {count} and sharedGpus {len(shared)} of the {node.count} GPUs of the node: both device plugins "
            "must know theirs by UUID, so the two keys name all of them"
        )
        yield Problem(path, value, reason, [EditFile()])
