"""The power-limit agent, run by a real shell, holds every GPU at its limit and says what it cannot."""

import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from gpuctl.power.log import Event, Sample, parse
from tests.fixtures.power_agent import ALWAYS_SEARCHED, SCRIPT, Node, uptime


def test_a_cold_start_sets_every_gpu_and_then_the_pod_is_ready(node: Node) -> None:
    gpus = [node.add_gpu(), node.add_gpu()]
    agent = node.agent(gpu_count="2").start()
    agent.wait_until_ready()
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
    """Below as well: the work on the GPU is owed the watts that were agreed."""
    gpu = node.add_gpu(power__limit=limit, enforced__power__limit=limit)
    agent = node.agent().start()
    agent.wait_until_ready()
    assert node.set_calls == [f"{gpu.uuid} 300"]


def test_drift_is_fixed_in_the_next_look_with_one_set_call(node: Node) -> None:
    """A driver reload gives every GPU its default back while the pod lives on."""
    gpu, other = node.add_gpu(), node.add_gpu()
    agent = node.agent().start()
    agent.wait_until_ready()
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
    assert agent.wait_for("sample").items() >= {"limit_w": "unknown", "at_limit": "false"}.items()
    assert "unknown_limit" in agent.probe("ready").stdout
    assert node.set_calls == []


@pytest.mark.parametrize(("enforced", "held"), [("175.00", True), ("301.00", True), ("302.00", False)])
def test_a_card_that_tells_no_limit_is_held_by_what_it_enforces(node: Node, enforced: str, *, held: bool) -> None:
    gpu = node.add_gpu(power__limit="[N/A]", enforced__power__limit=enforced)
    agent = node.agent().start()
    agent.wait_for_a_whole_look(gpu)
    assert agent.ready == held
    assert agent.wait_for("unknown_limit", gpu=gpu.uuid)["level"] == ("warn" if held else "error")
    assert agent.wait_for("sample", gpu=gpu.uuid)["at_limit"] == str(held).lower()
    assert node.set_calls == []


@pytest.mark.parametrize(("trait", "event"), [("deaf", "not_applied"), ("refuse", "refused")])
def test_a_card_whose_limit_cannot_be_set_is_held_where_it_enforces_less(node: Node, trait: str, event: str) -> None:
    """A laptop's: its firmware holds 175 W whatever is asked of it."""
    gpu = node.add_gpu({trait: ""}, power__limit="175.00", enforced__power__limit="175.00")
    agent = node.agent().start()
    agent.wait_for_a_whole_look(gpu)
    assert agent.ready
    assert agent.wait_for(event, gpu=gpu.uuid).items() >= {"level": "warn", "enforced_w": "175"}.items()
    assert agent.events("drift") == [], "nothing moved it"
    (look,) = map(parse, agent.probe("report").stdout.splitlines())
    assert isinstance(look, Sample)
    assert look.at_limit, "a report that cannot try says what the loop found"


def test_a_limit_that_was_moved_down_is_not_what_a_report_calls_held(node: Node) -> None:
    """The loop will put it back: the GPU takes it."""
    gpu = node.add_gpu()
    agent = node.agent(interval="60").start()
    agent.wait_until_ready()
    gpu["power.limit"] = gpu["enforced.power.limit"] = "200.00"
    assert "at_limit=false" in agent.probe("report").stdout


@pytest.mark.parametrize("limits", ["gpu-1 none", "GPU-3090aaaa-0001-4000-8000-000000000000 none"])
def test_a_card_that_is_to_have_no_limit_is_left_alone(node: Node, limits: str) -> None:
    gpu = node.add_gpu(power__limit="[N/A]", enforced__power__limit="[N/A]")
    agent = node.agent(limits=limits).start()
    agent.wait_until_ready()
    agent.stop()
    assert agent.wait_for("sample", gpu=gpu.uuid).items() >= {"desired_w": "none", "at_limit": "true"}.items()
    assert node.set_calls == []


