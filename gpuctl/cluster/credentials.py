"""What a request says about who asks: tokens, passwords, login commands, and whom to act as.

Login commands are the exec plugins of client-go (`client.authentication.k8s.io`, v1 and v1beta1). One is run when its
credentials are needed first, when they expire, and once more when the server does not accept them; unlike in kubectl,
within a limit of time.
"""

import base64
import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from gpuctl.cluster.errors import UnreachableError, one_line
from gpuctl.cluster.kubeconfig import Access, ExecPlugin, Server, User
from gpuctl.cluster.programs import ended

_GROUP = "client.authentication.k8s.io"
_VERSIONS = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")
_EXTENSION = f"{_GROUP}/exec"
"""The cluster's extension that holds what its login command needs to know."""
_SECONDS, _SECONDS_AT_TERMINAL = 30, 180
"""How long a login command may take; a person who has to answer takes longer."""


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: datetime | None = None


class _Credential(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    status: _Status


class Login(NamedTuple):
    """Who asks, as the server is shown it."""

    headers: list[tuple[str, str]]
    certificate: tuple[str, str] | None = None
    """Certificate and key in PEM that a login command gave."""


class Credentials:
    """Those of one user, for as long as they are good."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._given: _Status | None = None
        self._lock = threading.Lock()

    def login(self) -> Login:
        """What the next request is sent with.

        Raises:
            UnreachableError: the login command gave nothing, or a token cannot be read.
        """
        plugin, certificate = self._access.user.exec, None
        authorization = _authorization(self._access)
        if not authorization and plugin is not None:
            given = self._from_plugin(plugin)
            authorization = f"Bearer {given.token}" if given.token else ""
            if given.client_certificate_data and given.client_key_data:
                certificate = given.client_certificate_data, given.client_key_data
        headers = [("Authorization", authorization)] if authorization else []
        return Login(headers + _impersonation(self._access.user), certificate)

    def renew(self) -> bool:
        """Whether asking once more can help after the server did not accept what it was sent."""
        self._given = None
        return self._access.user.exec is not None or bool(self._access.user.token_file)

    def _from_plugin(self, plugin: ExecPlugin) -> _Status:
        with self._lock:  # several requests at once log in once
            expires = self._given and self._given.expiration_timestamp
            if self._given is None or (expires and expires <= datetime.now(UTC)):
                try:
                    self._given = _run(plugin, self._access.server)
                except (OSError, ValueError) as error:
                    raise UnreachableError(
                        one_line(f"{self._access.origin}: context {self._access.context} cannot log in: {error}")
                    ) from error
            return self._given


def _authorization(access: Access) -> str:
    user = access.user
    if user.token_file:  # read each time: the kubelet renews it
        try:
            return f"Bearer {Path(user.token_file).read_text('utf-8').strip()}"
        except (OSError, ValueError) as error:
            raise UnreachableError(
                one_line(f"{access.origin}: context {access.context} cannot log in: tokenFile: {error}")
            ) from error
    if user.token:
        return f"Bearer {user.token}"
    if user.username or user.password:
        return f"Basic {base64.b64encode(f'{user.username}:{user.password}'.encode()).decode()}"
    return ""


def _impersonation(user: User) -> list[tuple[str, str]]:
    if not user.as_user:
        return []
    extra = [
        (f"Impersonate-Extra-{quote(key.lower(), safe='')}", value)
        for key, values in user.as_user_extra.items()
        for value in values
    ]
    uid = [("Impersonate-Uid", user.as_uid)] if user.as_uid else []
    return [("Impersonate-User", user.as_user), *uid, *(("Impersonate-Group", each) for each in user.as_groups), *extra]


def _run(plugin: ExecPlugin, server: Server) -> _Status:
    """Runs a login command, whose arguments are not repeated in errors: some hold secrets.

    Raises:
        OSError, ValueError: it gave no credentials.
    """
    if plugin.api_version not in _VERSIONS:
        raise ValueError(
            f"exec.apiVersion is {plugin.api_version!r}, and Kubernetes knows {' and '.join(_VERSIONS)}. Have the "
            f"tool that made the kubeconfig write it anew"
        )
    at_terminal = _at_terminal(plugin)
    environment = os.environ | {each.name: each.value for each in plugin.env}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(_information(plugin, server, at_terminal))
    seconds, what = _SECONDS_AT_TERMINAL if at_terminal else _SECONDS, f"its login command {plugin.command}"
    try:
        ran = ended([plugin.command, *plugin.args], seconds, environment, at_terminal=at_terminal)
    except FileNotFoundError as error:
        hint = plugin.install_hint or "Install it, or fetch a kubeconfig that needs none: talosctl kubeconfig"
        raise ValueError(f"{what} is not installed. {hint}") from error
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{what} gave no answer within {seconds} s. Run it by hand to see why") from error
    if ran.exit_code:
        raise ValueError(f"{what} ended with exit code {ran.exit_code}: {ran.stderr.strip() or 'it says nothing'}")
    try:
        credential = msgspec.json.decode(ran.stdout, type=_Credential)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} printed no ExecCredential: {error}") from error
    if credential.api_version != plugin.api_version:
        raise ValueError(f"{what} answered in {credential.api_version!r}, and was asked in {plugin.api_version}")
    status = credential.status
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise ValueError(f"{what} gave a client certificate or key without the other")
    if not status.token and not status.client_certificate_data:
        raise ValueError(f"{what} gave neither token nor client certificate")
    return status


def _at_terminal(plugin: ExecPlugin) -> bool:
    """Whether the login command may ask the person at the terminal."""
    mode = plugin.interactive_mode or ("IfAvailable" if plugin.api_version.endswith("v1beta1") else "")
    if mode not in ("Never", "IfAvailable", "Always"):
        raise ValueError(f"exec.interactiveMode is {mode or 'not set'}, and has to be Never, IfAvailable or Always")
    available = sys.stdin is not None and sys.stdin.isatty()
    if mode == "Always" and not available:
        raise ValueError(
            f"its login command {plugin.command} asks a person (interactiveMode: Always), and no terminal is there"
        )
    return available and mode != "Never"


def _information(plugin: ExecPlugin, server: Server, at_terminal: bool) -> dict[str, Any]:
    """What a login command is given in KUBERNETES_EXEC_INFO."""
    spec: dict[str, Any] = {"interactive": at_terminal}
    if plugin.provide_cluster_info:
        cluster: dict[str, Any] = {
            "server": server.server,
            "tls-server-name": server.tls_server_name,
            "insecure-skip-tls-verify": server.insecure_skip_tls_verify,
            "certificate-authority-data": _authority(server),
            "proxy-url": server.proxy_url,
            "disable-compression": server.disable_compression,
            "config": next((each.extension for each in server.extensions if each.name == _EXTENSION), None),
        }
        spec["cluster"] = {key: value for key, value in cluster.items() if value}
    return {"kind": "ExecCredential", "apiVersion": plugin.api_version, "spec": spec}


def _authority(server: Server) -> str:
    """The certificate authority in base64, wherever it stands."""
    if server.certificate_authority_data or not server.certificate_authority:
        return server.certificate_authority_data
    return base64.b64encode(Path(server.certificate_authority).read_bytes()).decode()
