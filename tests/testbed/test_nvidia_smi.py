"""The simulated nvidia-smi and library, compiled, and asked as an agent and the device plugin ask."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import driver
from testbed.gpus import NodeSpec, SimulatedGpu

SPEC = NodeSpec.parse("gpu-1=rtx-3090x1+rtx-4090x1")
Smi = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [
    pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is missing: the simulated driver cannot be compiled"),
]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="setting a limit needs CAP_SYS_ADMIN: not root")


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("driver")
    driver.build(directory)
    return directory


@pytest.fixture
def node(tmp_path: Path) -> Path:
    driver.simulated(tmp_path, SPEC, tmp_path, tmp_path)
    return tmp_path


@pytest.fixture
def gpus(node: Path) -> list[SimulatedGpu]:
    return driver.simulated_gpus(node, SPEC)


@pytest.fixture
def smi(binaries: Path, node: Path) -> Smi:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {"GPUSIM_CONFIG": str(node / "gpus.conf"), "GPUSIM_STATE": str(node / "gpu"), **variables}
        command = [str(binaries / "nvidia-smi"), *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    return run


def query(smi: Smi, fields: str, *arguments: str) -> list[list[str]]:
    result = smi(f"--query-gpu={fields}", "--format=csv,noheader,nounits", *arguments)
    assert result.returncode == 0, result.stdout
    return [line.split(", ") for line in result.stdout.splitlines()]


def test_every_field_of_the_power_loop_answers_in_the_form_of_driver_580(smi: Smi) -> None:
    fields = (
        "index,name,power.management,power.limit,enforced.power.limit,power.default_limit,power.min_limit,"
        "power.max_limit,power.draw,persistence_mode,clocks_event_reasons.sw_power_cap,"
        "clocks_throttle_reasons.sw_power_cap,clocks_event_reasons.active,utilization.gpu,temperature.gpu"
    )
    idle = ["25.00", "Disabled", "Not Active", "Not Active", "0x0000000000000001", "0", "34"]
    assert query(smi, fields)[0] == [
        *["0", "NVIDIA GeForce RTX 3090", "Enabled", "350.00", "350.00", "350.00", "100.00", "375.00"],
        *idle,
    ]


def test_units_and_header_are_there_unless_declined(smi: Smi) -> None:
    lines = smi("--query-gpu=power.limit,uuid", "--format=csv", "-i", "1").stdout.splitlines()
    assert lines == ["power.limit [W], uuid", f"450.00 W, {SPEC.uuids()[1]}"]


PROCESSES = ("--query-compute-apps=gpu_uuid,pid,used_memory", "--format=csv,noheader,nounits")
PMON = ("pmon", "-c", "1", "-s", "um")


def _watched(smi: Smi, *arguments: str) -> list[list[str]]:
    """GPU, process, share of the multiprocessors and of the memory, MiB, of what pmon lists."""
    result = smi(*PMON, *arguments)
    assert result.returncode == 0, result.stdout
    rows = (line.split() for line in result.stdout.splitlines() if not line.startswith("#"))
    return [[row[0], row[1], row[3], row[4], row[9]] for row in rows]


def test_the_processes_of_each_gpu_are_listed_with_memory_and_share(smi: Smi, gpus: list[SimulatedGpu]) -> None:
    own, parent = os.getpid(), os.getppid()
    gpus[0].set_processes([(own, 4096, 97), (parent, 512, 0)])
    assert smi(*PROCESSES).stdout.splitlines() == [f"{gpus[0].uuid}, {own}, 4096", f"{gpus[0].uuid}, {parent}, 512"]
    used = [["0", str(own), "97", "48", "4096"], ["0", str(parent), "-", "-", "512"]]
    assert _watched(smi) == [*used, ["1", "-", "-", "-", "-"]]
    assert _watched(smi, "-i", gpus[0].uuid) == used
    assert query(smi, "memory.used,utilization.gpu,mig.mode.current")[0] == ["4608", "97", "[N/A]"]


def test_a_process_that_has_ended_or_is_unknown_here_is_not_listed(smi: Smi, gpus: list[SimulatedGpu]) -> None:
    """Without the node's process ids a container sees none."""
    gpus[0].set_processes([(2**22 + 1, 4096, 97)])
    assert smi(*PROCESSES).stdout == ""
    assert _watched(smi, "-i", "0") == [["0", "-", "-", "-", "-"]]
    gpus[0].set_processes([])
    assert query(smi, "memory.used,utilization.gpu")[0] == ["1", "0"]


