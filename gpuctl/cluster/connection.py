"""A connection to the one cluster that a stack names."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from gpuctl.cluster.api import NO_API, Api
from gpuctl.cluster.decoding import Page, Unreadable, manifest_of, page_of, page_of_manifests, plain
from gpuctl.cluster.errors import NotFoundError, RejectedError, UnreachableError, UnreadableError, one_line
from gpuctl.cluster.execute import Executed, execute
from gpuctl.cluster.kinds import api_of, api_version, path_of
from gpuctl.cluster.kubeconfig import access, service_account
from gpuctl.cluster.objects import Manifest, Node, Pod

_PAGE = 500
"""Objects in one answer to a list, as kubectl asks for."""
_MANAGER = "gpuctl"
"""Who changes an object, unless it is said."""
_MANAGED = {"fieldManager": _MANAGER}

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


class Cluster:
    """What the project asks of a cluster.

    Every method raises UnreachableError when there is no answer, AccessDeniedError when the user may not do that,
    RejectedError when the server refuses the request itself, and UnreadableError when the answer is no such thing.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._unreadable: dict[str, list[Unreadable]] = {}
        """By the list that they were left out of, so that a list that is read again counts once."""

    @property
    def unreadable(self) -> Sequence[Unreadable]:
        """What could not be read of the objects of lists so far: such an object, or a field of it, is left out."""
        return list(dict.fromkeys(each for found in self._unreadable.values() for each in found))

    def version(self) -> str:
        """Of the API server, such as `v1.34.2`."""
        return self._read(self._api.request("GET", "/version"), lambda answer: str(plain(answer)["gitVersion"]))

    def nodes(self) -> list[Node]:
        """All nodes."""
        return self._page("Node", None, {}, lambda answer: page_of(Node, answer)).items

    def pods(self, namespace: str | None = None, labels: dict[str, str] | None = None) -> list[Pod]:
        """The pods of a namespace, or of all, that have these labels."""
        return self._page("Pod", namespace, _selector("label", labels), lambda answer: page_of(Pod, answer)).items

    def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """An object; None when there is none of that name, or no such kind."""
        try:
            return self._object(self._api.request("GET", path_of(kind, namespace, name)))
        except NotFoundError:
            return None

    def list(self, kind: str, namespace: str | None = None, fields: dict[str, str] | None = None) -> list[Manifest]:
        """The objects of a kind, in a namespace or in all, whose fields have these values."""
        selector = _selector("field", fields)
        return self._page(kind, namespace, selector, lambda answer: page_of_manifests(kind, answer)).items

    def replace(self, manifest: Manifest) -> Manifest:
        """What an object would be if it were replaced by this one: a dry run, nothing changes."""
        path = _path(manifest, manifest["metadata"]["name"])
        return self._object(self._api.request("PUT", path, {"dryRun": "All"} | _MANAGED, _typed(manifest)))

    def create(self, manifest: Manifest) -> None:
        """Creates an object."""
        self._api.request("POST", _path(manifest), _MANAGED, _typed(manifest))

    def apply(self, manifest: Manifest, manager: str = _MANAGER) -> None:
        """Creates an object or brings it to this state, taking the fields over from whoever had them.

        With a UID, only the object of that UID is changed, and none created.
        """
        path = _path(manifest, manifest["metadata"]["name"])
        parameters = {"force": "true", "fieldManager": manager}
        self._api.request("PATCH", path, parameters, _typed(manifest), "apply-patch+yaml")

    def delete(self, kind: str, name: str, namespace: str | None = None, grace_seconds: int | None = None) -> None:
        """Deletes an object; nothing happens when there is none."""
        body = None if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
        try:
            self._api.request("DELETE", path_of(kind, namespace, name), body=body)
        except NotFoundError:
            return

    def may(self, verb: str, kind: str, subresource: str = "") -> bool:
        """Whether the user may do that in every namespace, as the server judges."""
        group, _, plural = api_of(kind)
        asked = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
        review = {"kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
        answer = self._api.request("POST", _path(review), None, _typed(review))
        return self._read(answer, lambda answer: plain(answer)["status"]["allowed"] is True)

    def log(
        self, pod: str, namespace: str, since_seconds: int | None = None, tail_lines: int | None = None
    ) -> Iterator[str]:
        """The lines of a pod's only container."""
        asked = {"sinceSeconds": since_seconds, "tailLines": tail_lines}
        parameters = {name: number for name, number in asked.items() if number is not None}
        text = self._api.request("GET", path_of("Pod", namespace, pod, "log"), parameters).decode(errors="replace")
        return iter(text.removesuffix("\n").split("\n") if text else [])

    def execute(
        self, pod: str, namespace: str, command: Sequence[str], seconds: float = 15, container: str | None = None
    ) -> Executed:
        """Runs a command in a container of a pod, which need not be named when it is the only one."""
        return execute(self._api, path_of("Pod", namespace, pod, "exec"), command, seconds, container)

    def _page(
        self, kind: str, namespace: str | None, selector: dict[str, str], read: Callable[[bytes], Page[_Item]]
    ) -> Page[_Item]:
        """All pages of a list as one."""
        whole = Page[_Item]([], "", [])
        path, parameters = path_of(kind, namespace), {"limit": _PAGE} | selector
        while True:
            found = self._read(self._api.request("GET", path, parameters), read)
            whole.items.extend(found.items)
            whole.unreadable.extend(found.unreadable)
            if not found.rest:
                break
            parameters["continue"] = found.rest
        self._unreadable[f"{path} {selector}"] = whole.unreadable
        return whole

    def _object(self, answer: bytes) -> Manifest:
        return self._read(answer, manifest_of)

    def _read(self, answer: bytes, read: Callable[[bytes], _Found]) -> _Found:
        try:
            return read(answer)
        except (LookupError, RecursionError, TypeError, ValueError) as error:
            if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
                raise UnreachableError(f"{self._api.where} cannot be reached: {NO_API}") from error
            reason = f"it answers with what is no such object: {one_line(error)}"
            raise UnreadableError(f"{self._api.where}: {reason}") from error


def connect(context: str, kubeconfig: str | None) -> Cluster:
    """The cluster of a context; it is not spoken to yet.

    Args:
        context: in the kubeconfig.
        kubeconfig: path; None takes what KUBECONFIG lists, else ~/.kube/config.

    Raises:
        UnreachableError: there is no kubeconfig, no such context, or something in it that cannot be used.
    """
    return Cluster(Api(access(context, kubeconfig)))


def connect_in_cluster(folder: str | None = None) -> Cluster:
    """The cluster in whose pod this runs, with the rights of the pod's service account.

    Args:
        folder: where the kubelet puts token and certificate; None is its usual place.

    Raises:
        UnreachableError: this is no pod, or one without a service account's token.
    """
    return Cluster(Api(service_account(folder) if folder else service_account()))


def _selector(of: str, wanted: dict[str, str] | None) -> dict[str, str]:
    return {f"{of}Selector": ",".join(f"{key}={value}" for key, value in wanted.items())} if wanted else {}


def _path(manifest: Manifest, *names: str) -> str:
    return path_of(manifest["kind"], manifest.get("metadata", {}).get("namespace"), *names)


def _typed(manifest: Manifest) -> Manifest:
    return {"apiVersion": api_version(manifest["kind"])} | manifest


def cluster_uid(cluster: Cluster) -> str:
    """The UID of the namespace kube-system, by which Kubernetes tools tell clusters apart: it lives as long as they do.

    Raises:
        ClusterError: it cannot be read.
    """
    namespace = cluster.get("Namespace", "kube-system")
    if namespace is None:
        raise RejectedError("there is no namespace kube-system, so this is no Kubernetes cluster")
    return namespace["metadata"]["uid"]
