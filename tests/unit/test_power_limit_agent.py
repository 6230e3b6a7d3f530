"""The power-limit agent, run by a real shell against a small nvidia-smi whose GPUs are folders of files."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gpuctl.power import Event, Look, parse

SCRIPT = Path(__file__).parents[2] / "gpuctl" / "desired" / "power_limit_agent" / "agent.sh"
SHELL = ["busybox", "sh"] if shutil.which("busybox") else ["sh"]
ALWAYS_SEARCHED = ("/busybox", "/usr/local/nvidia/bin", "/usr/local/bin", "/usr/bin")

NVIDIA_SMI = r"""#!/bin/sh
# One folder per GPU, named by index, one file per field; a field without a file is [N/A].
# stubborn: -pm is refused.
# refuse: set calls fail with exit 4; deaf: they answer 0 and change nothing; lost: as a card off the bus.
cd "$FAKE_GPUS" || exit 255
id='' watts='' mode='' fields='' selected=''
while [ $# -gt 0 ]; do
  case $1 in
    -i) id=$2 && shift ;;
    -pl) watts=$2 && shift ;;
    -pm) mode=$2 && shift ;;
    --query-gpu=*) fields=${1#*=} ;;
  esac
  shift
done
[ -z "$watts" ] || echo "$id $watts" >>set_calls
[ -z "$mode" ] || echo "$id -pm $mode" >>set_calls
[ ! -e no_driver ] || { echo "NVIDIA-SMI has failed: no communication with the driver."; exit 9; }
for gpu in [0-9]*; do
  read -r uuid 2>/dev/null <"$gpu/uuid" || continue
  case $id in '' | "$gpu" | "$uuid") selected="$selected $gpu" ;; esac
done
[ "$selected" ] || { echo "No devices were found"; exit 6; }
for gpu in $selected; do
  [ ! -e "$gpu/lost" ] || { echo "Unable to determine the device handle for GPU$gpu: GPU is lost."; exit 15; }
done
if [ "$mode" ]; then
  [ ! -e "$selected/stubborn" ] || { echo "Unable to set persistence mode for GPU $id"; exit 3; }
  echo Enabled >"${selected# }/persistence_mode"
  exit 0
fi
if [ "$watts" ]; then
  for gpu in $selected; do
    [ ! -e "$gpu/refuse" ] || { printf 'Failed to set "limit":\nInsufficient Permissions\n'; exit 4; }
    [ ! -e "$gpu/deaf" ] || exit 0
    echo "$watts.00" >"$gpu/power.limit"
    [ -e "$gpu/capped" ] || echo "$watts.00" >"$gpu/enforced.power.limit"
  done
  exit 0
fi
read -r invalid 2>/dev/null <invalid_field
case ,$fields, in *",${invalid:-none},"*)
  echo "Field \"$invalid\" is not a valid field to query."
  exit 2 ;;
esac
for gpu in $selected; do
  IFS=, line=''
  for name in $fields; do
    read -r value 2>/dev/null <"$gpu/$name" || value='[N/A]'
    line="$line, $value"
  done
  echo "${line#, }"
