"""What the demo shows, in order."""

import contextlib

from demo import figures
from demo.screen import DemoError, Screen
from demo.stack import CONFIG, REPOSITORY, KeptStackFile, write_stack_file
from testbed.cluster import Cluster, capabilities

NODE = "gpu-1"
GPUS = 2
SLICES, MORE_SLICES = 4, 6
PODS = 9
WATTS = 300

_SECONDS = 120
_STACK = "demo"
_STACK_FILE = CONFIG / f"Pulumi.{_STACK}.yaml"
_UP = ("pulumi", "up", "--yes", "--skip-preview", "--suppress-outputs", "--suppress-progress", "--stack", _STACK)
_VERIFY = ("gpuctl", "verify", "--sharing", "--cuda-image", "", "--stack", _STACK)
_REMOVE_PODS = ("kubectl", "delete", "--ignore-not-found", "-f", "demo/pods.yaml")
_DRIFT = "from testbed.cluster import Cluster; Cluster('{name}').every_node['{node}'].gpus[0].drift(350)"


def down_command(name: str) -> str:
    """What takes the demo's cluster down."""
    return "make demo-down" if name == "demo" else f"python -m testbed down --name {name}"


def shell_command(name: str) -> str:
    """What opens a shell to work with the demo's cluster."""
    return "python -m testbed shell" + ("" if name == "demo" else f" --name {name}")


