"""A command in a container of a pod: the API server's protocol `v5.channel.k8s.io` over a WebSocket."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import httpx2
import msgspec

from gpuctl.cluster.api import Api, headers_of
from gpuctl.cluster.errors import RejectedError, one_line
from gpuctl.cluster.transport import extensions

_PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
_STDOUT, _STDERR, _ERROR = 1, 2, 3


class Executed(NamedTuple):
    """What a command in a pod did."""

    stdout: str
    stderr: str
    exit_code: int


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct, frozen=True):
    causes: tuple[_Cause, ...] = ()


class _Status(msgspec.Struct, frozen=True):
    status: str = ""
    reason: str = ""
    message: str = ""
    details: _Details | None = None


def execute(api: Api, path: str, command: Sequence[str], seconds: float, container: str | None) -> Executed:
    """Runs a command in a container.

    Args:
        api: the API server.
        path: of the pod's subresource `exec`.
        command: what is run, without a shell.
        seconds: how long it may take.
        container: need not be named when it is the only one.

    Raises:
        ClusterError: it could not be run, or took longer.
    """
    named = [("container", container)] if container else []
    parameters = (*named, *(("command", word) for word in command), ("stdout", "true"), ("stderr", "true"))
    with api.failing():
        try:
            output, status = asyncio.run(_talk(api, path, parameters, seconds))
        except TimeoutError as error:
            raise httpx2.ReadTimeout(f"a command in a pod did not end within {seconds:g} s") from error
        except Exception as error:
            raise _cause_of(api, error) from error
    out, err = (output[channel].decode(errors="replace") for channel in (_STDOUT, _STDERR))
    return Executed(out, err, _exit_code(api, status))


def _cause_of(api: Api, error: Exception) -> Exception:
    """The first error of a group; what the protocol's library raises says nothing by itself."""
    from httpx2.websockets import HTTPXWSException, WebSocketUpgradeError  # slow to load, and often not needed

    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    if isinstance(error, WebSocketUpgradeError):  # the body of the answer is gone
        code = error.response.status_code
        return api.refusal(code, f"{code} to a command in a pod")
    if isinstance(error, HTTPXWSException):
        return httpx2.ReadError("the connection to a pod broke off")
    return error


async def _talk(
    api: Api, path: str, parameters: tuple[tuple[str, str], ...], seconds: float
) -> tuple[dict[int, bytearray], bytes]:
    """What the command writes, by channel, and what became of it.

    Without threads: the blocking client reads and closes one TLS connection in two, and one in ten fails.
    """
    output = {_STDOUT: bytearray(), _STDERR: bytearray()}
    _, made_with, login = api.ready()
    async with asyncio.timeout(seconds), httpx2.AsyncClient(**made_with) as client:
        opened: Any = client.websocket(
            path,
            params=parameters,
            headers=headers_of(login, {}),
            subprotocols=_PROTOCOLS,
            extensions=extensions(api.access.server),
        )
        async with opened as session:
            while True:
                message: bytes = await session.receive_bytes()
                channel, text = message[0], message[1:]
                if channel == _ERROR:
                    return output, text
                if channel in output:
                    output[channel] += text


def _exit_code(api: Api, text: bytes) -> int:
    """The command's exit code."""
    try:
        status = msgspec.json.decode(text, type=_Status)
        if status.status != "Failure":
            return 0
        causes = status.details.causes if status.details else ()
        if status.reason == "NonZeroExitCode":
            return next(int(cause.message) for cause in causes if cause.reason == "ExitCode")
    except (StopIteration, ValueError) as error:
        raise RejectedError(f"{api.where} does not say how a command in a pod ended: {one_line(error)}") from error
    raise RejectedError(f"{api.where} refuses: {one_line(status.message)}")
