"""Whether the stack's objects are in the cluster as the stack asks for them, and its DaemonSets do their work."""

from collections.abc import Iterator

from gpuctl.checks.context import Context
from gpuctl.checks.differences import differences
from gpuctl.checks.model import Category, Check, Result, Subject, checks_of, counted, failed, listed, passed, skipped
from gpuctl.checks.own_pods import Explanation, last_warning, pod_on, why_not_working
from gpuctl.cluster import Manifest, RejectedError
from gpuctl.desired.desired import DesiredNode
from gpuctl.desired.names import PART_OF, RUNTIME_CLASS
from gpuctl.preflight.provided import lacking
from gpuctl.preflight.serving import keeping_off

GPU_STACK = Category("gpu-stack", "the stack's objects")

_SHOWN = 3
"""Differences of one object that are named; the others are of the same kind, mostly."""


@Check(
    "STK001",
    GPU_STACK,
    "the namespace is there and admits the stack's pods",
    cause="The namespace was deleted, or its Pod Security labels were changed: Talos then enforces `baseline`",
    example="Namespace gpu-device-plugin: metadata.labels[pod-security.kubernetes.io/enforce]: live baseline, "
    "stack privileged",
    confirm=("kubectl --context admin@lab get namespace gpu-device-plugin --show-labels",),
    fix=("`pulumi up --refresh --stack lab` puts it back.",),
)
def namespace_admits_pods(context: Context) -> Iterator[Result]:
    """A DaemonSet whose pods are forbidden applies without an error, and never gets a pod."""
    wanted = _of_kind(context, "Namespace")
    name = wanted["metadata"]["name"]
    live = context.get("Namespace", name)
    if live is not None and live.get("status", {}).get("phase") == "Terminating":
        remedy = context.kubectl("get", "namespace", name, "-o", "jsonpath={.status.conditions}")
        yield failed(f"Namespace {name} is being deleted, with all that it holds", remedy, _subject(wanted))
    else:
        yield _judged(context, wanted, live and {"metadata": live["metadata"]}, {"metadata": wanted["metadata"]})


@Check(
    "STK002",
    GPU_STACK,
    "the RuntimeClass is there and names NVIDIA's handler",
    cause="The RuntimeClass was deleted, or made by hand with another handler",
    example="RuntimeClass nvidia is not in the cluster",
    confirm=("kubectl --context admin@lab get runtimeclass nvidia -o yaml",),
    fix=(
        "`pulumi up --refresh --stack lab` makes it again.",
        "Another handler cannot be changed: `kubectl --context admin@lab delete runtimeclass nvidia` first.",
        "With gpu:createRuntimeClass = false another tool owns it, and has to create it.",
    ),
)
def runtime_class_is_there(context: Context) -> Iterator[Result]:
    """Without it no pod of the stack is created, and none that asks for a GPU through it."""
    if not context.settings.create_runtime_class:
        yield _of_another_owner(context)
        return
    if not any(wanted["kind"] == "RuntimeClass" for wanted in context.desired.manifests):
        yield skipped("no node of the stack has NVIDIA's container toolkit, so no pod needs a RuntimeClass")
        return
    wanted = _of_kind(context, "RuntimeClass")
    yield _judged(context, wanted, context.get("RuntimeClass", wanted["metadata"]["name"]), wanted)


@Check(
    "STK003",
    GPU_STACK,
    "every object is as the stack asks for it",
    cause="Someone changed the object by hand, or the stack file was changed and `pulumi up` was not run",
    example="DaemonSet nvidia-device-plugin: spec.template.spec.containers[nvidia-device-plugin].image: "
    "live nvcr.io/nvidia/k8s-device-plugin:v0.17.0, stack nvcr.io/nvidia/k8s-device-plugin:v0.18.2",
    confirm=("gpuctl render --stack lab | kubectl --context admin@lab diff --server-side --force-conflicts -f -",),
    fix=(
        "`pulumi up --refresh --stack lab` puts back what was changed or removed.",
        "It may leave what was added, because that is not its own: "
        "`kubectl --context admin@lab edit daemonset NAME -n gpu-device-plugin`.",
        "The change is wanted: make it in the stack file.",
    ),
)
def objects_are_as_wanted(context: Context) -> Iterator[Result]:
    """Compared with what the API server would make of the stack's object, defaults and all: a dry run, every time."""
    for wanted in _own(context):
        kind, metadata = wanted["kind"], wanted["metadata"]
        live = context.get(kind, metadata["name"], metadata.get("namespace"))
        if live is None:
            yield _judged(context, wanted, None, wanted)
            continue
        try:
            complete = context.cluster.replace(_replacement(wanted, live)) | {"metadata": metadata}
        except RejectedError as error:
            fact = f"{kind} {metadata['name']} cannot become what the stack asks for: {error}"
            yield failed(fact, _up(context), Subject(component=_component(wanted)))
        else:
            yield _judged(context, wanted, live, complete)


