"""One cluster is spoken to: that of the context which the stack names, as kubectl would find it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuctl.cluster import (
    AccessDeniedError,
    ClusterError,
    RejectedError,
    UnreachableError,
    UnreadableError,
    connect,
    connect_in_cluster,
)
from gpuctl.cluster.kubeconfig import contexts, service_account
from tests.fixtures.api_server import ApiServer, serving

NODES = {
    "apiVersion": "v1",
    "kind": "NodeList",
    "metadata": {"resourceVersion": "1"},
    "items": [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}} for name in ("cp-1", "gpu-1")],
}

EXIT_CODE = {"reason": "ExitCode", "message": "15"}


def _status(code: int, reason: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": f"the server says {reason}",
    }


@pytest.fixture
def api_server() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the user's kubeconfig nor a proxy is in the way."""
    monkeypatch.setattr("gpuctl.cluster.api._PAUSES", (0, 0))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in list(os.environ):
        if name == "KUBECONFIG" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def _kubeconfig(path: Path, *contexts: str, server: str = "http://127.0.0.1:1", **user: Any) -> Path:
    """A file in which each context has a cluster of its own; all have one user."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server}} for name in contexts],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "admin"}} for name in contexts],
        "users": [{"name": "admin", "user": user or {"token": path.name}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def _refusal(context: str, kubeconfig: Path | str | None) -> str:
    with pytest.raises(ClusterError) as error:
        connect(context, str(kubeconfig) if kubeconfig else None).nodes()
    return str(error.value)


def test_a_cluster_tells_the_names_of_its_nodes(api_server: ApiServer, tmp_path: Path) -> None:
    api_server.answer("/api/v1/nodes?limit=500", NODES)
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    assert [node.name for node in cluster.nodes()] == ["cp-1", "gpu-1"]
    assert api_server.tokens == ["Bearer lab"]


def test_the_stacks_own_kubeconfig_counts_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path / "environment", "elsewhere")))
    own = _kubeconfig(tmp_path / "own", "admin@lab")
    assert connect("admin@lab", str(own))
    assert (
        _refusal("elsewhere", own)
        == f"kubeconfig {own} cannot be used: it has no context elsewhere; it has admin@lab. "
        "Choose one of them in gpu:context, or fetch what is missing: talosctl kubeconfig"
    )


def test_the_context_may_stand_in_any_file_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As for kubectl: KUBECONFIG lists files, and those that do not exist are passed over."""
    files = [
        _kubeconfig(tmp_path / "one", "admin@lab"),
        tmp_path / "missing",
        _kubeconfig(tmp_path / "two", "admin@homelab"),
    ]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, files)) + os.pathsep)
    assert connect("admin@lab", None)
    assert connect("admin@homelab", None)


