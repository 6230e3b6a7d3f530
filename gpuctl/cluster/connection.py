"""A connection to the one cluster that a stack names."""

import asyncio
import contextlib
import json
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import httpx2
from httpx2.websockets import HTTPXWSException, WebSocketUpgradeError
from lightkube import AsyncClient, Client
from lightkube.config.client_adapter import Client as HttpClient
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import SERVICE_ACCOUNT, SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError

from gpuctl.cluster.errors import AccessDeniedError, RejectedError, UnreachableError
from gpuctl.cluster.kinds import api_of, is_namespaced, resource_of
from gpuctl.cluster.kubeconfig import access, service_account
from gpuctl.cluster.objects import Manifest, Node, Pod

_TIMEOUT = httpx2.Timeout(5, read=30)
"""Seconds; a large list takes the server a while."""
_PAGE = 500
"""Objects in one answer to a list, as kubectl asks for."""
_FIELD_MANAGER = "gpuctl"
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _SERVER_ERROR = 401, 403, 404, 500
_FAILURES = (httpx2.HTTPError, HTTPXWSException, ConfigError, OSError, ValueError)
"""Of a request: the two last are a login command that is not there, and an answer that is no JSON."""


class Executed(NamedTuple):
    """What a command in a pod did."""

    stdout: str
    stderr: str
    exit_code: int


class Cluster(Protocol):
    """What the project asks of a cluster.

    Every method raises UnreachableError when there is no answer, AccessDeniedError when the user may not do that,
    and RejectedError when the server refuses the request itself.
    """

    def version(self) -> str:
        """Of the API server, such as `v1.34.2`."""
        ...

    def nodes(self) -> list[Node]:
        """All nodes."""
        ...

    def pods(self, namespace: str | None = None, labels: dict[str, str] | None = None) -> list[Pod]:
        """The pods of a namespace, or of all, that have these labels."""
        ...

    def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """An object; None when there is none of that name, or no such kind."""
        ...

    def list(self, kind: str, namespace: str | None = None, fields: dict[str, str] | None = None) -> list[Manifest]:
        """The objects of a kind, in a namespace or in all, whose fields have these values."""
        ...

    def replace(self, manifest: Manifest) -> Manifest:
        """What an object would be if it were replaced by this one: a dry run, nothing changes."""
        ...

    def create(self, manifest: Manifest) -> None:
        """Creates an object."""
        ...

    def apply(self, manifest: Manifest) -> None:
        """Creates an object or brings it to this state, taking the fields over from whoever had them."""
        ...

    def delete(self, kind: str, name: str, namespace: str | None = None, grace_seconds: int | None = None) -> None:
        """Deletes an object; nothing happens when there is none."""
        ...

    def may(self, verb: str, kind: str, subresource: str = "") -> bool:
        """Whether the user may do that in every namespace, as the server judges."""
        ...

    def log(
        self, pod: str, namespace: str, since_seconds: int | None = None, tail_lines: int | None = None
    ) -> Iterator[str]:
        """The lines of a pod's only container."""
        ...

    def execute(
        self, pod: str, namespace: str, command: Sequence[str], seconds: float = 15, container: str | None = None
    ) -> Executed:
        """Runs a command in a container of a pod, which need not be named when it is the only one."""
        ...


def connect(context: str, kubeconfig: str | None) -> Cluster:
    """The cluster of a context; it is not spoken to yet.

    Args:
        context: in the kubeconfig.
        kubeconfig: path; None takes what KUBECONFIG lists, else ~/.kube/config.

    Raises:
        UnreachableError: there is no kubeconfig or no such context.
    """
    config = access(context, kubeconfig)
    try:
        return _LightkubeCluster(config)
    except (ConfigError, AssertionError, OSError, ValueError) as error:
        raise UnreachableError(f"kubeconfig {config.fname} cannot be used: {error}") from error


def connect_in_cluster(folder: str = SERVICE_ACCOUNT) -> Cluster:
    """The cluster in whose pod this runs, with the rights of the pod's service account.

    Args:
        folder: where the kubelet puts token and certificate.

    Raises:
        UnreachableError: this is no pod, or one without a service account's token.
    """
    try:
        return _LightkubeCluster(service_account(folder))
    except OSError as error:
        raise UnreachableError(f"the service account cannot be used: {error}") from error


