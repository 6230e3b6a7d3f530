"""Whether Pulumi can work with the stack's state: it can be read, nobody holds its lock, nothing was broken off."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpuctl.checks.context import NO_PULUMI, Context
from gpuctl.checks.model import Category, Check, Result, checks_of, failed, listed, passed, skipped
from gpuctl.forms.command import command

PULUMI_STATE = Category("pulumi-state", "Pulumi's state of the stack")

_PROJECT = "gpu"
_PROVIDER = "pulumi-resource-kubernetes"
_BROKEN = re.compile(r"unexpected end of JSON|invalid character|cannot unmarshal|could not deserialize|load checkpoint")
"""What Pulumi says of a state that was cut off or written over."""


@Check(
    "PUL001",
    PULUMI_STATE,
    "nobody holds the lock of the stack",
    cause="Another `pulumi` is at work, or one was killed and has left its lock",
    example="stack lab is locked by alice@workstation (pid 4711) since 2026-11-28T20:05:00Z",
    confirm=("pulumi whoami --verbose", "ps -p 4711"),
    fix=(
        "Wait for the other `pulumi` to end.",
        "It runs no more: `pulumi cancel --yes --stack lab`, then `pulumi up --refresh --stack lab`.",
    ),
    deep=True,
)
def nobody_holds_the_lock(context: Context) -> Iterator[Result]:
    """By the files in the state's folder: no command says it that does not take the lock itself."""
    folder = _folder(context)
    if folder is None:
        yield skipped("whether the stack is locked is seen only where the state is in a folder of this machine")
        return
    locks = sorted((folder / "locks" / "organization" / _PROJECT / context.stack).glob("*.json"))
    for lock in locks:
        fact = f"stack {context.stack} is locked by {_holder(lock)}"
        yield failed(fact, f"pulumi cancel --yes --stack {context.stack}")
    if not locks:
        yield passed(f"nobody holds the lock of stack {context.stack}")


@Check(
    "PUL002",
    PULUMI_STATE,
    "the stack's state can be read, and no update of it was broken off",
    cause="A `pulumi` was killed, or the disk was full: an operation has no end, or the state's file was cut off",
    example="the state of stack lab cannot be read: unexpected end of JSON input",
    confirm=("pulumi stack export --stack lab",),
    fix=(
        "An operation without an end: `pulumi up --refresh --stack lab` finds out what became of it.",
        "A file that was cut off: put the copy that Pulumi keeps beside it (`.bak`) in its place, then "
        "`pulumi up --refresh --stack lab`.",
    ),
    deep=True,
)
def state_is_whole(context: Context) -> Iterator[Result]:
    """Exported as Pulumi has it, secrets encrypted."""
    stack = context.stack
    ran = context.pulumi("stack", "export", "--stack", stack)
    if ran is None:
        yield skipped(f"whether the state of stack {stack} can be read is not known: {NO_PULUMI}")
    elif ran.exit_code and _BROKEN.search(ran.stderr):
        yield failed(f"the state of stack {stack} cannot be read: {ran.reason}", _restore(context))
    elif ran.exit_code:
        yield skipped(f"whether the state of stack {stack} can be read is not known: {ran.reason}")
    elif pending := _pending(ran.stdout):
        fact = f"an update of stack {stack} was broken off while it was {listed(pending)}"
        yield failed(fact, f"pulumi up --refresh --stack {stack}")
    else:
        yield passed(f"the state of stack {stack} can be read, and no update of it was broken off")


@Check(
    "PUL003",
    PULUMI_STATE,
    "no provider of a `pulumi` that was killed is left on this machine",
    cause="A `pulumi` was killed while it changed the cluster; its provider does not notice and stays for good",
    example="a pulumi-resource-kubernetes runs (pid 4712) whose pulumi is gone",
    confirm=("ps -A -o pid,ppid,etime,command",),
    fix=("It does nothing any more: end it, `kill 4712`.",),
    severity="warning",
    deep=True,
)
def no_provider_is_left(context: Context) -> Iterator[Result]:
    """A provider's parent is its `pulumi`; other users' plugins do not count (Pulumi 3.259, provider 4.25)."""
    ran = context.programs.run("ps", "-Aww", "-o", "pid=,ppid=,command=")
    if ran is None or ran.exit_code:
        yield skipped(
            f"the processes of this machine are not known: {ran.reason if ran else 'ps is not installed here'}"
        )
        return
    parents = {pid: (parent, words) for pid, parent, words in map(_process, ran.stdout.splitlines())}
    plugins = f"{Path(os.environ.get('PULUMI_HOME') or '~/.pulumi').expanduser()}/plugins/"
    left = [
        pid
        for pid, (parent, words) in parents.items()
        if words.startswith(plugins) and _PROVIDER in words and not _is_pulumi(parents.get(parent, ("", ""))[1])
    ]
    for pid in left:
        yield failed(f"a {_PROVIDER} runs (pid {pid}) whose pulumi is gone", f"kill {pid}")
    if not left:
        yield passed("no provider of a `pulumi` that was killed is left on this machine")


def _process(line: str) -> tuple[str, str, str]:
    """Process, its parent, its command line; of a line of ps."""
    pid, parent, words = [*line.split(None, 2), "", "", ""][:3]
    return pid, parent, words


def _is_pulumi(words: str) -> bool:
    return Path(words.partition(" ")[0]).name == "pulumi"


def _folder(context: Context) -> Path | None:
    """Where the backend keeps its files; None where that is no folder of this machine."""
    ran = context.pulumi("whoami", "--json")
    try:
        url: str = json.loads(ran.stdout)["url"] if ran else ""
    except (json.JSONDecodeError, KeyError, TypeError):
        return None
    return Path(url.removeprefix("file://")).expanduser() / ".pulumi" if url.startswith("file://") else None


def _holder(lock: Path) -> str:
    try:
        who = json.loads(lock.read_text())
        return f"{who['username']}@{who['hostname']} (pid {who['pid']}) since {who['timestamp']}"
    except (OSError, json.JSONDecodeError, KeyError, TypeError):
        return f"someone, by {lock}"


def _restore(context: Context) -> str:
    """The command that puts the copy of the state in its place."""
    folder, up = _folder(context), f"pulumi up --refresh --stack {context.stack}"
    if folder is None:
        return f"pulumi stack export --stack {context.stack}"
    state = folder / "stacks" / _PROJECT / f"{context.stack}.json"
    return f"{command('cp', f'{state}.bak', str(state))} && {up}"


def _pending(exported: str) -> list[str]:
    """`updating nvidia-device-plugin`, of each operation without an end."""
    try:
        deployment: dict[str, Any] = json.loads(exported)["deployment"]
        operations: list[dict[str, Any]] = deployment.get("pending_operations") or []
        return [f"{each['type']} {each['resource']['urn'].rpartition('::')[2]}" for each in operations]
    except (json.JSONDecodeError, KeyError, TypeError):
        return []


CHECKS = checks_of(vars())