done
[ ! -e remark ] || cat remark
"""

RTX_3090 = {
    "name": "NVIDIA GeForce RTX 3090",
    "power.limit": "350.00",
    "enforced.power.limit": "350.00",
    "power.min_limit": "100.00",
    "power.max_limit": "400.00",
    "power.default_limit": "350.00",
    "power.draw": "81.46",
    "utilization.gpu": "12",
    "temperature.gpu": "37",
    "memory.used": "2048",
    "memory.total": "24576",
    "persistence_mode": "Enabled",
    "clocks_event_reasons.active": "0x0000000000000000",
    "clocks_throttle_reasons.active": "0x0000000000000000",
}


@dataclass
class Gpu:
    """One GPU of the small nvidia-smi."""

    folder: Path
    uuid: str

    def __getitem__(self, name: str) -> str:
        return (self.folder / name).read_text().strip()

    def __setitem__(self, name: str, value: str) -> None:
        """Replaces the value at once, so that a look never finds half of it."""
        new = self.folder / f".{name}"
        new.write_text(f"{value}\n")
        new.replace(self.folder / name)

    def __delitem__(self, name: str) -> None:
        (self.folder / name).unlink()


@dataclass
class Agent:
    """One pod: the environment, the running loop and what it logged."""

    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def uid(self) -> str:
        return self.environment["POD_UID"]

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def heartbeat(self) -> Path:
        return self.folder / "state" / "heartbeat"

    def start(self) -> "Agent":
        self.folder.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*SHELL, str(SCRIPT), "run"], env=self.environment, stdout=log, stderr=log)
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def probe(self, verb: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SHELL, str(SCRIPT), verb], env=self.environment, capture_output=True, text=True, check=False
        )

    @property
    def ready(self) -> bool:
        return self.probe("ready").returncode == 0

    def events(self, msg: str, **fields: str) -> list[dict[str, str]]:
        """The logged lines of one kind that carry these fields."""
        lines = [line for line in self.log.read_text().splitlines() if f" msg={msg}" in line]
        records = [dict(item.split("=", 1) for item in shlex.split(line)) for line in lines]
        return [record for record in records if record["msg"] == msg and fields.items() <= record.items()]

    def wait(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, f"it never came to that:\n{self.log.read_text()}"
            time.sleep(0.01)

    def wait_for(self, msg: str, **fields: str) -> dict[str, str]:
        self.wait(lambda: self.events(msg, **fields))
        return self.events(msg, **fields)[-1]

    def wait_for_a_whole_look(self, gpu: Gpu) -> None:
        """Two more look lines: the first may belong to a look that had begun before."""
        before = len(self.events("look", gpu=gpu.uuid))
        self.wait(lambda: len(self.events("look", gpu=gpu.uuid)) >= before + 2)


@dataclass
class Node:
    """A machine with the small nvidia-smi and any number of GPUs."""

    folder: Path
    gpus: list[Gpu] = field(default_factory=list[Gpu])
    agents: list[Agent] = field(default_factory=list[Agent])

    def __post_init__(self) -> None:
        (self.folder / "gpus").mkdir()
        (self.folder / "bin").mkdir()

    def install_nvidia_smi(self) -> None:
        program = self.folder / "bin" / "new"
        program.write_text(NVIDIA_SMI)
        program.chmod(0o755)
        program.rename(program.with_name("nvidia-smi"))

    def add_gpu(self, values: dict[str, str] | None = None, **overrides: str) -> Gpu:
        """An RTX 3090 at its default limit; overrides name fields with `__` for a dot."""
        index = len(self.gpus)
        gpu = Gpu(self.folder / "gpus" / str(index), f"GPU-3090aaaa-0001-4000-8000-00000000000{index}")
        gpu.folder.mkdir()
        fields = {"index": str(index), "uuid": gpu.uuid, **RTX_3090, **(values or {})}
        fields |= {name.replace("__", "."): value for name, value in overrides.items()}
        for name in sorted(fields):  # uuid comes last: with it the GPU is there
            gpu[name] = fields[name]
        gpu.uuid = fields["uuid"]
        self.gpus.append(gpu)
        return gpu

    def put(self, name: str, text: str = "") -> Path:
        path = self.folder / "gpus" / name
        path.write_text(f"{text}\n")
        return path

    @property
    def set_calls(self) -> list[str]:
        calls = self.folder / "gpus" / "set_calls"
        return calls.read_text().splitlines() if calls.exists() else []

    @property
    def owner(self) -> str:
        """The pod whose agent may set limits."""
        path = self.folder / "node" / "owner"
        return path.read_text().split()[0] if path.exists() else ""

    def agent(
        self,
        watts: str = "300",
        interval: str = "0.1",
        gpu_count: str = "",
        limits: str = "",
        patience: str = "0",
    ) -> Agent:
        uid = f"pod-{len(self.agents) + 1}"
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "FAKE_GPUS": str(self.folder / "gpus"),
            "POWER_LIMIT_WATTS": watts,
            "POWER_LIMIT_INTERVAL": interval,
            "POWER_LIMITS": limits,
            "POWER_LIMIT_STATE": str(self.folder / uid / "state"),
            "POWER_LIMIT_NODE": str(self.folder / "node"),
            "POWER_LIMIT_PATIENCE": patience,
            "POD_UID": uid,
            "NODE_NAME": "gpu-1",
            "NODE_GPU_COUNTS": f"gpu-11=9 gpu-1={gpu_count}" if gpu_count else "gpu-11=9",
        }
        self.agents.append(Agent(self.folder / uid, environment))
        return self.agents[-1]


@pytest.fixture
def bare_node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    for agent in node.agents:
        if agent.process and agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


@pytest.fixture
def node(bare_node: Node) -> Node:
    bare_node.install_nvidia_smi()
    return bare_node


def uptime() -> int:
    return int(float(Path("/proc/uptime").read_text().split()[0]))


def test_a_cold_start_sets_every_gpu_and_then_the_pod_is_ready(node: Node) -> None:
    gpus = [node.add_gpu(), node.add_gpu()]
    agent = node.agent(gpu_count="2").start()
    agent.wait(lambda: agent.ready)
    assert [gpu["power.limit"] for gpu in gpus] == ["300.00", "300.00"]
    for gpu in gpus:
        assert agent.wait_for("change", gpu=gpu.uuid).items() >= {"from_w": "350", "to_w": "300"}.items()
    assert not agent.events("drift"), "a first setting is no drift"


@pytest.mark.parametrize("limit", ["300.00", "299.00", "301.00"])
def test_a_limit_within_one_watt_is_never_set_again(node: Node, limit: str) -> None:
    gpu = node.add_gpu(power__limit=limit, enforced__power__limit=limit)
    agent = node.agent().start()
    agent.wait_for_a_whole_look(gpu)
    assert agent.ready
    assert node.set_calls == []


@pytest.mark.parametrize("limit", ["298.99", "301.01"])
def test_a_limit_more_than_one_watt_off_is_set(node: Node, limit: str) -> None:
    """Below as well: the work on the card is owed the watts that were agreed."""
    gpu = node.add_gpu(power__limit=limit, enforced__power__limit=limit)
    agent = node.agent().start()
    agent.wait(lambda: agent.ready)
    assert node.set_calls == [f"{gpu.uuid} 300"]


def test_drift_is_mended_in_the_next_look_with_one_set_call(node: Node) -> None:
    """A driver reload gives every card its default back while the pod lives on."""
    gpu, other = node.add_gpu(), node.add_gpu()
    agent = node.agent().start()
    agent.wait(lambda: agent.ready)
    gpu["power.limit"] = gpu["enforced.power.limit"] = "350.00"
    agent.wait_for_a_whole_look(other)
    assert gpu["power.limit"] == "300.00"
    assert agent.wait_for("drift")["limit_w"] == "350"
    assert node.set_calls == [f"{gpu.uuid} 300", f"{other.uuid} 300", f"{gpu.uuid} 300"]
    assert agent.ready


@pytest.mark.parametrize(("watts", "nearest"), [("99", "100"), ("401", "400")])
def test_a_limit_outside_the_range_of_the_card_is_reported_and_never_tried(
    node: Node, watts: str, nearest: str
) -> None:
    gpu = node.add_gpu()
    agent = node.agent(watts).start()
    agent.wait_for_a_whole_look(gpu)
    expected = {"desired_w": watts, "min_w": "100", "max_w": "400", "nearest_w": nearest}
    assert agent.wait_for("unattainable", gpu=gpu.uuid).items() >= expected.items()
    assert "unattainable" in agent.probe("ready").stdout
    assert node.set_calls == []


@pytest.mark.parametrize("answer", ["[N/A]", "[Not Supported]", "[Insufficient Permissions]", "[GPU is lost]"])
def test_an_unknown_limit_is_neither_zero_nor_at_the_limit(node: Node, answer: str) -> None:
    """Taken for 0 W it would be set, taken for a limit the pod would be ready."""
    gpu = node.add_gpu(power__limit=answer)
    agent = node.agent().start()
    agent.wait_for_a_whole_look(gpu)
    assert agent.wait_for("look").items() >= {"limit_w": "unknown", "at_limit": "false"}.items()
    assert "unknown_limit" in agent.probe("ready").stdout
    assert node.set_calls == []


def test_readings_a_card_does_not_have_are_unknown_and_no_reason_to_worry(node: Node) -> None:
    """An unknown enforced limit or range is no proof against the requested limit."""
    missing = ["enforced.power.limit", "power.min_limit", "power.max_limit", "power.draw", "utilization.gpu"]
    gpu = node.add_gpu(dict.fromkeys(missing, "[N/A]"), power__limit="300.00")
    agent = node.agent().start()
    agent.wait_for_a_whole_look(gpu)
    unknown = {"enforced_w": "unknown", "draw_w": "unknown", "util_pct": "unknown", "at_limit": "true"}
    assert agent.wait_for("look").items() >= unknown.items()
    assert agent.ready


def test_a_refused_set_call_is_reported_with_its_cause_and_the_other_gpus_are_served(node: Node) -> None:
    bad, good = node.add_gpu(refuse=""), node.add_gpu()
    agent = node.agent().start()
    agent.wait_for_a_whole_look(good)
    refused = agent.wait_for("refused", gpu=bad.uuid)
    assert refused["exit"] == "4"
    assert refused["message"] == (
        "Failed to set 'limit': Insufficient Permissions (setting needs uid 0 and the capability SYS_ADMIN)"
    )
    assert good["power.limit"] == "300.00"
    assert f"refused gpu={bad.uuid}" in agent.probe("ready").stdout
    del bad["refuse"]
    agent.wait(lambda: agent.ready)


def test_a_set_call_that_changes_nothing_is_found_out_by_reading_back(node: Node) -> None:
    """nvidia-smi answers 0 for a card that does not support the setting."""
    gpu = node.add_gpu(deaf="")
    agent = node.agent().start()
    agent.wait_for_a_whole_look(gpu)
    assert agent.wait_for("not_applied")["limit_w"] == "350"
    assert not agent.ready


def test_a_card_capped_further_down_by_something_else_is_at_its_limit(node: Node) -> None:
    gpu = node.add_gpu(capped="", enforced__power__limit="250.00")
    agent = node.agent().start()
    agent.wait(lambda: agent.ready)
    assert agent.wait_for("capped").items() >= {"enforced_w": "250", "desired_w": "300"}.items()
    assert agent.wait_for("look", gpu=gpu.uuid)["at_limit"] == "true"


def test_a_card_that_enforces_more_than_was_requested_is_not_at_its_limit(node: Node) -> None:
    gpu = node.add_gpu(capped="", enforced__power__limit="350.00")
    agent = node.agent().start()
    agent.wait_for_a_whole_look(gpu)
    assert agent.wait_for("not_enforced")["enforced_w"] == "350"
    assert not agent.ready


def test_a_gpu_that_falls_off_the_bus_is_noticed_while_the_others_are_served(node: Node) -> None:
    """One lost card makes nvidia-smi fail for all of them. No count is given, so only memory can tell."""
    bad, good = node.add_gpu(), node.add_gpu()
    agent = node.agent().start()
    agent.wait(lambda: agent.ready)
    bad["lost"] = ""
    agent.wait_for("lost", gpu=bad.uuid)
    good["power.limit"] = "350.00"
    agent.wait_for_a_whole_look(good)
    assert good["power.limit"] == "300.00"
    assert f"lost gpu={bad.uuid}" in agent.probe("ready").stdout
    assert "GPU is lost" in agent.wait_for("query_failed", index="0", exit="15")["message"]
    del bad["lost"]
    agent.wait(lambda: agent.ready)
    assert len(agent.events("found", gpu=bad.uuid)) == 2
    assert len(agent.events("found", gpu=good.uuid)) == 1


def test_a_gpu_that_is_lost_from_the_beginning_does_not_keep_the_others_from_their_limit(node: Node) -> None:
    node.add_gpu(lost="")
    good = node.add_gpu()
    agent = node.agent().start()
    agent.wait_for_a_whole_look(good)
    assert good["power.limit"] == "300.00"
    assert "GPU is lost" in agent.probe("ready").stdout


def test_a_gpu_that_appears_later_is_set_too(node: Node) -> None:
    node.add_gpu()
    agent = node.agent().start()
    agent.wait(lambda: agent.ready)
    new = node.add_gpu()
    agent.wait_for("change", gpu=new.uuid)
    assert new["power.limit"] == "300.00"


def test_fewer_gpus_than_the_node_must_have_keep_the_pod_from_being_ready(node: Node) -> None:
    gpu = node.add_gpu()
    agent = node.agent(gpu_count="2").start()
    agent.wait_for_a_whole_look(gpu)
    assert agent.probe("ready").stdout == "missing expected=2 found=1\n"
    node.add_gpu()
    agent.wait(lambda: agent.ready)


def test_without_a_count_at_least_one_gpu_is_needed(node: Node) -> None:
    agent = node.agent().start()
    agent.wait_for("missing", expected="1", found="0")
    assert agent.wait_for("query_failed")["exit"] == "6"
    assert not agent.ready


def test_a_driver_that_is_away_is_reported_once_a_look_and_survived(node: Node) -> None:
    gpu = node.add_gpu()
    no_driver = node.put("no_driver")
    agent = node.agent(gpu_count="1").start()
    agent.wait(lambda: len(agent.events("missing")) >= 2)
    assert all("index" not in event for event in agent.events("query_failed", exit="9"))
    no_driver.unlink()
    agent.wait(lambda: agent.ready)
    assert gpu["power.limit"] == "300.00"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_restores_the_defaults_at_once_and_takes_readiness_away(node: Node, number: signal.Signals) -> None:
    """At once: sleeping in the foreground would hold the signal back for the whole interval."""
    changed = node.add_gpu()
    already_right = node.add_gpu(power__limit="300.00", power__default_limit="320.00")
    foreign = node.add_gpu(power__limit="150.00", power__max_limit="200.00", power__default_limit="180.00")
    agent = node.agent(interval="60").start()
    agent.wait_for("look", gpu=foreign.uuid)
    started = time.monotonic()
    assert agent.stop(number) == 0
    assert time.monotonic() - started < 2
    assert [changed["power.limit"], already_right["power.limit"]] == ["350.00", "320.00"]
    assert foreign["power.limit"] == "150.00", "a limit that is not ours is not ours to restore"
    assert agent.wait_for("restored", gpu=changed.uuid).items() >= {"from_w": "300", "to_w": "350"}.items()
    assert agent.wait_for("stop")
    assert agent.probe("ready").stdout == "stopping\n"


def test_a_refused_restore_is_reported_and_the_others_are_restored(node: Node) -> None:
    bad, good = node.add_gpu(), node.add_gpu()
    agent = node.agent().start()
    agent.wait(lambda: agent.ready)
    bad["refuse"] = ""
    assert agent.stop() == 0
    assert agent.wait_for("restore_failed", gpu=bad.uuid)["exit"] == "4"
    assert good["power.limit"] == "350.00"


def test_the_loop_counts_as_alive_for_three_intervals_and_thirty_seconds(node: Node) -> None:
    node.add_gpu()
    agent = node.agent(interval="60").start()
    agent.wait(lambda: agent.ready)
    assert agent.probe("alive").returncode == 0
    agent.heartbeat.write_text(f"{uptime() - 205}\n")
    assert agent.ready
    agent.heartbeat.write_text(f"{uptime() - 211}\n")
    dead = agent.probe("alive")
    assert dead.returncode == 1
    assert "allowed are 210 s" in dead.stdout
    assert not agent.ready, "what a loop that hangs wrote last is no proof"


def test_the_heartbeat_goes_on_and_a_pod_that_never_ran_is_neither_alive_nor_ready(node: Node) -> None:
    gpu = node.add_gpu()
    agent = node.agent()
    assert agent.probe("alive").returncode == 1
    assert not agent.ready
    agent.start().wait_for_a_whole_look(gpu)
    agent.heartbeat.write_text("1\n")
    agent.wait_for_a_whole_look(gpu)
    assert uptime() - int(agent.heartbeat.read_text().split()[0]) <= 2


def test_a_restarted_container_does_not_inherit_readiness(node: Node) -> None:
    """The folder outlives the container; the driver may be another one by now."""
    node.add_gpu()
    agent = node.agent(interval="60").start()
    agent.wait(lambda: agent.ready)
    assert agent.process is not None
    agent.process.kill()
    agent.process.wait()
    node.put("no_driver")
    agent.start().wait_for("missing")
    assert not agent.ready


def test_the_older_name_of_the_field_with_the_throttle_reasons_is_used_where_the_newer_is_refused(node: Node) -> None:
    gpu = node.add_gpu(clocks_throttle_reasons__active="0x0000000000000004")
    node.put("invalid_field", "clocks_event_reasons.active")
    agent = node.agent().start()
    agent.wait(lambda: agent.ready)
    assert agent.wait_for("look", gpu=gpu.uuid)["throttle"] == "sw_power_cap"
    assert agent.events("query_failed") == []


def test_any_other_refused_field_is_reported(node: Node) -> None:
    node.add_gpu()
    node.put("invalid_field", "power.limit")
    agent = node.agent().start()
    message = agent.wait_for("query_failed", exit="2")["message"]
    assert message == "Field 'power.limit' is not a valid field to query."


@pytest.mark.skipif(
    any(Path(folder, "nvidia-smi").exists() for folder in ALWAYS_SEARCHED) or bool(shutil.which("nvidia-smi")),
    reason="this machine has an nvidia-smi, which the agent would find",
)
def test_a_missing_nvidia_smi_is_reported_with_the_folders_searched_and_found_when_it_comes(
    bare_node: Node,
) -> None:
    bare_node.add_gpu()
    agent = bare_node.agent().start()
    searched = agent.wait_for("no_nvidia_smi")["searched"].split(":")
    assert searched == [*agent.environment["PATH"].split(":"), *ALWAYS_SEARCHED]
    assert agent.probe("alive").returncode == 0
    agent.wait(lambda: "no_nvidia_smi" in agent.probe("ready").stdout)
    bare_node.install_nvidia_smi()
    agent.wait(lambda: agent.ready)


def test_the_answer_of_a_real_h200_is_understood(node: Node) -> None:
    """Recorded with driver 580.159.04."""
    names = (
        "index,uuid,name,power.management,power.limit,enforced.power.limit,power.default_limit,power.min_limit,"
        "power.max_limit,power.draw,persistence_mode,clocks_event_reasons.sw_power_cap,utilization.gpu,temperature.gpu,"
        "clocks_event_reasons.active,memory.used,memory.total"
    )
    answer = (
        "0, GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64cd, NVIDIA H200, Enabled, 700.00, 700.00, 700.00, 200.00, "
        "700.00, 81.46, Enabled, Not Active, 0, 37, 0x0000000000000001, 0, 143771"
    )
    gpu = node.add_gpu(dict(zip(names.split(","), answer.split(", "), strict=True)))
    agent = node.agent("700").start()
    agent.wait(lambda: agent.ready)
    found, look = agent.wait_for("found"), agent.wait_for("look")
    found_fields = {"name": "NVIDIA H200", "index": "0", "min_w": "200", "max_w": "700", "default_w": "700"}
    assert found.items() >= found_fields.items()
    assert {key: look[key] for key in look if key not in ("time", "level", "msg")} == {
        "gpu": gpu.uuid,
        "index": "0",
        "name": "NVIDIA H200",
        "desired_w": "700",
        "limit_w": "700",
        "enforced_w": "700",
        "draw_w": "81.46",
        "default_w": "700",
        "min_w": "200",
        "max_w": "700",
        "util_pct": "0",
        "temp_c": "37",
        "mem_used_mib": "0",
        "mem_total_mib": "143771",
        "throttle": "gpu_idle",
        "persistence": "Enabled",
        "at_limit": "true",
    }
    assert node.set_calls == []


def test_a_remark_among_the_answers_is_logged_and_harms_nothing(node: Node) -> None:
    node.add_gpu()
    node.put("remark", "WARNING: infoROM is corrupted at gpu 0000:01:00.0")
    agent = node.agent().start()
    agent.wait(lambda: agent.ready)
    assert agent.wait_for("not_understood", level="warn")["line"].startswith("WARNING: infoROM")


def test_every_line_is_logfmt_with_a_utc_time_and_a_level(node: Node) -> None:
    node.add_gpu()
    agent = node.agent().start()
    agent.wait(lambda: agent.ready)
    agent.stop()
    form = re.compile(
        r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ level=(info|warn|error) msg=[a-z_]+"
        r"( [a-z_]+=(\"[^\"]*\"|[^ \"]+))*"
    )
    lines = agent.log.read_text().splitlines()
    assert len(lines) > 4
    assert [line for line in lines if not form.fullmatch(line)] == []
    looks = [line for line in lines if " msg=look " in line]
    assert [type(parse(line)) for line in lines] == [Look if line in looks else Event for line in lines]


@pytest.mark.parametrize("watts", ["", "0300", "300W", "-300", "3e2"])
def test_watts_that_are_not_a_whole_number_stop_the_agent_before_it_touches_a_card(node: Node, watts: str) -> None:
    """A leading zero would be read as octal by the shell's arithmetic."""
    node.add_gpu()
    agent = node.agent(watts)
    result = agent.probe("run")
    assert result.returncode != 0
    assert "whole watts" in result.stderr
    assert node.set_calls == []
