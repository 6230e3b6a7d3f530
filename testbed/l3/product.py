"""The product as its users deploy it with kubectl: `gpuctl render`, applied server-side, and the labels of its node."""

import json
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from testbed.cluster import Cluster
from testbed.errors import BedError
from testbed.progress import step

STACK, NODE = "l3", "gpu-1"
PROJECT = Path(__file__).parents[2]
_OFFER_SECONDS = 180
_WAIT = "3m"

Object = dict[str, Any]


class Product:
    """One stack on one cluster. Nothing of the product is imported: its commands are run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._environment = cluster.environment()
        self._objects = ""

    def deploy(self, stack: Mapping[str, object], offers: Mapping[str, int]) -> None:
        """Puts a stack in the place of the former one; waits until the node offers what it must.

        Args:
            stack: the stack file's keys, without `gpu:` and without the context.
            offers: resource -> how many.
        """
        self.remove()
        keys = {"context": self._cluster.context, **stack}
        self._cluster.stack_file.write_text(yaml.safe_dump({"config": {f"gpu:{key}": keys[key] for key in keys}}))
        with step(f"deploying a stack that offers {_spoken(offers)}"):
            self._objects = self.output(sys.executable, "-m", "gpuctl", "render", "--stack", STACK)
            self._label(self._objects)
            self.output("kubectl", "apply", "--server-side", "-f", "-", text=self._objects)
            deadline = time.monotonic() + _OFFER_SECONDS
            while (seen := self._offered(offers)) != offers:
                if time.monotonic() > deadline:
                    pods = self.output("kubectl", "get", "pods", "-A", "-o", "wide")
                    raise BedError(
                        f"the node offers {_spoken(seen)} and not {_spoken(offers)} after {_OFFER_SECONDS} s\n{pods}"
                    )
                time.sleep(0.5)

    def remove(self) -> None:
        """Deletes what was deployed, and waits until it is gone; the labels stay."""
        if self._objects:
            with step("removing the stack"):
                self.output("kubectl", "delete", "--ignore-not-found", "-f", "-", text=self._objects)
                self._objects = ""

    def verify(self, *options: str) -> tuple[int, Counter[str], list[str]]:
        """Runs `gpuctl verify`; the exit code, how many results of each outcome, and those that are not good."""
        command = [sys.executable, "-m", "gpuctl", "verify", "--stack", STACK, "--wait", _WAIT, "-o", "json", *options]
        done = self.run(*command)
        if not done.stdout:
            raise BedError(f"gpuctl verify ended with {done.returncode}: {done.stderr.strip()}")
        (stack,) = json.loads(done.stdout)["stacks"]
        checks = [check for category in stack["categories"] for check in category["checks"]]
        results = [(check["id"], result["outcome"], result["fact"]) for check in checks for result in check["results"]]
        bad = [f"{check} {outcome}: {fact}" for check, outcome, fact in results if outcome not in ("pass", "skip")]
        return done.returncode, Counter(outcome for _, outcome, _ in results), bad

    def usage(self) -> list[Object]:
        """The rows of `gpuctl status` about pods and what they have of each GPU."""
        said = self.output(sys.executable, "-m", "gpuctl", "status", "--stack", STACK, "-o", "json")
        return json.loads(said)["usage"]

    def account(self) -> str:
        """The page of `gpuctl usage` about each pod."""
        options = ("--stack", STACK, "--since", "10m", "--by", "pod", "-o", "markdown")
        return self.output(sys.executable, "-m", "gpuctl", "usage", *options)

    def run(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command in the cluster's environment."""
        return subprocess.run(
            command, cwd=PROJECT, env=self._environment, input=text, capture_output=True, text=True, check=False
        )

    def output(self, *command: str, text: str | None = None) -> str:
        """What a command prints.

        Raises:
            BedError: it failed; with what it said.
        """
        done = self.run(*command, text=text)
        if done.returncode:
            raise BedError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _label(self, rendered: str) -> None:
        """Runs the commands that `gpuctl render` prints as comments: it never makes a node."""
        for line in rendered.splitlines():
            if line.startswith("# kubectl "):
                self.output(*shlex.split(line.removeprefix("# ")), "--overwrite")

    def _offered(self, resources: Mapping[str, int]) -> dict[str, int]:
        allocatable = self._cluster.api.nodes()[NODE]["status"]["allocatable"]
        return {resource: int(allocatable.get(resource, 0)) for resource in resources}


def _spoken(offers: Mapping[str, int]) -> str:
    return " and ".join(f"{resource}: {count}" for resource, count in offers.items())
