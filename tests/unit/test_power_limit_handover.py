"""Two agents on one node: one of them sets, and from one to the other no GPU ever gets its default limit."""

import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.power_agent import Agent, Gpu, Node

SECONDS = 20
"""That an ending agent waits for a successor here; a look of one that does not own the limits comes each second."""


def _owning(node: Node, agent: Agent) -> Agent:
    """The agent, started, once it owns the limits and is ready."""
    agent.start()
    agent.wait(lambda: node.owner == agent.uid)
    agent.wait_until_ready()
    return agent


@contextmanager
def _watched(gpu: Gpu) -> Generator[set[str]]:
    """Every limit that the GPU has meanwhile, looked at each millisecond or so."""
    seen, done = set[str](), threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(gpu["power.limit"])
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def test_a_newer_agent_takes_over_and_the_older_leaves_the_cards_alone(node: Node) -> None:
    gpu = node.add_gpu()
    old = _owning(node, node.agent("300"))
    with _watched(gpu) as seen:
        new = _owning(node, node.agent("250"))
        old.wait_for("superseded", owner=new.uid)
        assert old.probe("ready").stdout == f"superseded owner={new.uid}\n"
        gpu["power.limit"] = "200.00"
        new.wait_for("drift", limit_w="200")
        new.wait(lambda: gpu["power.limit"] == "250.00")
        assert old.stop() == 0
        new.wait_for_a_whole_look(gpu)
    assert seen == {"300.00", "250.00", "200.00"}
    assert not old.events("restored")
    assert old.wait_for("stop")["owner"] == new.uid


def test_the_owner_alone_writes_the_lines_about_a_card(node: Node) -> None:
    """Else a reading of both logs would count every watt twice."""
    gpu = node.add_gpu()
    old = _owning(node, node.agent())
    new = _owning(node, node.agent())
    old.wait_for("superseded")
    before = len(old.events("sample"))
    new.wait_for_a_whole_look(gpu)
    old.wait(lambda: len(old.events("superseded")) >= 2)
    assert len(old.events("sample")) == before


def test_an_agent_that_loses_the_limits_in_the_middle_of_a_look_sets_nothing_more(node: Node) -> None:
    gpu = node.add_gpu()
    agent = _owning(node, node.agent())
    boot, folder = Path("/proc/sys/kernel/random/boot_id").read_text().strip(), node.folder / "node"
    (folder / "agent-newer").write_text(f"{boot} 99999999 9\n")
    calls = node.set_calls
    node.put("before_answering", f"echo 250.00 >0/power.limit; echo newer 9 >{folder / 'owner'}")
    agent.wait_for("superseded", owner="newer")
    assert (node.set_calls, gpu["power.limit"]) == (calls, "250.00")


def test_an_agent_whose_limit_a_card_refuses_does_not_take_over(node: Node) -> None:
    """A rolling update with a mistake in it then stops, and the limits that were right go on being held."""
    gpu = node.add_gpu()
    old = _owning(node, node.agent("300"))
    new = node.agent("900").start()
    new.wait_for("unattainable", desired_w="900", nearest_w="400")
    new.wait_for("candidate", owner=old.uid)
    gpu["power.limit"] = "350.00"
    old.wait_for("change", from_w="350")
    assert (node.owner, old.ready, new.ready) == (old.uid, True, False)
    assert not new.events("sample"), "the owner's lines are enough"


def test_a_card_that_is_gone_does_not_keep_an_agent_from_taking_over(node: Node) -> None:
    """The other GPUs are owed their new limit, the lower one above all."""
    gpu = node.add_gpu()
    old = _owning(node, node.agent("300"))
    new = node.agent("250", gpu_count="2").start()
    new.wait(lambda: gpu["power.limit"] == "250.00")
    assert (node.owner, new.ready, old.uid != new.uid) == (new.uid, False, True)


def test_it_takes_over_all_the_same_when_nobody_else_is_left(node: Node) -> None:
    """It then holds what it can, and the GPU that refuses keeps what it has."""
    gpu, small = node.add_gpu(), node.add_gpu(power__max_limit="320.00")
    old = _owning(node, node.agent("300", patience=str(SECONDS)))
    new = node.agent("350", interval="60").start()
    new.wait_for("candidate")
    with _watched(small) as seen:
        assert old.stop() == 0
        new.wait(lambda: gpu["power.limit"] == "350.00")
    assert seen == {"300.00"}
    assert (node.owner, new.ready) == (new.uid, False)


def test_an_owner_that_ends_waits_for_a_successor(node: Node) -> None:
    """`kubectl delete pod`: the next pod comes a moment later."""
    gpu = node.add_gpu()
    old = _owning(node, node.agent(patience=str(SECONDS)))
    with _watched(gpu) as seen:
        assert old.process is not None
        old.process.send_signal(signal.SIGTERM)
        old.wait(lambda: node.owner == "")
        new = _owning(node, node.agent())
        assert old.process.wait(timeout=SECONDS) == 0
    assert seen == {"300.00"}
    assert old.wait_for("stop")["owner"] == new.uid


def test_an_owner_without_a_successor_gives_the_defaults_back_and_leaves_nothing(node: Node) -> None:
    gpu = node.add_gpu()
    agent = _owning(node, node.agent(patience="1"))
    assert agent.stop() == 0
    assert gpu["power.limit"] == "350.00"
    assert agent.wait_for("stop")["owner"] == "nobody"
    assert list((node.folder / "node").iterdir()) == []


