"""A stack as the Pulumi Kubernetes Operator takes it; its schema is the operator's and not part of this project."""

import json
import shutil
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

_MODULE = "github.com/pulumi/pulumi-kubernetes-operator@v2.2.0+incompatible"
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


@pytest.fixture(scope="module")
def schema() -> Manifest:
    """The operator's own, in which nothing unknown is allowed."""
    if not shutil.which("go"):
        pytest.skip("Go is missing, and the operator's schema comes from the Go module registry")
    done = subprocess.run(["go", "mod", "download", "-json", _MODULE], cwd="/", capture_output=True, text=True)
    found = json.loads(done.stdout or "{}")
    if "Dir" not in found:
        pytest.skip(f"{_MODULE} has the operator's schema, and the Go module registry does not give it here")
    crd = yaml.safe_load((Path(found["Dir"]) / "deploy" / "crds" / "pulumi.com_stacks.yaml").read_text())
    (version,) = [each for each in crd["spec"]["versions"] if each["name"] == "v1"]
    return _strict(version["schema"]["openAPIV3Schema"])


def _strict(part: Any) -> Any:
    """A schema in which every object has the fields it names and no others."""
    if isinstance(part, list):
        return [_strict(each) for each in part]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(part, dict):
        return part
    whole: Manifest = {key: _strict(value) for key, value in part.items()}  # pyright: ignore[reportUnknownVariableType]
    is_open = "additionalProperties" in whole or whole.get("x-kubernetes-preserve-unknown-fields")
    closed = isinstance(whole.get("properties"), dict) and whole.get("type") == "object" and not is_open
    return whole | ({"additionalProperties": False} if closed else {})


def test_the_operators_own_schema_takes_the_stack(schema: Manifest) -> None:
    stack = _objects()["Stack"]
    jsonschema.validate(stack["spec"], schema["properties"]["spec"])
    with pytest.raises(jsonschema.ValidationError, match="resyncSeconds"):
        jsonschema.validate(stack["spec"] | {"resyncSeconds": 60}, schema["properties"]["spec"])
