"""Why a pod does not do its work, by its own status, its events and its last words."""

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from gpuctl.cluster import Manifest, Pod

PULL_FAILURES = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
"""Reasons of a container that waits for an image it will not get; ErrImagePull alone may be a passing one."""

_INFORMATION = re.compile(r'^I\d{4} |\blevel="?info\b|"level": ?"info"')
"""A line that is no reason for anything: of klog, logfmt, or JSON."""
_SIGNALS_FROM = 128
"""Exit codes above it are 128 plus the number of the signal that ended the program."""


class State(StrEnum):
    """In which way a pod does not do its work, as the verb of a sentence about it."""

    CRASHING = "exits again and again"
    WAITING = "does not start"
    ENDED = "has ended"
    UNREADY = "is not ready"
    NOT_STARTED = "has not started"


@dataclass(frozen=True, slots=True)
class PodProblem:
    """Why a pod does not do its work."""

    state: State
    reason: str = ""
    """In one word, as the kubelet or the scheduler has it, such as `ImagePullBackOff`."""
    message: str = ""
    """In theirs, at length."""
    exit: str = ""
    """How its program ended the last time, such as `exit code 137 (SIGKILL)`; empty when it never ran."""

    @property
    def why(self) -> str:
        """Reason and message, or how it ended, in one line."""
        return sentence(self.reason, self.message) or self.exit


def pod_problem(pod: Pod) -> PodProblem | None:
    """Why a pod does not do its work; None when it is ready, or has ended well."""
    if pod.ready or pod.status.phase == "Succeeded":
        return None
    for status in pod.status.container_statuses:
        if waiting := status.state.waiting:
            before = status.last_state.terminated
            state = State.CRASHING if before or status.restart_count else State.WAITING
            ended = _exit(before.reason, before.exit_code) if before else ""
            return PodProblem(state, waiting.reason, waiting.message, ended)
        if ended := status.state.terminated:
            return PodProblem(State.ENDED, ended.reason, ended.message, f"exit code {ended.exit_code}")
    if pod.status.container_statuses:
        return PodProblem(State.UNREADY)
    if pod.status.reason:
        return PodProblem(State.NOT_STARTED, pod.status.reason, pod.status.message)
    if said := next((each for each in pod.status.conditions if each.status == "False"), None):
        return PodProblem(State.NOT_STARTED, said.reason, said.message)
    return PodProblem(State.NOT_STARTED, "" if pod.node else "it has not been scheduled yet")


def last_words(problem: PodProblem, log: Sequence[str]) -> str:
    """Why a program exits again and again: the end of its log, unless that is innocent or it was killed.

    Args:
        problem: of a pod that is crashing.
        log: of the container; empty where it may not be read.
    """
    was_killed = "SIG" in problem.exit
    said = "" if was_killed or not log or _INFORMATION.search(log[-1]) else log[-1]
    return said or problem.exit or problem.message


def cannot_be_pulled(pod: Pod) -> bool:
    """Whether it waits for an image that it will not get."""
    waiting = (status.state.waiting for status in pod.status.container_statuses)
    return any(each.reason in PULL_FAILURES for each in waiting if each)


def unschedulable(pod: Pod) -> str:
    """Why the scheduler finds no node for a pod; empty when it has one, or was not tried yet."""
    conditions = (each for each in pod.status.conditions if each.type == "PodScheduled")
    return next((each.message for each in conditions if each.status == "False" and not pod.node), "")


class Warned(NamedTuple):
    """A warning that Kubernetes gave about an object."""

    reason: str
    message: str


def warnings(events: Iterable[Manifest]) -> dict[tuple[str, str], list[Warned]]:
    """Kind and name of an object -> the warnings about it, each once, the newest last."""
    found: dict[tuple[str, str], list[Warned]] = {}
    for event in sorted(events, key=lambda each: str(each.get("lastTimestamp") or each.get("eventTime") or "")):
        about: Manifest = event.get("involvedObject") or {}
        if event.get("type", "Warning") == "Warning":
            key = str(about.get("kind", "")), str(about.get("name", ""))
            warned = Warned(str(event.get("reason", "")), str(event.get("message", "")))
            # the same again is the newest, and still one
            found[key] = [*(each for each in found.get(key, []) if each != warned), warned]
    return found


def sentence(reason: str, message: str) -> str:
    """`ImagePullBackOff: Back-off pulling image`, in one line."""
    return ": ".join(part for part in (reason, " ".join(message.split())) if part)


def _exit(reason: str, code: int) -> str:
    known = {each + _SIGNALS_FROM: f" ({each.name})" for each in signal.Signals}
    out_of_memory = f"{reason}, " if reason == "OOMKilled" else ""
    return f"{out_of_memory}exit code {code}{known.get(code, '')}"
