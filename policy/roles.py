"""What a stack may grant in the Kubernetes API: to read, and of writes those of `gpuctl verify --publish`."""

from collections.abc import Iterator, Sequence

from objects import Properties, at, items, kind_of, name_of

_ROLES = ("ClusterRole", "Role")
_READ = {"get", "list", "watch"}
_WRITES = {
    ("", "configmaps", "patch"),
    ("", "events", "create"),
    ("", "events", "patch"),
}
"""(API group, resource, verb)."""
_DRA_DRIVER = "nvidia-dra-driver"
"""The account of the DRA driver, and its ClusterRole."""
_SLICES = {("resource.k8s.io", "resourceslices", verb) for verb in ("create", "update", "delete")}
"""What it writes besides: the devices of its node, which an admission policy holds it to."""
_OWN_SLICES = f"{_DRA_DRIVER}-own-slices"
_NEVER_READ = {"secrets", "nodes/proxy", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"}
"""To get one of these is to run commands, or to be somebody else."""
_BETWEEN = ("APIService", "MutatingAdmission", "MutatingWebhook", "ValidatingAdmission", "ValidatingWebhook")
"""How the kinds begin that stand between the API server and who asks it."""
_BUILT_IN = {"system:auth-delegator"}
"""What the cluster brings and a binding may name: it asks who a caller is, and what that one may do."""


def roles_are_those_shipped(resource: Properties) -> Iterator[str]:
    """No wildcard, no secrets, no commands, and of writes only the CronJob's own and the DRA driver's slices."""
    if kind_of(resource) not in _ROLES:
        return
    subject = f"{kind_of(resource)} {name_of(resource)}"
    writes = _WRITES | _SLICES if subject == f"ClusterRole {_DRA_DRIVER}" else _WRITES
    if resource.get("aggregationRule"):
        yield f"{subject}: aggregationRule adds rules of others to it. Fix it: write down the rules that it needs"
    for rule in items(resource, "rules"):
        for group, kind, verb in _granted(rule):
            if (verb in _READ and kind not in _NEVER_READ and "*" not in (group, kind)) or (
                (group, kind, verb) in writes
            ):
                continue
            yield (
                f"{subject}: grants {verb} on {kind}{f'.{group}' if group else ''}, and nothing that the project ships "
                "needs that. Fix it: remove it from rules"
            )


def the_api_is_left_alone(resource: Properties) -> Iterator[str]:
    """What changes, refuses or answers requests of others sees all of them, secrets as well.

    But for the policy that keeps the DRA driver to the slices of its own node, and touches nothing else.
    """
    if kind_of(resource).startswith(_BETWEEN) and not _is_about_own_slices(resource):
        yield (
            f"{kind_of(resource)} {name_of(resource)}: lets the stack read, change or refuse what others ask of the "
            "API server, and nothing that the project ships needs that. Fix it: remove it"
        )


def bindings_name_roles_of_the_stack(resources: Sequence[Properties]) -> Iterator[str]:
    """A role that the stack does not declare was judged by nobody; cluster-admin is one of them."""
    declared = {(kind_of(each), name_of(each)) for each in resources if kind_of(each) in _ROLES}
    for resource in resources:
        if kind_of(resource) not in ("ClusterRoleBinding", "RoleBinding"):
            continue
        role = at(resource, "roleRef")
        if role.get("name") not in _BUILT_IN and (role.get("kind"), role.get("name")) not in declared:
            yield (
                f"{kind_of(resource)} {name_of(resource)}: grants {role.get('kind')} {role.get('name')!r}, which the "
                "stack does not declare. Fix it: declare a role with the rules that are needed, and bind that"
            )


def slices_are_of_the_own_node(resources: Sequence[Properties]) -> Iterator[str]:
    """Rights know no owner of a ResourceSlice: with one node's token, GPUs could be advertised for all."""
    kinds = {kind_of(each) for each in resources if _is_about_own_slices(each)}
    held = kinds == {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    for resource in resources:
        granted = {each for rule in items(resource, "rules") for each in _granted(rule)}
        if kind_of(resource) in _ROLES and granted & _SLICES and not held:
            yield (
                f"{kind_of(resource)} {name_of(resource)}: grants to write ResourceSlices, and no admission policy "
                f"holds the driver to those of its own node. Fix it: declare ValidatingAdmissionPolicy {_OWN_SLICES} "
                "and its binding"
            )


def _is_about_own_slices(resource: Properties) -> bool:
    """Whether it is that policy, and judges only slices, or its binding, and denies."""
    if name_of(resource) != _OWN_SLICES:
        return False
    spec = at(resource, "spec")
    if kind_of(resource) == "ValidatingAdmissionPolicyBinding":
        return spec.get("policyName") == _OWN_SLICES and items(spec, "validationActions") == ["Deny"]
    rules = items(at(spec, "matchConstraints"), "resourceRules")
    judged = {kind for rule in rules for kind in items(rule, "resources")}
    return kind_of(resource) == "ValidatingAdmissionPolicy" and judged == {"resourceslices"}


def _granted(rule: Properties) -> Iterator[tuple[str, str, str]]:
    for verb in items(rule, "verbs"):
        for path in items(rule, "nonResourceURLs"):
            yield "", path, verb
        for group in items(rule, "apiGroups"):
            for kind in items(rule, "resources"):
                yield group, kind, verb