@Check(
    "STK004",
    GPU_STACK,
    "no DaemonSet of an earlier state is left",
    cause="A DaemonSet was left behind when a stack with other settings was forgotten",
    example="DaemonSet nvidia-device-plugin-gpu-2 is in namespace gpu-device-plugin and not in the stack",
    confirm=("kubectl --context admin@lab get daemonsets -n gpu-device-plugin --show-labels",),
    fix=("Delete it: `kubectl --context admin@lab delete daemonset NAME -n gpu-device-plugin`.",),
)
def nothing_is_left(context: Context) -> Iterator[Result]:
    """Two device plugins on one node take each other's place with the kubelet."""
    place, (label, value) = context.settings.namespace, PART_OF
    own = {wanted["metadata"]["name"] for wanted in _own(context) if wanted["kind"] == "DaemonSet"}
    present = [live["metadata"] for live in context.cluster.list("DaemonSet", place)]
    others = [each["name"] for each in present if each.get("labels", {}).get(label) == value]
    others = [name for name in others if name not in own]
    for name in others:
        remedy = context.kubectl("delete", "daemonset", name, "-n", place)
        yield failed(f"DaemonSet {name} is in namespace {place} and not in the stack", remedy, Subject(name=name))
    if not others:
        yield passed(f"namespace {place} has no DaemonSet of the project that the stack does not ask for")


@Check(
    "STK005",
    GPU_STACK,
    "every DaemonSet runs on its nodes, up to date and ready",
    cause="Pods of the DaemonSet cannot be made, do not start, or exit",
    example="DaemonSet nvidia-device-plugin is ready on 1 of 2 nodes",
    confirm=(
        "kubectl --context admin@lab get daemonsets,pods -n gpu-device-plugin -o wide",
        "kubectl --context admin@lab get events -n gpu-device-plugin --field-selector type=Warning",
        "kubectl --context admin@lab logs -n gpu-device-plugin ds/nvidia-device-plugin",
    ),
    fix=(
        "Forbidden by PodSecurity: the namespace needs the stack's labels, see STK001.",
        '`no runtime for "nvidia" is configured`: the node\'s image lacks the container toolkit, see TAL002.',
        "The image cannot be pulled: fix the registry, or name a mirror in gpu:devicePluginImage.",
        "It runs on too few nodes: their labels, see NOD003.",
    ),
    retry=True,
)
def daemon_sets_are_ready(context: Context) -> Iterator[Result]:
    """By the controller's own count, which is trusted only once it has seen the latest change."""
    for wanted in _own(context):
        if wanted["kind"] == "DaemonSet":
            metadata = wanted["metadata"]
            live = context.get("DaemonSet", metadata["name"], metadata["namespace"])
            yield (
                _rolled_out(context, live, context.desired.selected_by(wanted))
                if live
                else skipped(f"DaemonSet {metadata['name']} is not in the cluster (STK003)", _subject(wanted))
            )


def _of_another_owner(context: Context) -> Result:
    """The RuntimeClass as the stack uses it: everything but its handler is its owner's business."""
    subject = Subject(name=RUNTIME_CLASS)
    for each in lacking(context.desired, context.stack, context.get, ()):
        return failed(each.fact, each.remedy, subject)
    return passed(f"RuntimeClass {RUNTIME_CLASS} is there with its handler, and is not the stack's", subject)


def _own(context: Context) -> list[Manifest]:
    """The stack's objects, but for the namespace and the RuntimeClass, which have checks of their own."""
    return [wanted for wanted in context.desired.manifests if wanted["kind"] not in ("Namespace", "RuntimeClass")]


def _of_kind(context: Context, kind: str) -> Manifest:
    return next(wanted for wanted in context.desired.manifests if wanted["kind"] == kind)


def _component(manifest: Manifest) -> str:
    return manifest["metadata"].get("labels", {}).get("app.kubernetes.io/name", "")


def _subject(manifest: Manifest) -> Subject:
    return Subject(name=manifest["metadata"]["name"], component=_component(manifest))


