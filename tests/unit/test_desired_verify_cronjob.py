"""The CronJob reads what the checks look at, writes its verdict, and may do nothing else."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuctl.desired.verify_cronjob import SCHEDULE, verify_cronjob
from gpuctl.settings import Settings, read_config, read_stack
from tests.fixtures.kubernetes_schema import VERSIONS, unknown_or_wrong
from tests.fixtures.names import without_hash
from tests.fixtures.stack_files import STACK, each_valid, read_as_stack, settings

_IMAGE = "registry.example/gpuctl:1"


def _by_kind(stack: Settings, name: str = "lab", schedule: str = SCHEDULE) -> dict[str, Any]:
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in verify_cronjob(stack, name, _IMAGE, schedule)}


def _pod(objects: dict[str, Any]) -> dict[str, Any]:
    return objects["CronJob/gpu-verify"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_every_object_is_known_to_the_api_server(version: str) -> None:
    wrong = [unknown_or_wrong(one, version) for one in verify_cronjob(read_stack("lab"), "lab", _IMAGE)]
    assert [message for message in wrong if message] == []


@each_valid
def test_the_stack_file_in_the_cluster_says_the_same(path: Path, tmp_path: Path) -> None:
    """All but what is a secret, or of use on a workstation only."""
    whole = read_as_stack(path, tmp_path)
    text: str = _by_kind(whole, STACK)["ConfigMap/gpu-verify-stack"]["data"][f"Pulumi.{STACK}.yaml"]
    left_out = {"kubeconfig", *(key for key in Settings.model_fields if key.startswith("talos_"))}
    left_out -= {"talos_version", "talos_contract"}
    there = read_config(STACK, yaml.safe_load(text)["config"])
    assert there.model_dump(exclude=left_out) == whole.model_dump(exclude=left_out)


def test_no_secret_and_no_path_of_the_stack_file_comes_into_the_cluster() -> None:
    stack = settings(
        kubeconfig="~/.kube/lab",
        talosApply=True,
        talosEndpoint="10.0.0.10",
        talosClientConfiguration="s3cret",
        talosMachineConfiguration="s3cret",
        talosVersion="v1.13.9",
    )
    text = _by_kind(stack)["ConfigMap/gpu-verify-stack"]["data"]["Pulumi.lab.yaml"]
    assert yaml.safe_load(text)["config"].keys() == {"gpu:context", "gpu:nodes", "gpu:talosVersion"}


def test_its_pod_is_one_that_pod_securitys_restricted_level_allows() -> None:
    pod = _pod(_by_kind(settings()))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]] == ["configMap"]


def test_it_runs_the_verb_as_its_service_account_with_the_stack_file_it_brings() -> None:
    pod = _pod(_by_kind(settings()))
    [container] = pod["containers"]
    assert container["image"] == _IMAGE
    assert container["command"][:4] == ["gpuctl", "verify", "--stack", "lab"]
    assert {"--in-cluster", "--publish"} <= set(container["command"])
    assert container["env"] == [{"name": "PULUMI_OPTION_CONFIG_FILE", "value": "/etc/gpuctl/Pulumi.lab.yaml"}]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("gpu-verify", True)


def test_no_run_meets_another_and_none_is_repeated_or_runs_for_ever() -> None:
    spec = _by_kind(settings(), schedule="0 6 * * *")["CronJob/gpu-verify"]["spec"]
    job = spec["jobTemplate"]["spec"]
    assert (spec["schedule"], spec["concurrencyPolicy"]) == ("0 6 * * *", "Forbid")
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (0, 600)
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_it_may_write_nothing_but_its_verdict() -> None:
    objects = _by_kind(settings())
    rules = [rule for kind in ("ClusterRole", "Role") for rule in objects[f"{kind}/gpu-verify"]["rules"]]
    writing = [rule for rule in rules if set(rule["verbs"]) - {"get", "list"}]
    assert [(rule["resources"], rule["verbs"], rule.get("resourceNames")) for rule in writing] == [
        (["configmaps"], ["patch"], ["gpu-verify"]),
        (["events"], ["list", "create", "patch"], None),
    ]
    assert writing[1] in objects["Role/gpu-verify"]["rules"]


def test_events_on_pods_over_their_share_are_all_that_it_may_write_elsewhere() -> None:
    def rules(**keys: Any) -> list[Any]:
        return _by_kind(settings(**keys))["ClusterRole/gpu-verify"]["rules"]

    more = [rule for rule in rules(usage=True, memoryBudget="observe") if rule not in rules(usage=True)]
    assert more == [{"apiGroups": [""], "resources": ["events"], "verbs": ["get", "create", "patch"]}]


def test_it_may_read_the_stacks_own_config_maps_and_no_other() -> None:
    rules = _by_kind(read_stack("lab"))["Role/gpu-verify"]["rules"]
    [reading] = [rule for rule in rules if rule["resources"] == ["configmaps"] and rule["verbs"] == ["get"]]
    assert {without_hash(name) for name in reading["resourceNames"]} == {
        "gpu-verify",
        "nvidia-power-limit-agent",
        "nvidia-device-plugin-supervisor",
        "nvidia-device-plugin-config",
        "nvidia-device-plugin-config-gpu-2",
        "nvidia-device-plugin-config-gpu-3",
    }
