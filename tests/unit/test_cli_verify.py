"""gpuctl verify and gpuctl doctor as a user calls them: exit codes, both streams, waiting and interrupting."""

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from gpuctl.checks import runner
from gpuctl.checks.registry import CHECKS, PREREQUISITES
from gpuctl.cli import running
from gpuctl.cli.app import app
from gpuctl.cli.files import refuse_unwritable
from gpuctl.cluster import AccessDeniedError, UnreachableError
from gpuctl.settings import read_stack
from gpuctl.sharing.proof import Proof, Request
from gpuctl.sharing.record import Record
from tests.fixtures import command_line
from tests.fixtures.agent_lines import answering
from tests.fixtures.checks import FakePrograms
from tests.fixtures.fake_cluster import FakeCluster
from tests.fixtures.stack_files import ROOT

NO_CLUSTER = {
    "PATH": os.environ["PATH"],
    "KUBECONFIG": "/nonexistent/kubeconfig",
    "COLUMNS": "200",
    "TERM": "dumb",
    "LANG": "C.UTF-8",
}
VERIFY = [sys.executable, "-m", "gpuctl", "verify"]


def _without_cluster(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return command_line.run("verify", *arguments, cwd=ROOT, env=NO_CLUSTER | environment)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """The cluster of every stack, healthy as the stack `lab` asks for it; sleeping takes no time."""
    made, now = answering(read_stack("lab"), {"gpu-1": 8, "gpu-2": 6, "gpu-3": 8}), [0.0]

    def connect(*_: object) -> FakeCluster:
        return made

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("gpuctl.cluster.connect", connect)
    monkeypatch.setattr(running, "InstalledPrograms", FakePrograms)
    monkeypatch.setattr(runner.time, "sleep", sleep)
    monkeypatch.setattr(runner.time, "monotonic", lambda: now[0])
    return made


def _verify(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)], env={"COLUMNS": "200"})


def _outcomes(output: str) -> dict[str, str]:
    """Of the checks of the first stack."""
    categories = json.loads(output)["stacks"][0]["categories"]
    return {check["id"]: check["outcome"] for category in categories for check in category["checks"]}


def _breaks(cluster: FakeCluster) -> None:
    cluster.node_objects["gpu-2"]["status"]["allocatable"]["nvidia.com/gpu"] = "0"


def test_a_cluster_as_the_stack_says_is_ready(cluster: FakeCluster) -> None:
    result = _verify("--stack", "lab", "-o", "json")
    assert {id_: outcome for id_, outcome in _outcomes(result.stdout).items() if outcome in ("fail", "error")} == {}
    assert (result.exit_code, result.stderr, json.loads(result.stdout)["ready"]) == (0, "", True)
    assert cluster.calls


def test_a_cluster_that_is_not_as_the_stack_says_is_1(cluster: FakeCluster) -> None:
    _breaks(cluster)
    result = _verify("--stack", "lab")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.splitlines()[0] == "gpuctl verify: stack lab, context admin@lab"
    assert result.stdout.splitlines()[-1].endswith('cluster "lab" is NOT ready')
    assert "gpu-2  1     6       6         0" in result.stdout


@pytest.mark.parametrize("form", ["table", "short", "json", "markdown"])
def test_the_exit_code_does_not_depend_on_the_form(cluster: FakeCluster, form: str) -> None:
    _breaks(cluster)
    assert _verify("--stack", "lab", "-o", form).exit_code == 1


def test_a_cluster_that_does_not_answer_is_3() -> None:
    result = _without_cluster("--stack", "lab", "-o", "json")
    assert (result.returncode, result.stderr) == (3, "")
    assert _outcomes(result.stdout)["API001"] == "fail"


def test_a_stack_file_with_a_mistake_is_2() -> None:
    result = _without_cluster("--stack", "nowhere", "-o", "json")
    assert (result.returncode, result.stderr) == (2, "")
    assert _outcomes(result.stdout)["CFG001"] == "fail"
    assert "config/Pulumi.nowhere.yaml = stack file: does not exist" in result.stdout


