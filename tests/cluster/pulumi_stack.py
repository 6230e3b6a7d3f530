"""Drives the pulumi command line on one stack and reads its machine-readable events; looks at the live objects."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gpuctl.desired.names import OWNER, PART_OF, PRESENT_LABEL, PROFILE_LABEL
from gpuctl.settings import Settings, read_config
from tests.fixtures.names import without_hash

REPOSITORY = Path(__file__).parents[2]
_SECONDS = 300
_PROJECT = "name: gpu\nruntime: python\n"

Environment = Mapping[str, str]
Object = dict[str, Any]


class Key(NamedTuple):
    """What tells a live object from all others of the cluster; a ConfigMap's name is without its hash."""

    kind: str
    name: str


class Step(NamedTuple):
    """What pulumi does, or would do, to one Kubernetes object; a ConfigMap's name is without its hash."""

    operation: str
    kind: str
    name: str


@dataclass(frozen=True)
class Outcome:
    """What came of one pulumi command."""

    succeeded: bool
    steps: frozenset[Step]
    """All but those that leave an object as it is."""
    errors: str
    warnings: str


@dataclass(frozen=True)
class Snapshot:
    """The project's objects and all nodes at one moment."""

    objects: Mapping[Key, Object]
    nodes: Mapping[str, Object]

    def uids(self) -> dict[Key, str]:
        return {key: live["metadata"]["uid"] for key, live in self.objects.items()}

    def labels(self, node: str) -> dict[str, str]:
        return self.nodes[node]["metadata"]["labels"]

    def changed_since(self, before: "Snapshot") -> set[Key]:
        """The objects whose content differs; status and bookkeeping of the API server do not count."""
        both = self.objects.keys() & before.objects.keys()
        return {key for key in both if _content(self.objects[key]) != _content(before.objects[key])}


