"""Wrong and hostile stack files are refused in one line each, and nothing in them is shown, run or believed."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuctl.settings import (
    Mistake,
    ProjectError,
    Settings,
    SettingsError,
    config_folder,
    project_folder,
    read_config,
    read_stack,
    read_stack_file,
)
from gpuctl.settings.stack_file import parse_stack
from tests.fixtures.stack_files import ROOT, STACK, settings

LEAST = """\
config:
  gpu:context: admin@lab
  gpu:nodes:
    - {name: gpu-1, gpu: rtx-3090, count: 2}
"""
NODE = {"name": "gpu-1", "gpu": "rtx-3090", "count": 2}


def _read(text: str) -> Settings:
    return parse_stack(STACK, text, f"config/Pulumi.{STACK}.yaml")


def _mistakes(text: str) -> list[Mistake]:
    with pytest.raises(SettingsError) as error:
        _read(text)
    return error.value.mistakes


def _with(**keys: Any) -> str:
    config = {"gpu:context": "admin@lab", "gpu:nodes": [NODE]} | {f"gpu:{key}": value for key, value in keys.items()}
    return yaml.safe_dump({"config": config})


@pytest.mark.parametrize("key", ["context", "kubeconfig", "installDiskSelector", "imageFactory", "talosEndpoint"])
@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\u2028b", "a\tb"])
def test_a_text_that_does_not_print_on_one_line_is_refused(key: str, text: str) -> None:
    (mistake,) = _mistakes(_with(**{key: text}))
    assert mistake.key == f"gpu:{key}"
    assert str(mistake).isprintable()


@pytest.mark.parametrize("key", ["name", "gpu", "address"])
def test_so_is_one_of_a_node(key: str) -> None:
    (mistake,) = _mistakes(_with(nodes=[NODE | {key: "a\nb"}]))
    assert mistake.key == f"gpu:nodes[0].{key}"


@pytest.mark.parametrize(
    "key", ["talosClientConfiguration", "talosClientConfig", "talosconfig", "apiToken", "colour", "password"]
)
def test_what_may_be_a_secret_is_neither_shown_nor_proposed_whatever_its_key_is_called(key: str) -> None:
    for value in ("s3cret", {"token": "s3cret"}, ["s3cret"]):
        assert "s3cret" not in "".join(map(str, _mistakes(_with(**{key: value}))))


def test_a_secret_in_plain_text_is_refused_with_the_command_that_encrypts_it() -> None:
    assert [str(each) for each in _mistakes(_with(talosMachineConfiguration="machine: {}"))] == [
        "gpu:talosMachineConfiguration = a text: is stored as plain text, and it is a secret: change it, and encrypt "
        "the new one. Fix it: pulumi config set --stack fixture --secret gpu:talosMachineConfiguration <FILE"
    ]


def test_a_secret_that_pulumi_decrypted_for_its_program_is_none_in_plain_text() -> None:
    assert settings(talosMachineConfiguration="machine: {}").talos_machine_configuration is not None


def test_what_is_encrypted_and_no_secret_is_stored_again_in_plain_text() -> None:
    (mistake,) = _mistakes(_with(context={"secure": "v1:x"}))
    assert mistake.command == (
        'pulumi config set --stack fixture --plaintext gpu:context "$(pulumi config get --stack fixture gpu:context)"'
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LEAST + "  gpu:slices: 4\n  gpu:slices: 8\n", "line 6: mapping key 'gpu:slices' already defined at line 5"),
        (LEAST + "  gpu:slices: 4\n  slices: 8\n", "gpu:slices is there twice, with and without its namespace"),
        (LEAST + "  gpu:slices: 4\n  gpu:config:slices: 8\n", "gpu:slices is there twice"),
        (LEAST + "  foo:a:b: 4\n", "'foo:a:b' is not a key, which is NAMESPACE:NAME"),
        (LEAST + "  5: x\n", "line 5: the key 5 is a number and must be a text, in quotes"),
        (LEAST + "~: x\n", "line 5: the key ~ is null and must be a text, in quotes"),
        (LEAST + "  other:x: {4: 1, '4': 2}\n", "line 5: mapping key '4' already defined at line 5"),
        (LEAST + "  other:x: {'8': 1, 010: 2}\n", "line 5: mapping key '8' already defined at line 5"),
        (LEAST + "encryptionsalt: [a]\n", "encryptionsalt is not a text"),
        (LEAST + "  2026-11-28: x\n", "the key 2026-11-28 is a date"),
        (LEAST + "  gpu:slices: !!int abc\n", "line 5: 'abc' is no !!int"),
        (LEAST + "  gpu:slice: &a [*a]\n", "has an anchor that contains itself: *a (line 5)"),
    ],
)
def test_what_pulumi_refuses_to_read_is_refused_in_its_place(text: str, reason: str) -> None:
    (mistake,) = _mistakes(text)
    assert (mistake.value, mistake.command) == ("stack file", "${EDITOR:-vi} config/Pulumi.fixture.yaml")
    assert reason in mistake.reason


@pytest.mark.parametrize(
    "text",
    [
        f"{LEAST}  ~: x\n",
        f"{LEAST}  other:x: {{4: 1, 0x4: 2, true: 3, True: 4, &k a: 5, *k : 6}}\n",
        f"{LEAST}other: {{4: 1, ~: 2, 4.0: 3}}\n",
        f"environment: {{values: {{4: 1}}}}\n{LEAST}",
    ],
)
def test_a_key_that_pulumi_takes_or_leaves_out_stops_nobody(text: str) -> None:
    assert [node.name for node in _read(text).nodes] == ["gpu-1"]


@pytest.mark.parametrize(
    ("written", "slices"),
    [
        ("4", 4),
        ("'4'", 4),
        ("+4", 4),
        ("010", 8),
        ("0x10", 16),
        ("1_0", 10),
        ("4.0", 4),
        ("1e1", 10),
        ("0o7", 7),
        ("09", 9),
    ],
)
def test_a_number_means_what_it_means_to_pulumi(written: str, slices: int) -> None:
    assert _read(f"{LEAST}  gpu:slices: {written}\n").slices == slices


@pytest.mark.parametrize("written", ["'4.0'", "' 4'", "yes", "\u0664", "'1_0'", "4.5", "null", "''", "'0x4'"])
def test_what_pulumi_takes_for_no_number_is_none_here(written: str) -> None:
    (mistake,) = _mistakes(f"{LEAST}  gpu:slices: {written}\n")
    assert (mistake.reason, mistake.command) == (
        "must be a whole number",
        "pulumi config set --stack fixture gpu:slices 4",
    )


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("other:x: .inf", "other:x", ".inf"),
        ("other:x: -.INF", "other:x", "-.inf"),
        ("other:x: [1, {a: .NaN}]", "other:x[1].a", ".nan"),
        ("gpu:slices: .nan", "gpu:slices", ".nan"),
    ],
)
def test_a_number_that_pulumi_cannot_store_is_refused_in_the_keys_of_every_project(
    line: str, key: str, value: str
) -> None:
    (mistake,) = _mistakes(f"{LEAST}  {line}\n")
    assert (mistake.key, mistake.value) == (key, value)
    assert mistake.reason.startswith("is a number that Pulumi cannot store")
    assert mistake.command == "${EDITOR:-vi} config/Pulumi.fixture.yaml", "pulumi config refuses the file as well"


@pytest.mark.parametrize("value", ["{count: 4, 4}", "{4: a}", "{~: a}", "{true: a}", "[{4.5: a}]", "{2026-11-28: a}"])
def test_keys_within_the_value_of_another_project_need_no_quotes(value: str) -> None:
    assert _read(f"{LEAST}  other:x: {value}\n").slices == 4


@pytest.mark.parametrize(
    ("written", "command"),
    [
        ("4", "pulumi config rm --stack fixture --path 'gpu:nodes[0].4'"),
        ("0x4", "pulumi config rm --stack fixture --path 'gpu:nodes[0].4'"),
        ("true", "pulumi config rm --stack fixture --path 'gpu:nodes[0].true'"),
        ("~", "pulumi config rm --stack fixture --path 'gpu:nodes[0][\"<nil>\"]'"),
    ],
)
def test_an_own_key_that_is_no_text_is_removed_by_the_text_that_pulumi_makes_of_it(written: str, command: str) -> None:
    (mistake,) = _mistakes(
        f"config: {{gpu:context: c, gpu:nodes: [{{name: gpu-1, gpu: rtx-3090, count: 4, {written}}}]}}\n"
    )
    assert mistake.reason.startswith("is not a key")
    assert mistake.command == command


@pytest.mark.parametrize(("written", "on"), [("true", True), ("'false'", False), ("TRUE", True)])
def test_a_switch_is_on_or_off_as_for_pulumi(written: str, on: bool) -> None:
    assert _read(f"{LEAST}  gpu:monitoring: {written}\n").monitoring is on


@pytest.mark.parametrize("written", ["yes", "on", "1", "'TRUE'", "null"])
def test_nothing_else_switches_anything(written: str) -> None:
    (mistake,) = _mistakes(f"{LEAST}  gpu:monitoring: {written}\n")
    assert mistake.reason == "must be true or false"


def test_nodes_in_a_json_text_are_no_list_to_pulumi() -> None:
    (mistake,) = _mistakes('config: {gpu:context: c, gpu:nodes: \'[{"name": "gpu-1", "gpu": "l4", "count": 1}]\'}')
    assert mistake.reason == "must be a list of nodes"


def test_one_bad_node_hides_no_other_mistake() -> None:
    nodes = [NODE | {"name": "GPU_1", "gpu": "rtx-5090"}, "gpu-2"]
    text = _with(nodes=nodes, powerLimit=9, powerLimits={"nope": 3}, driverChannel="lts", talosVersion="v1.10.9")
    assert [mistake.key for mistake in _mistakes(text)] == [
        "gpu:nodes[0].name",
        "gpu:powerLimits",
        "gpu:powerLimit",
        "gpu:driverChannel",
        "gpu:nodes[1]",
    ]


def test_all_doubled_names_are_reported_at_once_and_removed_from_the_last() -> None:
    (mistake,) = _mistakes(_with(nodes=[NODE | {"name": name} for name in "abab"]))
    assert (
        mistake.reason == "declares a 2 times (entries 0, 2), b 2 times (entries 1, 3); their GPUs would count double"
    )
    assert mistake.command == (
        "pulumi config rm --stack fixture --path 'gpu:nodes[3]' && "
        "pulumi config rm --stack fixture --path 'gpu:nodes[2]'"
    )


def test_a_nodes_own_circuit_lowers_no_limit_but_its_own() -> None:
    nodes = [NODE | {"circuitWatts": 400}, NODE | {"name": "gpu-2", "count": 8}]
    (mistake,) = _mistakes(_with(nodes=nodes))
    assert (mistake.key, mistake.command) == (
        "gpu:nodes[0].circuitWatts",
        "pulumi config set --stack fixture --path 'gpu:nodes[0].powerLimit' 125",
    )


def test_a_key_that_is_set_is_not_overwritten_by_its_misspelling() -> None:
    (mistake,) = _mistakes(_with(slices=4, slice=8))
    assert mistake.command == "pulumi config rm --stack fixture gpu:slice"


@pytest.mark.parametrize(
    ("key", "written", "meant"),
    [
        ("talosVersion", "1.13.6", "v1.13.6"),
        ("talosVersion", "v1.12", "v1.12.11"),
        ("devicePluginVersion", "0.17.4", "v0.17.4"),
        ("kubernetesVersion", "1.34.1", "v1.34.1"),
        ("talosContract", "1.12.3", "v1.12"),
        ("imageFactory", "https://factory.lan/", "factory.lan"),
    ],
)
def test_what_was_plainly_meant_is_what_is_proposed(key: str, written: str, meant: str) -> None:
    (mistake,) = _mistakes(_with(**{key: written}))
    assert mistake.command == f"pulumi config set --stack fixture gpu:{key} {meant}"


@pytest.mark.parametrize("value", ["-5", "--help"])
def test_a_value_that_looks_like_an_option_is_passed_as_a_value(value: str) -> None:
    (mistake,) = _mistakes(_with(contxt=value, context=None).replace("  gpu:context: null\n", ""))
    assert mistake.command.startswith(f"pulumi config set --stack fixture -- gpu:context {value} && ")


@pytest.mark.parametrize("key", ["GPU:slices", "gp:slices", "gpu :slices"])
def test_a_namespace_that_is_nearly_the_projects_is_warned_of(key: str) -> None:
    (warning,) = _read(f'{LEAST}  "{key}": 8\n').warnings
    assert warning == f"{key} is not read: its namespace is not gpu (did you mean gpu:slices?)"


def test_namespaces_of_others_are_not() -> None:
    assert _read(f"{LEAST}  gcp:zone: a\n  aws:region: b\n  kubernetes:context: c\n").warnings == []


def _nodes(count: int, **keys: Any) -> list[dict[str, Any]]:
    return [NODE | {"name": f"gpu-{index}"} | keys for index in range(count)]


BY_UUID = {f"GPU-aaaaaaaa-0000-0000-0000-{index:012d}": 310 for index in range(400)}
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(9 * [f'*{before}'])}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{BOMB}{LEAST}  gpu:slice: *g\n", id="aliases of aliases"),
        pytest.param("[" * 100_000, id="depth"),
        pytest.param("config: " + "{a: " * 500 + "}" * 500, id="mappings in mappings"),
        pytest.param("- " * 100_000, id="lists in lists"),
        pytest.param("config:\n  gpu:nodes:\n" + "    - x\n" * 20_000, id="mistakes"),
        pytest.param(LEAST + f"  gpu:kubeconfig: {'a' * 10**6}\n", id="a text"),
        pytest.param(LEAST.replace("gpu-1", "a" * 10**5), id="a name"),
        pytest.param("x" * (2 * 10**6), id="size"),
        pytest.param(LEAST + "  gpu:criCustomization: 'a = " + "[" * 5000 + "'\n", id="TOML"),
    ],
)
def test_no_file_takes_long_or_says_much(text: str) -> None:
    began = time.process_time()
    message = "".join(map(str, _mistakes(text)[:30]))
    assert time.process_time() - began < 10
    assert len(message) < 60_000


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"nodes": _nodes(200), "powerLimits": BY_UUID, "circuitWatts": 60_000}, id="limits by UUID"),
        pytest.param({"nodes": _nodes(5000), "circuitWatts": 100_000}, id="one circuit"),
        pytest.param({"nodes": _nodes(1000, circuitWatts=400)}, id="many circuits"),
        pytest.param({"nodes": [*_nodes(2500), *_nodes(2500)]}, id="doubled names"),
    ],
)
def test_a_large_stack_is_judged_in_seconds(keys: dict[str, Any]) -> None:
    began = time.process_time()
    with pytest.raises(SettingsError) as error:
        read_config(STACK, {"context": "c"} | keys)
    assert time.process_time() - began < 10
    assert len(str(error.value)) < 30_000


def test_a_device_is_no_stack_file() -> None:
    with pytest.raises(SettingsError, match="is not a file"):
        read_stack_file(STACK, Path("/dev/zero"))


@pytest.mark.parametrize("name", ["organization/gpu/homelab", "config/Pulumi.homelab.yaml", "Pulumi.homelab.yaml"])
def test_a_stack_that_is_written_out_is_understood(name: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_stack(name)
    assert "(did you mean --stack homelab?)" in str(error.value)
    assert error.value.mistakes[0].command == "gpuctl capacity --stack homelab"


def test_a_stack_of_no_file_is_made_by_a_command_in_which_its_name_is_quoted() -> None:
    with pytest.raises(SettingsError) as error:
        read_stack("a b; id")
    assert error.value.mistakes[0].command == "pulumi stack init 'a b; id'"


def test_the_project_is_the_one_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: gpu\nstackConfigDir: stacks\n")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert (project_folder(), config_folder()) == (tmp_path, tmp_path / "stacks")


def test_without_a_project_it_is_said_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match=f"no Pulumi.yaml in {tmp_path} or a folder above it"):
        project_folder()


@pytest.mark.parametrize("text", ["name: other\n", "- gpu\n", "name: [\n"])
def test_another_project_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match=str(tmp_path)):
        config_folder()


def test_nodes_may_have_their_own_talos_driver_and_modules() -> None:
    own = {"gpu": "gtx-1080-ti", "kernelModules": "proprietary", "driverChannel": "lts", "talosVersion": "v1.12.8"}
    read = _read(_with(nodes=[NODE, NODE | own | {"name": "gpu-2"}]))
    assert [read.kernel_modules_of(node) for node in read.nodes] == ["open", "proprietary"]
    assert [read.driver_channel_of(node) for node in read.nodes] == ["production", "lts"]
    assert [read.talos_version_of(node) for node in read.nodes] == ["v1.13.9", "v1.12.8"]
    assert [read.contract_of(node) for node in read.nodes] == [(1, 13), (1, 12)]


def test_the_shipped_stacks_are_those_of_this_checkout() -> None:
    assert config_folder() == ROOT / "config"


@pytest.mark.parametrize(
    ("keys", "removed"),
    [
        ({"nodes": [NODE, {"secure": "v1:x"}]}, "--path 'gpu:nodes[1]'"),
        ({"nodes": [{"name": "gpu-1", "gpus": {"secure": "v1:x"}}]}, "--path 'gpu:nodes[0].gpus'"),
        ({"powerLimits": {"secure": "v1:x"}}, "gpu:powerLimits"),
        ({"overlay": {"secure": "v1:x"}}, "gpu:overlay"),
        ({"tolerations": [{"secure": "v1:x"}]}, "--path 'gpu:tolerations[0]'"),
        ({"gpuModels": {"a": {"secure": "v1:x"}}}, "--path gpu:gpuModels.a"),
    ],
)
def test_a_secret_where_a_structure_must_be_is_removed_as_a_whole(keys: dict[str, Any], removed: str) -> None:
    """To Pulumi it is a text, and a command that names a key in it fails."""
    mistake = _mistakes(_with(**keys))[0]
    assert (mistake.value, mistake.command) == ("a secret", f"pulumi config rm --stack fixture {removed}")
