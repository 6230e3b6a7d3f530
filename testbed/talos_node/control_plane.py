"""A Talos cluster's configuration, its registry and its one control plane node, by talosctl of the node's release."""

import base64
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import yaml

from testbed import process
from testbed.errors import BedError
from testbed.kube_api import Access, KubeApi
from testbed.talos_node import machine_config, registry
from testbed.talos_node.node import TalosNode
from testbed.talos_node.releases import TalosRelease

_SECONDS = 300
_CALL_SECONDS = 60
_POLL_SECONDS = 0.5
_REGISTRY = "registry"


@dataclass(frozen=True)
class TalosControlPlane:
    """The control plane of a cluster of Talos nodes. `up` and `down` may be repeated, also after a crash of either."""

    directory: Path
    context: str
    release: TalosRelease
    program: Path
    """talosctl."""
    images: Path
    """The registry's folder (images.py)."""
    bridge: IPv4Address
    """The machine's address in the cluster's network."""
    registry_port: int
    node: TalosNode

    @property
    def address(self) -> str:
        """Of the API server."""
        return str(self.node.address)

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{self.address}:6443"

    @property
    def access(self) -> Access:
        """The administrator's access; there once `up` was called."""
        return Access(self.context, self.server, self.directory / "ca.crt", client=self.directory / "client.pem")

    @property
    def processes(self) -> dict[str, int | None]:
        """Process id of what runs on the machine itself; None when it does not."""
        return {_REGISTRY: process.pid(self.directory, _REGISTRY)}

    @property
    def talosconfig(self) -> Path:
        """Access to the nodes for talosctl."""
        return self.directory / "talosconfig"

    def up(self, kubeconfig: Path) -> None:
        """Boots the control plane node, bootstraps etcd, writes the kubeconfig and waits until the API server is ready.

        Raises:
            BedError: something did not become ready; with what talosctl said last.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._serve_images()
        if not self.talosconfig.exists():
            self._generate()
        self.node.up((self.directory / "controlplane.yaml").read_text())
        if not kubeconfig.exists():
            self._repeat("bootstrap")
            self._repeat("kubeconfig", "--force", "--merge=false", str(self.directory / "admin.yaml"))
            self._write_access(kubeconfig)
        self._wait_for_api()

    def join(self, node: TalosNode) -> None:
        """Boots another node: new, it comes up in maintenance mode and gets the configuration of a worker.

        Raises:
            BedError: it does not answer; with what talosctl said last.
        """
        joined = self.directory / f"{node.name}.joined"
        node.up()
        if not joined.exists():
            self.apply(node)
            joined.touch()

    def apply(self, node: TalosNode, *flags: str, contract: str = "") -> None:
        """Gives a node in maintenance mode its configuration, as `talosctl apply-config --insecure` with more flags.

        Args:
            node: a worker.
            flags: such as --config-patch.
            contract: the line whose form the configuration has, such as 1.10; the node's own by default.
        """
        config = self.worker_config(contract or self.release.minor)
        self._repeat("apply-config", "--insecure", "--file", str(config), *flags, nodes=str(node.address))

    def worker_config(self, contract: str) -> Path:
        """A worker's configuration in the form of a line, such as 1.10."""
        folder = self.directory / f"contract-{contract}"
        self._generate_into(folder, contract)
        return folder / "worker.yaml"

    def down(self) -> None:
        """Ends what runs on the machine itself."""
        process.stop(self.directory, _REGISTRY, seconds=0)

    def run(self, *arguments: str, nodes: str = "") -> subprocess.CompletedProcess[str]:
        """Runs talosctl, on the control plane node unless others are named."""
        command = [str(self.program), "--talosconfig", str(self.talosconfig), *arguments]
        if nodes:
            command += ["--nodes", nodes]
        try:
            return subprocess.run(
                command, env=_environment(), capture_output=True, text=True, timeout=_CALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", f"no answer within {_CALL_SECONDS} s")

    def _serve_images(self) -> None:
        if process.alive(self.directory, _REGISTRY):
            return
        command = [sys.executable, "-I", "-S", registry.__file__, str(self.images), str(self.bridge)]
        process.start(self.directory, _REGISTRY, [*command, str(self.registry_port)])

    def _generate(self) -> None:
        """Secrets, the control plane's configuration and the talosconfig."""
        draft = self.directory / "draft"
        self._generate_into(draft, self.release.minor)
        for name in ("endpoint", "node"):
            self._call("--talosconfig", str(draft / "talosconfig"), "config", name, self.address)
        for name in ("controlplane.yaml", "talosconfig"):  # the last says that all are there
            (draft / name).replace(self.directory / name)

    def _generate_into(self, folder: Path, contract: str) -> None:
        secrets = self.directory / "secrets.yaml"
        if not secrets.exists():
            self._call("gen", "secrets", "--output-file", str(secrets))
        patches = machine_config.patches(contract).items()
        self._call(
            *("gen", "config", self.context, self.server, "--force", f"--with-secrets={secrets}", f"--output={folder}"),
            *("--output-types=controlplane,worker,talosconfig", "--with-docs=false", "--with-examples=false"),
            *(f"--talos-version=v{contract}", f"--kubernetes-version={self.release.kubernetes_version}"),
            *(f"--additional-sans={self.address}", f"--registry-mirror=*=http://{self.bridge}:{self.registry_port}"),
            *(f"{flag}={yaml.safe_dump_all(documents)}" for flag, documents in patches),
        )

    def _call(self, *arguments: str) -> None:
        command = [str(self.program), *arguments]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise BedError(f"talosctl {' '.join(arguments)}: {done.stderr.strip()}")

    def _repeat(self, *arguments: str, nodes: str = "") -> None:
        """Runs talosctl until it succeeds: a node that boots does not answer at once."""
        deadline = time.monotonic() + _SECONDS
        while True:
            done = self.run(*arguments, nodes=nodes)
            if done.returncode == 0 or "AlreadyExists" in done.stderr:
                return
            if time.monotonic() > deadline:
                raise BedError(f"talosctl {' '.join(arguments)}: not within {_SECONDS} s: {done.stderr.strip()}")
            time.sleep(_POLL_SECONDS)

    def _write_access(self, kubeconfig: Path) -> None:
        """The kubeconfig under the test bed's context name, and the same access as files."""
        document = yaml.safe_load((self.directory / "admin.yaml").read_text())
        user, cluster = document["users"][0]["user"], document["clusters"][0]["cluster"]
        (self.directory / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        pem = self.directory / "client.pem"
        pem.touch(mode=0o600)
        pem.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(self.access.kubeconfig())

    def _wait_for_api(self) -> None:
        api, deadline = KubeApi(self.access), time.monotonic() + _SECONDS
        while not api.ready():
            if time.monotonic() > deadline:
                raise BedError(f"the API server at {self.server} is not ready after {_SECONDS} s")
            time.sleep(_POLL_SECONDS)


def _environment() -> dict[str, str]:
    """Without a proxy: the nodes are on this machine."""
    return {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
