"""What `pulumi preview` and `pulumi up` refuse before anything is made, and the way out that the message names."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cluster import Cluster
from tests.cluster.conftest import GPU_1
from tests.cluster.pulumi_stack import Environment, Outcome, Snapshot, Stack, snapshot, suggested

pytestmark = pytest.mark.cluster


@pytest.fixture
def untouched(stack: Stack, environment: Environment) -> Iterator[Snapshot]:  # noqa: ARG001 (looked at before it goes)
    """The cluster before the test, which must be the same after it."""
    before = snapshot(environment)
    yield before
    after = snapshot(environment)
    assert after.uids() == before.uids() == {}
    assert {name: after.labels(name) for name in after.nodes} == {name: before.labels(name) for name in before.nodes}


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine at which nobody answers."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        yield unheard.getsockname()[1]


def refused(stack: Stack) -> str:
    """What `up` says, which must be what `preview` says."""
    outcomes = [stack.preview(), stack.up()]
    for outcome in outcomes:
        assert not outcome.succeeded
        assert outcome.steps == set()
    assert outcomes[0].errors == outcomes[1].errors
    return outcomes[1].errors


def line_about(key: str, message: str) -> str:
    (line,) = [line for line in message.splitlines() if line.strip().startswith(f"{key} = ")]
    return line


@pytest.mark.usefixtures("untouched")
class TestSettings:
    def test_every_mistake_has_a_line_with_key_value_reason_and_command(self, stack: Stack, cluster: Cluster) -> None:
        stack.configure(context=cluster.context, nodes=[GPU_1], slices=0, powerLimit=9999, namespace="kube-system")
        message = refused(stack)
        for key, value, reason in (
            ("gpu:slices", "0", "at least 1"),
            ("gpu:powerLimit", "9999", "at most 2000"),
            ("gpu:namespace", "kube-system", "belongs to Kubernetes"),
        ):
            line = line_about(key, message)
            assert f"{key} = {value}: " in line
            assert reason in line
            assert f"pulumi config set --stack {stack.name} {key} " in line

    def test_the_suggested_commands_fix_every_mistake(self, stack: Stack, cluster: Cluster) -> None:
        watts = {**GPU_1, "powerLimit": 50}
        stack.configure(context=cluster.context, nodes=[watts], slices=65, talosVersion="1.13", sliced=3)
        commands = suggested(stack.preview().errors)
        assert len(commands) == 4
        for command in commands:
            stack.shell(command)
        assert stack.preview().errors == ""

    def test_without_context_and_nodes_the_commands_say_what_to_set(self, stack: Stack, cluster: Cluster) -> None:
        stack.configure()
        message = stack.preview().errors
        for key in ("gpu:context", "gpu:nodes"):
            (command,) = suggested(line_about(key, message))
            stack.shell(command)
        stack.pulumi("config", "set", "gpu:context", cluster.context)  # in place of the example
        assert stack.preview().errors == ""

    def test_a_blank_in_place_of_the_colon_is_explained(self, stack: Stack) -> None:
        stack.pulumi("config", "set", "gpu", "slices")
        line = line_about("gpu:gpu", stack.preview().errors)
        assert "a colon is meant" in line
        (command,) = suggested(line)
        assert f"pulumi config set --stack {stack.name} gpu:slices VALUE" in command
        stack.shell(command.replace("VALUE", "6"))
        assert stack.preview().errors == ""
        assert stack.settings.slices == 6

    def test_a_value_of_another_type_is_refused_by_the_engine_itself(self, stack: Stack) -> None:
        stack.pulumi("config", "set", "gpu:slices", "abc")
        assert "configuration key 'gpu:slices' must be of type 'integer'" in refused(stack)


@pytest.mark.usefixtures("untouched")
class TestCluster:
    def test_a_node_that_does_not_exist_is_refused_and_not_made(
        self, stack: Stack, cluster: Cluster, environment: Environment
    ) -> None:
        stack.configure(context=cluster.context, nodes=[GPU_1, {**GPU_1, "name": "gpu-9"}])
        message = refused(stack)
        assert f"context {cluster.context} has no node gpu-9; it has gpu-1, gpu-2" in message
        assert f"kubectl --context {cluster.context} get nodes" in message
        assert snapshot(environment).nodes.keys() == {"gpu-1", "gpu-2"}

    def test_a_context_that_the_kubeconfig_lacks_is_a_warning_in_a_preview_and_ends_up(
        self, stack: Stack, cluster: Cluster
    ) -> None:
        stack.configure(context="nowhere", nodes=[GPU_1])
        preview, up = stack.preview(), stack.up()
        why = f"it has no context nowhere; it has {cluster.context}"
        self.assert_that_preview_warns_and_up_refuses(preview, up, why)

    def test_a_server_that_does_not_answer_is_a_warning_in_a_preview_and_ends_up(
        self, stack: Stack, cluster: Cluster, closed_port: int, tmp_path: Path
    ) -> None:
        kubeconfig = json.loads(cluster.kubeconfig.read_text())
        server = f"https://127.0.0.1:{closed_port}"
        kubeconfig["clusters"][0]["cluster"]["server"] = server
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(kubeconfig))
        stack.configure(context=cluster.context, nodes=[GPU_1], kubeconfig=str(path))
        preview, up = stack.preview(), stack.up()
        why = f"context {cluster.context} ({server}) cannot be reached"
        self.assert_that_preview_warns_and_up_refuses(preview, up, why)

    @staticmethod
    def assert_that_preview_warns_and_up_refuses(preview: Outcome, up: Outcome, why: str) -> None:
        assert preview.errors == ""
        assert {step.operation for step in preview.steps} == {"create"}
        assert why in preview.warnings
        assert "has not seen the cluster" in preview.warnings
        assert not up.succeeded
        assert up.steps == set()
        assert why in up.errors
        assert "nothing was changed" in up.errors
