"""The rules of the policy pack: the product keeps them all, and each one finds what it is about."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import node_access
import pytest
import roles
import rules
from rules import RESOURCE_RULES, STACK_RULES

from gpuctl.desired import device_plugin, dra, power_limit, usage
from gpuctl.desired.capacity import memory_per_slice
from gpuctl.desired.daemon_set import grounds
from gpuctl.desired.names import PART_OF
from gpuctl.desired.operator_stack import operator_stack
from gpuctl.desired.profiles import profiles
from gpuctl.desired.verify_cronjob import verify_cronjob
from gpuctl.settings import Settings, read_config
from gpuctl.settings.catalogue import CATALOGUE
from tests.fixtures.manifests import manifests
from tests.fixtures.stack_files import ROOT, SHIPPED, VALID, config_of, settings

Manifest = dict[str, Any]
UNKNOWN_GPU = "a-gpu-that-is-not-in-the-catalogue"
KEEPING = [pytest.param(path, id=path.stem) for path in (*VALID, *SHIPPED) if path.stem != UNKNOWN_GPU]
(GROUND,) = grounds(profiles(settings()))
DIGEST = "sha256:" + "0" * 64
PINNED = f"mirror.lan:5000/app@{DIGEST}"
UNPRIVILEGED = {
    "capabilities": {"drop": ["ALL"]},
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _stack(cluster: Settings) -> list[Manifest]:
    """What the engine shows the pack: the objects, and the component with its outputs."""
    return [*manifests(cluster), {"memoryPerSliceMiB": memory_per_slice(cluster)}]


def _violations(resources: list[Manifest], *, mandatory: bool = True) -> dict[str, list[str]]:
    """Rule -> its messages."""
    found = {
        rule.name: [message for resource in resources for message in rule.violations(resource)]
        for rule in RESOURCE_RULES
        if rule.mandatory == mandatory
    }
    found |= {rule.name: list(rule.violations(resources)) for rule in STACK_RULES if rule.mandatory == mandatory}
    return {name: messages for name, messages in found.items() if messages}


def _pod(container: Mapping[str, Any], **spec: Any) -> Manifest:
    usual = {"name": "main", "image": PINNED, "securityContext": UNPRIVILEGED}
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": spec | {"containers": [{**usual, **container}]}}


def _secured(**context: Any) -> Manifest:
    """A pod that differs from what is right in these fields of its container's securityContext."""
    return _pod({"securityContext": UNPRIVILEGED | context})


def _message(resource: Manifest) -> str:
    """The one thing that is wrong with a resource."""
    (messages,) = _violations([resource]).values()
    (message,) = messages
    return message


