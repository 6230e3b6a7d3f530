"""Command line of the test bed: `python -m testbed --help`."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from testbed import tools
from testbed.cluster import Cluster, capabilities
from testbed.cluster_state import cluster_names
from testbed.errors import BedError
from testbed.gpus import MODELS, NodeSpec
from testbed.l3 import pack as l3_pack
from testbed.l3 import run as l3_run
from testbed.l3.proofs import PROOFS
from testbed.layout import CACHE
from testbed.progress import say
from testbed.status import table
from testbed.talos_node.releases import RELEASES, release_of

_HELP = f"""\
A real Kubernetes on this machine, with simulated NVIDIA GPUs.

etcd, control plane, kubelet, containerd, runc and the NVIDIA device plugin are the real programs. The GPUs, \
their driver and nvidia-smi are simulated, and tests can perturb them. Everything lies in {CACHE}.

python -m testbed up --node gpu-1=rtx-3090x2

python -m testbed shell -- kubectl get nodes

python -m testbed down
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_PYTHON = "{}.{}".format(*sys.version_info)

Name = Annotated[str, typer.Option(help="The cluster; several can run side by side.")]


@app.command("tools")
def build_tools() -> None:
    """Build or fetch every program; print the folder to put on PATH.

    The first run takes about 15 minutes on two cores (Kubernetes and Pulumi from source), later ones none.
    """
    for title, path in tools.everything().items():
        say(f"{title}: {path}")
    print(tools.commands())


@app.command()
def up(
    name: Name = "demo",
    node: Annotated[
        list[NodeSpec] | None,
        typer.Option(
            parser=NodeSpec.parse,
            metavar="NAME=MODELxN",
            help=f"A real node and its simulated GPUs, such as gpu-1=rtx-3090x2 or gpu-2=rtx-3090x1+l4x1; "
            f"may be repeated. Models: {', '.join(MODELS)}.",
        ),
    ] = None,
    kwok_nodes: Annotated[int, typer.Option(min=0, help="How many nodes without machine or containers.")] = 0,
    talos: Annotated[
        str,
        typer.Option(
            metavar="VERSION", help=f"The nodes run Talos, the first as control plane: {', '.join(RELEASES)}."
        ),
    ] = "",
    real_gpu: Annotated[
        bool, typer.Option("--real-gpu", help="A node gpu-1 with this machine's own NVIDIA GPUs.")
    ] = False,
    dra: Annotated[bool, typer.Option("--dra", help="Nodes have CDI and the image of NVIDIA's DRA driver.")] = False,
    toolkit: Annotated[
        bool, typer.Option("--toolkit/--no-toolkit", help="Nodes have the handler `nvidia`, as Talos up to 1.14.")
    ] = True,
) -> None:
    """Start a cluster, or what is missing of it; add nodes to it."""
    cluster, nodes = Cluster(name), node or []
    if talos:
        if dra or not toolkit:
            raise typer.BadParameter("--dra and --no-toolkit are for nodes without --talos")
        cluster.up(nodes, kwok_nodes, talos=release_of(talos).version)
    elif real_gpu:
        if nodes:
            raise typer.BadParameter("--real-gpu brings its own node gpu-1; start --node in another cluster")
        cluster.up([NodeSpec("gpu-1")], kwok_nodes, real_gpu=True, dra=dra, toolkit=toolkit)
        say("node gpu-1 has this machine's own GPUs; leave their limits alone: gpu:powerManagement: false")
    elif nodes and (problem := capabilities()):
        say(f"{problem}. Here kwok plays the nodes of --node: they offer their GPUs, but run no containers")
        cluster.up(kwok_nodes=kwok_nodes)
        for spec in nodes:
            cluster.add_kwok_node(spec.name, len(spec.boards))
    else:
        cluster.up(nodes, kwok_nodes, dra=dra, toolkit=toolkit)
    say(f"cluster {name} is up. Work with it: python -m testbed shell --name {name}")


@app.command()
def pack(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A tar archive.")],
    real_gpu: Annotated[bool, typer.Option("--real-gpu", help="For a machine with NVIDIA GPUs.")] = False,
    python: Annotated[str, typer.Option(metavar="VERSION", help="Of Python on that machine.")] = _PYTHON,
) -> None:
    """Write all that a GPU machine without Go and registries needs to prove the product: see ./l3 in it.

    Larger than 60 MiB, it becomes FILE.1, FILE.2 and so on.
    """
    if not real_gpu:
        raise typer.BadParameter("what is packed is for real GPUs: python -m testbed pack --real-gpu -o FILE")
    files = l3_pack.write(output, python)
    joined = f"tar -xf {output.name}" if files == [output] else f"cat {output.name}.* | tar -x"
    for path in files:
        print(path)
    say(f"on the GPU machine, in an empty folder, as root: {joined} && ./l3 --evidence evidence")


@app.command()
def l3(
    evidence: Annotated[Path, typer.Option(metavar="FOLDER", help="For the evidence files.")],
    proof: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help=f"Only this one; may be repeated: {', '.join(PROOFS)}.")
    ] = None,
    rehearse: Annotated[
        NodeSpec | None,
        typer.Option(
            parser=NodeSpec.parse,
            metavar="gpu-1=MODELxN",
            help="On a node with simulated GPUs, without what needs CUDA, to see whether all of it runs.",
        ),
    ] = None,
) -> None:
    """Prove the product on this machine's own NVIDIA GPUs: up, deployed, proven, down.

    GPU settings are only read, and compared before and after. Exit code 1: a proof does not hold or a setting changed.
    """
    if unknown := {*(proof or ())} - {*PROOFS}:
        raise typer.BadParameter(f"there is no proof {', '.join(sorted(unknown))}: {', '.join(PROOFS)}")
    if not l3_run.run(evidence.absolute(), proof or list(PROOFS), rehearse):
        raise typer.Exit(1)


@app.command()
def down(
    name: Name = "demo",
    every: Annotated[bool, typer.Option("--all", help="Every cluster.")] = False,
) -> None:
    """End a cluster and remove everything of it, also after a crash; the built programs stay."""
    for each in cluster_names() if every else [name]:
        Cluster(each).down()


@app.command()
def status() -> None:
    """Show clusters, their processes and nodes, and the state of each simulated GPU."""
    names = cluster_names()
    if not names:
        print("no cluster is up; start one: python -m testbed up --node gpu-1=rtx-3090x2")
    for name in names:
        Console().print(table(Cluster(name)))


@app.command()
def kubeconfig(name: Name = "demo") -> None:
    """Print the path of a cluster's kubeconfig."""
    print(Cluster(name).environment()["KUBECONFIG"])


@app.command()
def shell(
    name: Name = "demo",
    command: Annotated[list[str] | None, typer.Argument(help="Run this instead of $SHELL.")] = None,
) -> None:
    """Open a shell whose kubectl and pulumi work with a cluster, and with no other.

    A single command: python -m testbed shell -- kubectl get nodes
    """
    words = command or [os.environ.get("SHELL") or "sh"]
    environment = Cluster(name).environment()
    os.execvpe(words[0], words, environment)


def main() -> None:
    """Runs the command line; what a user can fix is told without a traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a job that is cancelled cleans up like Ctrl-C
    try:
        app()
    except (BedError, OSError, subprocess.CalledProcessError) as error:
        print(f"testbed: error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
