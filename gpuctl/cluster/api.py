"""Requests to one API server: in bounded time, and every failure is a ClusterError."""

import json
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import msgspec

from gpuctl.cluster.credentials import Credentials, Login
from gpuctl.cluster.errors import (
    AccessDeniedError,
    ClusterError,
    NotFoundError,
    RejectedError,
    UnreachableError,
    one_line,
)
from gpuctl.cluster.kubeconfig import Access
from gpuctl.cluster.transport import extensions, options

TIMEOUT = httpx2.Timeout(5, read=30)
"""Seconds without a byte; a large list takes the server a while."""
_SECONDS = 90
"""How long an answer may take as a whole, with all tries."""
_PAUSES = (0.5, 1.5)
"""Seconds before the second and the third try."""
_LONGEST_PAUSE = 10
"""Seconds; a server that asks for more is not waited for."""
_TOO_MANY, _SERVER_ERROR = 429, 500
_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 400, 401, 403, 404
NO_API = "what answers is not the Kubernetes API; a proxy or a login page may be in between"
_FETCH = "Fetch new credentials: talosctl kubeconfig"

Parameters = Mapping[str, str | int]


class Api:
    """One API server, asked as one user; making one raises UnreachableError when its credentials cannot be used."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.where = f"context {access.context} ({access.server.server})"
        self._credentials = Credentials(access)
        self._lock = threading.Lock()
        self._certificate: tuple[str, str] | None = None
        try:
            self._options = options(access, None, TIMEOUT)
            self._client = httpx2.Client(**self._options)
        except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
            reason = one_line(f"{access.origin} cannot be used: context {access.context}: {error}")
            raise UnreachableError(reason) from error

    def request(
        self, method: str, path: str, parameters: Parameters | None = None, body: Any = None, kind: str = "json"
    ) -> bytes:
        """What the server answers.

        Args:
            method: of HTTP; GET is asked again when the server fails, others only when it has taken on too much.
            path: below the server's own.
            parameters: of the query.
            body: sent as JSON.
            kind: of the body, such as `apply-patch+yaml`.

        Raises:
            ClusterError: there is no such answer.
        """
        deadline = time.monotonic() + _SECONDS
        with self.failing():
            for pause in _PAUSES:
                response, answer = self._answer(method, path, parameters, body, kind, deadline)
                wait = _wait(method, response, pause)
                if wait is None or time.monotonic() + wait > deadline:
                    break
                time.sleep(wait)
            else:
                response, answer = self._answer(method, path, parameters, body, kind, deadline)
        if not response.is_success:
            raise self.refusal(response.status_code, _message(response, answer))
        return answer

    def ready(self) -> tuple[httpx2.Client, dict[str, Any], Login]:
        """The client and what others like it are made with, anew when a login command gave another certificate."""
        login = self._credentials.login()
        with self._lock:
            if login.certificate != self._certificate:
                self._options = options(self.access, login.certificate, TIMEOUT)
                self._client = httpx2.Client(**self._options)
                self._certificate = login.certificate
            return self._client, self._options, login

    def refusal(self, code: int, message: str) -> ClusterError:
        """The error for an answer's HTTP status."""
        if code == _UNAUTHORIZED:
            return UnreachableError(f"{self.where} cannot be reached: {message}. {_FETCH}")
        if code >= _SERVER_ERROR or code == _TOO_MANY or code < _BAD_REQUEST:
            return UnreachableError(f"{self.where} cannot be reached: {message}")
        kinds = {_FORBIDDEN: AccessDeniedError, _NOT_FOUND: NotFoundError}
        return kinds.get(code, RejectedError)(f"{self.where} refuses: {message}")

    @contextmanager
    def failing(self) -> Generator[None]:
        """Within it, what keeps an answer from coming is a ClusterError."""
        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL, ImportError, OSError, ValueError) as error:
            reason = one_line(error) or type(error).__name__
            raise UnreachableError(f"{self.where} cannot be reached: {reason}") from error

    def _answer(
        self, method: str, path: str, parameters: Parameters | None, body: Any, kind: str, deadline: float
    ) -> tuple[httpx2.Response, bytes]:
        """An answer and its body; credentials that the server does not accept are renewed once where they can be."""
        for renewed in (False, True):
            client, _, login = self.ready()
            request = client.build_request(
                method,
                path,
                params=parameters,
                content=None if body is None else msgspec.json.encode(body),
                headers=headers_of(login, {} if body is None else {"Content-Type": f"application/{kind}"}),
                extensions=extensions(self.access.server),
            )
            response = client.send(request, stream=True)
            try:
                answer = _whole(response, deadline)
            finally:
                response.close()
            if response.status_code != _UNAUTHORIZED or renewed or not self._credentials.renew():
                break
        return response, answer  # pyright: ignore[reportPossiblyUnboundVariable]


def headers_of(login: Login, more: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """As they are sent: names of users need not be ASCII."""
    return [(name.encode(), value.encode()) for name, value in (*login.headers, *more.items())]


def _whole(response: httpx2.Response, deadline: float) -> bytes:
    parts: list[bytes] = []
    for part in response.iter_bytes():
        parts.append(part)
        if time.monotonic() > deadline:
            raise httpx2.ReadTimeout(f"the answer was not whole after {_SECONDS} s")
    return b"".join(parts)


def _wait(method: str, response: httpx2.Response, pause: float) -> float | None:
    """Seconds until the request is worth another try; None when it is not."""
    code, asked = response.status_code, response.headers.get("Retry-After", "")
    if code != _TOO_MANY and not (method == "GET" and code >= _SERVER_ERROR):
        return None
    wait = max(pause, float(asked) if asked.isdecimal() else 0)
    return wait if wait <= _LONGEST_PAUSE else None


def _message(response: httpx2.Response, answer: bytes) -> str:
    """What the server says: the message of a Status, else that it is no API server's answer."""
    try:
        said = json.loads(answer)["message"]
    except (LookupError, TypeError, ValueError, RecursionError):
        said = f"{response.status_code}, and {NO_API}"
    return one_line(said) or str(response.status_code)
