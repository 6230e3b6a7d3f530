"""Which cluster a context means, and as whom it is asked: the kubeconfig, read as kubectl reads it.

Several files are one: the first that has a name counts, and a relative path is that of the file it stands in. The form
is `k8s.io/client-go/tools/clientcmd/api/v1`; what kubectl no longer knows is refused by its name.
"""

import base64
import binascii
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import msgspec
import yaml

from gpuctl.cluster.decoding import without_nulls
from gpuctl.cluster.errors import UnreachableError, one_line

_DEFAULT = "~/.kube/config"
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_MOST_BYTES = 2_000_000
"""Of a file: hundreds of clusters with their certificates are less, and YAML is slow to read."""
_MOST_VALUES = 10_000
"""In one entry, aliases written out."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML has it, which ends at a depth of its own, in no time."""
_FETCH = "Fetch a new one: talosctl kubeconfig"
_CHOOSE = "Choose one of them in gpu:context, or fetch what is missing: talosctl kubeconfig"

_Part = TypeVar("_Part")
_Found = TypeVar("_Found")


class Variable(msgspec.Struct, frozen=True):
    """An environment variable of a login command."""

    name: str
    value: str = ""


class ExecPlugin(msgspec.Struct, frozen=True, rename="camel"):
    """A command that logs in."""

    command: str
    api_version: str = ""
    args: tuple[str, ...] = ()
    env: tuple[Variable, ...] = ()
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class _Extension(msgspec.Struct, frozen=True):
    name: str = ""
    extension: Any = None


class Server(msgspec.Struct, frozen=True, rename="kebab"):
    """Where a cluster answers, and how its API server is known to be the right one."""

    server: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    proxy_url: str = ""
    disable_compression: bool = False
    extensions: tuple[_Extension, ...] = ()


class User(msgspec.Struct, frozen=True, rename="kebab"):
    """Who asks."""

    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    as_user: str = msgspec.field(default="", name="as")
    as_uid: str = ""
    as_groups: tuple[str, ...] = ()
    as_user_extra: dict[str, tuple[str, ...]] = {}
    auth_provider: Any = None
    exec: ExecPlugin | None = None


class _Context(msgspec.Struct, frozen=True):
    cluster: str = ""
    user: str = ""


class Access(msgspec.Struct, frozen=True):
    """All that it takes to ask a cluster; every path in it is absolute."""

    origin: str
    """Where all this stands, such as `kubeconfig ~/.kube/config`."""
    context: str
    server: Server
    user: User


def access(context: str, kubeconfig: str | None) -> Access:
    """How to reach the cluster of a context.

    Args:
        context: in the kubeconfig.
        kubeconfig: path; None takes what KUBECONFIG lists, else ~/.kube/config.

    Raises:
        UnreachableError: there is no kubeconfig, no such context, or something in it that cannot be used.
    """
    return _of_files(kubeconfig, lambda origin, files: _access(origin, context, files))


def contexts(kubeconfig: str | None = None) -> list[str]:
    """The names of the contexts there are; nothing without a kubeconfig.

    Args:
        kubeconfig: path; None takes what KUBECONFIG lists, else ~/.kube/config.

    Raises:
        UnreachableError: a kubeconfig cannot be used.
    """
    return _of_files(
        kubeconfig,
        lambda _, files: list(dict.fromkeys(name for _, document in files for name in _entries(document, "contexts"))),
    )


