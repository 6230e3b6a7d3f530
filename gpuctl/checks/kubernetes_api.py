"""Whether the cluster answers, and is the one that the stack means."""

from collections.abc import Iterator

from gpuctl.checks.context import Context
from gpuctl.checks.model import Category, Guide, Result, check, failed, passed
from gpuctl.cluster import ClusterError
from gpuctl.settings.minor_version import format_minor, minor_of
from gpuctl.settings.talos_tables import KUBERNETES_MINORS

KUBERNETES_API = Category("kubernetes-api", "the Kubernetes API", exit_code=3)


@check(
    "API001",
    KUBERNETES_API,
    "the API server of the stack's context answers",
    Guide(
        cause="The API server cannot be reached with the kubeconfig at hand",
        example="context admin@lab (https://10.0.0.10:6443) cannot be reached: timed out",
        confirm=("kubectl --context admin@lab version",),
        fix=(
            "Fetch a kubeconfig: `talosctl kubeconfig`.",
            "Name its context in the stack file: `pulumi config set gpu:context NAME --stack lab`.",
        ),
    ),
    fatal=True,
    retry=True,
)
def api_answers(context: Context) -> Iterator[Result]:
    """Nothing after it can be told without an answer."""
    try:
        version = context.cluster.version()
    except ClusterError as error:
        yield failed(str(error), context.kubectl("version"))
        return
    yield passed(f"context {context.settings.context} answers, Kubernetes {version}")


@check(
    "API002",
    KUBERNETES_API,
    "the cluster's Kubernetes is one that the stack's Talos runs",
    Guide(
        cause="Talos or Kubernetes was upgraded without the other, or gpu:talosVersion is not what the nodes run",
        example="Kubernetes v1.38.0 is not what Talos v1.13.9 runs, which is v1.31 to v1.36",
        confirm=("kubectl --context admin@lab version", "kubectl --context admin@lab get nodes -o wide"),
        fix=(
            "Upgrade the older of the two: `talosctl upgrade-k8s --to VERSION`, or `talosctl upgrade`.",
            "Or tell the stack what the nodes run: `pulumi config set gpu:talosVersion VERSION --stack lab`.",
        ),
    ),
    severity="warning",
)
def kubernetes_runs_on_talos(context: Context) -> Iterator[Result]:
    """By the API server's own version, and Talos' own list of what each of its lines runs."""
    talos = context.settings.talos_version
    first, last = KUBERNETES_MINORS[context.settings.talos_minor]
    version = context.cluster.version()
    span = f"what Talos {talos} runs, which is {format_minor(first)} to {format_minor(last)}"
    if first <= minor_of(version) <= last:
        yield passed(f"Kubernetes {version} is {span}")
    else:
        yield failed(f"Kubernetes {version} is not {span}", context.kubectl("get", "nodes", "-o", "wide"))


CHECKS = (api_answers, kubernetes_runs_on_talos)
