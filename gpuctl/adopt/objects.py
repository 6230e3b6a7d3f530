"""What a stack wants and the cluster has already: RuntimeClass, namespace and what is in it, labels of nodes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpuctl.adopt.item import Fate, Item, Step, When
from gpuctl.adopt.keepers import Keeper, Root, Tool, keeper_of, managers, root_of
from gpuctl.adopt.software import Software, is_going
from gpuctl.cluster import Manifest, Node, Pod
from gpuctl.cluster.kinds import is_namespaced
from gpuctl.desired.desired import Desired
from gpuctl.desired.names import PART_OF, PROFILE_LABEL, RUNTIME_CLASS
from gpuctl.forms.command import command
from gpuctl.observed.nodes import labels_of_talos
from gpuctl.preflight.ownership import Find, is_the_projects, owner_of
from gpuctl.settings.refusal import listed

_OTHER_NAMESPACES = ("gpu-sharing", "gpu-device-plugin")
_OF_EVERY_NAMESPACE = "kube-root-ca.crt"
"""A ConfigMap that Kubernetes puts there."""
_LEFT_MEANWHILE = "it deletes the RuntimeClass, and `pulumi up` creates it again"


@dataclass(frozen=True)
class Case:
    """What is decided from."""

    desired: Desired
    own: str
    """The stack, as `PROJECT/STACK`."""
    from_stack: str
    """A stack that is gone, whose objects are to be taken over; empty where none is."""
    find: Find
    nodes: Sequence[Node]
    pods: Sequence[Pod]
    inside: Sequence[Manifest]
    """ConfigMaps and DaemonSets of the stack's namespace."""
    software: Sequence[Software]

    @property
    def kubectl(self) -> tuple[str, ...]:
        """How a command for the cluster begins."""
        return "kubectl", "--context", self.desired.settings.context

    def set(self, key: str, value: str) -> str:
        """The command that gives the stack file another value."""
        return command("pulumi", "config", "set", "--stack", self.own.rpartition("/")[2], f"gpu:{key}", value)


def items(case: Case) -> Iterator[Item]:
    """What becomes of them."""
    yield from _runtime_class(case)
    yield from _of_the_cluster(case)
    namespace = list(_namespace(case))
    yield from namespace
    if any(each.fate in (Fate.MARKED, Fate.DEPLOYED) for each in namespace):
        yield from _inside(case)
    yield from _nodes(case)


def _runtime_class(case: Case) -> Iterator[Item]:
    found = case.find("RuntimeClass", RUNTIME_CLASS)
    if found is None:
        return
    root, handler = root_of(found, case.find), found.get("handler")
    delete = command(*case.kubectl, "delete", "runtimeclass", RUNTIME_CLASS)
    if is_going(case.software, root):
        create = Step(When.SETTING, "nobody else will", case.set("createRuntimeClass", "true"))
        why = "it goes with what made it, and `pulumi up` creates it again"
        wanted = case.desired.settings.create_runtime_class
        yield Item(found, root.keeper, Fate.GOES, why, () if wanted else (create,))
    elif not any(each["kind"] == "RuntimeClass" for each in case.desired.manifests):
        yield Item(found, root.keeper, Fate.LEFT, "the stack does not create one, and uses it as it is if it needs one")
    elif is_the_projects(found):
        yield _own(case, found)
    elif root.keeper.tool is not Tool.HAND:
        use = Step(When.SETTING, "the RuntimeClass is used as it is", case.set("createRuntimeClass", "false"))
        yield Item(found, root.keeper, Fate.LEFT, f"{root.keeper} would make it again, or delete it", (use,))
    elif handler != RUNTIME_CLASS:
        why = f"its handler is {handler} and not {RUNTIME_CLASS}, and a handler cannot be changed"
        yield Item(found, root.keeper, Fate.GOES, why, (Step(When.REMOVAL, _LEFT_MEANWHILE, delete),))
    else:
        yield Item(found, root.keeper, Fate.MARKED, "`pulumi destroy` will delete it, as it deletes all of the stack's")


def _of_the_cluster(case: Case) -> Iterator[Item]:
    """What else the stack has outside a namespace, such as the device class of a DRA driver."""
    for wanted in case.desired.manifests:
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        if kind in ("Namespace", "RuntimeClass") or is_namespaced(kind) or (found := case.find(kind, name)) is None:
            continue
        root = root_of(found, case.find)
        if is_the_projects(found):
            yield _own(case, found)
        elif is_going(case.software, root):
            yield Item(found, root.keeper, Fate.GOES, "it goes with what made it, and `pulumi up` creates it again")
        elif root.keeper.tool is Tool.HAND:
            yield Item(found, root.keeper, Fate.MARKED, "`pulumi up` brings it to the stack's own form")
        else:
            yield _in_the_way(case, found)


def _namespace(case: Case) -> Iterator[Item]:
    name = case.desired.settings.namespace
    found = case.find("Namespace", name)
    if found is None:
        return
    keeper, others = keeper_of(found), _others_inside(case)
    other = next(each for each in _OTHER_NAMESPACES if each != name)
    leave = Step(When.SETTING, "the stack gets a namespace of its own", case.set("namespace", other))
    if is_the_projects(found):
        yield _own(case, found)
    elif keeper.tool is not Tool.HAND:
        yield Item(found, keeper, Fate.LEFT, f"{keeper} keeps it", (leave,))
    elif others:
        why = f"it holds {listed(others)}, which `pulumi destroy` would delete with it"
        yield Item(found, keeper, Fate.LEFT, why, (leave,))
    else:
        yield Item(found, keeper, Fate.MARKED, "`pulumi destroy` will delete it, with all that it holds")


