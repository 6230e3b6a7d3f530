"""What a resource holds that rules judge: the pods that it is or makes, whatever its kind, and their containers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

Properties = Mapping[str, Any]
"""What a resource declares; of a Kubernetes object, the fields of its YAML."""

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


class Container(NamedTuple):
    """A container, and the object and the pod that it belongs to."""

    kind: str
    owner: str
    pod: Properties
    spec: Properties

    @property
    def name(self) -> str:
        """Unique in its pod."""
        return self.spec.get("name") or ""

    def security(self, field: str) -> Any:
        """A field of the container's securityContext, else of its pod's, as the kubelet takes it."""
        own = at(self.spec, "securityContext").get(field)
        return at(self.pod, "securityContext").get(field) if own is None else own

    def __str__(self) -> str:
        return f"{self.kind} {self.owner}, container {self.name}"


def at(properties: Properties, *path: str) -> Properties:
    """What lies at a path; empty when nothing does."""
    for key in path:
        properties = properties.get(key) or {}
    return properties


def items(properties: Properties, key: str) -> Sequence[Any]:
    """A list; empty when there is none."""
    return properties.get(key) or []


def kind_of(resource: Properties) -> str:
    """Empty for what is no Kubernetes object."""
    return resource.get("kind") or ""


def name_of(resource: Properties) -> str:
    """Empty for an object without a name."""
    return at(resource, "metadata").get("name") or ""


def pods(resource: Any) -> Iterator[Properties]:
    """The specifications of pods at any depth: a kind that is not known here has its own place for them."""
    if isinstance(resource, Mapping):
        fields = cast("Properties", resource)
        if any(_are_containers(_known(fields, key)) for key in _CONTAINERS):
            yield fields
        else:
            for key in fields:
                yield from pods(_known(fields, key))
    elif isinstance(resource, Sequence) and not isinstance(resource, str):
        for each in cast("Sequence[Any]", resource):
            yield from pods(each)


def containers(resource: Properties) -> Iterator[Container]:
    """Every container of every pod that a resource is or makes."""
    for pod in pods(resource):
        yield from containers_of(pod, resource)


def containers_of(pod: Properties, resource: Properties) -> Iterator[Container]:
    """The containers of one pod of a resource."""
    for key in _CONTAINERS:
        for spec in items(pod, key):
            yield Container(kind_of(resource), name_of(resource), pod, spec)


def _are_containers(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(cast("Sequence[Any]", value)) > 0
        and all(isinstance(each, Mapping) for each in cast("Sequence[Any]", value))
    )


def _known(fields: Properties, key: str) -> Any:
    """A value; None where a preview cannot know it yet, in whose place the engine raises. The update judges it."""
    try:
        return fields[key]
    except Exception:  # the engine's own class, of a package that is not imported here
        return None