def test_several_stacks_are_told_in_their_order_with_a_line_each_at_the_end() -> None:
    result = _without_cluster("--stack", "lab", "--stack", "nowhere", "--stack", "homelab", "-o", "short")
    assert result.returncode == 2
    assert [line.split()[:2] for line in result.stdout.splitlines()[-3:]] == [
        ["lab", "admin@lab"],
        ["nowhere", "-"],
        ["homelab", "admin@homelab"],
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "name one, as in: gpuctl verify --stack lab"),
        (["--stack", "lab", "--check", "api01"], "api01 is neither a check nor a category; did you mean API001?"),
        (["--stack", "lab", "--skip", "kubernetes"], "did you mean kubernetes-api?"),
        (["--stack", "lab", "--check", "qqq"], "neither a check nor a category; gpuctl verify --list names them"),
        (["--stack", "lab", "--wait", "soon"], "'soon' is no length of time: write 90s, 5m, 1h30m or 2d"),
        (["--stack", "lab", "--wait", "99999999999d"], "'99999999999d' is too long: at most 36500d"),
        (["--stack", "lab", "--interval", "5"], "'5' is no length of time"),
        (["--stack", "lab", "--check", "sharing"], "sharing makes pods, so it needs --sharing"),
        (["--stack", "lab", "--cuda-image", "x"], "the options of the proof mean nothing without it"),
        (["--stack", "lab", "--sharing", "--node", "gpu-9"], "gpu-9 is no node of the stack, which has gpu-1, gpu-2"),
        (["--stack", "lab", "-o", "yaml"], "'yaml' is not one of"),
    ],
)
def test_a_mistake_on_the_command_line_is_2_and_asks_nothing(
    cluster: FakeCluster, arguments: list[str], problem: str
) -> None:
    result = _verify(*arguments)
    assert (result.exit_code, result.stdout, cluster.calls) == (2, "", [])
    assert problem in result.stderr


def test_checks_are_chosen_by_id_and_by_category(cluster: FakeCluster) -> None:  # noqa: ARG001 (it is patched in)
    only = _outcomes(_verify("--stack", "lab", "--check", "API002", "-o", "json").stdout)
    assert {"API002"} <= set(only) <= {check.id for check in CHECKS if check.fatal} | {"API002"}
    without = _outcomes(_verify("--stack", "lab", "--skip", "config", "--skip", "API002", "-o", "json").stdout)
    assert {"CFG002", "API002"} & set(without) == set()
    assert {"CFG001", "API001"} <= set(without), "nothing can be told without these"