class Story:
    """One run of the demo on a cluster of its own."""

    def __init__(self, screen: Screen, name: str, talos: str = "") -> None:
        self._screen = screen
        self._talos = talos
        """The release of Talos that the node runs; empty when it runs this machine's own system."""
        self._cluster = Cluster(name)
        self._reused = self._cluster.is_up

    def tell(self) -> None:
        """Shows everything this machine can show.

        Raises:
            DemoError: a command failed, or a figure is not as it should be.
        """
        problem = capabilities()
        self._start(problem)
        self._deploy()
        if problem:
            self._show_configuration(SLICES)
            self._change_slices()
            self._show_configuration(MORE_SLICES)
        else:
            self._show_capacity(SLICES)
            waiting = self._share(self._show_limits())
            self._change_slices()
            self._show_capacity(MORE_SLICES)
            self._show_that_nobody_waits(waiting)
            self._verify()
        self._suggest(real=problem is None)

    def remove_pods(self) -> None:
        """Takes back what an interrupted run left between two steps."""
        if self._screen.environment:
            with contextlib.suppress(DemoError):  # kubectl has said why
                self._screen.run(*_REMOVE_PODS)

    def _start(self, problem: str | None) -> None:
        screen, cluster = self._screen, self._cluster
        screen.title(f"A cluster with one node of {GPUS} x RTX 3090")
        if problem:
            screen.say(
                f"No real node can run here: {problem}.\nSo kwok plays the node. It runs no containers, so what "
                "device plugin and power limit do on a node, capacity and watts, cannot be shown."
            )
        else:
            screen.say("Control plane, kubelet, containerd and device plugin are real; only the GPUs are simulated.")
        if self._reused:
            screen.say(f"Cluster {cluster.name} is up already: it is used again, brought back to the start.")
        talos = ("--talos", self._talos) if self._talos else ()
        screen.run("python", "-m", "testbed", "up", "--name", cluster.name, *talos, "--node", f"{NODE}=rtx-3090x{GPUS}")
        screen.environment = cluster.environment()

    def _deploy(self) -> None:
        screen, text = self._screen, _STACK_FILE.read_text()
        screen.title("One stack file, one pulumi up")
        screen.run("cat", str(_STACK_FILE.relative_to(REPOSITORY)))
        write_stack_file(self._cluster, text)
        with KeptStackFile(_STACK):
            screen.run("pulumi", "stack", "select", "--create", _STACK)
        if self._talos:
            self._patch()
        if self._reused:  # an earlier run may have been cut off, and Pulumi does not know how far it got
            screen.run(*_REMOVE_PODS)
            screen.run(*_UP, "--refresh")
        else:
            screen.run(*_UP)

    def _patch(self) -> None:
        """Gives the Talos node its patch; one that has it keeps it, because Talos would append it once more."""
        screen, folder = self._screen, f"{self._cluster.environment()['TMPDIR']}/patches"
        screen.run("pulumi", "config", "set", "gpu:talosVersion", self._talos, "--stack", _STACK)
        if self._reused:
            return
        screen.say("What the Talos configuration of the node must say, applied to the running node:")
        screen.run("gpuctl", "talos", "patch", "--stack", _STACK, "--output", folder)
        screen.run("talosctl", "patch", "machineconfig", "--patch", f"@{folder}/{NODE}.yaml")

    def _show_capacity(self, slices: int) -> None:
        self._screen.title("What the node offers")
        self._screen.until(
            f"{GPUS} GPUs count as {GPUS * slices}: {slices} slices each",
            figures.NODES,
            figures.offered,
            {NODE: str(GPUS * slices)},
            _SECONDS,
        )

    def _show_limits(self) -> list[str]:
        """Returns the UUIDs of the GPUs."""
        self._screen.title("What the GPUs may draw: UUID, limit and default limit in watts")
        output = self._screen.until(
            f"every GPU is at {WATTS} W",
            figures.LIMITS,
            lambda output: list(figures.limits(output).values()),
            [float(WATTS)] * GPUS,
            _SECONDS,
        )
        return list(figures.limits(output))

    def _share(self, uuids: list[str]) -> str:
        """Returns the name of the pod that finds no room."""
        screen, room = self._screen, GPUS * SLICES
        screen.title(f"{PODS} pods that ask for one GPU each, room for {room}")
        screen.run("kubectl", "create", "-f", "demo/pods.yaml")
        output = screen.until(
            f"{room} pods share {GPUS} GPUs, {SLICES} on each; one waits",
            figures.PODS,
            figures.placement,
            dict.fromkeys(uuids, SLICES) | {"Pending": PODS - room},
            _SECONDS,
        )
        waiting = next(pod.name for pod in figures.pods(output) if pod.phase == "Pending")
        screen.until(
            "it waits for a GPU",
            figures.why_pending(waiting),
            figures.shortage,
            "Insufficient nvidia.com/gpu",
            _SECONDS,
        )
        return waiting

    def _change_slices(self) -> None:
        self._screen.title(f"{MORE_SLICES} slices instead of {SLICES}: a rolling update, node by node")
        self._screen.run("pulumi", "config", "set", "gpu:slices", str(MORE_SLICES), "--stack", _STACK)
        self._screen.run(*_UP)

    def _show_that_nobody_waits(self, waiting: str) -> None:
        def read(output: str) -> dict[str, object]:
            running = figures.running(output)
            restarts = sum(map(int, running.values()))
            return {"running": len(running), "restarts": restarts, f"{waiting} runs": waiting in running}

        self._screen.until(
            f"{waiting} runs too, and no pod was restarted",
            figures.PODS,
            read,
            {"running": PODS, "restarts": 0, f"{waiting} runs": True},
            _SECONDS,
        )

    def _verify(self) -> None:
        """The product's own judgement of all of it; the pods that are there stay."""
        screen = self._screen
        screen.title("What gpuctl says: every setting is in force, and pods do share the GPUs")
        screen.say("The proof makes pods in the slices that are free. Simulated GPUs run no CUDA program.")
        screen.run(*_VERIFY)

    def _show_configuration(self, slices: int) -> None:
        """What can be seen where no container runs."""
        screen = self._screen
        screen.title("What is in the cluster")
        screen.run("kubectl", "get", "daemonsets,configmaps", "-n", "gpu-device-plugin")
        screen.until(
            f"the device plugin is configured for {slices} slices",
            figures.CONFIG,
            figures.replicas,
            str(slices),
            _SECONDS,
        )

    def _suggest(self, *, real: bool) -> None:
        screen, name = self._screen, self._cluster.name
        screen.title("What to try next")
        screen.say(". .venv/bin/activate                           python and gpuctl of this checkout")
        screen.say(f"{shell_command(name):<46} a shell for what follows")
        screen.say(f"{'gpuctl capacity --stack demo':<46} what config/Pulumi.demo.yaml asks for, computed offline")
        if real:
            screen.say(f"{'kubectl scale deployment share --replicas 13':<46} one more than there is room for")
            screen.say("kubectl logs -n gpu-device-plugin ds/nvidia-power-limit --tail 5 --follow")
            screen.say("  and in another shell, to move a limit and see the agent put it back within 5 seconds:")
            screen.say(f'  python -c "{_DRIFT.format(name=name, node=NODE)}"')
        screen.say(f"{'pulumi destroy --stack demo':<46} labels go, GPUs get their default limits back")
        screen.say(f"{down_command(name):<46} takes the cluster down")