class _LightkubeCluster:
    def __init__(self, config: SingleConfig) -> None:
        self._where = f"context {config.context_name} ({config.cluster.server})"
        self._config = config
        self._client: Any = Client(config, timeout=_TIMEOUT, field_manager=_FIELD_MANAGER)  # typed only in part
        self._http = HttpClient(config, ConnectionParams(timeout=_TIMEOUT))

    def version(self) -> str:
        with self._answering():
            answer = self._http.get("/version")
            if answer.is_error:
                raise ApiError(request=answer.request, response=answer)
            return json.loads(answer.content)["gitVersion"]

    def nodes(self) -> list[Node]:
        with self._answering():
            return list(self._client.list(Node, chunk_size=_PAGE))

    def pods(self, namespace: str | None = None, labels: dict[str, str] | None = None) -> list[Pod]:
        with self._answering():
            return list(self._client.list(Pod, namespace=namespace or "*", labels=labels, chunk_size=_PAGE))

    def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        with self._answering():
            try:
                return dict(self._client.get(resource_of(kind), name, **_in(namespace)))
            except ApiError as error:
                if error.status.code == _NOT_FOUND:
                    return None
                raise

    def list(self, kind: str, namespace: str | None = None, fields: dict[str, str] | None = None) -> list[Manifest]:
        where = {"namespace": namespace or "*"} if is_namespaced(kind) else {}
        with self._answering():
            found = self._client.list(resource_of(kind), fields=fields, chunk_size=_PAGE, **where)
            return [dict(item) for item in found]

    def replace(self, manifest: Manifest) -> Manifest:
        with self._answering():
            return dict(self._client.replace(_loaded(manifest), dry_run=True))

    def create(self, manifest: Manifest) -> None:
        with self._answering():
            self._client.create(_loaded(manifest))

    def apply(self, manifest: Manifest) -> None:
        with self._answering():
            self._client.apply(_loaded(manifest), force=True)

    def delete(self, kind: str, name: str, namespace: str | None = None, grace_seconds: int | None = None) -> None:
        with self._answering():
            try:
                self._client.delete(resource_of(kind), name, grace_period=grace_seconds, **_in(namespace))
            except ApiError as error:
                if error.status.code != _NOT_FOUND:
                    raise

    def may(self, verb: str, kind: str, subresource: str = "") -> bool:
        group, _, plural = api_of(kind)
        asked = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
        review = {"kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
        with self._answering():
            return bool(dict(self._client.create(_loaded(review)))["status"]["allowed"])

    def log(
        self, pod: str, namespace: str, since_seconds: int | None = None, tail_lines: int | None = None
    ) -> Iterator[str]:
        with self._answering():
            return self._client.log(
                pod, namespace=namespace, since=since_seconds, tail_lines=tail_lines, newlines=False
            )

    def execute(
        self, pod: str, namespace: str, command: Sequence[str], seconds: float = 15, container: str | None = None
    ) -> Executed:
        with self._answering():
            return asyncio.run(_execute(self._config, pod, namespace, command, seconds, container))

    @contextlib.contextmanager
    def _answering(self) -> Generator[None]:
        try:
            yield
        except _FAILURES as error:
            code, message = _told(error)
            if code == _FORBIDDEN:
                raise AccessDeniedError(f"{self._where} refuses: {message}") from error
            if code is None or code == _UNAUTHORIZED or code >= _SERVER_ERROR:
                raise UnreachableError(f"{self._where} cannot be reached: {message}") from error
            raise RejectedError(f"{self._where} refuses: {message}") from error


async def _execute(
    config: SingleConfig, pod: str, namespace: str, command: Sequence[str], seconds: float, container: str | None
) -> Executed:
    """Without threads: lightkube's blocking client reads and closes one TLS connection in two, and one in ten fails."""
    client: Any = AsyncClient(config, timeout=_TIMEOUT)
    try:
        ran = await client.exec(
            pod,
            namespace=namespace,
            container=container,
            command=list(command),
            stdout=True,
            stderr=True,
            timeout=seconds,
        )
    finally:
        await client.close()
    return Executed(*ran)


def _told(error: Exception) -> tuple[int | None, str]:
    """The HTTP status, if the server answered, and what it said."""
    if isinstance(error, ApiError):
        return error.status.code, str(error)
    if isinstance(error, WebSocketUpgradeError):  # its text is only the answer's type, and the answer's body is gone
        return error.response.status_code, f"{error.response.status_code} to a command in a pod"
    return None, str(error)


def _in(namespace: str | None) -> dict[str, str]:
    return {"namespace": namespace} if namespace else {}


def _loaded(manifest: Manifest) -> Any:
    return resource_of(manifest["kind"])(manifest)