def test_the_first_file_that_has_a_name_counts(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For clusters, contexts and users alike, as for kubectl."""
    api_server.answer("/api/v1/nodes?limit=500", NODES)
    first = _kubeconfig(tmp_path / "first", "admin@lab", server=api_server.url)
    second = _kubeconfig(tmp_path / "second", "admin@lab", server="http://127.0.0.1:1")
    monkeypatch.setenv("KUBECONFIG", f"{first}{os.pathsep}{second}")
    assert [node.name for node in connect("admin@lab", None).nodes()] == ["cp-1", "gpu-1"]
    assert api_server.tokens == ["Bearer first"]


def test_the_usual_kubeconfig_is_the_last_resort(tmp_path: Path) -> None:
    assert "kubeconfig ~/.kube/config cannot be used: it does not exist" in _refusal("admin@lab", None)
    _kubeconfig(tmp_path / "home" / ".kube" / "config", "admin@lab")
    assert connect("admin@lab", None)


def test_a_home_folder_may_be_written_as_a_tilde(tmp_path: Path) -> None:
    _kubeconfig(tmp_path / "home" / "lab.yaml", "admin@lab")
    assert connect("admin@lab", "~/lab.yaml")


def test_a_missing_file_names_the_command_that_fetches_one(tmp_path: Path) -> None:
    path = tmp_path / "nowhere"
    assert _refusal("admin@lab", path) == (
        f"kubeconfig {path} cannot be used: it does not exist. Fetch one: talosctl kubeconfig"
    )


def test_a_file_without_any_context_says_so(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert _refusal("admin@lab", path) == (
        f"kubeconfig {path} cannot be used: it has no context admin@lab; it has none. "
        "Fetch a new one: talosctl kubeconfig"
    )


@pytest.mark.parametrize(
    "text",
    [
        "contexts: [",
        "- admin@lab",
        "admin@lab",
        "contexts: admin@lab",
        "contexts: [admin@lab]",
        "contexts: [{context: {}}]",
        "contexts: [{name: admin@lab, context: {cluster: lab, user: admin}}]",
        "contexts: [{name: admin@lab}]",
        "\x00",
    ],
)
def test_a_file_that_is_no_kubeconfig_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    assert _refusal("admin@lab", path).startswith(f"kubeconfig {path} cannot be used: ")


@pytest.mark.parametrize(
    "user",
    [
        {"client-certificate": "gone.crt", "client-key": "gone.key"},
        {"client-certificate-data": "bm9uZQ==", "client-key-data": "bm9uZQ=="},
        {"auth-provider": {"name": "oidc"}},
    ],
    ids=["certificate that is gone", "certificate that is none", "login that is not supported"],
)
def test_credentials_that_cannot_be_used_are_told(user: dict[str, Any], tmp_path: Path) -> None:
    path = _kubeconfig(tmp_path / "lab", "admin@lab", **user)
    assert _refusal("admin@lab", path).startswith(f"kubeconfig {path} cannot be used: ")


def test_a_context_without_a_user_is_told(tmp_path: Path) -> None:
    """kubectl would ask for a password; nobody is there to give one."""
    path = _kubeconfig(tmp_path / "lab", "admin@lab")
    document = yaml.safe_load(path.read_text())
    del document["contexts"][0]["context"]["user"]
    path.write_text(yaml.safe_dump(document))
    assert _refusal("admin@lab", path) == (
        f"kubeconfig {path} cannot be used: context admin@lab names no user. Fetch a new one: talosctl kubeconfig"
    )


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("false", "its login command false ended with exit code 1: it says nothing"),
        ("no-such-login-tool", "its login command no-such-login-tool is not installed. Install it"),
    ],
)
def test_a_login_command_that_fails_is_told(command: str, reason: str, tmp_path: Path) -> None:
    login = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": command}
    path = _kubeconfig(tmp_path / "lab", "admin@lab", exec=login)
    message = _refusal("admin@lab", path)
    assert message.startswith(f"kubeconfig {path}: context admin@lab cannot log in: {reason}")


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    path = _kubeconfig(tmp_path / "lab", "admin@lab", server="http://127.0.0.1:1")
    assert _refusal("admin@lab", path).startswith("context admin@lab (http://127.0.0.1:1) cannot be reached: ")


def test_a_server_that_refuses_is_quoted(api_server: ApiServer, tmp_path: Path) -> None:
    api_server.answer("/api/v1/nodes?limit=500", _status(403, "Forbidden"), 403)
    path = _kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)
    assert _refusal("admin@lab", path) == (f"context admin@lab ({api_server.url}) refuses: the server says Forbidden")


@pytest.mark.parametrize("code", [200, 502])
def test_what_answers_but_is_no_api_server_is_told(code: int, api_server: ApiServer, tmp_path: Path) -> None:
    """A proxy's page, or a login page."""
    api_server.answer("/api/v1/nodes?limit=500", "<html>Please log in</html>", code)
    path = _kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)
    assert _refusal("admin@lab", path).startswith(f"context admin@lab ({api_server.url}) cannot be reached: ")


@pytest.mark.parametrize(
    ("kind", "path"),
    [("Namespace", "/api/v1/namespaces/gpus"), ("RuntimeClass", "/apis/node.k8s.io/v1/runtimeclasses/gpus")],
)
def test_an_object_is_plain_data_and_one_that_is_not_there_is_none(
    kind: str, path: str, api_server: ApiServer, tmp_path: Path
) -> None:
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    found = {"kind": kind, "metadata": {"name": "gpus", "labels": {"team": "vision"}}, "handler": "gpus"}
    api_server.answer(path, found)
    assert cluster.get(kind, "gpus") == found
    api_server.answer(path, _status(404, "NotFound"), 404)
    assert cluster.get(kind, "gpus") is None


def test_an_object_that_may_not_be_read_is_an_error_and_not_absent(api_server: ApiServer, tmp_path: Path) -> None:
    api_server.answer("/api/v1/namespaces/gpus", _status(403, "Forbidden"), 403)
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    with pytest.raises(AccessDeniedError, match="refuses: the server says Forbidden"):
        cluster.get("Namespace", "gpus")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (401, UnreachableError),
        (403, AccessDeniedError),
        (409, RejectedError),
        (422, RejectedError),
        (503, UnreachableError),
    ],
)
def test_an_error_tells_whether_asking_again_or_somebody_else_can_help(
    code: int, error: type[ClusterError], api_server: ApiServer, tmp_path: Path
) -> None:
    api_server.answer("/version", _status(code, "No"), code)
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    with pytest.raises(error, match="the server says No"):
        cluster.version()