def service_account(folder: str = _SERVICE_ACCOUNT) -> Access:
    """How a pod reaches the cluster it runs in, as its service account.

    Args:
        folder: where the kubelet puts token and certificate.

    Raises:
        UnreachableError: this is no pod, or one without a service account's token.
    """
    token, authority = Path(folder, "token"), Path(folder, "ca.crt")
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
    for name, found in (("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port)):
        if not found:
            raise UnreachableError(f"this is no pod with a service account: {name} is missing")
    for path in (token, authority):
        if not path.is_file():
            raise UnreachableError(f"this is no pod with a service account: {path} is missing")
    url = f"https://[{host}]:{port}" if ":" in str(host) else f"https://{host}:{port}"
    return Access(
        "the service account",
        "in-cluster",
        Server(url, certificate_authority=str(authority)),
        User(token_file=str(token)),
    )


class _FileError(ValueError):
    """One of several files is to blame."""


_Files = Sequence[tuple[Path, dict[str, Any]]]
"""The folder of each kubeconfig, and what is in it."""


def _of_files(kubeconfig: str | None, read: Callable[[str, _Files], _Found]) -> _Found:
    """What is read of all kubeconfigs, by their common name."""
    listed = kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT
    paths = [Path(path).expanduser() for path in listed.split(os.pathsep) if path]
    try:
        return read(
            f"kubeconfig {listed}", [(path.absolute().parent, _document(path)) for path in paths if path.exists()]
        )
    except _FileError as error:
        raise UnreachableError(one_line(error)) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise UnreachableError(one_line(f"kubeconfig {listed} cannot be used: {error}")) from error


def _document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(_text(path), _LOADER)  # noqa: S506 (it is a safe one)
    except RecursionError as error:
        raise _FileError(f"kubeconfig {path} cannot be used: it is nested too deeply. {_FETCH}") from error
    except OSError as error:
        raise _FileError(
            f"kubeconfig {path} cannot be used: {error.strerror}; see: ls -ld {shlex.quote(str(path))}"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise _FileError(f"kubeconfig {path} cannot be used: {error}. {_FETCH}") from error
    except (AttributeError, KeyError, TypeError) as error:  # PyYAML's way to say that a value does not fit its tag
        raise _FileError(f"kubeconfig {path} cannot be used: a value does not fit its tag. {_FETCH}") from error
    if not isinstance(document, dict | None):
        raise _FileError(f"kubeconfig {path} cannot be used: it is no kubeconfig, which is a mapping. {_FETCH}")
    return cast(dict[str, Any], document or {})


def _text(path: Path) -> str:
    with path.open("rb") as file:  # which may be a device without end
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES:,} bytes, and no kubeconfig has")
    return content.decode()


def _access(origin: str, context: str, files: _Files) -> Access:
    if not files:
        raise ValueError("it does not exist. Fetch one: talosctl kubeconfig")
    entries = [(folder, _entries(document, "contexts")) for folder, document in files]
    _, chosen = _find(entries, "context", context, _Context, f"it has no context {context}", _CHOOSE)
    for what, name in (("cluster", chosen.cluster), ("user", chosen.user)):
        if not name:
            raise ValueError(f"context {context} names no {what}. {_FETCH}")
    found: dict[str, Any] = {}
    for what, name, kind in (("cluster", chosen.cluster, Server), ("user", chosen.user, User)):
        entries = [(folder, _entries(document, f"{what}s")) for folder, document in files]
        missing = f"context {context} names the {what} {name}, which is not there"
        folder, part = _find(entries, what, name, kind, missing, _FETCH)
        try:
            found[what] = _server(part, folder) if isinstance(part, Server) else _user(part, folder)
        except ValueError as error:
            raise ValueError(f"{what} {name} of context {context}: {error}") from error
    return Access(origin, context, found["cluster"], found["user"])


def _entries(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Name -> what the entry says, in one file; as in kubectl, the last of a name counts."""
    entries: Any = document.get(key) or []
    if not isinstance(entries, list):
        raise ValueError(f"{key} is no list. {_FETCH}")
    named = [cast(dict[str, Any], entry) for entry in cast(list[Any], entries) if isinstance(entry, dict)]
    if len(named) != len(cast(list[Any], entries)) or not all(isinstance(entry.get("name"), str) for entry in named):
        raise ValueError(f"{key} has an entry without a name. {_FETCH}")
    return {entry["name"]: entry.get(key.removesuffix("s")) for entry in named}


def _find(
    files: Sequence[tuple[Path, dict[str, Any]]], what: str, name: str, kind: type[_Part], missing: str, fix: str
) -> tuple[Path, _Part]:
    """An entry of the first file that has it, and that file's folder."""
    for folder, entries in files:
        if name in entries:
            if _is_endless(entries[name]):
                raise ValueError(f"{what} {name}: its aliases make it larger than any can be. {_FETCH}")
            try:
                return folder, msgspec.convert(without_nulls(entries[name]) or {}, kind)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{what} {name}: {_plain(error)}. {_FETCH}") from error
    there = dict.fromkeys(each for _, entries in files for each in entries)
    raise ValueError(f"{missing}; it has {', '.join(there) or 'none'}. {fix if there else _FETCH}")


def _is_endless(entry: object) -> bool:
    """Whether aliases make something of an entry that is no entry any more."""
    waiting, seen = [entry], 0
    while waiting and seen <= _MOST_VALUES:
        value, seen = waiting.pop(), seen + 1
        if isinstance(value, dict):
            waiting += cast(dict[object, object], value).values()
        elif isinstance(value, list):
            waiting += cast(list[object], value)
    return bool(waiting)


def _server(server: Server, folder: Path) -> Server:
    url = urlsplit(server.server)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"server is {server.server!r}, and not such as https://10.0.0.10:6443. {_FETCH}")
    if server.insecure_skip_tls_verify and (server.certificate_authority or server.certificate_authority_data):
        raise ValueError("insecure-skip-tls-verify and a certificate authority exclude each other. Take one out")
    _check_base64(server.certificate_authority_data, "certificate-authority-data")
    proxy = urlsplit(server.proxy_url)
    if server.proxy_url and (proxy.scheme not in ("http", "https", "socks5", "socks5h") or not proxy.hostname):
        raise ValueError(
            f"proxy-url is {server.proxy_url!r}, and not such as http://proxy:3128. Correct it, or take it out"
        )
    return msgspec.structs.replace(server, certificate_authority=_absolute(server.certificate_authority, folder))


def _user(user: User, folder: Path) -> User:
    if user.auth_provider is not None:
        raise ValueError(
            "auth-provider was removed from Kubernetes 1.26. Use exec: the vendor's tool writes a new kubeconfig"
        )
    if (user.token or user.token_file) and (user.username or user.password):
        raise ValueError("token and username exclude each other. Take one out")
    for field, data in (("client-certificate", user.client_certificate_data), ("client-key", user.client_key_data)):
        _check_base64(data, f"{field}-data")
    if bool(user.client_certificate or user.client_certificate_data) != bool(user.client_key or user.client_key_data):
        raise ValueError(f"client-certificate and client-key need each other, and one is missing. {_FETCH}")
    if (user.as_uid or user.as_groups or user.as_user_extra) and not user.as_user:
        raise ValueError(
            "as-uid, as-groups and as-user-extra need as: the user to impersonate. Add it, or take them out"
        )
    plugin = user.exec
    if plugin is not None and os.sep in plugin.command:
        plugin = msgspec.structs.replace(plugin, command=_absolute(plugin.command, folder))
    return msgspec.structs.replace(
        user,
        client_certificate=_absolute(user.client_certificate, folder),
        client_key=_absolute(user.client_key, folder),
        token_file=_absolute(user.token_file, folder),
        exec=plugin,
    )


def _absolute(path: str, folder: Path) -> str:
    return str(folder / path) if path else ""


def _check_base64(data: str, field: str) -> None:
    try:
        base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{field} is no base64: {error}. {_FETCH}") from error


def _plain(error: Exception) -> str:
    """Such as `expected str, got int at token`."""
    return (
        "it is nested too deeply"
        if isinstance(error, RecursionError)
        else str(error).replace("`", "").replace(" - at $.", " at ")
    )
