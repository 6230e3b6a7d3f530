"""Credentials as kubectl has them: certificates, tokens, login commands, impersonation; all else is refused by name."""

import base64
import json
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuctl.cluster import Cluster, ClusterError, UnreachableError, connect
from tests.fixtures.api_server import ApiServer, certificate, expired, serving, tls

CONTEXT = "admin@lab"
NODES = "/api/v1/nodes?limit=500"
V1 = "client.authentication.k8s.io/v1"
V1BETA1 = "client.authentication.k8s.io/v1beta1"
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("certificates")
    return {
        "server": certificate(folder, "kube.lab", "127.0.0.1"),
        "named": certificate(folder, "api.internal"),
        "client": certificate(folder, "admin"),
    }


@pytest.fixture
def api_server(certificates: dict[str, Path]) -> Iterator[ApiServer]:
    with serving(tls(certificates["server"], certificates["client"])) as server:
        server.answer(NODES, {"items": [{"metadata": {"name": "gpu-1"}}]})
        yield server


@pytest.fixture
def write(
    tmp_path: Path, api_server: ApiServer, certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Write:
    """Writes a kubeconfig of the server with this user and further fields of the cluster."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("gpuctl.cluster.api._PAUSES", (0, 0))

    def write(user: Any, name: str = "kubeconfig", **cluster: Any) -> Path:
        there = {"server": api_server.url, "certificate-authority": str(certificates["server"])} | cluster
        document = {
            "clusters": [{"name": "lab", "cluster": {key: value for key, value in there.items() if value is not None}}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": "lab", "user": "admin"}}],
            "users": [{"name": "admin", "user": user}],
        }
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document))
        return path

    return write


def test_an_api_server_whose_certificate_has_expired_is_not_believed(
    certificates: dict[str, Path], write: Write
) -> None:
    ended = expired(certificates["server"])
    with serving(tls(ended)) as server, pytest.raises(UnreachableError) as error:
        _names(write({"token": "x"}, server=server.url, **{"certificate-authority": str(ended)}))
    assert f"context {CONTEXT} ({server.url}) cannot be reached" in str(error.value)
    assert "certificate has expired" in str(error.value)


def _connected(path: Path) -> Cluster:
    return connect(CONTEXT, str(path))


def _names(path: Path) -> list[str]:
    return [node.name for node in _connected(path).nodes()]


def _refusal(path: Path) -> str:
    with pytest.raises(ClusterError) as error:
        _connected(path).nodes()
    message = str(error.value)
    assert "\n" not in message
    return message


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _plugin(tmp_path: Path, body: str, name: str = "login") -> str:
    """A login command that notes each of its runs."""
    path = tmp_path / name
    path.write_text(
        f"#!{sys.executable}\nimport json, os, sys, time\nopen({str(path) + '.runs'!r}, 'a').write('.')\n{body}\n"
    )
    path.chmod(0o755)
    return str(path)


def _runs(command: str) -> int:
    return len(Path(f"{command}.runs").read_text())


def _says(version: str = V1, **status: Any) -> str:
    return f"print(json.dumps({ {'apiVersion': version, 'kind': 'ExecCredential', 'status': status}!r}))"


def _login(command: str, version: str = V1, **fields: Any) -> dict[str, Any]:
    mode = {"interactiveMode": "Never"} if version == V1 else {}
    return {"exec": {"apiVersion": version, "command": command, **mode, **fields}}


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({"token": "secret"}, "Bearer secret"),
        ({"username": "admin", "password": "päss"}, "Basic YWRtaW46cMOkc3M="),
        ({}, None),
        (None, None),
    ],
)
def test_tokens_and_passwords_are_sent(user: Any, header: str | None, write: Write, api_server: ApiServer) -> None:
    assert _names(write(user)) == ["gpu-1"]
    assert api_server.tokens == [header]


def test_a_token_file_counts_before_a_token_and_is_read_again(
    write: Write, api_server: ApiServer, tmp_path: Path
) -> None:
    """The kubelet, and cloud tools, renew such files."""
    (tmp_path / "token").write_text("first\n")
    cluster = _connected(write({"tokenFile": "token", "token": "stale"}))
    cluster.nodes()
    (tmp_path / "token").write_text("second\n")
    cluster.nodes()
    assert api_server.tokens == ["Bearer first", "Bearer second"]


def test_a_client_certificate_is_shown_from_a_file_and_from_data(
    write: Write, api_server: ApiServer, certificates: dict[str, Path]
) -> None:
    client = certificates["client"]
    key = client.with_suffix(".key")
    assert _names(write({"client-certificate": str(client), "client-key": str(key)})) == ["gpu-1"]
    assert _names(write({"client-certificate-data": _data(client), "client-key-data": _data(key)})) == ["gpu-1"]
    wrapped = {name: textwrap.fill(_data(path), 64) for name, path in (("certificate", client), ("key", key))}
    assert _names(write({f"client-{name}-data": data for name, data in wrapped.items()})) == ["gpu-1"]
    beside = {"client-certificate": "beside.crt", "client-key": "beside.key"}
    path = write(beside)
    for name, original in (("beside.crt", client), ("beside.key", key)):
        path.with_name(name).write_bytes(original.read_bytes())
    assert _names(path) == ["gpu-1"]
    assert [request.certificate for request in api_server.requests] == ["admin"] * 4


def test_a_server_is_known_by_its_authority_its_name_or_not_at_all(write: Write, certificates: dict[str, Path]) -> None:
    server = certificates["server"]
    assert _names(write({}, **{"certificate-authority": None, "certificate-authority-data": _data(server)})) == [
        "gpu-1"
    ]
    assert _names(write({}, **{"tls-server-name": "kube.lab"})) == ["gpu-1"]
    assert _names(write({}, **{"certificate-authority": None, "insecure-skip-tls-verify": True})) == ["gpu-1"]
    assert "certificate verify failed" in _refusal(write({}, **{"tls-server-name": "other.lab"}))
    assert "certificate verify failed" in _refusal(write({}, **{"certificate-authority": str(certificates["named"])}))


def test_a_proxy_of_the_kubeconfig_is_asked(write: Write) -> None:
    """Here it is none, so that the way goes through it is seen by its failing."""
    assert "Connection refused" in _refusal(write({}, **{"proxy-url": "http://127.0.0.1:1"}))


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert _names(write({})) == ["gpu-1"]


def test_whom_to_act_as_is_sent_with_every_request(write: Write, api_server: ApiServer) -> None:
    path = write(
        {
            "token": "x",
            "as": "root",
            "as-uid": "7",
            "as-groups": ["system:masters", "gpu-users"],
            "as-user-extra": {"Scopes/A": ["one", "two"]},
        }
    )
    cluster = _connected(path)
    cluster.nodes()
    with pytest.raises(ClusterError):
        cluster.create({"kind": "Namespace", "metadata": {"name": "gpu"}})
    with pytest.raises(ClusterError):
        cluster.execute("agent", "gpu", ["nvidia-smi"])
    assert [request.method for request in api_server.requests] == ["GET", "POST", "GET"]
    for request in api_server.requests:
        assert request.headers.get_all("Impersonate-User") == ["root"]
        assert request.headers.get_all("Impersonate-Uid") == ["7"]
        assert request.headers.get_all("Impersonate-Group") == ["system:masters", "gpu-users"]
        assert request.headers.get_all("Impersonate-Extra-scopes%2Fa") == ["one", "two"]
        assert request.headers["Authorization"] == "Bearer x"


@pytest.mark.parametrize("version", [V1, V1BETA1])
def test_a_login_command_is_run_once_for_many_requests(
    version: str, write: Write, api_server: ApiServer, tmp_path: Path
) -> None:
    command = _plugin(tmp_path, _says(version, token="fresh"))
    cluster = _connected(write(_login(command, version)))
    cluster.nodes()
    cluster.nodes()
    assert api_server.tokens == ["Bearer fresh", "Bearer fresh"]
    assert _runs(command) == 1


@pytest.mark.parametrize(("expires", "runs"), [("2020-01-01T00:00:00Z", 2), ("2999-01-01T00:00:00Z", 1)])
def test_a_login_command_is_run_again_when_what_it_gave_expires(
    expires: str, runs: int, write: Write, tmp_path: Path
) -> None:
    command = _plugin(tmp_path, _says(token="fresh", expirationTimestamp=expires))
    cluster = _connected(write(_login(command)))
    cluster.nodes()
    cluster.nodes()
    assert _runs(command) == runs


def test_a_login_command_is_run_once_more_when_the_server_does_not_accept_what_it_gave(
    write: Write, api_server: ApiServer, tmp_path: Path
) -> None:
    body = f"token = 'stale' if len(open({str(tmp_path / 'login.runs')!r}).read()) == 1 else 'fresh'\n"
    command = _plugin(tmp_path, body + _says(token="TOKEN").replace("'TOKEN'", "token"))
    api_server.tokens_accepted = {"fresh"}
    assert _names(write(_login(command))) == ["gpu-1"]
    assert api_server.tokens == ["Bearer stale", "Bearer fresh"]
    api_server.tokens_accepted = set()
    assert "cannot be reached: Unauthorized. Fetch new credentials: talosctl kubeconfig" in _refusal(
        write(_login(command))
    )
    assert _runs(command) == 4


def test_a_login_command_may_give_a_client_certificate(
    write: Write, api_server: ApiServer, certificates: dict[str, Path], tmp_path: Path
) -> None:
    client = certificates["client"]
    pem = {"clientCertificateData": client.read_text(), "clientKeyData": client.with_suffix(".key").read_text()}
    assert _names(write(_login(_plugin(tmp_path, _says(**pem))))) == ["gpu-1"]
    assert [request.certificate for request in api_server.requests] == ["admin"]


def test_a_login_command_gets_its_arguments_its_environment_and_the_cluster(
    write: Write, api_server: ApiServer, tmp_path: Path, certificates: dict[str, Path]
) -> None:
    seen = tmp_path / "seen"
    given = "[sys.argv[1:], os.environ['REGION'], os.environ['KUBERNETES_EXEC_INFO']]"
    body = f"json.dump({given}, open({str(seen)!r}, 'w'))\n"
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "lab"}}
    fields: dict[str, Any] = {
        "args": ["get-token"],
        "env": [{"name": "REGION", "value": "home"}],
        "provideClusterInfo": True,
    }
    _names(write(_login(_plugin(tmp_path, body + _says(token="x")), **fields), extensions=[extension]))
    arguments, region, information = json.loads(seen.read_text())
    assert (arguments, region) == (["get-token"], "home")
    assert json.loads(information) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": api_server.url,
                "certificate-authority-data": _data(certificates["server"]),
                "config": {"audience": "lab"},
            },
        },
    }


def test_a_login_command_is_searched_beside_the_kubeconfig_when_it_is_a_path(write: Write, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    _plugin(tmp_path / "bin", _says(token="x"))
    assert _names(write(_login("./bin/login"))) == ["gpu-1"]


def test_a_login_command_that_hangs_is_ended_with_all_it_started(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuctl.cluster.credentials._SECONDS", 5)
    child = tmp_path / "child"
    started = "str(subprocess.Popen(['sleep', '300']).pid)"
    body = f"import subprocess\nopen({str(child)!r}, 'w').write({started})\ntime.sleep(300)"
    command = _plugin(tmp_path, body)
    path = write(_login(command))
    begin = time.monotonic()
    assert _refusal(path) == (
        f"kubeconfig {path}: context {CONTEXT} cannot log in: its login command {command} gave no answer within 5 s. "
        "Run it by hand to see why"
    )
    assert time.monotonic() - begin < 20
    state = Path(f"/proc/{child.read_text()}/stat")
    while time.monotonic() - begin < 20 and state.exists() and state.read_text().split()[2] != "Z":
        time.sleep(0.02)
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("body", "fields", "reason"),
    [
        ("sys.exit('no\\nsession')", {}, "ended with exit code 1: no session"),
        ("print('hello')", {}, "printed no ExecCredential: JSON is malformed"),
        ("print('[' * 100000)", {}, "printed no ExecCredential: "),
        (_says(V1BETA1, token="x"), {}, f"answered in '{V1BETA1}', and was asked in {V1}"),
        (_says(), {}, "gave neither token nor client certificate"),
        (_says(clientKeyData="x"), {}, "gave a client certificate or key without the other"),
        (_says(clientCertificateData="x", clientKeyData="x"), {}, "client-certificate cannot be used: "),
        ("", {"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "exec.apiVersion is 'client.authentication"),
        ("", {"interactiveMode": None}, "exec.interactiveMode is not set, and has to be Never, IfAvailable or Always"),
        ("", {"interactiveMode": "Always"}, "asks a person (interactiveMode: Always), and no terminal is there"),
    ],
)
def test_a_login_command_that_gives_nothing_is_named_with_the_reason(
    body: str, fields: dict[str, Any], reason: str, write: Write, tmp_path: Path
) -> None:
    message = _refusal(
        write(_login(_plugin(tmp_path, body)) | {"exec": _login(_plugin(tmp_path, body), **fields)["exec"]})
    )
    assert reason in message
    assert CONTEXT in message


def test_a_login_command_that_is_not_installed_is_named_with_how_to_get_it(write: Write) -> None:
    path = write(_login("no-such-login", installHint="brew install\nno-such-login"))
    assert _refusal(path) == (
        f"kubeconfig {path}: context {CONTEXT} cannot log in: its login command no-such-login is not installed. "
        "brew install no-such-login"
    )


def test_arguments_of_a_login_command_are_not_repeated(write: Write) -> None:
    """Some are secrets."""
    assert "hunter2" not in _refusal(write(_login("false", args=["--client-secret=hunter2"])))


@pytest.mark.parametrize(
    ("user", "cluster", "reason"),
    [
        ({"auth-provider": {"name": "oidc"}}, {}, "auth-provider was removed from Kubernetes 1.26. Use exec"),
        ({"token": 5}, {}, "user admin: Expected str, got int at token"),
        ({"token": "x", "username": "y"}, {}, "token and username exclude each other"),
        ({"tokenFile": "x", "password": "y"}, {}, "token and username exclude each other"),
        ({"as-groups": ["a"]}, {}, "as-uid, as-groups and as-user-extra need as"),
        ({"as-uid": "a"}, {}, "as-uid, as-groups and as-user-extra need as"),
        ({"as-user-extra": {"a": ["b"]}}, {}, "as-uid, as-groups and as-user-extra need as"),
        ({"client-certificate-data": "?"}, {}, "client-certificate-data is no base64"),
        ({"client-certificate": "a.crt"}, {}, "client-certificate and client-key need each other"),
        ({"client-certificate": "a.crt", "client-key": "a"}, {}, "client-certificate cannot be used: No such file"),
        ({"tokenFile": "gone"}, {}, "cannot log in: tokenFile: "),
        ({"token": "a\nb"}, {}, "cannot be reached: "),
        ({}, {"server": None}, "server is '', and not such as https://10.0.0.10:6443"),
        ({}, {"server": "ftp://x"}, "server is 'ftp://x'"),
        ({}, {"server": "https://["}, ""),
        (
            {},
            {"insecure-skip-tls-verify": True},
            "insecure-skip-tls-verify and a certificate authority exclude each other",
        ),
        ({}, {"insecure-skip-tls-verify": "yes"}, "cluster lab: Expected bool, got str at insecure-skip-tls-verify"),
        ({}, {"certificate-authority": "gone.crt"}, "gone.crt cannot be used: No such file"),
        (
            {},
            {"certificate-authority-data": "eA==", "certificate-authority": None},
            "certificate-authority-data cannot be used",
        ),
        ({}, {"proxy-url": "ftp://x"}, "proxy-url is 'ftp://x'"),
    ],
)
def test_what_cannot_be_used_is_refused_by_the_name_of_its_field(
    user: dict[str, Any], cluster: dict[str, Any], reason: str, write: Write
) -> None:
    path = write(user, **cluster)
    message = _refusal(path)
    assert reason in message
    assert CONTEXT in message or "cluster lab" in message or "user admin" in message


def test_a_relative_path_is_that_of_the_file_it_stands_in(
    write: Write, tmp_path: Path, certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "one" / "other"
    other.parent.mkdir()
    other.write_text("contexts: [{name: other, context: {cluster: o, user: o}}]")
    path = write({"tokenFile": "token"}, name="two/kubeconfig", **{"certificate-authority": "ca.crt"})
    path.with_name("ca.crt").write_bytes(certificates["server"].read_bytes())
    path.with_name("token").write_text("x")
    monkeypatch.setenv("KUBECONFIG", f"{other}{os.pathsep}{path}")
    assert [node.name for node in connect(CONTEXT, None).nodes()] == ["gpu-1"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 5000, "exceeded maximum nesting depth"),
        ("a: " + "x" * 20_000_000, "it has more than 2,000,000 bytes, and no kubeconfig has"),
        ("- admin@lab", "it is no kubeconfig, which is a mapping. Fetch a new one: talosctl kubeconfig"),
        ("contexts: admin@lab", "contexts is no list. Fetch a new one: talosctl kubeconfig"),
        ("contexts: [zz]", "contexts has an entry without a name. Fetch a new one: talosctl kubeconfig"),
        ("contexts: [{name: admin@lab}]", "context admin@lab names no cluster. Fetch a new one: talosctl kubeconfig"),
        (
            "contexts: [{name: admin@lab, context: {cluster: zz, user: u}}]",
            "context admin@lab names the cluster zz, which is not there; it has none",
        ),
        ("contexts: [{name: admin@lab, context: [context]}]", "context admin@lab: Expected object, got array. Fetch"),
        ("a: 2020-99-99", "month must be in 1..12"),
        ("\x00", "unacceptable character"),
        (
            "a0: &a0 [x, x]\n"
            + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 25))
            + "contexts: [{name: admin@lab, context: {cluster: *a24}}]",
            "context admin@lab: its aliases make it larger than any can be",
        ),
    ],
    ids=lambda text: text[:30],
)
def test_a_file_that_is_no_kubeconfig_is_refused_in_one_line_that_makes_sense(
    text: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    begin = time.monotonic()
    message = _refusal(path)
    assert message.startswith(f"kubeconfig {path} cannot be used: ")
    assert reason in message
    assert time.monotonic() - begin < 10


def test_the_file_that_is_broken_is_the_one_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good").write_text("contexts: []")
    (tmp_path / "bad").write_text("contexts: [")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/good{os.pathsep}{tmp_path}/bad")
    with pytest.raises(UnreachableError, match=f"^kubeconfig {tmp_path}/bad cannot be used: "):
        connect(CONTEXT, None)
