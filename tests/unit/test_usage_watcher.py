"""The usage watcher, run by a real shell: which process is on which GPU, and of which pod it is."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.power_agent import SHELL

SCRIPT = Path(__file__).parents[2] / "gpuctl" / "desired" / "usage_watcher" / "watch.sh"
FIRST, SECOND = "GPU-8eb0778b-d464-b2c2-c1ff-53da4ffb64cd", "GPU-4efb1f24-08ed-c06e-6ce4-427025308b8f"
THIRD = "GPU-10000000-0000-4000-8000-000000000000"
UID = "2198be16-5c1a-4a4e-9d0e-0a1b2c3d4e5f"
SYSTEMD_UID = UID.replace("-", "_")
CONTAINER = "0123456789abcdef" * 4
BOOTED, ASKED, AFTER = 1000, 4000, 4001
"""Seconds since the node booted: when most processes began, when the watcher asks, and later."""

NVIDIA_SMI = """#!/bin/sh
cd "$FAKE" || exit 255
case $* in
  *--query-gpu=*) answer=gpus ;;
  *--query-compute-apps=*) answer=processes ;;
  'pmon -c 1 -s um -i GPU-'*) answer=pmon-$7 ;;
  *) exit 2 ;;
esac
[ ! -e hang ] || exec sleep 60
cat "$answer"
[ ! -e "$answer.exit" ] || exit "$(cat "$answer.exit")"
"""

PMON = """\
# gpu         pid   type     sm    mem    enc    dec    jpg    ofa     fb   ccpm    command
# Idx           #    C/G      %      %      %      %      %      %     MB     MB    name
"""
"""The first lines of pmon of driver 580; drivers before 535 have fewer columns."""


class Node:
    """What nvidia-smi answers, and the processes of a node with one GPU, of which 50 % is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("programs", "proc", "state"):
            (folder / name).mkdir()
        program = folder / "programs" / "nvidia-smi"
        program.write_text(NVIDIA_SMI)
        program.chmod(0o755)
        self.uptime(ASKED)
        self.answer("gpus", f"0, {FIRST}, 9216, 143771, 50, Disabled, 201.45\n")
        self.answer("processes", "")
        self.answer(f"pmon-{FIRST}", PMON + "    0          -     -      -      -      -      -      -\n")

    def answer(self, question: str, text: str, code: int = 0) -> None:
        (self.folder / question).write_text(text)
        (self.folder / f"{question}.exit").write_text(str(code))

    def uptime(self, seconds: int) -> None:
        (self.folder / "proc" / "uptime").write_text(f"{seconds}.00 9999.00\n")

    def process(self, pid: int, cgroup: str, name: str = "python3", began: int = BOOTED) -> None:
        place = self.folder / "proc" / str(pid)
        place.mkdir()
        (place / "cgroup").write_text(cgroup)
        (place / "comm").write_bytes(name.encode() + b"\n")
        rest = " ".join(str(number) for number in range(4, 22))
        (place / "stat").write_text(f"{pid} ({name}) S {rest} {began}00 23 24\n")

    def uses(self, pid: int, memory: object, sm: object = "-", bandwidth: object = "-") -> None:
        """As nvidia-smi lists a process: it is on the first GPU."""
        with (self.folder / "processes").open("a") as file:
            file.write(f"{FIRST}, {pid}, {memory}\n")
        with (self.folder / f"pmon-{FIRST}").open("a") as file:
            file.write(f"    0 {pid}  C  {sm}  {bandwidth}  -  -  -  -  {memory}  0    python3        \n")

    def run(self, verb: str = "report", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SHELL, str(SCRIPT), verb],
            env=self.environment | variables,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'programs'}:{os.environ['PATH']}",
            "FAKE": str(self.folder),
            "USAGE_PROC": str(self.folder / "proc"),
            "USAGE_STATE": str(self.folder / "state"),
        }

    def says(self) -> list[str]:
        """What one sample writes, without its time."""
        done = self.run()
        assert done.stderr == ""
        return [line.partition(" ")[2] for line in done.stdout.splitlines()]

    def holder(self) -> str:
        """Of its only process, all that follows the process id."""
        line, _ = self.says()
        return line.partition(" pod=")[2]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_sample_has_a_line_for_each_process_and_then_one_for_its_gpu(node: Node) -> None:
    node.process(533, f"0::/../../pod{UID}/{CONTAINER}\n")
    node.uses(533, 4518, 97, 100)
    assert node.says() == [
        f"level=info msg=process gpu={FIRST} pid=533 pod={UID} container={CONTAINER} memory_mib=4518 sm_pct=97 "
        "mem_pct=100 name=python3",
        f"level=info msg=gpu gpu={FIRST} index=0 memory_mib=9216 memory_total_mib=143771 util_pct=50 "
        "draw_w=201.45 processes=1",
    ]