def test_a_list_keeps_the_parts_that_count_and_no_managed_fields(api_server: ApiServer, tmp_path: Path) -> None:
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    node = {
        "metadata": {"name": "gpu-1", "managedFields": [{"manager": "kubelet"}]},
        "status": {"capacity": {"nvidia.com/gpu": "8", "memory": "1Ki"}, "allocatable": {"nvidia.com/gpu": "7"}},
    }
    api_server.answer("/api/v1/nodes?limit=500", {"metadata": {}, "items": [node]})
    [found] = cluster.nodes()
    assert (found.name, found.capacity("nvidia.com/gpu"), found.allocatable("nvidia.com/gpu")) == ("gpu-1", 8, 7)
    assert "managed" not in repr(found)


@pytest.mark.parametrize(("code", "error"), [(403, AccessDeniedError), (404, RejectedError), (500, UnreachableError)])
def test_a_command_in_a_pod_that_is_refused_is_told_like_any_other_request(
    code: int, error: type[ClusterError], api_server: ApiServer, tmp_path: Path
) -> None:
    """500 is a kubelet that does not answer."""
    path = "/api/v1/namespaces/gpu/pods/agent/exec?command=nvidia-smi&stdout=true&stderr=true"
    api_server.answer(path, _status(code, "No"), code)
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    with pytest.raises(error, match=f"{code} to a command in a pod"):
        cluster.execute("agent", "gpu", ["nvidia-smi"])


EXEC = "/api/v1/namespaces/gpu/pods/agent/exec?container=main&command=sh&command=-c&stdout=true&stderr=true"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"status": "Success"}, 0),
        ({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [EXIT_CODE]}}, 15),
    ],
)
def test_a_command_in_a_pod_has_its_output_and_its_exit_code(
    status: dict[str, Any], code: int, api_server: ApiServer, tmp_path: Path
) -> None:
    """More than one message of output, in the order in which it was written."""
    said = json.dumps({"kind": "Status", "metadata": {}, **status}).encode()
    api_server.commands[EXEC] = [b"\x01GPU 0\n", b"\x02warning", b"\x01GPU 1\n", b"\x03" + said]
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    assert cluster.execute("agent", "gpu", ["sh", "-c"], container="main") == ("GPU 0\nGPU 1\n", "warning", code)
    assert api_server.tokens == ["Bearer lab"]


@pytest.mark.parametrize(
    ("messages", "error", "message"),
    [
        (
            [b'\x03{"status": "Failure", "reason": "InternalError", "message": "no sh"}'],
            RejectedError,
            "refuses: no sh",
        ),
        ([b"\x03?"], RejectedError, "does not say how a command in a pod ended"),
        ([b"\x01half"], UnreachableError, "the connection to a pod broke off"),
    ],
)
def test_a_command_in_a_pod_that_does_not_end_well_is_an_error(
    messages: list[bytes], error: type[ClusterError], message: str, api_server: ApiServer, tmp_path: Path
) -> None:
    api_server.commands[EXEC] = messages
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    with pytest.raises(error, match=message):
        cluster.execute("agent", "gpu", ["sh", "-c"], container="main")


def test_a_list_comes_in_parts_and_names_what_it_could_not_read_once(api_server: ApiServer, tmp_path: Path) -> None:
    """The list goes on past an object without a name; a list that is read again says the same once."""
    first: dict[str, Any] = {
        "metadata": {"continue": "c/2"},
        "items": [{"metadata": {"name": "one"}}, {"metadata": {"name": 1}}],
    }
    second: dict[str, Any] = {
        "metadata": {},
        "items": [{"metadata": {"name": "two", "namespace": "a"}, "status": {"phase": 7}}],
    }
    api_server.answer("/api/v1/pods?limit=500", first)
    api_server.answer("/api/v1/pods?limit=500&continue=c%2F2", second)
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    for _ in range(2):
        assert [pod.name for pod in cluster.pods()] == ["one", "two"]
        assert [str(each) for each in cluster.unreadable] == [
            "Pod items[1]: it has no readable metadata; the object is left out",
            "Pod a/two: status.phase is not a text",
        ]


def test_an_evicted_pod_with_times_of_null_is_read_like_any_other(api_server: ApiServer, tmp_path: Path) -> None:
    ended: dict[str, Any] = {"terminated": {"exitCode": 137, "startedAt": None, "finishedAt": None}}
    status: dict[str, Any] = {"phase": "Failed", "containerStatuses": [{"name": "c", "lastState": {}, "state": ended}]}
    api_server.answer("/api/v1/pods?limit=500", {"items": [{"metadata": {"name": "evicted-1"}, "status": status}]})
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    assert [pod.status.phase for pod in cluster.pods()] == ["Failed"]
    assert not cluster.unreadable