def test_one_model_is_left_alone_while_the_other_keeps_its_limit(node: Node) -> None:
    alone, held = node.add_gpu(name="NVIDIA GB10"), node.add_gpu()
    agent = node.agent(limits="gpu-1 none NVIDIA GB10\ngpu-2 none").start()
    agent.wait_until_ready()
    assert (alone["power.limit"], held["power.limit"]) == ("350.00", "300.00")
    agent.stop()
    assert [call for call in node.set_calls if alone.uuid in call] == []


def test_a_node_without_limits_is_ready_whatever_its_driver_says(node: Node) -> None:
    """Nothing is to be held there, so nothing there may hold up the other nodes."""
    node.put("no_driver")
    agent = node.agent(limits="gpu-1 none", gpu_count="2").start()
    agent.wait_until_ready()
    assert agent.wait_for("missing", expected="2", found="0")["level"] == "warn"
    assert agent.wait_for("query_failed")["level"] == "warn"


def test_a_card_that_is_to_have_no_limit_any_more_gets_its_default_back_once(node: Node) -> None:
    gpu = node.add_gpu()
    old = node.agent().start()
    old.wait_until_ready()
    new = node.agent(limits="gpu-1 none").start()
    new.wait_for("restored", gpu=gpu.uuid, from_w="300", to_w="350")
    gpu["power.limit"] = "320.00"
    new.wait_for_a_whole_look(gpu)
    assert gpu["power.limit"] == "320.00", "it is nobody's business any more"
    assert node.set_calls == [f"{gpu.uuid} 300", f"{gpu.uuid} 350"]


def test_readings_a_card_does_not_have_are_unknown_and_no_reason_to_worry(node: Node) -> None:
    """An unknown enforced limit or range is no proof against the requested limit."""
    missing = ["enforced.power.limit", "power.min_limit", "power.max_limit", "power.draw", "utilization.gpu"]
    gpu = node.add_gpu(dict.fromkeys(missing, "[N/A]"), power__limit="300.00")
    agent = node.agent().start()
    agent.wait_for_a_whole_look(gpu)
    unknown = {"enforced_w": "unknown", "draw_w": "unknown", "util_pct": "unknown", "at_limit": "true"}
    assert agent.wait_for("sample").items() >= unknown.items()
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
    agent.wait_until_ready()


def test_a_set_call_that_changes_nothing_is_found_out_by_reading_back(node: Node) -> None:
    """nvidia-smi answers 0 for a GPU that does not support the setting."""
    gpu = node.add_gpu(deaf="")
    agent = node.agent().start()
    agent.wait_for_a_whole_look(gpu)
    assert agent.wait_for("not_applied")["limit_w"] == "350"
    assert not agent.ready


def test_a_card_capped_further_down_by_something_else_is_at_its_limit(node: Node) -> None:
    gpu = node.add_gpu(capped="", enforced__power__limit="250.00")
    agent = node.agent().start()
    agent.wait_until_ready()
    assert agent.wait_for("capped").items() >= {"enforced_w": "250", "desired_w": "300"}.items()
    assert agent.wait_for("sample", gpu=gpu.uuid)["at_limit"] == "true"


def test_a_card_that_enforces_more_than_was_requested_is_not_at_its_limit(node: Node) -> None:
    gpu = node.add_gpu(capped="", enforced__power__limit="350.00")
    agent = node.agent().start()
    agent.wait_for_a_whole_look(gpu)
    assert agent.wait_for("not_enforced")["enforced_w"] == "350"
    assert not agent.ready