def test_a_gpu_that_nobody_uses_is_said_to_be_so(node: Node) -> None:
    assert node.says() == [
        f"level=info msg=gpu gpu={FIRST} index=0 memory_mib=9216 memory_total_mib=143771 util_pct=50 draw_w=201.45 "
        "processes=0"
    ]


def test_every_process_is_on_its_own_gpu_and_one_may_be_on_two(node: Node) -> None:
    node.answer("gpus", f"0, {FIRST}, 1, 2, 3, Disabled, 60.00\n1, {SECOND}, 1, 2, 3, Disabled, 60.00\n")
    node.answer("processes", f"{FIRST}, 533, 100\n{SECOND}, 533, 200\n")
    node.answer(f"pmon-{FIRST}", f"{PMON}    0 533  C  10  11  -  -  -  -  100  0    python3\n")
    node.answer(f"pmon-{SECOND}", f"{PMON}    1 533  C  20  21  -  -  -  -  200  0    python3\n")
    node.process(533, "0::/\n")
    found = [line for line in node.says() if "msg=process" in line]
    assert [line.partition(" memory_mib=")[2] for line in found] == [
        "100 sm_pct=10 mem_pct=11 name=python3",
        "200 sm_pct=20 mem_pct=21 name=python3",
    ]
    assert [line.split()[2] for line in found] == [f"gpu={FIRST}", f"gpu={SECOND}"]


@pytest.mark.parametrize(
    "cgroup",
    [
        f"0::/../../pod{UID}/{CONTAINER}\n",
        f"0::/kubepods/burstable/pod{UID}/{CONTAINER}\n",
        f"0::/kubepods/pod{UID}/{CONTAINER}/init.scope\n",
        "0::/../../../kubepods-besteffort.slice/kubepods-besteffort-"
        f"pod{SYSTEMD_UID}.slice/cri-containerd-{CONTAINER}.scope\n",
        f"0::/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/crio-{CONTAINER}.scope/container\n",
        f"12:cpuset:/\n11:memory:/kubepods/besteffort/pod{UID}/{CONTAINER}\n1:name=systemd:/init.scope\n0::/\n",
        f"3:cpu,cpuacct:/kubepods.slice/kubepods-pod{SYSTEMD_UID}.slice/docker-{CONTAINER}.scope\n0::/\n",
        f"0::/system.slice/containerd.service/kubepods-burstable-pod{SYSTEMD_UID}.slice:cri-containerd:{CONTAINER}\n",
        f"0::/podman-pods/pod-1/kubelet/kubepods/pod{UID}/{CONTAINER}\n",
    ],
    ids=["v2, in its own view", "v2", "v2, nested", "v2 systemd", "CRI-O", "v1", "v1 systemd", "by runc", "podman"],
)
def test_the_cgroup_says_of_which_pod_and_container_a_process_is(node: Node, cgroup: str) -> None:
    node.process(533, cgroup)
    node.uses(533, 100)
    assert node.holder().startswith(f"{UID} container={CONTAINER} ")


