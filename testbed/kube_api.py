"""A small client of the API server: what the test bed asks of it needs no library."""

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 30

Object = dict[str, Any]


@dataclass(frozen=True)
class Access:
    """How to reach a cluster as its administrator."""

    context: str
    server: str
    certificate: Path
    """PEM of the authority that signed the server's certificate."""
    token: str = ""
    client: Path | None = None
    """PEM of a client certificate and its key, where the cluster has these instead of a token."""

    def kubeconfig(self) -> str:
        """A complete kubeconfig; JSON, which is YAML too."""
        authority = base64.b64encode(self.certificate.read_bytes()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": self.context,
                    "cluster": {"server": self.server, "certificate-authority-data": authority},
                }
            ],
            "users": [{"name": self.context, "user": self._user()}],
            "contexts": [{"name": self.context, "context": {"cluster": self.context, "user": self.context}}],
            "current-context": self.context,
        }
        return json.dumps(document, indent=2) + "\n"

    def _user(self) -> dict[str, str]:
        if self.client is None:
            return {"token": self.token}
        both = base64.b64encode(self.client.read_bytes()).decode()  # each reader takes its own from it
        return {"client-certificate-data": both, "client-key-data": both}


class KubeApi:
    """The API server of one cluster. Every method raises OSError when it cannot be reached or refuses."""

    def __init__(self, access: Access) -> None:
        context = ssl.create_default_context(cafile=str(access.certificate))
        if access.client:
            context.load_cert_chain(access.client)
        # no proxy: the address is this machine's own
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)
        self._access = access

    def ready(self) -> bool:
        """Whether the server says that it is ready; False when it does not answer."""
        try:
            return self._request("GET", "/readyz") == b"ok"
        except OSError:
            return False

    def get(self, path: str) -> Object | None:
        """The object at a path, or None when there is none."""
        try:
            return json.loads(self._request("GET", path))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def create(self, path: str, document: Mapping[str, object]) -> None:
        """Creates an object in the collection at a path."""
        self._request("POST", path, document)

    def patch(self, path: str, document: Mapping[str, object]) -> None:
        """Merges a document into the object at a path."""
        self._request("PATCH", path, document, "application/merge-patch+json")

    def delete(self, path: str) -> None:
        """Deletes the object at a path, if there is one."""
        if self.get(path) is not None:
            self._request("DELETE", path)

    def nodes(self) -> dict[str, Object]:
        """Every node by name."""
        found = self.get("/api/v1/nodes") or {}
        return {node["metadata"]["name"]: node for node in found["items"]}

    def _request(
        self,
        method: str,
        path: str,
        document: Mapping[str, object] | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        body = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": content_type}
        if self._access.token:
            headers["Authorization"] = f"Bearer {self._access.token}"
        request = urllib.request.Request(self._access.server + path, data=body, headers=headers, method=method)
        with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            return answer.read()


def is_ready(node: Object) -> bool:
    """Whether a node reports Ready."""
    conditions: list[dict[str, str]] = node.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