def test_a_gpu_is_chosen_by_index_uuid_or_bus(smi: Smi) -> None:
    for name in ("1", SPEC.uuids()[1], "00000000:02:00.0"):
        assert query(smi, "index", "-i", name) == [["1"]]


@needs_root
def test_a_limit_that_is_set_is_read_back_and_the_other_gpu_keeps_its_own(smi: Smi, gpus: list[SimulatedGpu]) -> None:
    assert smi("-i", gpus[0].uuid, "-pl", "300").returncode == 0
    assert query(smi, "power.limit,enforced.power.limit") == [["300.00", "300.00"], ["450.00", "450.00"]]
    assert gpus[0].power_limit == 300


@needs_root
def test_a_limit_outside_the_range_exits_2_and_changes_nothing(smi: Smi, gpus: list[SimulatedGpu]) -> None:
    result = smi("-i", gpus[0].uuid, "-pl", "99")
    assert result.returncode == 2
    assert "should be between 100.00 W and 375.00 W" in result.stdout
    assert gpus[0].power_limit == 350


@needs_root
def test_without_sys_admin_reading_works_and_setting_exits_4(smi: Smi, binaries: Path, node: Path) -> None:
    env = {
        "GPUSIM_CONFIG": str(node / "gpus.conf"),
        "GPUSIM_STATE": str(node / "gpu"),
        "PATH": os.environ["PATH"],
    }
    drop = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", str(binaries / "nvidia-smi")]
    assert subprocess.run([*drop, "-L"], env=env, capture_output=True, check=False).returncode == 0
    assert subprocess.run([*drop, "-pl", "300"], env=env, capture_output=True, check=False).returncode == 4
    assert query(smi, "power.limit") == [["350.00"], ["450.00"]]


@needs_root
@pytest.mark.parametrize(("nvml_error", "code"), [(4, 4), (999, 255), (3, 0)])
def test_a_refusing_driver_shows_in_the_exit_code(
    smi: Smi, gpus: list[SimulatedGpu], nvml_error: int, code: int
) -> None:
    """ "Not supported" is a warning to nvidia-smi, so it exits 0 although nothing was set."""
    gpus[0].fail_set(nvml_error)
    assert smi("-i", "0", "-pl", "300").returncode == code
    assert gpus[0].power_limit == 350


def test_another_limiter_shows_as_an_enforced_limit_below_the_requested(smi: Smi, gpus: list[SimulatedGpu]) -> None:
    gpus[0].cap_elsewhere(250)
    gpus[0].load(100)
    fields = "power.limit,enforced.power.limit,power.draw,clocks_event_reasons.sw_power_cap"
    assert query(smi, fields, "-i", "0") == [["350.00", "250.00", "250.00", "Active"]]


def test_a_busy_gpu_draws_up_to_its_limit_and_no_more(smi: Smi, gpus: list[SimulatedGpu]) -> None:
    gpus[0].drift(200)
    gpus[0].load(100)
    assert query(smi, "power.draw,utilization.gpu", "-i", "0") == [["200.00", "100"]]


