"""Whether the cluster is the one that the stack was last deployed to."""

from collections.abc import Iterator

from gpuctl.checks.context import Context
from gpuctl.checks.kubernetes_api import KUBERNETES_API
from gpuctl.checks.model import Guide, Result, check, failed, passed, skipped
from gpuctl.checks.pulumi_program import NOT_INSTALLED, pulumi, said
from gpuctl.cluster import cluster_uid
from gpuctl.desired.names import CLUSTER_UID


@check(
    "API003",
    KUBERNETES_API,
    "the cluster is the one that the stack was last deployed to",
    Guide(
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
    ),
    fatal=True,
)
def cluster_is_the_stacks(context: Context) -> Iterator[Result]:
    """By the UID that `pulumi up` recorded as a stack output; the kubeconfig's names are whatever someone typed."""
    stack, name = context.stack, context.settings.context
    unknown = f"which cluster stack {stack} was deployed to is not known"
    ran = pulumi(context, "stack", "output", CLUSTER_UID, "--stack", stack)
    if ran is None:
        yield skipped(f"{unknown}: {NOT_INSTALLED}")
    elif ran.exit_code:
        yield skipped(
            f"which cluster stack {stack} was deployed to is not known: {said(ran)}",
            remedy=f"pulumi up --stack {stack}",
        )
    elif (recorded := ran.stdout.strip()) != (live := cluster_uid(context.cluster)):
        yield failed(
            f"context {name} is another cluster than the one that stack {stack} was deployed to: "
            f"its UID is {live} and not {recorded}",
            "kubectl config get-contexts",
        )
    else:
        yield passed(f"context {name} is the cluster that stack {stack} was deployed to, UID {live}")


CHECKS = (cluster_is_the_stacks,)
