"""Which files are machine configuration, what of another tool's file becomes one, and what costs too much to read."""

import pytest
import yaml

from gpuctl.machine_config import MachineConfigError, check, parse, parts_of

TALHELPER = """\
clusterName: home
talosVersion: 1.13.6
patches:
- |-
  machine:
    sysctls: {net.core.bpf_jit_harden: 1}
worker:
  kernelModules: [{name: nvidia}, {name: nvidia_uvm}]
nodes:
- hostname: gpu-1
  controlPlane: false
  schematic:
    customization:
      systemExtensions:
        officialExtensions: [siderolabs/nonfree-kmod-nvidia-lts, siderolabs/nvidia-container-toolkit-production]
  patches:
  - |-
    machine:
      files:
      - content: '[plugins."io.containerd.grpc.v1.cri"]'
        path: /etc/cri/conf.d/20-customization.part
        op: create
- hostname: cp-1
  controlPlane: true
  talosImageURL: factory.talos.dev/installer/376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba
"""
OMNI_TEMPLATE = """\
kind: Cluster
name: home
talos: {version: v1.13.9}
---
kind: Workers
name: gpus
systemExtensions: [siderolabs/nvidia-open-gpu-kernel-modules-production]
patches:
- name: modules
  inline:
    machine: {kernel: {modules: [{name: nvidia-uvm}]}}
"""
OMNI_PATCH = """\
metadata: {type: ConfigPatches.omni.sidero.dev, id: 500-gpu}
spec:
  data: |
    machine:
      kernel: {modules: [{name: nvidia, parameters: [fbdev=1]}]}
"""
CLUSTER_API = """\
apiVersion: bootstrap.cluster.x-k8s.io/v1alpha3
kind: TalosConfigTemplate
metadata: {name: gpus}
spec:
  template:
    spec:
      generateType: worker
      talosVersion: v1.13
      strategicPatches:
      - |
        machine: {nodeLabels: {a b: c}}
      configPatches:
      - {op: add, path: /machine/kernel/modules, value: [{name: nouveau}]}
      - {op: add, path: /machine/nodeLabels/example.com~1gpu, value: "not a value"}
"""
CONTROL_PLANE = """\
apiVersion: controlplane.cluster.x-k8s.io/v1alpha3
kind: TalosControlPlane
metadata: {name: cp}
spec:
  controlPlaneConfig:
    controlplane:
      generateType: controlplane
      strategicPatches: ['machine: {kernel: {modules: [{name: nvidia-drm}]}}']
"""


def _found(text: str) -> dict[str, list[str]]:
    """Place in the file -> the codes found there."""
    return {part.where: [each.code for each in check(part.config, "v1.13.9")] for part in parts_of(text)}


def test_a_node_of_talhelper_is_judged_with_what_its_role_and_the_cluster_say() -> None:
    assert _found(TALHELPER)["nodes[0] (gpu-1)"] == [
        "channels-mixed",
        "modules-missing",
        "sysctl-needless",
        "cri-content",
    ]
    assert [part.talos_version for part in parts_of(TALHELPER)] == ["v1.13.6", "v1.13.6"]


def test_nothing_is_missing_in_a_node_of_talhelper_that_has_patches_in_files_of_their_own() -> None:
    assert "modules-missing" in _found(TALHELPER)["nodes[0] (gpu-1)"]
    elsewhere = TALHELPER.replace("patches:\n", 'patches:\n- "@./nvidia.yaml"\n', 1)
    assert elsewhere != TALHELPER
    assert _found(elsewhere)["nodes[0] (gpu-1)"] == ["channels-mixed", "sysctl-needless", "cri-content"]


def test_a_character_that_no_text_can_have_is_refused_as_talos_does() -> None:
    with pytest.raises(MachineConfigError, match="invalid Unicode character escape code"):
        parse('machine: {type: "\\ud800"}')


def test_only_nodes_with_something_of_nvidia_are_gpu_nodes() -> None:
    assert [part.is_about_gpus for part in parts_of(TALHELPER)] == [True, False]


def test_patches_and_extensions_in_a_template_of_omni_are_judged() -> None:
    assert _found(OMNI_TEMPLATE) == {
        "Cluster home": ["empty"],
        "Workers gpus": ["extensions-incomplete", "module-name"],
    }


def test_a_patch_in_an_object_of_omni_is_judged() -> None:
    assert _found(OMNI_PATCH) == {"ConfigPatch 500-gpu": ["module-parameter"]}