def test_a_lost_gpu_fails_the_whole_query_with_15_and_the_others_alone_still_answer(
    smi: Smi, gpus: list[SimulatedGpu]
) -> None:
    gpus[0].lose()
    assert smi("--query-gpu=uuid", "--format=csv").returncode == 15
    assert query(smi, "index", "-i", "1") == [["1"]]
    gpus[0].recover()
    assert len(query(smi, "uuid")) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--query-gpu=nosuch", "--format=csv"), 2, 'Field "nosuch" is not a valid field to query.'),
        (("--query-gpu=uuid",), 2, 'requires "--format=csv"'),
        (("-i", "7", "-L"), 6, "No devices were found"),
        (("-pl", "much"), 2, "Invalid combination of input arguments"),
        (("--nosuch",), 2, "Invalid combination of input arguments"),
    ],
)
def test_a_wrong_question_exits_as_the_manual_page_says(
    smi: Smi, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = smi(*arguments)
    assert (result.returncode, message in result.stdout) == (code, True)


def test_a_node_without_a_driver_exits_9(smi: Smi) -> None:
    assert smi("-L", GPUSIM_CONFIG="/nonexistent").returncode == 9


def test_a_process_sees_only_the_gpus_whose_state_it_has(smi: Smi, gpus: list[SimulatedGpu]) -> None:
    """In a container index 0 is the first GPU that the container was given."""
    gpus[0].directory.rmdir()
    assert query(smi, "index,uuid") == [["0", gpus[1].uuid]]


def test_the_library_answers_what_nvidias_dra_driver_asks_of_each_gpu(
    binaries: Path, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUSIM_CONFIG", str(node / "gpus.conf"))
    monkeypatch.setenv("GPUSIM_STATE", str(node / "gpu"))
    nvml = ctypes.CDLL(str(binaries / "libnvidia-ml.so.1"))
    version, second, place = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint(7)
    assert nvml.nvmlInitWithFlags(0) == 0
    try:
        assert nvml.nvmlSystemGetCudaDriverVersion(ctypes.byref(version)) == 0
        assert nvml.nvmlDeviceGetHandleByIndex_v2(1, ctypes.byref(second)) == 0
        answers = {
            name: (getattr(nvml, f"nvmlDevice{name}")(second, ctypes.byref(place)), place.value)
            for name in ("GetIndex", "GetArchitecture", "GetBrand", "IsMigDeviceHandle")
        }
        profile = nvml.nvmlDeviceGetGpuInstanceProfileInfo(second, 0, ctypes.byref(place))
    finally:
        nvml.nvmlShutdown()
    assert version.value == 13000
    ada, geforce, not_supported = 8, 5, 3
    assert answers == {
        "GetIndex": (0, 1),
        "GetArchitecture": (0, ada),
        "GetBrand": (0, geforce),
        "IsMigDeviceHandle": (0, 0),
    }
    assert profile == not_supported


def test_the_library_has_every_symbol_that_the_device_plugin_binds(binaries: Path) -> None:
    """One that is called but missing ends the plugin with "symbol lookup error"."""
    listing = subprocess.run(
        ["nm", "--dynamic", "--defined-only", binaries / "libnvidia-ml.so.1"],
        capture_output=True,
        text=True,
        check=True,
    )
    exported = {line.split()[-1] for line in listing.stdout.splitlines()}
    assert exported >= {
        "nvmlInit_v2",
        "nvmlShutdown",
        "nvmlErrorString",
        "nvmlSystemGetDriverVersion",
        "nvmlSystemGetCudaDriverVersion_v2",
        "nvmlDeviceGetCount_v2",
        "nvmlDeviceGetHandleByIndex_v2",
        "nvmlDeviceGetHandleByUUID",
        "nvmlDeviceGetName",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetMinorNumber",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetPciInfo_v3",
        "nvmlDeviceGetCudaComputeCapability",
        "nvmlDeviceGetSupportedEventTypes",
        "nvmlDeviceRegisterEvents",
        "nvmlEventSetCreate",
        "nvmlEventSetFree",
        "nvmlEventSetWait_v2",
        "nvmlDeviceGetTopologyCommonAncestor",
        "nvmlDeviceGetNvLinkState",
    }