def run(environment: Environment, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program in the repository root."""
    return subprocess.run(
        words,
        cwd=REPOSITORY,
        env=dict(environment),
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )


def output(environment: Environment, *words: str, text: str | None = None) -> str:
    """What a program prints; it must succeed."""
    done = run(environment, *words, text=text)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def snapshot(environment: Environment) -> Snapshot:
    """The cluster as it is now."""
    kinds = "namespaces,runtimeclasses,nodes,configmaps,daemonsets"
    found: list[Object] = json.loads(output(environment, "kubectl", "get", kinds, "-A", "-o", "json"))["items"]
    label, value = PART_OF
    own = [
        live
        for live in found
        if live["metadata"].get("labels", {}).get(label) == value and "deletionTimestamp" not in live["metadata"]
    ]
    return Snapshot(
        objects={Key(live["kind"], without_hash(live["metadata"]["name"])): live for live in own},
        nodes={live["metadata"]["name"]: live for live in found if live["kind"] == "Node"},
    )


def clear(environment: Environment) -> None:
    """Removes what a stack made, without its help; an empty namespace takes five seconds more to go."""
    label, value = PART_OF
    own = ("-l", f"{label}={value}")
    output(environment, "kubectl", "delete", "daemonsets,configmaps,runtimeclasses", "-A", *own)
    driver = "clusterroles,clusterrolebindings,deviceclasses,validatingadmissionpolicies,"
    output(environment, "kubectl", "delete", f"{driver}validatingadmissionpolicybindings", *own)
    output(environment, "kubectl", "delete", "namespaces", *own, "--wait=false")
    output(environment, "kubectl", "label", "nodes", "--all", f"{PRESENT_LABEL}-", f"{PROFILE_LABEL}-")
    output(environment, "kubectl", "annotate", "nodes", "--all", f"{OWNER}-")


class Stack:
    """A stack with a stack file of its own, outside the repository."""

    def __init__(self, name: str, environment: Environment, folder: Path) -> None:
        self.name = name
        self.file = folder / f"Pulumi.{name}.yaml"  # where gpuctl looks for it in a folder
        self.environment = {
            **environment,
            "PULUMI_OPTION_CONFIG_FILE": str(self.file),
            "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true",
        }
        self._project = folder / name  # `pulumi stack init` writes a stack file into the project it runs in
        self._project.mkdir()
        (self._project / "Pulumi.yaml").write_text(_PROJECT)
        self._init()

    def configure(self, **config: object) -> None:
        """Writes the stack file; keys are those of the project."""
        self.file.write_text(yaml.safe_dump({"config": {f"gpu:{key}": value for key, value in config.items()}}))

    @property
    def settings(self) -> Settings:
        """What the stack file says."""
        return read_config(self.name, yaml.safe_load(self.file.read_text())["config"])

    def command(self, *words: str) -> list[str]:
        return ["pulumi", *words, "--stack", self.name]

    def pulumi(self, *words: str) -> str:
        """What a pulumi command prints; it must succeed."""
        return output(self.environment, *self.command(*words))

    def preview(self, *flags: str) -> Outcome:
        return self._watched("preview", *flags)

    def up(self, *flags: str) -> Outcome:
        return self._watched("up", "--yes", "--skip-preview", *flags)

    def destroy(self) -> Outcome:
        return self._watched("destroy", "--yes", "--skip-preview")

    def shell(self, command: str) -> None:
        """Runs a command that a message suggested; it must succeed."""
        output(self.environment, "bash", "-ec", command)

    def forget(self) -> None:
        """Loses the stack's records, and begins with empty ones; its objects stay."""
        self.remove()
        self._init()

    def remove(self) -> None:
        """Forgets the stack; its objects stay."""
        self.pulumi("stack", "rm", "--yes", "--force", "--preserve-config")

    def _init(self) -> None:
        output(self.environment, "pulumi", "stack", "init", self.name, "--cwd", str(self._project))

    def _watched(self, *words: str) -> Outcome:
        done = run(self.environment, *self.command(*words, "--json"))
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        said = [event["diagnosticEvent"] for event in events if "diagnosticEvent" in event]
        return Outcome(
            succeeded=done.returncode == 0,
            steps=frozenset(_steps(events)),
            errors=_messages(said, "error") + done.stderr,
            warnings=_messages(said, "warning"),
        )


def suggested(message: str) -> list[str]:
    """The pulumi commands in a message."""
    return re.findall(r"(?<!`)pulumi config (?:set|rm) .*", message)


def is_subset(part: Any, whole: Any) -> bool:
    """Whether all that one document says stands in the other, which may say more."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and is_subset(part[key], whole[key]) for key in part)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(is_subset, part, whole))  # pyright: ignore[reportUnknownArgumentType]
    return part == whole


def children(pid: int) -> list[int]:
    """The processes that a process started, in any of its threads."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def _steps(events: list[dict[str, Any]]) -> Iterator[Step]:
    for event in events:
        metadata = event.get("resOutputsEvent", {}).get("metadata", {})
        if metadata.get("type", "").startswith("kubernetes:") and metadata["op"] not in ("same", "refresh"):
            name = without_hash(metadata["urn"].rpartition("::")[2])
            yield Step(metadata["op"], metadata["type"].rpartition(":")[2], name)


def _messages(said: list[dict[str, str]], severity: str) -> str:
    text = "\n".join(event["message"] for event in said if event["severity"].startswith(severity))
    return re.sub(r"<\{%[^%]*%\}>", "", text)  # colours


def _content(live: Object) -> Object:
    metadata: dict[str, dict[str, str]] = live["metadata"]
    annotations = metadata.get("annotations", {}).items()
    kept = {key: value for key, value in annotations if not key.startswith("deprecated.")}  # counts the generations
    rest = {key: value for key, value in live.items() if key not in ("metadata", "status")}
    return rest | {"labels": metadata.get("labels"), "annotations": kept}
