"""A Prometheus of its own on this machine, with a stack's rules."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

_START_SECONDS = 60


class Prometheus:
    """What it says through its HTTP API."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/api/v1"

    def firing(self) -> dict[str, dict[str, Any]]:
        """The alerts that fire, by name."""
        alerts = self._get("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression is now: labels and value of each series."""
        return self._get("query", query=expression)["result"]

    def _get(self, path: str, **parameters: str) -> Any:
        with urlopen(f"{self._url}/{path}?{urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]


@contextlib.contextmanager
def prometheus(
    program: Path, folder: Path, scrapes: list[dict[str, Any]], rules: dict[str, Any]
) -> Generator[Prometheus]:
    """Starts it on a free port, and ends it.

    Args:
        program: prometheus.
        folder: for its configuration, data and log.
        scrapes: its scrape configurations; it scrapes and judges every second.
        rules: its only rule file.
    """
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    every_second = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document = {"global": every_second, "rule_files": ["rules.yml"], "scrape_configs": scrapes}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(document))
    options = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([program, *options, "--web.listen-address=127.0.0.1:0"], stdout=log, stderr=log)
    try:
        yield Prometheus(_address(folder / "log", server))
    finally:
        server.terminate()
        server.wait(timeout=30)


def _address(log: Path, server: "subprocess.Popen[bytes]") -> str:
    """It takes any free port and says which one."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        said = log.read_text()
        if "ready to receive web requests" in said and (match := re.search(r'Listening on" address=(\S+)', said)):
            return match[1]
        time.sleep(0.1)
    raise AssertionError(f"prometheus did not start:\n{log.read_text()}")
