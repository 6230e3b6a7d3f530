"""What nvidia_gpu_exporter and kube-state-metrics would say of a simulated node: served here, read for every scrape."""

import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_FIELDS = {
    "power.limit": "power_limit_watts",
    "enforced.power.limit": "enforced_power_limit_watts",
    "power.default_limit": "power_default_limit_watts",
    "power.draw": "power_draw_watts",
    "utilization.gpu": "utilization_gpu_ratio",
    "memory.used": "memory_used_bytes",
    "memory.total": "memory_total_bytes",
    "temperature.gpu": "temperature_gpu",
}
"""Field of nvidia-smi -> what the exporter makes of it."""
TRAINER = "2198be16-5c1a-4a4e-9d0e-0a1b2c3d4e5f"
"""UID of the pod team/trainer, which has a slice of the node."""
_FACTORS = {"ratio": 0.01, "bytes": 1 << 20}
"""Last word of a metric -> by what the exporter multiplies it: nvidia-smi has percents and MiB."""


class Exporter(ThreadingHTTPServer):
    """nvidia_gpu_exporter of a node on /gpus, kube-state-metrics on /kube.

    The first asks nvidia-smi, as its usual backend does, and says it in the names of v1.14: by UUID without `GPU-`,
    and of no node.
    """

    def __init__(self, node: str, slices: int, nvidia_smi: Path, variables: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._node, self._slices = node, slices
        self._nvidia_smi, self._variables = nvidia_smi, variables

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"

    def metrics(self, path: str) -> Iterator[str]:
        """The lines of a scrape."""
        return self._gpus() if path == "/gpus" else self._kube()

    def _gpus(self) -> Iterator[str]:
        query = [f"--query-gpu=uuid,name,{','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
        answer = subprocess.run(
            [self._nvidia_smi, *query], env=self._variables, capture_output=True, text=True, check=True
        )
        for row in answer.stdout.splitlines():
            uuid, name, *values = row.split(", ")
            uuid = uuid.removeprefix("GPU-")
            yield f'nvidia_smi_gpu_info{{uuid="{uuid}",name="{name}"}} 1'
            for metric, value in zip(_FIELDS.values(), values, strict=True):
                factor = _FACTORS.get(metric.rpartition("_")[2], 1)
                yield f'nvidia_smi_{metric}{{uuid="{uuid}"}} {float(value) * factor}'

    def _kube(self) -> Iterator[str]:
        yield f'kube_node_info{{node="{self._node}"}} 1'
        for status in ("capacity", "allocatable"):
            labels = f'node="{self._node}",resource="nvidia_com_gpu",unit="integer"'
            yield f"kube_node_status_{status}{{{labels}}} {self._slices}"
        pod = f'namespace="team",pod="trainer",uid="{TRAINER}"'
        yield f"kube_pod_info{{{pod}}} 1"
        yield f'kube_pod_status_phase{{{pod},phase="Running"}} 1'
        its = f'{pod},node="{self._node}",container="main",resource="nvidia_com_gpu",unit="integer"'
        yield f"kube_pod_container_resource_limits{{{its}}} 1"
        yield 'kube_daemonset_status_number_ready{namespace="gpu-device-plugin",daemonset="nvidia-power-limit"} 1'


class _Handler(BaseHTTPRequestHandler):
    server: Exporter  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        content = "".join(f"{line}\n" for line in self.server.metrics(self.path)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""