def _replacement(wanted: Manifest, live: Manifest) -> Manifest:
    """The API server replaces a custom resource only when the request names its version."""
    if "." not in wanted["apiVersion"]:
        return wanted
    return wanted | {"metadata": wanted["metadata"] | {"resourceVersion": live["metadata"]["resourceVersion"]}}


def _judged(context: Context, wanted: Manifest, live: Manifest | None, complete: Manifest) -> Result:
    name = wanted["metadata"]["name"]
    title, subject = f"{wanted['kind']} {name}", _subject(wanted)
    if live is None:
        return failed(f"{title} is not in the cluster", _up(context), subject)
    if found := differences(live, complete):
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        fact = f"{title}: {'; '.join(map(str, found[:_SHOWN]))}{more}"
        if not all(each.is_added for each in found):
            return failed(fact, _up(context), subject)
        where = ("-n", wanted["metadata"]["namespace"]) if "namespace" in wanted["metadata"] else ()
        edit = context.kubectl("edit", wanted["kind"].lower(), name, *where)
        return failed(fact, edit, subject, "someone added it, and Pulumi may leave alone what it has not set itself")
    return passed(f"{title} is as the stack asks for it", subject)


def _rolled_out(context: Context, live: Manifest, nodes: list[DesiredNode]) -> Result:
    metadata, status, subject = live["metadata"], live.get("status", {}), _subject(live)
    title = f"DaemonSet {metadata['name']}"
    wants, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    updated, misplaced = status.get("updatedNumberScheduled", 0), status.get("numberMisscheduled", 0)
    show = context.kubectl("get", "daemonsets,pods", "-n", metadata["namespace"], "-o", "wide")
    if status.get("observedGeneration", 0) < metadata.get("generation", 0):
        return failed(f"{title} was changed, and its controller has not seen it yet", show, subject)
    if wants != len(nodes):
        labels = context.kubectl("get", "nodes", "--show-labels")
        fact = f"{title} wants {counted(wants, 'node')}, and the stack has {len(nodes)} for it"
        return failed(fact, labels, subject, _why_elsewhere(context, nodes))
    if ready < wants:
        why = _why_not_ready(context, live, nodes)
        fact = f"{title} is ready on {ready} of {counted(wants, 'node')}"
        return failed(fact, why.remedy, subject, why.cause, why.reason)
    if updated < wants:
        return failed(f"{title} is up to date on {updated} of {counted(wants, 'node')}", show, subject)
    if misplaced:
        return failed(f"{title} still runs on {counted(misplaced, 'node')} where it does not belong", show, subject)
    return passed(f"{title} is up to date and ready on {counted(ready, 'node')}", subject)


def _why_elsewhere(context: Context, nodes: list[DesiredNode]) -> str:
    """Why a DaemonSet counts other nodes than the stack has for it."""
    live = {node.name: context.nodes.get(node.name) for node in nodes}
    reasons = {
        "not in the cluster": [name for name, node in live.items() if node is None],
        "not Ready": [name for name, node in live.items() if node and not node.ready],
        "without the stack's labels": [
            node.name for node in nodes if (seen := live[node.name]) and not node.labels.items() <= seen.labels.items()
        ],
        "tainted": [name for name, node in live.items() if node and keeping_off(node, context.settings)],
    }
    found = [f"{listed(names)} {'is' if len(names) == 1 else 'are'} {how}" for how, names in reasons.items() if names]
    return "; ".join(found) or "the labels or taints of other nodes are not those of the stack"


def _why_not_ready(context: Context, daemon_set: Manifest, nodes: list[DesiredNode]) -> Explanation:
    """What keeps the pods of a DaemonSet from being ready: of the first node that has such a pod, or needs one."""
    component, metadata = _component(daemon_set), daemon_set["metadata"]
    describe = context.kubectl("describe", "daemonset", metadata["name"], "-n", metadata["namespace"])
    names = [node.name for node in nodes]
    lacking = [name for name in names if context.sees_pods and pod_on(context, component, name) is None]
    if lacking and (refusal := last_warning(context, "DaemonSet", metadata["name"])):
        return Explanation(f"no pod can be made on {listed(lacking)}: {refusal}", describe)
    found = (why for name in names if (why := why_not_working(context, component, name)))
    return next(found, Explanation("", describe))


def _up(context: Context) -> str:
    return f"pulumi up --refresh --stack {context.stack}"


CHECKS = checks_of(vars())
