"""A stack as the Pulumi Kubernetes Operator takes it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from inline_snapshot import snapshot

from gpuctl.desired.operator_stack import operator_stack
from tests.fixtures.kubernetes_schema import VERSIONS, unknown_or_wrong
from tests.fixtures.stack_files import ROOT

_STACK_SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["stack"],
    "additionalProperties": False,
    "properties": {
        "stack": {"type": "string"},
        "projectRepo": {"type": "string"},
        "branch": {"type": "string"},
        "refresh": {"type": "boolean"},
        "continueResyncOnCommitMatch": {"type": "boolean"},
        "resyncFrequencySeconds": {"type": "integer", "minimum": 60},
        "destroyOnFinalize": {"type": "boolean"},
        "serviceAccountName": {"type": "string"},
        "workspaceTemplate": {"type": "object"},
    },
}
"""Of the operator's fields those that the project sets (operator/api/pulumi/shared/stack_types.go, v2)."""
_URL = "https://github.example/gpu/sharing.git"

Manifest = dict[str, Any]


def _objects() -> dict[str, Manifest]:
    return {one["kind"]: one for one in operator_stack("lab", _URL, "main")}


def _render(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gpuctl", "render", "--stack", "lab", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_stack_follows_a_branch_and_takes_back_what_others_change() -> None:
    spec = _objects()["Stack"]["spec"]
    del spec["workspaceTemplate"]
    assert spec == snapshot(
        {
            "stack": "lab",
            "projectRepo": "https://github.example/gpu/sharing.git",
            "branch": "main",
            "refresh": True,
            "continueResyncOnCommitMatch": True,
            "resyncFrequencySeconds": 600,
            "destroyOnFinalize": False,
            "serviceAccountName": "gpu-lab",
        }
    )


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_the_other_objects_and_the_pod_are_known_to_the_api_server(version: str) -> None:
    objects = _objects()
    template = objects["Stack"]["spec"]["workspaceTemplate"]["spec"]["podTemplate"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "workspace"}, **template}
    wrong = [unknown_or_wrong(one, version) for one in (objects["ServiceAccount"], objects["ClusterRoleBinding"], pod)]
    assert [message for message in wrong if message] == []


def test_the_pod_reads_the_kubeconfig_where_it_is_mounted_and_no_secret_is_in_the_manifest() -> None:
    workspace = _objects()["Stack"]["spec"]["workspaceTemplate"]["spec"]
    (container,) = workspace["podTemplate"]["spec"]["containers"]
    (variable,) = workspace["env"]
    assert variable["name"] == "KUBECONFIG"
    assert Path(variable["value"]).parent == Path(container["volumeMounts"][0]["mountPath"])
    assert workspace["envFrom"] == [{"secretRef": {"name": "gpu-lab"}}]
    assert "Secret" not in _objects()


def test_render_prints_it_for_any_namespace_and_branch() -> None:
    done = _render("--operator", _URL, "--branch", "live", "--operator-namespace", "pulumi")
    printed = list(yaml.safe_load_all(done.stdout))
    assert printed == operator_stack("lab", _URL, "live", "pulumi")


def test_a_stack_with_a_kubeconfig_of_a_workstation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "stack.yaml"
    nodes = [{"name": "gpu-1", "gpu": "rtx-3090", "count": 1}]
    config = {"gpu:context": "lab", "gpu:kubeconfig": "~/lab", "gpu:nodes": nodes}
    file.write_text(yaml.safe_dump({"config": config}))
    monkeypatch.setenv("PULUMI_OPTION_CONFIG_FILE", str(file))
    done = _render("--operator", _URL)
    assert done.returncode == 2
    assert "workstation" in done.stderr


def test_every_field_is_one_that_the_operator_knows_with_its_type() -> None:
    jsonschema.validate(_objects()["Stack"]["spec"], _STACK_SPEC)


@pytest.mark.parametrize("wrong", [{"resyncSeconds": 600}, {"resyncFrequencySeconds": 30}, {"branch": 1}])
def test_a_field_that_it_does_not_know_or_takes_otherwise_would_be_noticed(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(_objects()["Stack"]["spec"] | wrong, _STACK_SPEC)