def test_both_kinds_of_patches_of_cluster_api_are_judged() -> None:
    """JSON6902 is the form that its controller takes, so it counts as the fields that it adds."""
    codes = [[each.code for each in check(part.config, "v1.13.9")] for part in parts_of(CLUSTER_API)]
    assert codes == [["label-value"], ["module-conflict", "label-value"]]
    assert parts_of(CLUSTER_API)[1].config.below("nodeLabels") == {"example.com/gpu": "not a value"}
    assert _found(CONTROL_PLANE) == {
        "TalosControlPlane cp, spec.controlPlaneConfig.controlplane": ["module-name"],
    }


def test_what_a_file_says_of_the_image_alone_is_judged() -> None:
    template = """\
kind: Workers
name: gpus
systemExtensions: [siderolabs/nvidia-open-gpu-kernel-modules-lts, siderolabs/nvidia-container-toolkit-lts]
---
kind: Machine
name: gpu-1
kernelArgs: [module_blacklist=nvidia]
"""
    resource = """\
metadata: {type: ExtensionsConfigurations.omni.sidero.dev, id: gpus}
spec: {extensions: [siderolabs/nvidia-container-toolkit-lts]}
"""
    assert _found(template) == {"Workers gpus": [], "Machine gpu-1": ["kernel-argument"]}
    assert _found(resource) == {"ExtensionsConfiguration gpus": ["extensions-incomplete"]}


def test_of_a_node_of_talhelper_its_files_and_kernel_arguments_are_judged_too() -> None:
    files = "machineFiles: [{path: /etc/nvidia.conf, op: create, content: x, permissions: 0o600}]"
    arguments = "schematic: {customization: {extraKernelArgs: [NVreg_EnableGpuFirmware=0]}}"
    text = f"clusterName: home\ntalosVersion: v1.13.9\nnodes:\n- hostname: gpu-1\n  {files}\n  {arguments}\n"
    assert [code for code in _found(text)["nodes[0] (gpu-1)"] if "missing" not in code] == [
        "kernel-argument",
        "file-path",
    ]


@pytest.mark.parametrize(("override", "codes"), [("false", ["module-conflict"]), ("true", []), ("True", [])])
def test_a_node_of_talhelper_may_leave_the_patches_of_its_role(override: str, codes: list[str]) -> None:
    role = 'worker: {patches: ["machine: {kernel: {modules: [{name: nouveau}]}}"]}'
    node = f"{{hostname: gpu-1, overridePatches: {override}, nodeLabels: {{nvidia.com/gpu.present: 'true'}}}}"
    found = _found(f"clusterName: home\ntalosVersion: v1.13.9\n{role}\nnodes: [{node}]\n")
    assert [code for code in found["nodes[0] (gpu-1)"] if "missing" not in code] == codes


def test_patches_of_sidero_and_those_in_a_list_of_kubectl_are_judged() -> None:
    server = """\
apiVersion: metal.sidero.dev/v1alpha2
kind: ServerClass
metadata: {name: gpus}
spec:
  configPatches:
  - {op: replace, path: /machine/kernel/modules, value: [{name: nouveau}]}
"""
    template = yaml.safe_load(CLUSTER_API)
    assert _found(server) == {"ServerClass gpus, spec": ["module-conflict"]}
    assert _found(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [template]})) == _found(CLUSTER_API)


def test_a_patch_that_cannot_be_read_is_named() -> None:
    with pytest.raises(MachineConfigError, match=r"nodes\[0\] \(a\), patch 0: is not YAML"):
        parts_of("clusterName: x\nnodes: [{hostname: a, patches: ['a: [']}]")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("context: a\ncontexts: {}", "a talosconfig, the file of talosctl"),
        ("apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []", "a kubeconfig"),
        ("customization: {}", "a schematic of the Image Factory"),
        ("overlay: {name: a, image: b}", "a schematic of the Image Factory"),
        ("config: {gpu:slices: 4}", "a stack file of Pulumi"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}", "an object of Kubernetes or Omni"),
        ("secrets: {}\ntrustdinfo: {}", "the secrets of a cluster"),
        ("clusterName: a\nnodes: []", "a talconfig.yaml of talhelper"),
        ("kind: Something", "a document of another API than Talos' v1alpha1"),
        ("a: 1\nb: 2", "it has none of machine, cluster and a kind of Talos, but a, b"),
        ("machine: {}\nextra: 1", "beside machine and cluster it has extra"),
        ("- a\n- b", "it is a list"),
    ],
)
def test_a_file_that_is_no_machine_configuration_is_named_for_what_it_seems_to_be(text: str, meaning: str) -> None:
    with pytest.raises(MachineConfigError, match="is no Talos machine configuration, nor a patch for one") as error:
        parse(text)
    assert meaning in str(error.value)