def _power_limit(**env: str | None) -> Manifest:
    """The product's DaemonSet, with other values."""
    daemon_set = copy.deepcopy(power_limit.daemon_set(settings(), GROUND))
    (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    rest = [each for each in container["env"] if each["name"] not in env]
    container["env"] = rest + [{"name": name, "value": value} for name, value in env.items()]
    return daemon_set


def _limits(**env: str | None) -> list[str]:
    return list(rules.power_limits_are_in_the_catalogue(_power_limit(**env)))


def _node_paths(resource: Manifest) -> list[str]:
    return list(node_access.host_paths_are_those_shipped(resource))


def _namespace(level: str | None, **labels: str) -> Manifest:
    modes = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn", "audit") if level}
    return {"kind": "Namespace", "metadata": {"name": "ns", "labels": modes | labels}}


@pytest.mark.parametrize("path", KEEPING)
def test_what_the_product_deploys_breaks_no_mandatory_rule(path: Path) -> None:
    assert _violations(_stack(read_config("fixture", config_of(path)))) == {}


def test_more_watts_than_any_model_takes_need_an_entry_in_the_catalogue() -> None:
    """The settings only warn of a GPU that they do not know."""
    (path,) = (path for path in VALID if path.stem == UNKNOWN_GPU)
    (message,) = _violations(_stack(read_config("fixture", config_of(path))))["power-limit-range"]
    assert "POWER_LIMITS has 'gpu-1 2000'" in message
    assert "fix gpuctl/data/gpus.yaml" in message


def test_the_cronjob_is_unprivileged_and_its_image_must_be_pinned() -> None:
    assert _violations(verify_cronjob(settings(), "lab", PINNED)) == {}
    assert _violations(verify_cronjob(settings(), "lab", "gpuctl:latest")).keys() == {"image-pinned"}


def test_the_rules_name_things_as_the_product_does() -> None:
    image, _, version = settings().image.rpartition(":")
    assert (rules.PUBLISHED_IMAGE, version[:1]) == (image, "v")
    assert (power_limit.NAME, device_plugin.NAME) == (node_access.POWER_LIMIT, node_access.DEVICE_PLUGIN)
    assert usage.NAME == node_access.USAGE
    assert (device_plugin.WHOLE, dra.NAME) == (node_access.WHOLE_GPUS, node_access.DRA_DRIVER)
    assert power_limit.daemon_set(settings(), GROUND)["metadata"]["labels"][PART_OF[0]] == PART_OF[1]


def test_every_rule_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "policies.md").read_text()
    for rule in (*RESOURCE_RULES, *STACK_RULES):
        level = "mandatory" if rule.mandatory else "advisory"
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{rule.name}` |")]
        assert level in row


class TestImages:
    @pytest.mark.parametrize(
        "image",
        [
            PINNED,
            f"app:latest@{DIGEST}",
            "nvcr.io/nvidia/k8s-device-plugin:v0.18.2",
            "nvcr.io/nvidia/k8s-device-plugin:v0.17.0-ubi9",
            "nvcr.io/nvidia/k8s-device-plugin:v0.16.0-rc.1-ubuntu20.04",
        ],
    )
    def test_a_digest_or_a_version_of_nvidias_is_pinned(self, image: str) -> None:
        assert _violations([_pod({"image": image})]) == {}

    @pytest.mark.parametrize(
        ("image", "why"),
        [
            ("nvcr.io/nvidia/k8s-device-plugin:latest", "has the tag latest"),
            ("nvcr.io/nvidia/k8s-device-plugin", "has no tag"),
            ("mirror.lan:5000/app", "has no tag"),
            ("nvcr.io/nvidia/k8s-device-plugin:v0.18.2-anything", "has the tag v0.18.2-anything"),
            ("mirror.lan:5000/app:v1.2.3", "has the tag v1.2.3"),
            ("evil.io/nvcr.io/nvidia/k8s-device-plugin:v0.18.2", "has the tag v0.18.2"),
            ("app@sha256:0123", "has the tag 0123"),
        ],
    )
    def test_anything_else_is_not(self, image: str, why: str) -> None:
        message = _message(_pod({"image": image}))
        assert message.startswith(f"Pod p, container main: image '{image}' {why}")
        assert "pulumi config set gpu:devicePluginImage" in message

    def test_a_container_without_image_is_refused(self) -> None:
        assert "has no tag" in _message(_pod({"image": None}))

    def test_init_containers_count(self) -> None:
        pod = _pod({}, initContainers=[{"name": "first", "image": "app:latest", "securityContext": UNPRIVILEGED}])
        assert "Pod p, container first" in _message(pod)


class TestPrivileges:
    def test_a_privileged_container_is_refused(self) -> None:
        assert "Pod p, container main: privileged" in _message(_secured(privileged=True))
        assert "hostProcess is true" in _message(_secured(windowsOptions={"hostProcess": True}))

    def test_a_container_that_drops_nothing_is_refused(self) -> None:
        assert "every container is born with" in _message(_secured(capabilities=None))

    @pytest.mark.parametrize("added", ["SYS_ADMIN", "CAP_SYS_ADMIN", "NET_ADMIN", "ALL"])
    def test_no_other_pod_has_a_capability(self, added: str) -> None:
        message = _message(_secured(capabilities={"drop": ["ALL"], "add": [added]}))
        assert f"adds the capability {added.removeprefix('CAP_')};" in message

    def test_the_power_limit_has_its_own_capability_and_no_other(self) -> None:
        daemon_set = _power_limit()
        (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
        assert container["securityContext"]["capabilities"]["add"] == ["SYS_ADMIN"]
        assert _violations([daemon_set, *manifests(settings())]) == {}
        container["securityContext"]["capabilities"]["add"].append("SYS_MODULE")
        assert "adds the capability SYS_MODULE" in "".join(node_access.capabilities_are_those_shipped(daemon_set))

    def test_another_container_of_its_pod_has_none(self) -> None:
        daemon_set = _power_limit()
        daemon_set["spec"]["template"]["spec"]["containers"][0]["name"] = "other"
        assert "container other: adds" in "".join(node_access.capabilities_are_those_shipped(daemon_set))


class TestNodeAccess:
    @pytest.mark.parametrize("field", ["hostPID", "hostIPC", "hostNetwork", "hostUsers"])
    def test_no_pod_enters_a_namespace_of_its_node(self, field: str) -> None:
        assert _message(_pod({}, **{field: True})).startswith(f"Pod p: {field} is true")
        assert _violations([_pod({}, **{field: False})]) == {}

    def test_the_usage_watcher_alone_has_the_process_ids_of_its_node(self) -> None:
        """It has nothing else: not another container beside it, another namespace, root or a capability."""
        daemon_set = copy.deepcopy(usage.daemon_set(settings(usage=True), GROUND))
        spec = daemon_set["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        refused = node_access.namespaces_of_the_host_are_not_entered
        assert list(refused(daemon_set)) == []
        assert len(list(refused(daemon_set | {"metadata": {"name": "nvidia-gpu-usage-2"}}))) == 1
        assert len(list(refused(daemon_set | {"kind": "Deployment"}))) == 1
        spec["hostNetwork"] = True
        assert "hostNetwork is true" in "".join(refused(daemon_set))
        del spec["hostNetwork"]
        spec["initContainers"] = [{**container, "name": "first"}]
        assert len(list(refused(daemon_set))) == 1
        spec["initContainers"] = []
        container["securityContext"] |= {"runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE"]}}
        assert {"root", "capabilities"} <= _violations([daemon_set]).keys()

    def test_no_container_reaches_into_another_one_of_its_pod(self) -> None:
        """The power limit's own would hand SYS_ADMIN and its folder to whatever stands beside it."""
        assert list(_violations([_pod({}, shareProcessNamespace=True)])) == ["process-namespace"]
        daemon_set = _power_limit()
        daemon_set["spec"]["template"]["spec"]["shareProcessNamespace"] = True
        (message,) = _violations([daemon_set])["process-namespace"]
        assert message.startswith("DaemonSet nvidia-power-limit: shareProcessNamespace is true")
        assert _violations([_pod({}, shareProcessNamespace=False)]) == {}

    @pytest.mark.parametrize("name", ["kernel.core_pattern", "net.ipv4.ip_forward", "net/ipv4/tcp_syncookies"])
    def test_no_pod_sets_a_parameter_of_the_kernel(self, name: str) -> None:
        pod = _pod({}, securityContext={"sysctls": [{"name": name, "value": "1"}]})
        assert _message(pod).startswith(f"Pod p: sets the kernel parameter {name}.")

    @pytest.mark.parametrize("path", ["/", "/var/lib/kubelet", "/var/lib/kubelet/device-plugins", "/etc/../etc"])
    def test_no_other_pod_mounts_a_folder_of_its_node(self, path: str) -> None:
        volumes = [{"name": "node", "hostPath": {"path": path}}]
        unused = _pod({}, volumes=volumes)
        used = _pod({"volumeMounts": [{"name": "node", "mountPath": "/node"}]}, volumes=volumes)
        assert f"volume node is the node's own {path!r}, which no container mounts" in _message(unused)
        assert "which main mounts" in _message(used)

    def test_a_folder_of_the_node_is_for_its_own_container_only(self) -> None:
        """Not for another one beside it, and not the one of the other DaemonSet."""
        daemon_set = _power_limit()
        spec = daemon_set["spec"]["template"]["spec"]
        assert _node_paths(daemon_set) == []
        mounts = [{"name": "node-state", "mountPath": "/state"}]
        spec["initContainers"] = [{"name": "first", "volumeMounts": mounts}]
        assert len(_node_paths(daemon_set)) == 1
        spec["initContainers"] = []
        spec["volumes"][-1]["hostPath"]["path"] = "/var/lib/kubelet/device-plugins"
        assert "'/var/lib/kubelet/device-plugins', which nvidia-power-limit mounts" in "".join(_node_paths(daemon_set))

    def test_a_name_that_begins_like_the_device_plugins_is_not_enough(self) -> None:
        """Its profiles have names after a hyphen; another kind of that name is another thing."""
        (daemon_set, *_) = [each for each in manifests(settings()) if each["metadata"]["name"] == device_plugin.NAME][
            -1:
        ]
        assert _node_paths(daemon_set) == []
        assert _node_paths(daemon_set | {"metadata": {"name": "nvidia-device-plugin-gpu-2"}}) == []
        assert len(_node_paths(daemon_set | {"metadata": {"name": "nvidia-device-pluginx"}})) == 1
        assert len(_node_paths(daemon_set | {"kind": "Deployment"})) == 1

    @pytest.mark.parametrize("source", ["hostPath", "local"])
    def test_a_volume_of_the_cluster_is_no_way_around(self, source: str) -> None:
        volume = {"kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": {source: {"path": "/etc"}}}
        assert _message(volume).startswith(f"PersistentVolume v: {source} is '/etc'")

    @pytest.mark.parametrize("profile", [None, {"type": "Unconfined"}, {}])
    def test_system_calls_are_filtered(self, profile: dict[str, str] | None) -> None:
        assert "may try every system call" in _message(_secured(seccompProfile=profile))

    def test_what_the_pod_says_counts_unless_its_container_says_otherwise(self) -> None:
        of_all = {"seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 1000}
        rest = {"securityContext": {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False}}
        assert _violations([_pod(rest, securityContext=of_all)]) == {}
        assert _message(_pod({"securityContext": UNPRIVILEGED | {"runAsUser": 0}}, securityContext=of_all)).startswith(
            "Pod p, container main: runs as root."
        )

    @pytest.mark.parametrize("allowed", [True, None])
    def test_no_container_gains_rights(self, allowed: bool | None) -> None:
        assert "allowPrivilegeEscalation is not false" in _message(_secured(allowPrivilegeEscalation=allowed))

    def test_no_container_sees_more_of_proc(self) -> None:
        assert "procMount is 'Unmasked'" in _message(_secured(procMount="Unmasked"))
        assert _violations([_secured(procMount="Default")]) == {}

    def test_root_is_only_who_needs_it(self) -> None:
        assert "runs as root" in _message(_secured(runAsUser=0))
        assert "runs as whoever its image says" in _message(_secured(runAsNonRoot=None))
        assert _violations([_secured(runAsNonRoot=None, runAsUser=65532)]) == {}

    @pytest.mark.parametrize("kind", ["CronJob", "Deployment", "PodTemplate", "Rollout", "List"])
    def test_every_kind_that_makes_pods_is_judged_known_or_not(self, kind: str) -> None:
        """A CronJob's pods lie deeper than a Deployment's, and a kind of tomorrow has them where it likes."""
        spec = _pod({"securityContext": None}, hostPID=True)["spec"]
        inside = {
            "CronJob": {"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}},
            "Deployment": {"spec": {"template": {"spec": spec}}},
            "PodTemplate": {"template": {"spec": spec}},
            "Rollout": {"spec": {"phases": [{"pods": spec}]}},
            "List": {"items": [{"kind": "Pod", "spec": spec}]},
        }[kind]
        found = _violations([{"kind": kind, "metadata": {"name": "x"}, **inside}])
        assert found.keys() == {"capabilities", "host-namespaces", "seccomp", "privilege-escalation", "root"}

    def test_a_daemon_set_that_owns_its_node_is_refused_whatever_its_name(self) -> None:
        daemon_set = _power_limit()
        spec = daemon_set["spec"]["template"]["spec"]
        spec |= {"hostPID": True, "hostNetwork": True, "hostIPC": True, "securityContext": {}}
        spec["volumes"].append({"name": "root", "hostPath": {"path": "/"}})
        spec["containers"][0]["securityContext"] |= {
            "seccompProfile": {"type": "Unconfined"},
            "allowPrivilegeEscalation": True,
            "procMount": "Unmasked",
        }
        found = {name: len(messages) for name, messages in _violations([daemon_set]).items() if name != "runtime-class"}
        assert found == {"host-namespaces": 3, "host-path": 1, "seccomp": 1, "privilege-escalation": 2}

    def test_what_a_preview_cannot_know_is_left_to_the_update(self) -> None:
        """The engine raises where a value is not known yet; the rest is judged all the same."""

        class Unknown(dict[str, Any]):
            def __getitem__(self, key: str) -> Any:
                raise LookupError(key)

        deployment = {
            "kind": "Deployment",
            "metadata": {"name": "d"},
            "spec": {"replicas": 1, "selector": Unknown(matchLabels={}), "template": _pod({}, hostPID=True)},
        }
        (message,) = node_access.namespaces_of_the_host_are_not_entered(deployment)
        assert message.startswith("Deployment d: hostPID is true")


class TestRoles:
    @pytest.mark.parametrize(
        ("rule", "told"),
        [
            ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, "grants * on *.*"),
            ({"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}, "grants create on pods,"),
            (
                {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["patch"]},
                "grants patch on daemonsets.apps,",
            ),
            ({"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}, "grants list on secrets,"),
            ({"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]}, "grants get on nodes/proxy,"),
            ({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}, "grants get on pods/exec,"),
            ({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["bind"]}, "grants bind on"),
            ({"apiGroups": ["*"], "resources": ["pods"], "verbs": ["get"]}, "grants get on pods.*,"),
            ({"nonResourceURLs": ["*"], "verbs": ["get"]}, "grants get on *,"),
        ],
    )
    @pytest.mark.parametrize("kind", ["Role", "ClusterRole"])
    def test_a_role_that_owns_more_than_it_reads_is_refused(self, kind: str, rule: Manifest, told: str) -> None:
        role = {"kind": kind, "metadata": {"name": "r"}, "rules": [rule]}
        assert told in _message(role)

    def test_a_role_made_of_others_is_refused(self) -> None:
        role: Manifest = {
            "kind": "ClusterRole",
            "metadata": {"name": "r"},
            "aggregationRule": {"clusterRoleSelectors": [{}]},
        }
        assert "aggregationRule adds rules of others" in _message(role)

    @pytest.mark.parametrize("kind", ["RoleBinding", "ClusterRoleBinding"])
    @pytest.mark.parametrize("role", ["cluster-admin", "edit", "of-somebody"])
    def test_a_role_that_the_stack_does_not_declare_is_not_bound(self, kind: str, role: str) -> None:
        binding = {"kind": kind, "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": role}}
        assert _message(binding).startswith(f"{kind} b: grants ClusterRole '{role}', which the stack does not declare")
        declared: Manifest = {"kind": "ClusterRole", "metadata": {"name": role}, "rules": []}
        assert _violations([binding, declared]) == {}
        assert _violations([binding, declared | {"kind": "Role"}]).keys() == {"bindings"}

    def test_what_the_project_prints_for_others_grants_no_more(self) -> None:
        operator = operator_stack("lab", "https://git.example/gpu", "main")
        found = _violations([*operator, *verify_cronjob(settings(), "lab", PINNED)])
        assert {"roles", "bindings"} & found.keys() == set()


class TestPowerLimits:
    lowest = min(model.watts.minimum for model in CATALOGUE.values() if model.watts.minimum is not None)
    highest = max(model.watts.maximum for model in CATALOGUE.values() if model.watts.maximum is not None)

    def test_the_stacks_limit_is_one_that_some_model_takes(self) -> None:
        for watts in (self.lowest, self.highest):
            assert _limits(POWER_LIMIT_WATTS=str(watts)) == []
        (low,) = _limits(POWER_LIMIT_WATTS=str(self.lowest - 1))
        assert f"POWER_LIMIT_WATTS is '{self.lowest - 1}'" in low
        assert f"take at least {self.lowest} W" in low
        (high,) = _limits(POWER_LIMIT_WATTS=str(self.highest + 1))
        assert f"take at most {self.highest} W" in high
        assert "pulumi config set gpu:powerLimit" in high

    def test_a_models_limit_is_in_its_own_range(self) -> None:
        assert _limits(POWER_LIMITS="gpu-1 480 NVIDIA GeForce RTX 3090\ngpu-1 100 NVIDIA GeForce RTX 3090") == []
        (high,) = _limits(POWER_LIMITS="gpu-1 300\ngpu-1 481 NVIDIA GeForce RTX 3090")
        assert (
            "POWER_LIMITS has 'gpu-1 481 NVIDIA GeForce RTX 3090', and NVIDIA GeForce RTX 3090 takes at most 480"
            in high
        )
        (low,) = _limits(POWER_LIMITS="gpu-1 99 NVIDIA GeForce RTX 3090")
        assert "takes at least 100 W" in low

    def test_a_side_that_is_not_known_is_not_checked(self) -> None:
        assert _limits(POWER_LIMITS="n 900 NVIDIA GeForce RTX 4080\nn 1 NVIDIA RTX A2000\nn 5 Of The Future") == []
        (low,) = _limits(POWER_LIMITS="n 149 NVIDIA GeForce RTX 4080")
        assert "takes at least 150 W" in low

    def test_nodes_and_single_gpus_have_a_limit_that_some_model_takes(self) -> None:
        assert len(_limits(POWER_LIMITS="gpu-1 5000\nGPU-dc0c82b9-9f8d-5ade-9c8d-46216b68816b 1")) == 2

    @pytest.mark.parametrize("watts", ["", "300W", "-300", "many", None])
    def test_what_is_no_number_is_refused(self, watts: str | None) -> None:
        (message,) = _limits(POWER_LIMIT_WATTS=watts)
        assert "no whole number" in message

    def test_a_line_without_watts_is_refused(self) -> None:
        (message,) = _limits(POWER_LIMITS="gpu-1")
        assert "POWER_LIMITS has 'gpu-1', and the limit is no whole number" in message


class TestNamespaces:
    def test_a_level_must_be_stated(self) -> None:
        for namespace in (_namespace(None), _namespace("none")):
            assert len(_violations([namespace])["pod-security"]) == 3
        assert _violations([{"kind": "Namespace", "metadata": None}]).keys() == {"pod-security"}

    @pytest.mark.parametrize("level", ["baseline", "restricted"])
    def test_others_may_be_held_tighter(self, level: str) -> None:
        assert _violations([_namespace(level)]) == {}

    def test_only_the_stacks_own_is_privileged(self) -> None:
        assert _violations([_namespace("privileged", **dict([PART_OF]))]) == {}
        messages = _violations([_namespace("privileged", **{PART_OF[0]: "another"})])["pod-security"]
        assert all("Namespace ns: " in message and "set it to baseline" in message for message in messages)


class TestRuntimeClass:
    pod = _pod({}, runtimeClassName="nvidia")

    def test_one_that_a_pod_names_must_be_there(self) -> None:
        message = _message(self.pod)
        assert message.startswith("Pod p: runtimeClassName is 'nvidia', and the stack has no RuntimeClass")

    def test_it_must_have_a_handler_and_the_name(self) -> None:
        there = {"kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"}
        assert _violations([self.pod, there]) == {}
        assert _violations([self.pod, there | {"handler": ""}]).keys() == {"runtime-class"}
        assert _violations([self.pod, there | {"metadata": {"name": "other"}}]).keys() == {"runtime-class"}

    def test_one_that_the_stack_uses_as_it_is_counts(self) -> None:
        assert _violations([self.pod, {"existingRuntimeClass": "nvidia"}]) == {}
        assert _violations([self.pod, {"existingRuntimeClass": "other"}]).keys() == {"runtime-class"}

    def test_without_it_every_daemon_set_of_the_product_is_named(self) -> None:
        objects = [each for each in manifests(settings()) if each["kind"] != "RuntimeClass"]
        messages = _violations(objects)["runtime-class"]
        assert [message.split(":")[0] for message in messages] == [
            f"DaemonSet {each['metadata']['name']}" for each in objects if each["kind"] == "DaemonSet"
        ]


class TestSlices:
    def test_a_slice_with_little_memory_is_advised_against(self) -> None:
        for slices, told in ((24, False), (25, True)):
            messages = _violations(_stack(settings(slices=slices)), mandatory=False)
            assert (messages.keys() == {"slice-memory"}) is told
        (message,) = messages["slice-memory"]
        assert message.startswith("node gpu-1: a slice has 983 MiB")
        assert "pulumi config set gpu:slices" in message

    def test_memory_that_is_not_known_is_not_judged(self) -> None:
        assert _violations([{"memoryPerSliceMiB": {"gpu-1": None}}], mandatory=False) == {}


class TestTheNodeAndTheApiServerByOtherWays:
    @pytest.mark.parametrize("kind", ["initContainers", "containers", "ephemeralContainers"])
    def test_a_port_of_the_node_is_taken_by_no_container(self, kind: str) -> None:
        container = {"name": "c", "image": PINNED, "securityContext": UNPRIVILEGED, "ports": [{"hostPort": 22}]}
        (message,) = _violations([_pod({}) | {"spec": {kind: [container]}}])["host-ports"]
        assert message.startswith("Pod p, container c: hostPort is 22, a port of the node itself.")

    @pytest.mark.parametrize(
        ("field", "chosen"),
        [("appArmorProfile", "Unconfined"), ("appArmorProfile", "Localhost"), ("seLinuxOptions", "spc_t")],
    )
    def test_no_container_leaves_what_confines_it(self, field: str, chosen: str) -> None:
        """On the container itself, and on its pod."""
        for pod in (_secured(**{field: {"type": chosen}}), _pod({}, securityContext={field: {"type": chosen}})):
            (message,) = _violations([pod])["privilege-escalation"]
            assert f"{field}.type is {chosen!r}" in message

    @pytest.mark.parametrize(
        "kind",
        [
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
            "APIService",
        ],
    )
    def test_nothing_is_put_into_the_api_servers_way(self, kind: str) -> None:
        assert list(_violations([{"kind": kind, "metadata": {"name": "w"}}])) == ["api-extensions"]


class TestDra:
    """What the DRA driver needs beyond all others, and nothing like it."""

    @staticmethod
    def _stack(*without: str, **keys: Any) -> list[Manifest]:
        found = manifests(settings(backend="dra", **keys))
        return [each for each in found if each["kind"] not in without]

    def _the(self, kind: str, **keys: Any) -> Manifest:
        return copy.deepcopy(next(each for each in self._stack(**keys) if each["kind"] == kind))

    def test_nobody_writes_slices_without_the_policy_that_holds_them_to_their_node(self) -> None:
        assert _violations(self._stack()) == {}
        for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
            assert _violations(self._stack(kind)).keys() == {"own-slices"}

    def test_no_other_role_writes_slices(self) -> None:
        role = self._the("ClusterRole")
        role["metadata"]["name"] = "another"
        assert "grants create on resourceslices.resource.k8s.io" in "".join(roles.roles_are_those_shipped(role))

    def test_that_policy_is_about_slices_alone_and_denies(self) -> None:
        policy = self._the("ValidatingAdmissionPolicy")
        policy["spec"]["matchConstraints"]["resourceRules"][0]["resources"].append("secrets")
        assert len(list(roles.the_api_is_left_alone(policy))) == 1
        binding = self._the("ValidatingAdmissionPolicyBinding")
        binding["spec"]["validationActions"] = ["Audit"]
        assert len(list(roles.the_api_is_left_alone(binding))) == 1

    def test_a_driver_behind_the_runtime_class_is_not_privileged(self) -> None:
        for daemon_set in self._stack(talosVersion="v1.15.0")[2:]:
            assert list(node_access.containers_are_unprivileged(daemon_set)) == []
            if daemon_set["kind"] == "DaemonSet":
                daemon_set["spec"]["template"]["spec"]["runtimeClassName"] = "nvidia"
                assert len(list(node_access.containers_are_unprivileged(daemon_set))) == 1

    def test_the_nodes_driver_is_mounted_read_only(self) -> None:
        daemon_set = self._the("DaemonSet", powerManagement=False)
        mounts = daemon_set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        assert _node_paths(daemon_set) == []
        mounts[-1]["readOnly"] = False
        (message,) = _node_paths(daemon_set)
        assert "driver-lib64 is the node's own '/usr/local/lib64'" in message