def test_a_static_pods_uid_is_a_hash(node: Node) -> None:
    node.process(533, f"0::/kubepods/pod0123456789abcdef0123456789abcdef/{CONTAINER}\n")
    node.uses(533, 100)
    assert node.holder().startswith(f"0123456789abcdef0123456789abcdef container={CONTAINER} ")


@pytest.mark.parametrize("cgroup", ["0::/\n", "0::/system.slice/sshd.service\n", "0::/podruntime/kubelet\n"])
def test_a_process_of_no_pod_is_the_nodes_own(node: Node, cgroup: str) -> None:
    node.process(533, cgroup)
    node.uses(533, 100)
    assert node.holder().startswith("none container=none ")


def test_a_process_that_ended_meanwhile_is_unknown(node: Node) -> None:
    node.uses(533, 100, 5, 6)
    assert node.holder() == "unknown container=unknown memory_mib=100 sm_pct=5 mem_pct=6 name=unknown"


def test_a_process_that_began_after_the_question_is_another_one_with_the_same_id(node: Node) -> None:
    node.process(533, f"0::/kubepods/pod{UID}/{CONTAINER}\n", began=AFTER)
    node.uses(533, 100, 5, 6)
    assert node.holder() == "unknown container=unknown memory_mib=100 sm_pct=5 mem_pct=6 name=unknown"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a b", "a_b"),
        ('say="x"', "say__x_"),
        ("two\nlines) R 1", "two"),
        ("x) S 9 9", "x__S_9_9"),
        ("$(id)", "__id_"),
        ("ü", "__"),
        ("", "unknown"),
        ("llama-server:0", "llama-server:0"),
    ],
)
def test_a_name_is_made_safe_for_the_line_and_hides_nothing(node: Node, name: str, safe: str) -> None:
    node.process(533, f"0::/kubepods/pod{UID}/{CONTAINER}\n", name)
    node.uses(533, 100)
    assert node.holder() == f"{UID} container={CONTAINER} memory_mib=100 sm_pct=0 mem_pct=0 name={safe}"


def test_hundreds_of_processes_are_all_there_in_one_sample(node: Node) -> None:
    for pid in range(1000, 1300):
        node.process(pid, f"0::/kubepods/pod{UID}/{CONTAINER}\n")
        node.uses(pid, 10, 0, 0)
    *lines, last = node.says()
    assert [line.split()[3] for line in lines] == [f"pid={pid}" for pid in range(1000, 1300)]
    assert all(f" pod={UID} container={CONTAINER} memory_mib=10 sm_pct=0 " in line for line in lines)
    assert last.endswith(" processes=300")


def test_a_process_that_computes_nothing_is_idle_and_not_unknown(node: Node) -> None:
    node.process(533, "0::/\n")
    node.uses(533, 100, "-", "-")
    assert " sm_pct=0 mem_pct=0 " in node.holder()


def test_in_mig_mode_no_share_is_known(node: Node) -> None:
    node.answer("gpus", f"0, {FIRST}, 9216, 143771, [N/A], Enabled, 60.00\n")
    node.process(533, "0::/\n")
    node.uses(533, 100, "-", "-")
    line, gpu = node.says()
    assert " sm_pct=unknown mem_pct=unknown " in line
    assert " util_pct=unknown " in gpu


@pytest.mark.parametrize("answer", ["[N/A]", "[Not Supported]", "", "1.2.3", ".5", "$(id)"])
def test_a_draw_that_is_not_told_is_unknown(node: Node, answer: str) -> None:
    node.answer("gpus", f"0, {FIRST}, 9216, 143771, 50, Disabled, {answer}\n")
    assert " draw_w=unknown " in node.says()[-1]


