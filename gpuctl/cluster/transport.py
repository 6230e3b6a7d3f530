"""The way to an API server: TLS and proxy, as a kubeconfig has them."""

import base64
import ssl
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from gpuctl.cluster.kubeconfig import Access, Server, User

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def options(access: Access, certificate: tuple[str, str] | None, timeout: httpx2.Timeout) -> dict[str, Any]:
    """What an httpx2 client of the cluster is made with.

    Args:
        access: the cluster.
        certificate: client certificate and key in PEM that a login command gave.
        timeout: of each read and write.

    Raises:
        OSError, ValueError: a certificate or key cannot be used.
    """
    return {
        "base_url": access.server.server,
        "verify": _tls(access.server, access.user, certificate),
        "proxy": _proxy(access.server),
        "trust_env": False,
        "timeout": timeout,
        "headers": {"Accept-Encoding": "identity"} if access.server.disable_compression else None,
    }


def extensions(server: Server) -> dict[str, Any]:
    """What each request carries beside its headers: the name that the server's certificate has to have."""
    return {"sni_hostname": server.tls_server_name} if server.tls_server_name else {}


def _proxy(server: Server) -> str | None:
    """The kubeconfig's own, else that of the environment; none to this machine, as in Go."""
    if server.proxy_url:
        return server.proxy_url
    url = urlsplit(server.server)
    if url.hostname in _LOOPBACK or proxy_bypass(url.netloc.rpartition("@")[2]):
        return None
    return getproxies().get(url.scheme)


def _tls(server: Server, user: User, certificate: tuple[str, str] | None) -> ssl.SSLContext:
    if not server.server.startswith("https:"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used
    elif server.insecure_skip_tls_verify:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif server.certificate_authority_data:
        authority = base64.b64decode(server.certificate_authority_data).decode("ascii", "replace")
        context = _named("certificate-authority-data", ssl.create_default_context, cadata=authority)
    else:
        path = server.certificate_authority or None
        context = _named(f"certificate-authority {path}", ssl.create_default_context, cafile=path)
    # Python 3.13 and later refuse authorities without a key identifier, which other clients of Kubernetes take.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    _load_certificate(context, user, certificate)
    return context


def _load_certificate(context: ssl.SSLContext, user: User, certificate: tuple[str, str] | None) -> None:
    if certificate is not None:
        parts: list[bytes | str] = [each.encode() for each in certificate]
    elif user.client_certificate or user.client_certificate_data:
        pairs = ((user.client_certificate_data, user.client_certificate), (user.client_key_data, user.client_key))
        parts = [base64.b64decode(data) if data else path for data, path in pairs]
    else:
        return
    with ExitStack() as stack:  # Python reads certificates from files only
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpuctl-")))
        files = [_file(part, folder / name) for part, name in zip(parts, ("certificate", "key"), strict=True)]
        _named("client-certificate", context.load_cert_chain, *files, password=_no_password)


def _file(part: bytes | str, path: Path) -> str:
    if isinstance(part, str):
        return part
    path.write_bytes(part)
    return str(path)


def _no_password() -> str:
    """Nobody is asked at a terminal; kubectl does not read encrypted keys either."""
    raise ValueError("the key is encrypted")


def _named(field: str, load: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return load(*args, **kwargs)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(f"{field} cannot be used: {reason}") from error