def test_an_answer_that_is_json_and_no_list_is_no_unreachable_cluster(api_server: ApiServer, tmp_path: Path) -> None:
    api_server.answer("/api/v1/nodes?limit=500", {"items": 7})
    path = _kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)
    with pytest.raises(UnreadableError, match="it answers with what is no such object"):
        connect("admin@lab", str(path)).nodes()


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_that_has_taken_on_too_much_is_asked_again(code: int, api_server: ApiServer, tmp_path: Path) -> None:
    api_server.answer("/api/v1/nodes?limit=500", _status(code, "Busy"), code)
    api_server.answer_then("/api/v1/nodes?limit=500", _status(code, "Busy"), code)
    api_server.answer_then("/api/v1/nodes?limit=500", NODES)
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    assert [node.name for node in cluster.nodes()] == ["cp-1", "gpu-1"]


def test_a_server_that_stays_busy_is_asked_three_times(api_server: ApiServer, tmp_path: Path) -> None:
    api_server.answer("/api/v1/nodes?limit=500", _status(429, "Busy"), 429)
    assert "Busy" in _refusal("admin@lab", _kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url))
    assert len(api_server.requests) == 3


def test_a_server_that_wants_a_long_pause_is_not_waited_for(api_server: ApiServer, tmp_path: Path) -> None:
    api_server.answer("/api/v1/nodes?limit=500", _status(429, "Busy"), 429, **{"Retry-After": "3600"})
    assert "Busy" in _refusal("admin@lab", _kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url))
    assert len(api_server.requests) == 1


def test_what_changes_the_cluster_is_not_sent_again_after_an_error(api_server: ApiServer, tmp_path: Path) -> None:
    """It may have been done all the same."""
    api_server.answer("/api/v1/namespaces?fieldManager=gpuctl", _status(500, "Broken"), 500)
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    with pytest.raises(UnreachableError, match="Broken"):
        cluster.create({"kind": "Namespace", "metadata": {"name": "gpu"}})
    assert len(api_server.requests) == 1


def test_an_answer_that_trickles_is_given_up(
    api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then keeps every read within its own limit."""
    monkeypatch.setattr("gpuctl.cluster.api._SECONDS", 0.3)
    api_server.answer("/api/v1/nodes?limit=500", NODES)
    api_server.seconds_a_byte = 0.05
    path = _kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)
    assert "the answer was not whole after 0.3 s" in _refusal("admin@lab", path)


def test_a_log_is_lines_and_may_be_empty(api_server: ApiServer, tmp_path: Path) -> None:
    api_server.answer("/api/v1/namespaces/gpu/pods/agent/log?sinceSeconds=60", "one\n\ntwo\u2028three\n")
    api_server.answer("/api/v1/namespaces/gpu/pods/agent/log", "")
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    assert list(cluster.log("agent", "gpu", since_seconds=60)) == ["one", "", "two\u2028three"]
    assert list(cluster.log("agent", "gpu")) == []


def test_a_log_that_may_not_be_read_is_told(api_server: ApiServer, tmp_path: Path) -> None:
    path = "/api/v1/namespaces/gpu/pods/agent/log?tailLines=9"
    api_server.answer(path, _status(403, "Forbidden"), 403)
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    with pytest.raises(AccessDeniedError, match="the server says Forbidden"):
        cluster.log("agent", "gpu", tail_lines=9)


def test_a_log_that_breaks_off_is_told(api_server: ApiServer, tmp_path: Path) -> None:
    api_server.answer("/api/v1/namespaces/gpu/pods/agent/log", "one\ntwo\nth")
    api_server.breaks_off = True
    cluster = connect("admin@lab", str(_kubeconfig(tmp_path / "lab", "admin@lab", server=api_server.url)))
    with pytest.raises(UnreachableError):
        cluster.log("agent", "gpu")


def test_a_pod_reaches_its_own_cluster_as_its_service_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(UnreachableError, match=r"this is no pod with a service account: .*token"):
        connect_in_cluster(str(tmp_path))
    for name in ("token", "namespace", "ca.crt"):
        (tmp_path / name).write_text("")
    with pytest.raises(UnreachableError, match="the service account cannot be used"):
        connect_in_cluster(str(tmp_path))
    for host, url in (("10.96.0.1", "https://10.96.0.1:1"), ("fd00::1", "https://[fd00::1]:1")):
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        assert service_account(str(tmp_path)).server.server == url


def test_the_contexts_of_all_kubeconfigs_are_known_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = _kubeconfig(tmp_path / "one", "admin@lab", "b"), _kubeconfig(tmp_path / "two", "b", "c")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}:{tmp_path / 'missing'}")
    assert contexts() == ["admin@lab", "b", "c"]


def test_without_a_kubeconfig_there_is_no_context_and_a_broken_one_is_an_error(tmp_path: Path) -> None:
    assert contexts(str(tmp_path / "missing")) == []
    (tmp_path / "broken").write_text("contexts: 1\n")
    with pytest.raises(UnreachableError, match="contexts is no list"):
        contexts(str(tmp_path / "broken"))