@pytest.mark.parametrize("answer", ["[N/A]", "[Not Supported]", "[Insufficient Permissions]"])
def test_memory_that_is_not_told_is_unknown(node: Node, answer: str) -> None:
    node.process(533, "0::/\n")
    node.answer("processes", f"{FIRST}, 533, {answer}\n")
    node.answer(f"pmon-{FIRST}", f"{PMON}    0 533  C  10  11  -  -  -  -  -  0    python3\n")
    assert " memory_mib=unknown sm_pct=10 mem_pct=11 " in node.holder()


def test_a_process_that_only_one_of_the_two_commands_lists_is_there_with_what_is_known(node: Node) -> None:
    node.process(533, "0::/\n")
    node.process(534, "0::/\n")
    node.answer("processes", f"{FIRST}, 533, 100\n")
    node.answer(f"pmon-{FIRST}", f"{PMON}    0 534  M  10  11  -  -  -  -  200  0    python3\n")
    first, second, _ = node.says()
    assert "pid=533 pod=none container=none memory_mib=100 sm_pct=unknown mem_pct=unknown" in first
    assert "pid=534 pod=none container=none memory_mib=200 sm_pct=10 mem_pct=11" in second


def test_the_columns_of_an_older_driver_are_found_by_their_names(node: Node) -> None:
    node.process(533, "0::/\n")
    columns = "# gpu   pid  type    sm   mem   enc   dec    fb   command"
    node.answer(f"pmon-{FIRST}", f"{columns}\n    0 533 C 7 8 - - 900 x\n")
    assert " memory_mib=900 sm_pct=7 mem_pct=8 " in node.holder()


def test_without_pmon_memory_is_still_known_and_the_pod_ready(node: Node) -> None:
    """A GPU that does not support it must not keep `pulumi up` waiting."""
    node.process(533, "0::/\n")
    node.uses(533, 100, 5, 6)
    node.answer(f"pmon-{FIRST}", 'Process "utilization" is not supported\nhere\n', code=3)
    warning, line, _ = node.says()
    assert warning == (
        "level=warn msg=query_failed of=pmon exit=3 message=\"Process 'utilization' is not supported here\""
    )
    assert " memory_mib=100 sm_pct=unknown mem_pct=unknown " in line
    assert node.run().returncode == 0


@pytest.mark.parametrize("question", ["gpus", "processes"])
def test_a_question_that_fails_is_an_error_and_no_gpu_is_said_to_be_unused(node: Node, question: str) -> None:
    node.answer(question, "GPU is lost.\n", code=15)
    assert node.says() == [f'level=error msg=query_failed of={question} exit=15 message="GPU is lost."']
    assert node.run().returncode == 1


def test_an_nvidia_smi_that_hangs_is_ended(node: Node) -> None:
    (node.folder / "hang").touch()
    begun = time.monotonic()
    done = node.run(USAGE_PATIENCE="1")
    assert time.monotonic() - begun < 20
    assert "msg=query_failed of=gpus exit=137" in done.stdout


def test_the_loop_is_alive_and_ready_from_its_first_sample_on_and_ends_when_it_is_asked_to(node: Node) -> None:
    environment = node.environment | {"USAGE_INTERVAL": "0.1"}
    loop = subprocess.Popen([*SHELL, str(SCRIPT), "run"], env=environment, stdout=subprocess.PIPE, text=True)
    assert loop.stdout is not None
    for _ in range(3):
        assert "msg=gpu" in loop.stdout.readline()
    assert (node.run("alive").returncode, node.run("ready").returncode) == (0, 0)
    node.answer("gpus", "no driver\n", code=9)
    while "query_failed" not in loop.stdout.readline():
        pass
    loop.stdout.readline()
    done = node.run("ready")
    assert (done.returncode, done.stdout) == (1, 'query_failed of=gpus exit=9 message="no driver"\n')
    loop.send_signal(signal.SIGTERM)
    assert loop.wait(timeout=20) == 0
    node.uptime(ASKED + 71)
    assert "the last question was asked 71 s ago, allowed are 70 s" in node.run("alive", USAGE_INTERVAL="0.1").stdout


