"""The programs built from wrapper modules, with their versions and build settings.

The versions are those that the Go module registry holds; the Pulumi CLI and its provider are the versions of
the Python packages that the project pins, so that what is tested is what is shipped.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from testbed.gobuild import MODULES, GoTool, Module

PULUMI_VERSION = "3.259.0"
PROVIDER_VERSION = "4.25.0"
"""Of Pulumi's Kubernetes provider."""
KUBERNETES_VERSION = "1.36.4"
OLDER_KUBERNETES_VERSION = "1.33.3"
"""For Talos up to v1.12, which does not run the other."""
KWOK_VERSION = "0.8.0"
PLUGIN_VERSION = "0.18.2"
DRA_DRIVER_VERSION = "0.5.0"
TOOLKIT_VERSION = "1.18.2"
ACTIONLINT_VERSION = "1.7.12"

_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
_VERSION = "k8s.io/component-base/version"
_KWOK_STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")

_BINDS_NVML_LATE = "'-extldflags=-Wl,--export-dynamic -Wl,--unresolved-symbols=ignore-in-object-files -Wl,-z,lazy'"
"""The driver's library is found at run time. One value: the linker heeds only the last -extldflags."""


def _link_kubernetes(_module: Module, out: Path) -> None:
    for program in _PROGRAMS:
        (out / program).symlink_to("hyperkube")


def _add_python_executor(module: Module, out: Path) -> None:
    sdk = module.source("github.com/pulumi/pulumi/sdk/v3")
    executor = out / "pulumi-language-python-exec"
    shutil.copyfile(sdk / "python" / "cmd" / executor.name, executor)
    executor.chmod(0o755)


def _add_provider_schema(module: Module, _out: Path) -> None:
    """Upstream generates these two into its main package, which is why main.go here embeds them itself."""
    upstream = module.source("github.com/pulumi/pulumi-kubernetes/provider/v4")
    command = upstream / "cmd" / "pulumi-resource-kubernetes"
    schema = json.loads((command / "schema.json").read_text())
    schema["version"] = PROVIDER_VERSION
    (module.directory / "schema.json").write_text(json.dumps(schema))
    shutil.copyfile(command / "terraform-mapping.json", module.directory / "terraform-mapping.json")


def _add_stages(module: Module, out: Path) -> None:
    """What makes kwok's nodes and pods live; kwok itself has none built in."""
    source = module.source("sigs.k8s.io/kwok") / "kustomize" / "stage"
    (out / "stages").mkdir()
    for folder in _KWOK_STAGES:
        for path in (source / folder).glob("*.yaml"):
            if path.name != "kustomization.yaml":
                shutil.copyfile(path, out / "stages" / path.name)


def _add_older_main(module: Module, _out: Path) -> None:
    """The program of Kubernetes' own module; until 1.33 the kubelet's command took no context."""
    text = (MODULES / "kube" / "main.go").read_text()
    for new, old in (
        ('\t"context"\n', ""),
        ("NewKubeletCommand(context.Background())", "NewKubeletCommand()"),
        ('cli"\n', 'cli"\n\t_ "k8s.io/component-base/logs/json/register"\n'),
    ):
        text = text.replace(new, old)
    (module.directory / "main.go").write_text(text)


def _kubernetes(module: str, version: str) -> GoTool:
    minor = version.split(".")[1]
    return GoTool(
        name=module,
        title=f"Kubernetes {version} and etcd",
        programs={"hyperkube": "."},
        ldflags=(
            f"-X {_VERSION}.gitVersion=v{version} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor={minor} "
            f"-X {_VERSION}.gitTreeState=clean -X {_VERSION}.gitCommit=testbed "
            f"-X {_VERSION}.buildDate=2026-01-01T00:00:00Z"
        ),
        after=_link_kubernetes,
    )


KUBERNETES = _kubernetes("kube", KUBERNETES_VERSION)
KUBERNETES_OF_OLDER_TALOS = replace(_kubernetes("kube-1.33", OLDER_KUBERNETES_VERSION), before=_add_older_main)
PULUMI = GoTool(
    name="pulumi",
    title=f"Pulumi CLI {PULUMI_VERSION}",
    programs={"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
    ldflags=f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{PULUMI_VERSION}",
    tags="osusergo,grpcnotrace",
    after=_add_python_executor,
)
PROVIDER = GoTool(
    name="provider",
    title=f"Pulumi Kubernetes provider {PROVIDER_VERSION}",
    programs={"pulumi-resource-kubernetes": "."},
    ldflags=f"-X github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version.Version={PROVIDER_VERSION}",
    before=_add_provider_schema,
)
KWOK = GoTool(
    name="kwok",
    title=f"kwok {KWOK_VERSION}",
    programs={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
    after=_add_stages,
)
PLUGIN = GoTool(
    name="plugin",
    title=f"NVIDIA device plugin {PLUGIN_VERSION}",
    programs={"nvidia-device-plugin": "github.com/NVIDIA/k8s-device-plugin/cmd/nvidia-device-plugin"},
    ldflags=(f"{_BINDS_NVML_LATE} -X github.com/NVIDIA/k8s-device-plugin/internal/info.version=v{PLUGIN_VERSION}"),
    cgo=True,
)
DRA_DRIVER = GoTool(
    name="dra-driver",
    title=f"NVIDIA DRA driver {DRA_DRIVER_VERSION}",
    programs={
        "gpu-kubelet-plugin": "sigs.k8s.io/dra-driver-nvidia-gpu/cmd/gpu-kubelet-plugin",
        "nvidia-cdi-hook": "github.com/NVIDIA/nvidia-container-toolkit/cmd/nvidia-cdi-hook",
    },
    ldflags=(f"{_BINDS_NVML_LATE} -X sigs.k8s.io/dra-driver-nvidia-gpu/internal/info.version=v{DRA_DRIVER_VERSION}"),
    cgo=True,
)
"""Takes as long as Kubernetes, so only clusters that ask for it have it built."""
TOOLKIT = GoTool(
    name="toolkit",
    title=f"NVIDIA container runtime {TOOLKIT_VERSION}",
    programs={
        name: f"github.com/NVIDIA/nvidia-container-toolkit/cmd/{name}"
        for name in ("nvidia-container-runtime", "nvidia-ctk")
    },
    ldflags=_BINDS_NVML_LATE,
    cgo=True,
)
ACTIONLINT = GoTool(
    name="actionlint",
    title=f"actionlint {ACTIONLINT_VERSION}",
    programs={"actionlint": "github.com/rhysd/actionlint/cmd/actionlint"},
)
"""For `make lint`, which builds it on its own and needs nothing else of these."""
