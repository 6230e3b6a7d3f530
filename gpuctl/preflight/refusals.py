"""Why a cluster cannot take a stack, each with what fixes it.

Pulumi itself makes a phantom of a node that does not exist, and takes over a namespace that does, so that
`pulumi destroy` deletes what others have in it.
"""

from collections.abc import Callable, Iterator

from gpuctl.cluster import Cluster
from gpuctl.desired.desired import Desired
from gpuctl.forms.command import command
from gpuctl.preflight.ownership import foreign, of_other_stacks
from gpuctl.preflight.provided import lacking
from gpuctl.preflight.serving import why_not_serving


def refusals(desired: Desired, owner: str, cluster: Cluster) -> list[str]:
    """Every reason why a stack must not be deployed; none when it may.

    Args:
        desired: what the stack asks for.
        owner: the stack, as `PROJECT/STACK`.
        cluster: the one it goes to.

    Raises:
        ClusterError: the cluster does not answer.
    """
    return [reason for rule in _RULES for reason in rule(desired, owner, cluster)]


def _missing_nodes(desired: Desired, _: str, cluster: Cluster) -> Iterator[str]:
    present, context = {node.name for node in cluster.nodes()}, desired.settings.context
    missing = [name for name in desired.nodes if name not in present]
    if missing:
        yield (
            f"context {context} has no node {', '.join(missing)}; it has {', '.join(sorted(present))}. "
            "Fix gpu:nodes, or gpu:context when this is another cluster; "
            f"see: {command('kubectl', '--context', context, 'get', 'nodes')}"
        )


def _nodes_that_cannot_serve(desired: Desired, owner: str, cluster: Cluster) -> Iterator[str]:
    nodes = [node for node in cluster.nodes() if node.name in desired.nodes]
    return why_not_serving(nodes, desired.settings, _stack(owner))


def _objects_of_others(desired: Desired, owner: str, cluster: Cluster) -> Iterator[str]:
    for found in foreign(desired, _stack(owner), cluster.get):
        yield f"{found.fact}. {found.advice}"


def _objects_that_others_provide(desired: Desired, owner: str, cluster: Cluster) -> Iterator[str]:
    for found in lacking(desired, _stack(owner), cluster.get, cluster.nodes()):
        yield f"{found.fact}. Fix it: {found.remedy}"


def _other_stacks(desired: Desired, owner: str, cluster: Cluster) -> Iterator[str]:
    for found in of_other_stacks(desired, owner, cluster.get, cluster.nodes()):
        yield found.reason


def _no_prometheus_operator(desired: Desired, owner: str, cluster: Cluster) -> Iterator[str]:
    """The API server would refuse the alerts itself: half-way, and in words about a missing kind."""
    stack = _stack(owner)
    definition = "prometheusrules.monitoring.coreos.com"
    if desired.settings.monitoring and not cluster.get("CustomResourceDefinition", definition):
        yield (
            f"gpu:monitoring needs the Prometheus operator, and context {desired.settings.context} has no "
            f"CustomResourceDefinition {definition}. Install the operator, or load the alerts into your Prometheus "
            f"as a file (gpuctl render --rules --stack {stack}) and do without its objects. "
            f"Fix it: pulumi config set --stack {stack} gpu:monitoring false"
        )


def _stack(owner: str) -> str:
    return owner.rpartition("/")[2]


_RULES: tuple[Callable[[Desired, str, Cluster], Iterator[str]], ...] = (
    _missing_nodes,
    _nodes_that_cannot_serve,
    _objects_of_others,
    _objects_that_others_provide,
    _other_stacks,
    _no_prometheus_operator,
)