HTTPD = """\
#!/bin/sh
echo $$ >"$FAKE/served" && exec sleep 60
"""


class TestMetrics:
    """What Prometheus gets."""

    @pytest.fixture
    def served(self, node: Node) -> Iterator[Node]:
        """A node whose watcher serves what it sees, as soon as it has seen it."""
        program = node.folder / "programs" / "httpd"
        program.write_text(HTTPD)
        program.chmod(0o755)
        yield node
        if hasattr(self, "loop"):
            self.loop.terminate()
            self.loop.wait(timeout=20)

    def start(self, node: Node, port: int) -> None:
        variables = node.environment | {"USAGE_INTERVAL": "0.1", "USAGE_PORT": str(port), "USAGE_NODE": "gpu-1"}
        self.loop = subprocess.Popen([*SHELL, str(SCRIPT), "run"], env=variables, stdout=subprocess.DEVNULL)

    def metrics(self, node: Node, which: str) -> list[str]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.start(node, port)
        file = node.folder / "state" / "www" / "metrics.txt"
        deadline = time.monotonic() + 20
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return [line for line in file.read_text().splitlines() if line.startswith(f"gpu_usage_{which}")]

    def test_have_a_series_for_each_pod_and_none_for_a_process(self, served: Node) -> None:
        for pid in (533, 534):
            served.process(pid, f"0::/kubepods/pod{UID}/{CONTAINER}\n")
        served.process(535, "0::/\n")
        served.uses(533, 4518, 40, 7)
        served.uses(534, 100000, 4, 1)
        served.uses(535, 1)
        pod, none = (f'node="gpu-1",uuid="{FIRST}",pod_uid="{each}"' for each in (UID, "none"))
        assert sorted(self.metrics(served, "pod_")) == sorted(
            [
                f"gpu_usage_pod_memory_bytes{{{pod}}} 109595066368",
                f"gpu_usage_pod_memory_bytes{{{none}}} 1048576",
                f"gpu_usage_pod_sm_ratio{{{pod}}} 0.44",
                f"gpu_usage_pod_sm_ratio{{{none}}} 0",
                f"gpu_usage_pod_memory_bandwidth_ratio{{{pod}}} 0.08",
                f"gpu_usage_pod_memory_bandwidth_ratio{{{none}}} 0",
                f"gpu_usage_pod_processes{{{pod}}} 2",
                f"gpu_usage_pod_processes{{{none}}} 1",
            ]
        )

    def test_have_the_gpus_figures_and_that_nvidia_smi_answered(self, served: Node) -> None:
        gpu = f'node="gpu-1",uuid="{FIRST}",index="0"'
        assert self.metrics(served, "gpu_") == [
            f"gpu_usage_gpu_memory_total_bytes{{{gpu}}} 150754820096",
            f"gpu_usage_gpu_utilization_ratio{{{gpu}}} 0.5",
            f"gpu_usage_gpu_power_watts{{{gpu}}} 201.45",
            f"gpu_usage_gpu_processes{{{gpu}}} 0",
        ]

    def test_have_no_series_of_what_is_unknown(self, served: Node) -> None:
        served.answer("gpus", f"0, {FIRST}, 9216, 143771, [N/A], Enabled, [N/A]\n")
        for pid in (533, 534):
            served.process(pid, f"0::/kubepods/pod{UID}/{CONTAINER}\n")
        served.uses(533, "[N/A]")
        served.uses(534, 100)
        names = [line.partition("{")[0] for line in self.metrics(served, "")]
        assert names == [
            "gpu_usage_up",
            "gpu_usage_pod_processes",
            "gpu_usage_gpu_memory_total_bytes",
            "gpu_usage_gpu_processes",
        ]

    def test_say_no_share_where_a_busy_gpu_does_not_tell_who_computes(self, served: Node) -> None:
        served.process(533, f"0::/kubepods/pod{UID}/{CONTAINER}\n")
        served.uses(533, 100, 0, 0)
        assert self.metrics(served, "pod_sm_ratio") == []

    def test_say_no_share_of_the_pods_of_that_gpu_alone(self, served: Node) -> None:
        """One GPU is at rest, one is busy and does not tell by whom, and on the third somebody computes."""
        gpus = [FIRST, SECOND, THIRD]
        rows = zip(range(3), gpus, (9, 50, 50), strict=True)
        served.answer("gpus", "".join(f"{n}, {gpu}, 1, 2, {busy}, Disabled, 60.00\n" for n, gpu, busy in rows))
        served.answer("processes", "".join(f"{gpu}, 533, 100\n" for gpu in gpus))
        for gpu, share in zip(gpus, (0, 0, 40), strict=True):
            served.answer(f"pmon-{gpu}", f"{PMON}    0 533  C  {share}  0  -  -  -  -  100  0    python3\n")
        served.process(533, f"0::/kubepods/pod{UID}/{CONTAINER}\n")
        assert sorted(self.metrics(served, "pod_sm_ratio")) == sorted(
            f'gpu_usage_pod_sm_ratio{{node="gpu-1",uuid="{gpu}",pod_uid="{UID}"}} {share}'
            for gpu, share in ((FIRST, "0"), (THIRD, "0.4"))
        )

    def test_say_that_a_pod_computes_nothing_where_another_of_which_it_is_not_known_may(self, served: Node) -> None:
        served.answer("processes", f"{FIRST}, 533, 100\n{FIRST}, 534, 100\n")
        served.answer(f"pmon-{FIRST}", f"{PMON}    0 533  C  0  0  -  -  -  -  100  0    python3\n")
        served.process(533, f"0::/kubepods/pod{UID}/{CONTAINER}\n")
        served.process(534, "0::/\n")
        assert self.metrics(served, "pod_sm_ratio") == [
            f'gpu_usage_pod_sm_ratio{{node="gpu-1",uuid="{FIRST}",pod_uid="{UID}"}} 0'
        ]

    def test_are_served_as_long_as_the_watcher_runs(self, served: Node) -> None:
        self.metrics(served, "up")
        server = int((served.folder / "served").read_text())
        self.loop.terminate()
        self.loop.wait(timeout=20)
        deadline = time.monotonic() + 20
        while (ends := Path(f"/proc/{server}/stat")).exists() and time.monotonic() < deadline:
            if ends.read_text().rpartition(") ")[2].startswith("Z"):  # nobody has waited for it yet
                return
            time.sleep(0.05)
        assert not ends.exists()

    def test_say_of_no_gpu_anything_when_nvidia_smi_does_not_answer(self, served: Node) -> None:
        served.answer("processes", "GPU is lost.\n", code=15)
        assert self.metrics(served, "") == ['gpu_usage_up{node="gpu-1"} 0']

    def test_that_nobody_can_get_are_a_reason_not_to_be_ready(self, served: Node) -> None:
        (served.folder / "programs" / "httpd").write_text("#!/bin/sh\nexit 1\n")
        why = "httpd ended, so nobody gets the metrics\n"
        with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
            self.start(served, taken.getsockname()[1])
            deadline = time.monotonic() + 20
            while (said := served.run("ready").stdout) != why and time.monotonic() < deadline:
                time.sleep(0.05)
        assert said == why

    def test_are_served_only_where_a_port_is_asked_for(self, served: Node) -> None:
        loop = subprocess.Popen([*SHELL, str(SCRIPT), "run"], env=served.environment, stdout=subprocess.PIPE, text=True)
        assert loop.stdout is not None
        loop.stdout.readline()
        loop.terminate()
        assert loop.wait(timeout=20) == 0
        assert not (served.folder / "served").exists()


def test_before_the_first_sample_it_is_not_alive_and_an_unknown_verb_is_a_mistake(node: Node) -> None:
    assert node.run("alive").returncode != 0
    assert node.run("watch").returncode == 64