def test_a_gpu_that_falls_off_the_bus_is_noticed_while_the_others_are_served(node: Node) -> None:
    """One lost GPU makes nvidia-smi fail for all of them. No count is given, so only memory can tell."""
    bad, good = node.add_gpu(), node.add_gpu()
    agent = node.agent().start()
    agent.wait_until_ready()
    bad["lost"] = ""
    agent.wait_for("lost", gpu=bad.uuid)
    good["power.limit"] = "350.00"
    agent.wait_for_a_whole_look(good)
    assert good["power.limit"] == "300.00"
    assert f"lost gpu={bad.uuid}" in agent.probe("ready").stdout
    assert "GPU is lost" in agent.wait_for("query_failed", index="0", exit="15")["message"]
    del bad["lost"]
    agent.wait_until_ready()
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
    agent.wait_until_ready()
    new = node.add_gpu()
    agent.wait_for("change", gpu=new.uuid)
    assert new["power.limit"] == "300.00"


def test_fewer_gpus_than_the_node_must_have_keep_the_pod_from_being_ready(node: Node) -> None:
    gpu = node.add_gpu()
    agent = node.agent(gpu_count="2").start()
    agent.wait_for_a_whole_look(gpu)
    assert agent.probe("ready").stdout == "missing expected=2 found=1\n"
    node.add_gpu()
    agent.wait_until_ready()


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
    agent.wait_until_ready()
    assert gpu["power.limit"] == "300.00"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_restores_the_defaults_at_once_and_takes_readiness_away(node: Node, number: signal.Signals) -> None:
    """At once: sleeping in the foreground would hold the signal back for the whole interval."""
    changed = node.add_gpu()
    already_right = node.add_gpu(power__limit="300.00", power__default_limit="320.00")
    foreign = node.add_gpu(power__limit="150.00", power__max_limit="200.00", power__default_limit="180.00")
    agent = node.agent(interval="60").start()
    agent.wait_for("sample", gpu=foreign.uuid)
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
    agent.wait_until_ready()
    bad["refuse"] = ""
    assert agent.stop() == 0
    assert agent.wait_for("restore_failed", gpu=bad.uuid)["exit"] == "4"
    assert good["power.limit"] == "350.00"


def test_the_loop_counts_as_alive_for_three_intervals_and_thirty_seconds(node: Node) -> None:
    node.add_gpu()
    agent = node.agent(interval="60").start()
    agent.wait_until_ready()
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
    agent.wait_until_ready()
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
    agent.wait_until_ready()
    assert agent.wait_for("sample", gpu=gpu.uuid)["throttle"] == "sw_power_cap"
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
    agent.wait_until_ready()


def test_the_answer_of_a_real_h100_is_understood(node: Node) -> None:
    """Recorded with driver 580.159.04: exactly what the agent asked, and what it was told."""
    names = (
        "uuid,index,name,power.limit,enforced.power.limit,power.default_limit,power.min_limit,power.max_limit,"
        "power.draw,utilization.gpu,temperature.gpu,memory.used,memory.total,persistence_mode,"
        "clocks_event_reasons.active"
    )
    answer = (
        "GPU-1f57a5e6-cf54-7f59-1b96-111288213195, 0, NVIDIA H100 80GB HBM3, 700.00, 700.00, 700.00, 200.00, 700.00, "
        "120.91, 0, 35, 0, 81559, Enabled, 0x0000000000000001"
    )
    assert (
        "".join(f"{name}," for name in names.split(",")[:9]) in SCRIPT.read_text().replace("\nfields=$fields", "") + ","
    )
    gpu = node.add_gpu(dict(zip(names.split(","), answer.split(", "), strict=True)))
    agent = node.agent("700").start()
    agent.wait_until_ready()
    found, look = agent.wait_for("found"), agent.wait_for("sample")
    found_fields = {"name": "NVIDIA H100 80GB HBM3", "index": "0", "min_w": "200", "max_w": "700", "default_w": "700"}
    assert found.items() >= found_fields.items()
    assert {key: look[key] for key in look if key not in ("time", "level", "msg")} == {
        "gpu": gpu.uuid,
        "index": "0",
        "name": "NVIDIA H100 80GB HBM3",
        "desired_w": "700",
        "limit_w": "700",
        "enforced_w": "700",
        "draw_w": "120.91",
        "default_w": "700",
        "min_w": "200",
        "max_w": "700",
        "util_pct": "0",
        "temp_c": "35",
        "mem_used_mib": "0",
        "mem_total_mib": "81559",
        "throttle": "gpu_idle",
        "persistence": "Enabled",
        "at_limit": "true",
    }
    assert node.set_calls == []