@pytest.mark.parametrize(
    "text", ["machine: {}", "cluster: {}", "version: v1alpha1", "apiVersion: v1alpha1\nkind: Unheard\nname: a"]
)
def test_what_talos_itself_may_read_is_a_machine_configuration(text: str) -> None:
    """Misspelt keys and kinds below are left to Talos' own validation."""
    assert len(parse(text).documents) == 1


def _bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_bomb(9), "more than 200000 values with its aliases written out, line 6"),
        ("machine: " + "[" * 65 + "]" * 65, "nested deeper than 64 levels"),
        ("a: &a {b: *a}", r"the alias \*a inside its own anchor, line 1"),
        ("a: !!python/object:os.system x", "the tag tag:yaml.org,2002:python/object:os.system"),
        ("a: !!int abc", "the tag tag:yaml.org,2002:int"),
        ("machine: {}\nmachine: {}", "a key stands twice"),
        ("? [a]\n: 1", "a key is no text"),
        ("a: '" + "x" * 4_000_000 + "'", "longer than 4000000 characters"),
    ],
)
def test_a_text_that_costs_too_much_or_is_none_of_talos_is_refused(text: str, reason: str) -> None:
    with pytest.raises(MachineConfigError, match=reason):
        parse(text)


def test_anchors_and_merges_are_read() -> None:
    text = "machine:\n  files:\n  - &a {op: create, path: /var/a}\n  - <<: *a\n    path: /var/b\n"
    assert parse(text).entries("files") == [{"op": "create", "path": "/var/a"}, {"op": "create", "path": "/var/b"}]


def test_keys_are_texts_as_they_are_written() -> None:
    assert parse("machine: {nodeLabels: {5: a, true: b, 0600: c}}").below("nodeLabels") == {
        "5": "a",
        "true": "b",
        "0600": "c",
    }


def test_a_number_too_long_for_python_is_no_reason_to_stumble() -> None:
    assert parse(f"machine: {{a: {'9' * 5000}}}").below("a") == "9" * 5000


@pytest.mark.parametrize("name", ["[a]", "{a: b}", "5", "~"])
def test_a_document_of_any_name_is_judged(name: str) -> None:
    documents = f"apiVersion: v1alpha1\nkind: HostnameConfig\nname: {name}\n"
    assert [each.code for each in check(parse(f"{documents}---\n{documents}"), "v1.13.9")] == ["document-twice"]


def test_what_a_directive_deletes_is_not_there_and_the_rest_is_judged() -> None:
    patch = {
        "machine": {
            "kernel": {"modules": [{"name": "nvidia_old", "$patch": "delete"}, {"name": "nvidia_new"}]},
            "nodeLabels": {"no label": {"$patch": "delete"}},
            "files": {"$patch": "delete"},
        }
    }
    config = parse(yaml.safe_dump(patch))
    assert config.entries("kernel", "modules") == [{"name": "nvidia_new"}]
    assert config.below("nodeLabels") == {}
    assert {(each.code, each.where) for each in check(config, "v1.14.1")} == {
        ("deletion", "machine.kernel.modules.0"),
        ("deletion", "machine.nodeLabels.no label"),
        ("deletion", "machine.files"),
        ("module-name", "kernel modules"),
    }


def test_a_document_that_a_patch_deletes_is_not_judged() -> None:
    patch = "apiVersion: v1alpha1\nkind: KernelModuleConfig\nname: nouveau\n"
    assert [each.code for each in check(parse(patch), "v1.14.1")] == ["module-conflict"]
    assert "module-conflict" not in [each.code for each in check(parse(f"{patch}$patch: delete\n"), "v1.14.1")]


@pytest.mark.parametrize(
    "path",
    [
        ("machine", "nodeLabels", "node.kubernetes.io/exclude-from-external-load-balancers"),
        ("cluster", "apiServer", "admissionControl"),
        ("cluster", "apiServer", "auditPolicy"),
    ],
)
def test_what_every_control_plane_node_has_may_be_deleted(path: tuple[str, ...]) -> None:
    value: object = {"$patch": "delete"}
    for key in reversed(path):
        value = {key: value}
    assert check(parse(yaml.safe_dump(value)), "v1.13.9") == []


def test_a_directive_that_talos_does_not_know_is_found() -> None:
    text = "machine:\n  sysctls: {$patch: replace}\n"
    assert [each.code for each in check(parse(text), "v1.14.1")] == ["directive"]


@pytest.mark.parametrize("kind", ["{a: b}", "[a]", "null", "5"])
def test_a_kind_that_is_no_text_is_refused_as_such(kind: str) -> None:
    with pytest.raises(MachineConfigError, match="is no Talos machine configuration"):
        parts_of(f"apiVersion: v1\nkind: {kind}\nname: nvidia\n")