def test_cards_that_an_earlier_agent_set_get_their_defaults_back_as_well(node: Node) -> None:
    """The last agent could not set these; the one before it had, the second one while the last was waiting."""
    small = node.add_gpu(power__max_limit="320.00")
    old = _owning(node, node.agent("300"))
    new = node.agent("350").start()
    new.wait_for("candidate")
    late = node.add_gpu(power__max_limit="320.00")
    old.wait_for("change", gpu=late.uuid)
    old.environment["POWER_LIMIT_PATIENCE"] = "5"
    assert old.process is not None
    old.process.kill()
    old.process.wait()
    (node.folder / "node" / f"agent-{old.uid}").unlink()
    new.wait(lambda: node.owner == new.uid)
    assert new.stop() == 0
    assert (small["power.limit"], late["power.limit"]) == ("350.00", "350.00")


@pytest.mark.parametrize("left", ["boot-before 999999999 7", "expired"])
def test_an_owner_that_lives_no_more_is_no_hindrance(node: Node, left: str) -> None:
    """After a reboot its file is still there, and seconds since boot begin anew.

    An agent that a GPU refuses would wait for ever for an owner to end.
    """
    gpu, _ = node.add_gpu(), node.add_gpu(power__max_limit="250.00")
    folder = node.folder / "node"
    folder.mkdir()
    (folder / "owner").write_text("pod-of-old 7\n")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (folder / "agent-pod-of-old").write_text(f"{boot} 1 7\n" if left == "expired" else f"{left}\n")
    agent = node.agent(interval="60").start()
    agent.wait(lambda: gpu["power.limit"] == "300.00")
    assert agent.wait_for("owner")["after"] == "pod-of-old"


def test_a_restarted_container_is_still_the_owner(node: Node) -> None:
    gpu = node.add_gpu()
    agent = _owning(node, node.agent())
    assert agent.process is not None
    agent.process.kill()
    agent.process.wait()
    gpu["power.limit"] = "350.00"
    agent.start().wait(lambda: gpu["power.limit"] == "300.00")
    assert len(agent.events("owner")) == 1


def test_an_older_agent_that_restarts_does_not_become_the_newer_one(node: Node) -> None:
    """It would take the limits back, and the update would never come to its end."""
    gpu = node.add_gpu()
    old = _owning(node, node.agent("300"))
    new = _owning(node, node.agent("250"))
    assert old.process is not None
    old.process.kill()
    old.process.wait()
    before = len(old.events("superseded"))
    old.start().wait(lambda: len(old.events("superseded")) > before)
    new.wait_for_a_whole_look(gpu)
    assert (node.owner, gpu["power.limit"]) == (new.uid, "250.00")


def test_an_older_agent_takes_the_limits_back_when_the_newer_is_gone(node: Node) -> None:
    gpu = node.add_gpu()
    old = _owning(node, node.agent("300"))
    new = _owning(node, node.agent("250", patience=str(SECONDS)))
    with _watched(gpu) as seen:
        assert new.stop() == 0
        old.wait_until_ready()
    assert seen <= {"250.00", "300.00"}
    assert (node.owner, gpu["power.limit"]) == (old.uid, "300.00")


def test_limits_that_protect_a_circuit_outlive_an_agent_that_nobody_follows(node: Node) -> None:
    """A DaemonSet or a label that somebody deleted by mistake must not cost the breaker."""
    gpu = node.add_gpu()
    agent = node.agent("300", patience=str(SECONDS))
    agent.environment["POWER_LIMIT_KEPT_ON"] = "gpu-11 gpu-1"
    _owning(node, agent)
    assert agent.stop() == 0
    assert gpu["power.limit"] == "300.00"
    assert agent.wait_for("stop")["limits"] == "kept"


def test_a_limit_that_was_kept_is_given_back_when_its_card_is_to_be_left_alone(node: Node) -> None:
    gpu = node.add_gpu()
    agent = node.agent("300")
    agent.environment["POWER_LIMIT_KEPT_ON"] = "gpu-1"
    assert _owning(node, agent).stop() == 0
    node.agent("300", limits="gpu-1 none").start().wait(lambda: gpu["power.limit"] == "350.00")


def test_limits_of_a_node_on_no_circuit_are_given_back(node: Node) -> None:
    gpu = node.add_gpu()
    agent = node.agent("300")
    agent.environment["POWER_LIMIT_KEPT_ON"] = "gpu-11"
    assert _owning(node, agent).stop() == 0
    assert gpu["power.limit"] == "350.00"


def _on_a_full_disk(node: Node, agent: Agent) -> Path:
    """Starts the agent where it cannot write its name; returns what keeps it from that."""
    name = node.folder / "node" / f".{agent.uid}"
    name.parent.mkdir(exist_ok=True)
    name.symlink_to("/dev/full")
    agent.start()
    agent.wait_until_ready()
    return name


def test_a_full_disk_keeps_no_agent_from_holding_the_limits(node: Node) -> None:
    """Nobody else does, and it goes on to write its name, so that it stands there once there is space."""
    gpu, agent = node.add_gpu(), node.agent()
    name = _on_a_full_disk(node, agent)
    assert (gpu["power.limit"], node.owner) == ("300.00", "")
    assert agent.wait_for("owner_unwritten")["level"] == "warn"
    name.unlink()
    agent.wait(lambda: node.owner == agent.uid)
    assert agent.stop() == 0
    assert gpu["power.limit"] == "350.00"


def test_an_agent_whose_name_was_never_written_leaves_the_limits_when_it_ends(node: Node) -> None:
    """Whether another one has come it cannot know."""
    gpu, agent = node.add_gpu(), node.agent()
    _on_a_full_disk(node, agent)
    assert agent.stop() == 0
    assert (gpu["power.limit"], agent.events("restored")) == ("300.00", [])
