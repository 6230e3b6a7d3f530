"""What `pulumi preview` of the stack demo costs, against previews of programs that declare next to nothing.

None of the stacks is deployed, so all is to be created, and every node is played by kwok.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.measured import Cost, in_turns
from demo.stack import CONFIG, REPOSITORY, write_stack_file
from testbed.cluster import Cluster

_CLUSTER = "bench-preview"
_ROUNDS = 7
_STACK = "demo"
_NAMESPACE = """\
import pulumi
import pulumi_kubernetes

cluster = pulumi_kubernetes.Provider("cluster", context="{context}")
pulumi_kubernetes.core.v1.Namespace("one", metadata={{"name": "one"}}, opts=pulumi.ResourceOptions(provider=cluster))
"""
_STEPS = {
    "import pulumi and its provider": "import pulumi, pulumi_kubernetes",
    "import the program": "import components.program, components.stack",
    "compute the desired state": """\
from pathlib import Path
from gpuctl.desired.desired import desired_state
from gpuctl.settings import read_stack_file
desired = desired_state(read_stack_file("demo", Path({file!r})))
desired.parts
""",
    "look at the cluster": """\
from gpuctl.cluster import cluster_uid, connect
from gpuctl.preflight.refusals import refusals, see
cluster = connect(desired.settings.context, desired.settings.kubeconfig)
assert not refusals(desired, "gpu/demo", see(cluster))
cluster_uid(cluster)
""",
}
"""What the program does before it declares anything, each step after those before it."""


def run() -> None:
    """Medians of previews in turns, then of the steps of the program by themselves."""
    cluster = Cluster(_CLUSTER)
    cluster.down()  # a run that was killed
    try:
        cluster.up()
        cluster.add_kwok_node("gpu-1")
        write_stack_file(cluster, (CONFIG / f"Pulumi.{_STACK}.yaml").read_text())
        environment = cluster.environment()
        with tempfile.TemporaryDirectory() as folder:
            _previews(cluster, environment, Path(folder))
        _steps(cluster, environment)
    finally:
        cluster.down()


def _previews(cluster: Cluster, environment: Mapping[str, str], folder: Path) -> None:
    programs = {
        "an empty program": _project(folder / "empty", ""),
        "one namespace": _project(folder / "namespace", _NAMESPACE.format(context=cluster.context)),
        f"stack {_STACK}": REPOSITORY,
    }
    commands: dict[str, list[str]] = {}
    for name, project in programs.items():
        file = cluster.stack_file if project == REPOSITORY else project / f"Pulumi.{_STACK}.yaml"
        # `pulumi stack init` writes a stack file beside the project file, which must not be that of the checkout
        beside = _project(folder / "gpu", "") if project == REPOSITORY else project
        init = ["pulumi", "stack", "init", _STACK, "--cwd", str(beside)]
        subprocess.run(init, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pulumi = ["env", f"PULUMI_OPTION_CONFIG_FILE={file}", "pulumi", "--cwd", str(project)]
        commands[name] = [*pulumi, "preview", "--stack", _STACK, "--non-interactive"]
    costs = in_turns(commands, _ROUNDS, environment)
    print("pulumi preview of")
    for name, one in costs.items():
        ratios = "   ".join(f"{one.seconds / other.seconds:4.2f} x" for other in costs.values())
        print(f"  {name:32} {_shown(one)}   {ratios}   exit {one.exit_code}")


def _steps(cluster: Cluster, environment: Mapping[str, str]) -> None:
    scripts = [code.format(file=str(cluster.stack_file)) for code in _STEPS.values()]
    commands = {name: [sys.executable, "-c", "\n".join(scripts[: number + 1])] for number, name in enumerate(_STEPS)}
    costs = in_turns(commands, _ROUNDS, {**environment, "PYTHONPATH": str(REPOSITORY)})
    print(f"of which the program of stack {_STACK} takes, before it declares anything")
    before = Cost(0, 0, 0, 0)
    for name, one in costs.items():
        step = Cost(one.seconds - before.seconds, one.cpu_seconds - before.cpu_seconds, one.peak_mib, one.exit_code)
        print(f"  {name:32} {_shown(step)}   exit {one.exit_code}")
        before = one


def _project(folder: Path, program: str) -> Path:
    """A Pulumi project with the options of this one."""
    folder.mkdir()
    runtime = f"runtime: {{name: python, options: {{toolchain: pip, virtualenv: {sys.prefix}}}}}"
    (folder / "Pulumi.yaml").write_text(f"name: {folder.name}\n{runtime}\noptions: {{refresh: always}}\n")
    (folder / "__main__.py").write_text(program)
    return folder


def _shown(one: Cost) -> str:
    return f"{one.seconds:6.2f} s   {one.cpu_seconds:6.2f} s of CPU"