def test_nothing_makes_pods_unless_it_is_asked_to(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    proofs: list[Request] = []

    def refused(proof: Proof, *_: object) -> Record:
        proofs.append(proof.request)
        raise AccessDeniedError("you may not")

    monkeypatch.setattr(Proof, "__call__", refused)
    _verify("--stack", "lab")
    assert (proofs, "create" in cluster.calls) == ([], False)
    result = _verify("--stack", "lab", "--sharing", "--node", "gpu-2", "--cuda-image", "", "-o", "json")
    assert proofs == [Request(("gpu-2",), "")], "once, whatever the number of checks"
    assert {outcome for id_, outcome in _outcomes(result.stdout).items() if id_.startswith("SHR")} == {"skip"}


def test_strict_makes_a_warning_a_failure(cluster: FakeCluster) -> None:
    cluster.server_version = "v1.99.0"
    assert _verify("--stack", "lab").exit_code == 0
    assert _verify("--stack", "lab", "--strict").exit_code == 1


def test_a_wait_ends_as_soon_as_everything_holds(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    _breaks(cluster)
    sleep = runner.time.sleep

    def fix(seconds: float) -> None:
        sleep(seconds)
        cluster.node_objects["gpu-2"]["status"]["allocatable"]["nvidia.com/gpu"] = "6"

    monkeypatch.setattr(runner.time, "sleep", fix)
    result = _verify("--stack", "lab", "--wait", "5m")
    assert result.exit_code == 0
    assert [line[:13] for line in result.stderr.splitlines()] == ["lab: waiting:"]


def test_the_end_of_a_wait_is_124_with_the_latest_state(cluster: FakeCluster) -> None:
    _breaks(cluster)
    result = _verify("--stack", "lab", "--wait", "1m30s", "--check", "CAP002")
    assert result.exit_code == 124
    assert result.stdout.splitlines()[-1].endswith('in 90.0 s: cluster "lab" is NOT ready, when the wait was over')
    assert "gpu-2" in result.stderr


def test_junit_is_written_besides(cluster: FakeCluster, tmp_path: Path) -> None:  # noqa: ARG001 (it is patched in)
    result = _verify("--stack", "lab", "--junit", tmp_path / "junit.xml", "-o", "json")
    assert json.loads(result.stdout)["ready"]
    cases = ElementTree.parse(tmp_path / "junit.xml").getroot().iter("testcase")
    assert [str(case.get("name")).split()[0] for case in cases] == list(_outcomes(result.stdout))


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("/nonexistent/junit.xml", "cannot be written: No such file or directory. Fix it: mkdir -p /nonexistent"),
        ("/proc/junit.xml", "cannot be written: No such file or directory. Fix it: name a file in a folder of your"),
        ("/sys/junit.xml", "Fix it: name a file in a folder of your own"),
        ("/etc/hostname/junit.xml", "cannot be written: Not a directory. Fix it: name a file in a folder of your own"),
        ("/tmp", "/tmp is a folder, not a file"),
        ("/", "/ is a folder, not a file"),
        (f"/tmp/{'x' * 300}", "cannot be written: File name too long"),
        ("nowhere", "cannot be written: No such file or directory. Fix it: mkdir -p /nonexistent"),
        ("round", "cannot be written: Too many levels of symbolic links"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_run(
    cluster: FakeCluster, tmp_path: Path, file: str, problem: str
) -> None:
    """Also of root, whom no right is missing: not in /proc, and not on what is mounted read-only."""
    (tmp_path / "nowhere").symlink_to("/nonexistent/junit.xml")
    (tmp_path / "round").symlink_to("round")
    result = _verify("--stack", "lab", "--junit", tmp_path / file)
    said = " ".join(result.stderr.replace("│", " ").split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--junit" in said
    assert problem in said
    assert cluster.calls == []


def test_a_report_that_is_there_stays_until_there_is_another(cluster: FakeCluster, tmp_path: Path) -> None:
    """A run that ends before its end leaves what lay there, and nothing where nothing was."""
    old, new, led = (tmp_path / name for name in ("old.xml", "new.xml", "led.xml"))
    old.write_text("before")
    led.symlink_to(tmp_path / "elsewhere.xml")
    for file in (old, new, led):
        refuse_unwritable("--junit", file)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["led.xml", "old.xml"]
    assert (old.read_text(), led.is_symlink(), cluster.calls) == ("before", True, [])


def test_a_report_that_finds_no_room_at_the_end_does_not_hide_the_verdict(cluster: FakeCluster) -> None:
    _breaks(cluster)
    result = _verify("--stack", "lab", "--junit", "/dev/full")
    assert (result.exit_code, "/dev/full cannot be written: No space left" in result.stderr) == (1, True)
    assert 'cluster "lab" is NOT ready' in result.stdout


def test_the_list_names_every_check_and_runs_none(cluster: FakeCluster) -> None:
    listed = json.loads(_verify("--list", "-o", "json").stdout)
    assert [entry["id"] for entry in listed] == [check.id for check in CHECKS]
    assert {entry["askedBy"] for entry in listed if entry["category"] == "sharing"} == {"verify --sharing"}
    rows = _verify("--list").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["ID", *(check.id for check in CHECKS)]
    assert cluster.calls == []


def test_colour_is_for_terminals_and_not_with_no_color() -> None:
    plain, colour = "\x1b[", "\x1b[31m"
    assert plain not in _without_cluster("--stack", "lab").stdout
    assert colour in _without_cluster("--stack", "lab", FORCE_COLOR="1", TERM="xterm").stdout
    assert colour not in _without_cluster("--stack", "lab", FORCE_COLOR="1", TERM="xterm", NO_COLOR="1").stdout


@pytest.mark.parametrize("form", ["table", "short", "markdown", "json"])
def test_a_stream_that_takes_only_ascii_gets_ascii(form: str) -> None:
    result = _without_cluster("--stack", "lab", "-o", form, PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr, result.stdout.isascii()) == (3, "", True)
    assert "?" not in result.stdout, "marks have others in ASCII"


def test_a_name_that_a_stream_cannot_print_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    node = {"name": "gpu-1", "gpu": "rtx-3090", "count": 2}
    path.write_text(
        yaml.safe_dump(
            {"config": {"gpu:context": "admin@k\N{LATIN SMALL LETTER O WITH DIAERESIS}ln", "gpu:nodes": [node]}}
        )
    )
    result = _without_cluster("--stack", "x", PYTHONIOENCODING="ascii", PULUMI_OPTION_CONFIG_FILE=str(path))
    assert (result.returncode, result.stderr, "context admin@k?ln" in result.stdout) == (3, "", True)


def test_no_line_is_broken_on_a_narrow_screen() -> None:
    narrow, wide = (_without_cluster("--stack", "lab", COLUMNS=columns).stdout for columns in ("40", "200"))
    assert len(narrow.splitlines()) == len(wide.splitlines())


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [*VERIFY, "--stack", "lab"],
        cwd=ROOT,
        env=NO_CLUSTER,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert result.stderr == ""


@pytest.mark.parametrize("stacks", [("lab",), ("lab", "homelab")])
def test_an_interrupted_wait_is_130_and_says_so(stacks: tuple[str, ...]) -> None:
    options = [word for stack in stacks for word in ("--stack", stack)]
    waiting = subprocess.Popen(
        [*VERIFY, *options, "--wait", "1h"],
        cwd=ROOT,
        env=NO_CLUSTER,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr
    assert "waiting: " in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    stdout, stderr = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert stdout in ("", "gpuctl verify: stack lab, context admin@lab\n")  # what was said by then
    assert stderr.splitlines()[-1] == "gpuctl: interrupted; nothing was changed"
    assert "Traceback" not in stderr


def _stack_file(folder: Path, slices: int) -> Path:
    node = {"name": "gpu-1", "gpu": "rtx-3090", "count": 2}
    path = folder / "elsewhere.yaml"
    path.write_text(yaml.safe_dump({"config": {"gpu:context": "admin@x", "gpu:slices": slices, "gpu:nodes": [node]}}))
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Makes Pulumi, and so gpuctl, read a stack file that is not in config/."""

    def write(slices: int) -> Path:
        path = _stack_file(tmp_path, slices)
        monkeypatch.setenv("PULUMI_OPTION_CONFIG_FILE", str(path))
        return path

    return write


def test_every_verb_reads_the_stack_file_that_pulumi_would(elsewhere: Callable[[int], Path]) -> None:
    elsewhere(3)
    capacity = CliRunner().invoke(app, ["capacity", "--stack", "any", "-o", "json"])
    assert json.loads(capacity.stdout)["gpuCapacity"]["total"] == 6
    rendered = CliRunner().invoke(app, ["render", "--stack", "any"])
    assert "--context admin@x " in rendered.stdout
    assert running.context_of("any").settings.context == "admin@x"


def test_a_mistake_in_it_is_told_with_its_path(elsewhere: Callable[[int], Path]) -> None:
    path = elsewhere(0)
    assert "gpu:slices = 0" in _verify("--stack", "any").stdout
    path.unlink()
    result = _verify("--stack", "any")
    assert (result.exit_code, f"{path} = stack file: cannot be read" in result.stdout) == (2, True)


def test_it_is_not_taken_for_several_stacks(elsewhere: Callable[[int], Path]) -> None:
    elsewhere(3)
    result = _verify("--stack", "lab", "--stack", "homelab")
    assert (result.exit_code, "names the file of one stack, not of several" in result.stderr) == (2, True)


def test_a_cluster_lost_on_the_way_is_3(cluster: FakeCluster) -> None:
    cluster.failures["nodes"] = UnreachableError("context admin@lab cannot be reached: gone")
    assert _verify("--stack", "lab").exit_code == 3


def test_the_version_is_told_without_loading_what_looks_at_clusters() -> None:
    heavy = ("rich", "lightkube", "httpx2", "msgspec", "pulumi", "gpuctl.checks", "gpuctl.cluster", "gpuctl.report")
    code = (
        "import sys; sys.argv = ['gpuctl', '--version']\n"
        "from gpuctl.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=NO_CLUSTER, capture_output=True, text=True, check=True
    )
    assert (result.stdout.split()[0], result.stderr) == ("gpuctl", "[]\n")


def _doctor(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "200"})


def test_the_doctor_finds_nothing_where_nothing_is_wrong(cluster: FakeCluster) -> None:
    result = _doctor("--stack", "lab")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == "gpuctl doctor: stack lab, context admin@lab"
    assert "Nothing must be fixed." in result.stdout.splitlines()
    assert not {"create", "apply", "delete"} & set(cluster.calls)


def test_the_doctor_ends_with_where_to_begin(cluster: FakeCluster) -> None:
    _breaks(cluster)
    result = _doctor("--stack", "lab")
    *_, likely, begin, verdict = result.stdout.splitlines()
    assert result.exit_code == 1
    assert (likely[:13], begin[:12]) == ("Most likely: ", "Begin with: ")
    assert verdict.endswith('cluster "lab" is NOT ready')


def test_the_doctor_tells_machines_the_same_and_all_that_verify_tells(cluster: FakeCluster) -> None:
    _breaks(cluster)
    stack = json.loads(_doctor("--stack", "lab", "-o", "json").stdout)["stacks"][0]
    verified = json.loads(_verify("--stack", "lab", "-o", "json").stdout)["stacks"][0]
    assert stack["findings"]
    assert stack.keys() - verified.keys() == {"findings"}
    asked = {check["id"] for category in stack["categories"] for check in category["checks"]}
    assert asked == {check.id for check in CHECKS if not check.makes_pods}


def test_the_doctor_has_the_exit_codes_of_verify() -> None:
    codes = [
        command_line.run("doctor", "--stack", stack, cwd=ROOT, env=NO_CLUSTER).returncode
        for stack in ("lab", "nowhere")
    ]
    assert codes == [3, 2]


def test_before_the_first_up_the_doctor_asks_other_questions(cluster: FakeCluster) -> None:  # noqa: ARG001
    stack = json.loads(_doctor("--stack", "lab", "--pre", "-o", "json").stdout)["stacks"][0]
    asked = [check["id"] for category in stack["categories"] for check in category["checks"]]
    assert asked == [check.id for check in PREREQUISITES]
    assert "PRE001" in [finding["id"] for finding in stack["findings"]], "there is no Pulumi among the programs"
