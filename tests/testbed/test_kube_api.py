"""What the small API client makes of kubeconfigs, answers and nodes."""

import base64
import http.server
import json
import ssl
import subprocess
import threading
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.kube_api import Access, KubeApi, is_ready

NODES = {"items": [{"metadata": {"name": "gpu-1"}, "status": {}}]}


class FakeApiServer(http.server.BaseHTTPRequestHandler):
    """Answers two paths, refuses one and knows no other."""

    requests: list[tuple[str, str, str | None]]

    def do_GET(self) -> None:
        answers = {"/readyz": b"ok", "/api/v1/nodes": json.dumps(NODES).encode()}
        self.answer(403 if self.path == "/forbidden" else 200 if self.path in answers else 404)
        self.wfile.write(answers.get(self.path, b"{}"))

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def answer(self, code: int) -> None:
        self.requests.append((self.command, self.path, self.headers["Authorization"]))
        self.content_type = self.headers["Content-Type"]
        self.send_response(code)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    FakeApiServer.requests = []
    folder = tmp_path_factory.mktemp("server")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    names = ["-subj", "/CN=testbed", "-addext", "subjectAltName=IP:127.0.0.1"]
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run([*request, *names], check=True, capture_output=True)
    server = http.server.HTTPServer(("127.0.0.1", 0), FakeApiServer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Access("demo", f"https://127.0.0.1:{server.server_port}", certificate, "secret")
    server.shutdown()


def test_requests_carry_the_token_and_no_proxy_sees_them(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert KubeApi(access).ready()
    assert FakeApiServer.requests[-1] == ("GET", "/readyz", "Bearer secret")


def test_nodes_are_found_by_name(access: Access) -> None:
    assert KubeApi(access).nodes() == {"gpu-1": NODES["items"][0]}


def test_a_missing_object_is_none_and_a_refusal_is_an_error(access: Access) -> None:
    api = KubeApi(access)
    assert api.get("/api/v1/nodes/ghost") is None
    with pytest.raises(urllib.error.HTTPError):
        api.get("/forbidden")


def test_deleting_a_missing_object_asks_the_server_for_nothing_more(access: Access) -> None:
    KubeApi(access).delete("/api/v1/nodes/ghost")
    assert FakeApiServer.requests[-1][0] == "GET"


def test_a_server_that_does_not_answer_is_not_ready(access: Access) -> None:
    assert not KubeApi(Access("demo", "https://127.0.0.1:1", access.certificate, "secret")).ready()


def test_the_kubeconfig_is_complete_and_names_one_context(access: Access) -> None:
    """It is copied about, so the certificate is in it and not a path."""
    document = json.loads(access.kubeconfig())
    cluster = document["clusters"][0]["cluster"]
    assert document["current-context"] == document["contexts"][0]["name"] == "demo"
    assert base64.b64decode(cluster["certificate-authority-data"]) == access.certificate.read_bytes()
    assert (cluster["server"], document["users"][0]["user"]) == (access.server, {"token": "secret"})


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        ([{"type": "Ready", "status": "True"}], True),
        ([{"type": "Ready", "status": "Unknown"}], False),
        ([{"type": "DiskPressure", "status": "True"}], False),
        ([], False),
    ],
)
def test_a_node_is_ready_only_when_it_says_so(conditions: list[dict[str, str]], ready: bool) -> None:
    assert is_ready({"status": {"conditions": conditions}}) is ready
