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
_NEVER_READ = {"secrets", "nodes/proxy", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"}
"""To get one of these is to run commands, or to be somebody else."""
_BETWEEN = ("APIService", "MutatingAdmission", "MutatingWebhook", "ValidatingAdmission", "ValidatingWebhook")
"""How the kinds begin that stand between the API server and who asks it."""
_BUILT_IN = {"system:auth-delegator"}
"""What the cluster brings and a binding may name: it asks who a caller is, and what that one may do."""


def roles_are_those_shipped(resource: Properties) -> Iterator[str]:
    """No wildcard, no secrets, no commands, and of writes only the CronJob's own."""
    if kind_of(resource) not in _ROLES:
        return
    subject = f"{kind_of(resource)} {name_of(resource)}"
    if resource.get("aggregationRule"):
        yield f"{subject}: aggregationRule adds rules of others to it. Fix it: write down the rules that it needs"
    for rule in items(resource, "rules"):
        for group, kind, verb in _granted(rule):
            if (verb in _READ and kind not in _NEVER_READ and "*" not in (group, kind)) or (
                (group, kind, verb) in _WRITES
            ):
                continue
            yield (
                f"{subject}: grants {verb} on {kind}{f'.{group}' if group else ''}, and nothing that the project ships "
                "needs that. Fix it: remove it from rules"
            )


def the_api_is_left_alone(resource: Properties) -> Iterator[str]:
    """What changes, refuses or answers requests of others sees all of them, secrets as well."""
    if kind_of(resource).startswith(_BETWEEN):
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


def _granted(rule: Properties) -> Iterator[tuple[str, str, str]]:
    for verb in items(rule, "verbs"):
        for path in items(rule, "nonResourceURLs"):
            yield "", path, verb
        for group in items(rule, "apiGroups"):
            for kind in items(rule, "resources"):
                yield group, kind, verb
