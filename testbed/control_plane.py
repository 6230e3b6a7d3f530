"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler of one cluster, as plain processes.

Needs no root. The administrator is a static token and the kubelets authorise everyone: for tests on this
machine only.
"""

import secrets
import subprocess
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from testbed import process
from testbed.errors import BedError
from testbed.kube_api import Access, KubeApi

PORTS = ("etcd", "etcd-peers", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
"""The ports a control plane listens on, by the program they belong to."""

SERVICE_PORT = 443
"""The port of the Service `kubernetes`, which kube-apiserver does not let anybody choose."""

_START_SECONDS = 180
_STOP_ORDER = ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")


@dataclass(frozen=True)
class ControlPlane:
    """One control plane. `up` and `down` may be repeated, also after a crash of either."""

    directory: Path
    context: str
    programs: Path
    """Folder with the four programs."""
    address: str
    """Where the API server listens; the other programs stay on the loopback address."""
    ports: Mapping[str, int]

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{self.address}:{self.ports['kube-apiserver']}"

    @property
    def access(self) -> Access:
        """The administrator's access; there once `up` was called."""
        return Access(self.context, self.server, self._certificates / "apiserver.crt", self._token())

    @property
    def processes(self) -> dict[str, int | None]:
        """Process id of each program; None when it does not run."""
        return {name: process.pid(self.directory, name) for name in reversed(_STOP_ORDER)}

    def up(self, kubeconfig: Path) -> None:
        """Starts what does not run, writes the kubeconfig and waits until pods can be created.

        Raises:
            BedError: a program ended or did not become ready; with the end of its log.
        """
        self._write_secrets()
        self._start("etcd", self._etcd())
        self._wait("etcd", "it is healthy", self._etcd_is_healthy)
        self._start("kube-apiserver", self._apiserver())
        self._wait("kube-apiserver", "it has a certificate", self._is_certified)
        api = KubeApi(self.access)
        self._wait("kube-apiserver", "it is ready", api.ready)
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(self.access.kubeconfig())
        self._start("kube-controller-manager", self._controller_manager(kubeconfig))
        self._start("kube-scheduler", self._scheduler(kubeconfig))
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait(
            "kube-controller-manager",
            "the default service account exists",
            lambda: api.get(account) is not None,
        )

    def down(self) -> None:
        """Ends all four at once: their data is thrown away with the cluster.

        The order matters all the same: an API server without etcd would hang.
        """
        for name in _STOP_ORDER:
            process.stop(self.directory, name, seconds=0)

    def stop(self, program: str) -> None:
        """Ends one of the four at once; `up` starts it again."""
        process.stop(self.directory, program, seconds=0)

    @property
    def _certificates(self) -> Path:
        return self.directory / "certificates"

    @property
    def _tokens(self) -> Path:
        return self.directory / "tokens.csv"

    def _token(self) -> str:
        return self._tokens.read_text().split(",")[0]

    def _is_certified(self) -> bool:
        """Whether the API server has written its certificate to the end."""
        certificate = self._certificates / "apiserver.crt"
        return certificate.exists() and certificate.read_text().endswith("-----END CERTIFICATE-----\n")

    def _write_secrets(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._tokens.exists():
            self._tokens.write_text(f'{secrets.token_hex(16)},admin,admin,"system:masters"\n')
        _openssl("genrsa", "-out", to=self.directory / "sa.key")
        _openssl("rsa", "-in", str(self.directory / "sa.key"), "-pubout", "-out", to=self.directory / "sa.pub")

    def _start(self, name: str, flags: Sequence[str]) -> None:
        if not process.alive(self.directory, name):
            process.start(self.directory, name, [str(self.programs / name), *flags])

    def _wait(self, name: str, condition: str, holds: Callable[[], bool]) -> None:
        process.wait(self.directory, name, condition, holds, _START_SECONDS)

    def _etcd(self) -> list[str]:
        client, peers = self._local("etcd"), self._local("etcd-peers")
        return [
            f"--data-dir={self.directory / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        ]

    def _apiserver(self) -> list[str]:
        return [
            f"--etcd-servers={self._local('etcd')}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.ports['kube-apiserver']}",
            f"--cert-dir={self._certificates}",
            f"--service-cluster-ip-range={self._services()}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.directory / 'sa.pub'}",
            f"--service-account-signing-key-file={self.directory / 'sa.key'}",
            "--authorization-mode=Node,RBAC",
            f"--token-auth-file={self._tokens}",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
        ]

    def _services(self) -> IPv4Network:
        """The addresses of Services: the first is that of the Service `kubernetes`.

        Where pods run, it is the API server's own address: so that Service works without kube-proxy, if the API server
        listens on SERVICE_PORT.
        """
        own = IPv4Interface(f"{self.address}/24")
        return IPv4Network("10.96.0.0/16") if own.is_loopback else own.network

    def _controller_manager(self, kubeconfig: Path) -> list[str]:
        return [
            *self._component("kube-controller-manager", kubeconfig),
            f"--root-ca-file={self._certificates / 'apiserver.crt'}",
            f"--service-account-private-key-file={self.directory / 'sa.key'}",
            "--use-service-account-credentials=true",
        ]

    def _scheduler(self, kubeconfig: Path) -> list[str]:
        return self._component("kube-scheduler", kubeconfig)

    def _component(self, name: str, kubeconfig: Path) -> list[str]:
        return [
            f"--kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.ports[name]}",
            f"--cert-dir={self._certificates / name}",
        ]

    def _local(self, port: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"

    def _etcd_is_healthy(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self._local('etcd')}/health", timeout=2) as answer:
                return b'"true"' in answer.read()
        except OSError:
            return False


def _openssl(*arguments: str, to: Path) -> None:
    """Makes a key file unless it exists."""
    if to.exists():
        return
    draft = to.with_suffix(to.suffix + ".draft")
    try:
        subprocess.run(["openssl", *arguments, draft], check=True, capture_output=True)
    except FileNotFoundError as error:
        raise BedError(
            "openssl is missing: it makes the key that signs service account tokens. "
            "Install it: apt-get install openssl"
        ) from error
    draft.rename(to)