def test_a_remark_among_the_answers_is_logged_and_harms_nothing(node: Node) -> None:
    node.add_gpu()
    node.put("remark", "WARNING: infoROM is corrupted at gpu 0000:01:00.0")
    agent = node.agent().start()
    agent.wait_until_ready()
    assert agent.wait_for("not_understood", level="warn")["line"].startswith("WARNING: infoROM")


def test_every_line_is_logfmt_with_a_utc_time_and_a_level(node: Node) -> None:
    node.add_gpu()
    agent = node.agent().start()
    agent.wait_until_ready()
    agent.stop()
    form = re.compile(
        r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ level=(info|warn|error) msg=[a-z_]+"
        r"( [a-z_]+=(\"[^\"]*\"|[^ \"]+))*"
    )
    lines = agent.log.read_text().splitlines()
    assert len(lines) > 4
    assert [line for line in lines if not form.fullmatch(line)] == []
    samples = [line for line in lines if " msg=sample " in line]
    assert [type(parse(line)) for line in lines] == [Sample if line in samples else Event for line in lines]


@pytest.mark.parametrize("watts", ["", "0300", "300W", "-300", "3e2"])
def test_watts_that_are_not_a_whole_number_stop_the_agent_before_it_touches_a_card(node: Node, watts: str) -> None:
    """A leading zero would be read as octal by the shell's arithmetic."""
    node.add_gpu()
    agent = node.agent(watts)
    result = agent.probe("run")
    assert result.returncode != 0
    assert "whole watts" in result.stderr
    assert node.set_calls == []


LIMITS = """\
GPU-3090aaaa-0001-4000-8000-000000000002 200
gpu-2 150
gpu-1 250
gpu-1 320 NVIDIA GeForce RTX 4090
gpu-11 120 NVIDIA GeForce RTX 3090"""


def test_each_card_gets_the_limit_that_names_it_best(node: Node) -> None:
    """Its UUID, else its model on this node, else the node; never what is said of another node."""
    by_node, by_model = node.add_gpu(), node.add_gpu(name="NVIDIA GeForce RTX 4090")
    by_uuid = node.add_gpu(name="NVIDIA GeForce RTX 4090")
    agent = node.agent(limits=LIMITS).start()
    agent.wait_until_ready()
    assert [gpu["power.limit"] for gpu in (by_node, by_model, by_uuid)] == ["250.00", "320.00", "200.00"]
    assert agent.wait_for("sample", gpu=by_model.uuid)["desired_w"] == "320"


def test_a_node_that_no_line_names_has_the_limit_of_all(node: Node) -> None:
    gpu = node.add_gpu(name="NVIDIA GeForce RTX 4090")
    agent = node.agent(limits="gpu-2 150\ngpu-2 320 NVIDIA GeForce RTX 4090").start()
    agent.wait_until_ready()
    assert gpu["power.limit"] == "300.00"


@pytest.mark.parametrize(("card", "named"), [("RTX 3090 Ti", "RTX 3090"), ("RTX 3090", "RTX 3090 Ti")])
def test_a_model_is_known_by_its_whole_name(node: Node, card: str, named: str) -> None:
    gpu = node.add_gpu(name=card)
    agent = node.agent(limits=f"gpu-1 250 {named}").start()
    agent.wait_until_ready()
    assert gpu["power.limit"] == "300.00"


