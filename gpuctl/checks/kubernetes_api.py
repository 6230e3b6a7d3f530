"""Whether the cluster answers, and is the one that the stack means and was last deployed to."""

from collections.abc import Iterator

from gpuctl.checks.context import NO_PULUMI, Context
from gpuctl.checks.model import Category, Check, Result, Subject, checks_of, failed, passed, skipped
from gpuctl.cluster import ClusterError, cluster_uid
from gpuctl.desired.names import CLUSTER_UID
from gpuctl.settings.talos_tables import KUBERNETES_MINORS, format_minor, minor_of

KUBERNETES_API = Category("kubernetes-api", "the Kubernetes API", exit_code=3)


@Check(
    "API001",
    KUBERNETES_API,
    "the API server of the stack's context answers",
    cause="The API server cannot be reached with the kubeconfig at hand",
    example="context admin@lab (https://10.0.0.10:6443) cannot be reached: timed out",
    confirm=("kubectl --context admin@lab version",),
    fix=(
        "Fetch a kubeconfig: `talosctl kubeconfig`.",
        "Name its context in the stack file: `pulumi config set gpu:context NAME --stack lab`.",
    ),
    fatal=True,
    retry=True,
)
def api_answers(context: Context) -> Iterator[Result]:
    """All that comes after it is unknown without an answer."""
    try:
        version = context.cluster.version()
    except ClusterError as error:
        yield failed(str(error), context.kubectl("version"))
        return
    yield passed(f"context {context.settings.context} answers, Kubernetes {version}")


@Check(
    "API002",
    KUBERNETES_API,
    "the cluster's Kubernetes is one that the stack's Talos runs",
    cause="Talos or Kubernetes was upgraded without the other, or gpu:talosVersion is not what the nodes run",
    example="Kubernetes v1.38.0 is not what Talos v1.13.9 runs, which is v1.31 to v1.36",
    confirm=("kubectl --context admin@lab version", "kubectl --context admin@lab get nodes -o wide"),
    fix=(
        "Upgrade the older of the two: `talosctl upgrade-k8s --to VERSION`, or `talosctl upgrade`.",
        "Or say in the stack file what the nodes run: `pulumi config set gpu:talosVersion VERSION --stack lab`.",
    ),
    severity="warning",
)
def kubernetes_runs_on_talos(context: Context) -> Iterator[Result]:
    """By the API server's own version, and Talos' own list of what each of its minor versions runs."""
    version = context.cluster.version()
    for talos in context.settings.talos_versions:
        if minor_of(talos) not in KUBERNETES_MINORS:
            yield skipped(f"which Kubernetes Talos {talos} runs is not known here")
            continue
        first, last = KUBERNETES_MINORS[minor_of(talos)]
        span = f"what Talos {talos} runs, which is {format_minor(first)} to {format_minor(last)}"
        if first <= minor_of(version) <= last:
            yield passed(f"Kubernetes {version} is {span}")
        else:
            yield failed(f"Kubernetes {version} is not {span}", context.kubectl("get", "nodes", "-o", "wide"))


@Check(
    "API003",
    KUBERNETES_API,
    "the cluster is the one that the stack was last deployed to",
    cause="The context in the kubeconfig leads to another cluster, or the cluster was installed anew",
    example="context admin@lab is another cluster than the one that stack lab was deployed to: "
    "its UID is 91d2f3f3-... and not c644bbda-...",
    confirm=(
        "pulumi stack output clusterUid --stack lab",
        "kubectl --context admin@lab get namespace kube-system -o jsonpath={.metadata.uid}",
        "kubectl config get-contexts",
    ),
    fix=(
        "Name the right context: `pulumi config set gpu:context NAME --stack lab`, or fetch its kubeconfig again.",
        "The cluster was installed anew: `pulumi up --refresh --stack lab` deploys to it, and records it.",
    ),
    fatal=True,
)
def cluster_is_the_stacks(context: Context) -> Iterator[Result]:
    """By the UID that `pulumi up` recorded as a stack output; the kubeconfig's names are whatever someone typed."""
    stack, name = context.stack, context.settings.context
    unknown = f"which cluster stack {stack} was deployed to is not known"
    ran = context.pulumi("stack", "output", CLUSTER_UID, "--stack", stack)
    if ran is None:
        yield skipped(f"{unknown}: {NO_PULUMI}")
    elif ran.exit_code:
        yield skipped(f"{unknown}: {ran.reason}", remedy=f"pulumi up --stack {stack}")
    elif (recorded := ran.stdout.strip()) != (live := cluster_uid(context.cluster)):
        yield failed(
            f"context {name} is another cluster than the one that stack {stack} was deployed to: "
            f"its UID is {live} and not {recorded}",
            "kubectl config get-contexts",
        )
    else:
        yield passed(f"context {name} is the cluster that stack {stack} was deployed to, UID {live}")


@Check(
    "API004",
    KUBERNETES_API,
    "every object that the checks look at can be read",
    cause="A field of the object has a form that the API does not allow there: an older or broken controller wrote it",
    example="Pod vision/train-7d9f: status.phase is not a text",
    confirm=("kubectl --context admin@lab get pod train-7d9f -n vision -o yaml",),
    fix=(
        "Nothing, if the object is none of yours: what could not be read counts as not set, and only there.",
        "Delete it if nobody needs it: `kubectl --context admin@lab delete pod NAME -n NAMESPACE`.",
    ),
    severity="warning",
)
def every_object_can_be_read(context: Context) -> Iterator[Result]:
    """Of all nodes and pods, and of whatever was listed before."""
    seen = len(context.nodes) + (len(context.pods) if context.sees_pods else 0)
    unreadable: dict[tuple[str, str, str], list[str]] = {}
    for kind, namespace, name, reason in context.cluster.unreadable:
        unreadable.setdefault((kind, namespace, name), []).append(reason)
    for (kind, namespace, name), reasons in unreadable.items():
        place = f"{namespace}/{name}" if namespace else name
        remedy = _shown(context, kind.lower(), namespace, name)
        yield failed(f"{kind} {place}: {'; '.join(reasons)}", remedy, Subject(kind=kind.lower(), name=place))
    if not unreadable:
        yield passed(f"all {seen} nodes and pods can be read")


def _shown(context: Context, kind: str, namespace: str, name: str) -> str:
    """The object; where not even its name can be read, all of its kind."""
    if name.startswith("items["):
        return context.kubectl("get", kind, "-A", "-o", "yaml")
    return context.kubectl("get", kind, name, *(("-n", namespace) if namespace else ()), "-o", "yaml")


CHECKS = checks_of(vars())