def _others_inside(case: Case) -> list[str]:
    """What the namespace holds beside GPU software and what that reads."""
    here = case.desired.settings.namespace
    inside = [each for each in case.software if each.object["metadata"].get("namespace") == here]
    known = {pod.name for each in inside for pod in each.pods}
    read = {name for each in inside for name in each.config_maps} | {_OF_EVERY_NAMESPACE}
    pods = [pod for pod in case.pods if pod.namespace == here and pod.name not in known]
    theirs = (each for each in case.inside if each["kind"] == "ConfigMap" and not is_the_projects(each))
    config_maps = (each["metadata"]["name"] for each in theirs)
    return [
        *(f"pod {pod.name}" for pod in pods if PART_OF not in pod.labels.items()),
        *(f"ConfigMap {name}" for name in config_maps if name not in read),
    ]


def _inside(case: Case) -> Iterator[Item]:
    """What others have under the stack's names, and what an older version left."""
    here, known = case.desired.settings.namespace, [each.object for each in case.software]
    named = ((each["kind"], each["metadata"]["name"]) for each in case.desired.manifests)
    wanted = {(kind, name) for kind, name in named if is_namespaced(kind)}
    for kind, name in sorted(wanted):
        found = case.find(kind, name, here)
        if found is not None and not is_the_projects(found) and found not in known:
            yield _in_the_way(case, found)
    for each in case.inside:
        kind, name = each["kind"], each["metadata"]["name"]
        if is_the_projects(each) and (kind, name) not in wanted:
            delete = command(*case.kubectl, "delete", kind.lower(), "-n", here, name, "--ignore-not-found")
            step = Step(When.CLEANING, "it is there still where `pulumi up` had no records of it", delete)
            yield Item(each, keeper_of(each), Fate.LEFT, "the stack does not have it any more", (step,))


def _in_the_way(case: Case, found: Manifest) -> Item:
    root: Root = root_of(found, case.find)
    kind, metadata = found["kind"], found["metadata"]
    place = ("-n", metadata["namespace"]) if "namespace" in metadata else ()
    delete = command(*case.kubectl, "delete", kind.lower(), *place, metadata["name"])
    by_hand = Step(When.REMOVAL, "it has a name of the stack's", delete)
    elsewhere = Step(When.REMOVAL, f"remove {kind} {metadata['name']} where {root.keeper} declares it")
    step = by_hand if root.keeper.tool is Tool.HAND else elsewhere
    return Item(
        found, root.keeper, Fate.GOES, "the stack has an object of this name, and it is none of the stack's", (step,)
    )


def _nodes(case: Case) -> Iterator[Item]:
    for node in case.nodes:
        wanted = case.desired.nodes.get(node.name)
        if wanted is None or (found := case.find("Node", node.name)) is None:
            continue
        owner, value = owner_of(found), node.labels.get(PROFILE_LABEL)
        if owner and owner == case.from_stack:
            yield Item(found, Keeper(Tool.STACK, owner), Fate.MARKED, "its labels become the stack's")
        elif owner is None and case.desired.settings.label_nodes and _is_another(case, node, value):
            yield _labelled(case, found, value or "")


def _is_another(case: Case, node: Node, value: str | None) -> bool:
    """Whether a label is in the way that Talos does not hold: those that it holds are refused with their own fix."""
    wanted = case.desired.nodes[node.name].labels[PROFILE_LABEL]
    return value not in (None, wanted) and PROFILE_LABEL not in labels_of_talos(node)


def _labelled(case: Case, found: Manifest, value: str) -> Item:
    name, by = found["metadata"]["name"], managers(found, PROFILE_LABEL)
    is_by_hand = all(each.startswith("kubectl") for each in by)
    keeper = Keeper(Tool.HAND) if by and is_by_hand else Keeper(Tool.OTHER, ", ".join(by))
    remove = command(*case.kubectl, "label", "node", name, f"{PROFILE_LABEL}-")
    what = "the stack sets this label" if keeper.tool is Tool.HAND else f"once {keeper} does not set it any more"
    why = f"its label {PROFILE_LABEL} is {value}, and the stack sets another value"
    return Item(found, keeper, Fate.GOES, why, (Step(When.REMOVAL, what, remove),))


def _own(case: Case, found: Manifest) -> Item:
    """An object of this project, by what it says of its stack."""
    owner, keeper = owner_of(found), keeper_of(found)
    if owner == case.own:
        return Item(found, keeper, Fate.DEPLOYED, "it is of this stack")
    if owner is None:
        return Item(found, keeper, Fate.DEPLOYED, "an older version deployed it; `pulumi up` takes it as this stack's")
    if owner == case.from_stack:
        return Item(found, keeper, Fate.MARKED, "it becomes this stack's")
    return Item(found, keeper, Fate.LEFT, f"it is of stack {owner}")