@pytest.mark.parametrize("line", ["gpu-1 250W", "gpu-1", "gpu-1 0250", "gpu-1 NVIDIA GeForce RTX 3090 250"])
def test_a_line_of_limits_without_whole_watts_stops_the_agent_before_it_touches_a_card(node: Node, line: str) -> None:
    node.add_gpu()
    result = node.agent(limits=f"gpu-2 200\n{line}").probe("run")
    assert result.returncode == 64
    assert "in POWER_LIMITS: not whole watts" in result.stderr
    assert node.set_calls == []


def test_one_card_out_of_range_does_not_keep_the_others_from_their_limit(node: Node) -> None:
    bad, good = node.add_gpu(power__max_limit="250.00"), node.add_gpu()
    agent = node.agent().start()
    agent.wait(lambda: good["power.limit"] == "300.00")
    assert bad["power.limit"] == "350.00"
    assert not agent.ready


def test_persistence_is_switched_on_where_it_is_off_and_only_there(node: Node) -> None:
    """Where nvidia-persistenced runs the driver says that it is on already."""
    off, on = node.add_gpu(persistence_mode="Disabled"), node.add_gpu()
    agent = node.agent().start()
    agent.wait_until_ready()
    agent.wait_for_a_whole_look(on)
    assert [call for call in node.set_calls if "-pm" in call] == [f"{off.uuid} -pm 1"]
    assert agent.wait_for("sample", gpu=off.uuid)["persistence"] == "Enabled"


def test_persistence_that_cannot_be_switched_on_is_told_and_is_no_reason_not_to_be_ready(node: Node) -> None:
    gpu = node.add_gpu(persistence_mode="Disabled", stubborn="")
    agent = node.agent().start()
    agent.wait_until_ready()
    assert agent.wait_for("persistence_refused", gpu=gpu.uuid)["exit"] == "3"
    assert gpu["power.limit"] == "300.00"


@pytest.mark.parametrize(
    ("mask", "reasons"),
    [
        ("0x0000000000000000", "none"),
        ("0x0000000000000001", "gpu_idle"),
        ("0x0000000000000104", "sw_power_cap,display_clocks_setting"),
        ("[N/A]", "unknown"),
    ],
)
def test_what_slows_a_card_is_told_by_name(node: Node, mask: str, reasons: str) -> None:
    gpu = node.add_gpu(clocks_event_reasons__active=mask)
    agent = node.agent().start()
    assert agent.wait_for("sample", gpu=gpu.uuid)["throttle"] == reasons


def test_a_report_is_one_look_at_every_gpu_that_changes_nothing(node: Node) -> None:
    """Also beside an agent that runs: it writes nothing and needs no folder."""
    gpu = node.add_gpu(persistence_mode="Disabled")
    agent = node.agent()
    result = agent.probe("report")
    (look,) = map(parse, result.stdout.splitlines())
    assert isinstance(look, Sample)
    assert (look.gpu, look.desired, look.limit, look.at_limit) == (gpu.uuid, 300, 350, False)
    assert result.returncode == 0
    assert node.set_calls == []
    assert not agent.folder.exists()
    assert not (node.folder / "node").exists()


def test_a_report_without_an_answer_fails_and_says_why(node: Node) -> None:
    node.add_gpu()
    node.put("no_driver")
    result = node.agent().probe("report")
    assert result.returncode != 0
    assert "msg=query_failed exit=9" in result.stdout


def test_a_report_could_not_set_anything_even_if_it_tried(node: Node, tmp_path: Path) -> None:
    """All that sets goes through one door, which is closed to every verb but the loop that owns the limits."""
    node.add_gpu()
    folder = tmp_path / "scripts"
    shutil.copytree(SCRIPT.parent, folder)
    script = folder / SCRIPT.name
    text = script.read_text()
    script.write_text(text.replace("report() {", "report() {\n role=owner; change -i 0 -pl 200; change -i 0 -pm 1;"))
    assert script.read_text() != text
    assert node.agent().probe("report", script).stdout.count("not the owner of the limits") == 2
    assert node.set_calls == []
    assert text.count('nvidia-smi "$@"') == 2, "the door, and the query, which has no way to set"
