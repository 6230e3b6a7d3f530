"""Checks of what must be in place before the first `pulumi up`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gpuctl.checks import workstation
from gpuctl.checks.model import Check, Outcome, Result
from gpuctl.checks.registry import CHECKS, PREREQUISITES
from gpuctl.checks.runner import run
from gpuctl.cluster.programs import Ran
from tests.fixtures.checks import FakePrograms, context_of, results_of, settings_of
from tests.fixtures.fake_cluster import FakeCluster, healthy

SDK = "3.259.0"
NO_STACK = Ran("", "error: no stack named 'lab' found\n", 6)
LOGGED_OUT = Ran("", "error: PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions\n", 3)


def _kubectl(version: str) -> Ran:
    return Ran(json.dumps({"clientVersion": {"gitVersion": version}}), "", 0)


class Installed(FakePrograms):
    """Programs that are all there and as they should be, but for those that a test names."""

    def __init__(self, answers: dict[str, Ran | None] | None = None) -> None:
        usual: dict[str, Ran | None] = {
            "pulumi version": Ran(f"v{SDK}\n", "", 0),
            "pulumi whoami": Ran("root\n", "", 0),
            "pulumi stack": Ran("{}\n", "", 0),
            "kubectl version": _kubectl("v1.34.2"),
            "talosctl version": Ran("Client v1.13.9\n", "", 0),
        }
        super().__init__()
        self.by_words = usual | (answers or {})

    def run(self, *command: str, seconds: float = 60) -> Ran | None:  # noqa: ARG002
        return self.by_words[" ".join(command[:2])]


def _results(check: Check, answers: dict[str, Ran | None] | None = None) -> list[Result]:
    return results_of(check, context_of(healthy(settings_of()), programs=Installed(answers)))


def _found(check: Check, answers: dict[str, Ran | None] | None = None) -> Result:
    (found,) = _results(check, answers)
    return found


def test_a_workstation_with_everything_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "")
    cluster = healthy(settings_of())
    report = run(PREREQUISITES, context_of(cluster, programs=Installed()), lambda _: None)
    assert [entry for entry in report.entries if entry.outcome not in (Outcome.PASS, Outcome.SKIP)] == []
    skipped = [entry.check.id for entry in report.entries if entry.outcome is Outcome.SKIP]
    assert skipped == ["PRE007"], "no such file in config/, so no secrets"


def test_an_empty_workstation_is_told_all_that_is_missing_at_once() -> None:
    nothing: dict[str, Ran | None] = dict.fromkeys(Installed().by_words)
    report = run(PREREQUISITES, context_of(FakeCluster(), programs=Installed(nothing)), lambda _: None)
    bad = {entry.check.id for entry in report.entries if entry.outcome in (Outcome.FAIL, Outcome.WARN)}
    assert bad == {"PRE001", "PRE003", "PRE004", "NOD001"}


def test_no_usual_run_looks_at_the_workstation() -> None:
    assert {check.category for check in CHECKS}.isdisjoint({workstation.WORKSTATION})
    assert set(workstation.CHECKS) < set(PREREQUISITES)


@pytest.mark.parametrize(
    ("check", "words", "answer", "fact"),
    [
        (workstation.pulumi_is_installed, "pulumi version", None, "the Pulumi CLI is not installed here"),
        (
            workstation.pulumi_is_installed,
            "pulumi version",
            Ran("v3.258.9\n", "", 0),
            f"Pulumi CLI v3.258.9 does not fit SDK v{SDK}, which takes v{SDK} or later, below v4",
        ),
        (
            workstation.pulumi_is_installed,
            "pulumi version",
            Ran("v4.0.0\n", "", 0),
            f"Pulumi CLI v4.0.0 does not fit SDK v{SDK}, which takes v{SDK} or later, below v4",
        ),
        (
            workstation.pulumi_is_installed,
            "pulumi version",
            Ran("", "error: it is broken", 1),
            "the Pulumi CLI does not say its version: it is broken",
        ),
        (
            workstation.kubectl_is_installed,
            "kubectl version",
            None,
            "kubectl is not installed here; pulumi and gpuctl do without, their hints do not",
        ),
        (
            workstation.kubectl_is_installed,
            "kubectl version",
            _kubectl("v1.29.9"),
            "kubectl v1.29.9 does not fit Talos v1.13.9, which runs Kubernetes v1.31 to v1.36",
        ),
        (
            workstation.talosctl_is_installed,
            "talosctl version",
            None,
            "talosctl is not installed here; drivers come to the nodes through it",
        ),
        (
            workstation.talosctl_is_installed,
            "talosctl version",
            Ran("Client v1.9.5\n", "", 0),
            "talosctl v1.9.5 is not of the minor version of Talos v1.13.9",
        ),
        (
            workstation.pulumi_is_logged_in,
            "pulumi whoami",
            LOGGED_OUT,
            "Pulumi is not logged in: PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions",
        ),
        (
            workstation.stack_exists,
            "pulumi stack",
            NO_STACK,
            "Pulumi does not know stack lab: no stack named 'lab' found",
        ),
    ],
)
def test_what_is_missing_or_does_not_fit_is_told(check: Check, words: str, answer: Ran | None, fact: str) -> None:
    assert _found(check).outcome is Outcome.PASS
    found = _found(check, {words: answer})
    assert (found.outcome, found.fact) == (Outcome.FAIL, fact)
    assert found.remedy != ""


@pytest.mark.parametrize("version", ["v1.30.0", "v1.37.2"])
def test_kubectl_may_be_one_minor_version_away(version: str) -> None:
    assert _found(workstation.kubectl_is_installed, {"kubectl version": _kubectl(version)}).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("check", "words"), [(workstation.pulumi_is_logged_in, "pulumi whoami"), (workstation.stack_exists, "pulumi stack")]
)
def test_without_pulumi_its_state_is_not_told(check: Check, words: str) -> None:
    assert _found(check, {words: None}).outcome is Outcome.SKIP


def test_whether_the_stack_exists_is_not_known_while_nobody_is_logged_in() -> None:
    found = _found(workstation.stack_exists, {"pulumi stack": LOGGED_OUT})
    assert found.outcome is Outcome.SKIP
    assert found.fact.startswith("whether stack lab exists is not known: PULUMI_ACCESS_TOKEN")


class TestPackages:
    def test_those_that_the_project_pins_are_there(self) -> None:
        found = _results(workstation.packages_are_installed)
        assert {result.subject for result in found} == {"pulumi", "pulumi-kubernetes"}
        assert {result.outcome for result in found} == {Outcome.PASS}

    @pytest.mark.parametrize(
        ("installed", "fact"),
        [
            (None, "pulumi is not installed; the project takes 0.0.1"),
            ("3.1.0", "pulumi is 3.1.0; the project takes 0.0.1"),
        ],
    )
    def test_one_that_is_missing_or_another_is_told(
        self, monkeypatch: pytest.MonkeyPatch, installed: str | None, fact: str
    ) -> None:
        monkeypatch.setattr(workstation, "requires", _answer(["pulumi==0.0.1", "rich<16,>=15"]))
        monkeypatch.setattr(workstation, "version", _answer(installed))
        (found,) = _results(workstation.packages_are_installed)
        assert (found.outcome, found.fact) == (Outcome.FAIL, fact)
        assert found.remedy.startswith("make venv")

    def test_without_the_projects_own_package_nothing_is_known_of_the_sdk(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workstation, "requires", _answer(None))
        assert _results(workstation.packages_are_installed) == []
        assert _found(workstation.pulumi_is_installed).outcome is Outcome.SKIP


def _answer(value: str | Sequence[str] | None) -> Callable[[str], str | Sequence[str]]:
    def answer(_: str) -> str | Sequence[str]:
        if value is None:
            raise workstation.PackageNotFoundError
        return value

    return answer


class TestPassphrase:
    @pytest.fixture(autouse=True)
    def salted(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A stack file whose secrets are encrypted, and no passphrase."""
        path = tmp_path / "stack.yaml"
        path.write_text("config: {}\nencryptionsalt: v1:abc\n")
        monkeypatch.setenv("PULUMI_OPTION_CONFIG_FILE", str(path))
        for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
            monkeypatch.delenv(name, raising=False)

    def test_a_stack_with_secrets_needs_it(self) -> None:
        found = _found(workstation.passphrase_is_set)
        assert found.outcome is Outcome.FAIL
        assert found.fact == (
            "stack lab encrypts its secrets with a passphrase, and PULUMI_CONFIG_PASSPHRASE is not set"
        )

    @pytest.mark.parametrize("name", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
    def test_it_may_be_empty_or_in_a_file(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(name, "")
        assert _found(workstation.passphrase_is_set).fact == f"{name} is set"

    def test_a_stack_file_without_salt_needs_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "other.yaml").write_text("")
        monkeypatch.setenv("PULUMI_OPTION_CONFIG_FILE", str(tmp_path / "other.yaml"))
        assert _found(workstation.passphrase_is_set).outcome is Outcome.SKIP


class TestNodes:
    def test_a_taint_of_the_sites_own_is_told_before_the_first_update(self) -> None:
        cluster = healthy(settings_of())
        cluster.node_objects["gpu-1"]["spec"]["taints"] = [{"key": "gpu", "value": "true", "effect": "NoSchedule"}]
        assert self._bad(cluster) == {
            "gpu-1": "node gpu-1 has the taint gpu:NoSchedule, which the stack's pods do not tolerate"
        }
        assert self._bad(cluster, tolerations=[{"key": "gpu"}]) == {}

    def test_a_node_that_is_not_ready_is_told_before_the_first_update(self) -> None:
        cluster = healthy(settings_of())
        status = [{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}]
        cluster.node_objects["gpu-2"]["status"]["conditions"] = status
        assert self._bad(cluster) == {"gpu-2": "node gpu-2 is not Ready: Kubelet stopped posting node status."}

    @staticmethod
    def _bad(cluster: FakeCluster, **keys: object) -> dict[str, str]:
        report = run(PREREQUISITES, context_of(cluster, settings_of(**keys), programs=Installed()), lambda _: None)
        bad = [entry for entry in report.entries if entry.outcome is Outcome.FAIL]
        return {found.subject: found.fact for entry in bad for found in entry.results if found.outcome is Outcome.FAIL}


class TestOwnership:
    def test_another_stack_of_the_cluster_is_told_with_its_name(self) -> None:
        cluster = healthy(settings_of())
        cluster.objects["RuntimeClass", None, "nvidia"]["metadata"]["annotations"] = {"gpu-sharing/stack": "gpu/other"}
        (found,) = results_of(workstation.nothing_is_in_the_way, context_of(cluster))
        assert (found.outcome, found.subject) == (Outcome.FAIL, "gpu/other")
        assert found.fact.startswith("runtimeclass/nvidia belongs to stack gpu/other: two stacks on one cluster")
        assert found.remedy == "pulumi stack ls --all"

    def test_what_others_have_in_a_namespace_that_was_handed_over_is_in_the_way(self) -> None:
        """Such as the DaemonSet of NVIDIA's Helm chart, which may have the same name."""
        cluster = healthy(settings_of())
        cluster.objects["DaemonSet", "gpu-device-plugin", "nvidia-device-plugin"]["metadata"]["labels"] = {
            "app.kubernetes.io/managed-by": "Helm"
        }
        (found,) = results_of(workstation.nothing_is_in_the_way, context_of(cluster))
        assert (found.outcome, found.fact, found.remedy) == (
            Outcome.FAIL,
            "DaemonSet nvidia-device-plugin of namespace gpu-device-plugin exists already and was not made by this "
            "project: it would be taken over, and deleted by `pulumi destroy`",
            "kubectl --context admin@lab get daemonset nvidia-device-plugin -n gpu-device-plugin -o yaml",
        )

    def test_what_is_in_a_namespace_of_others_goes_with_that(self) -> None:
        cluster = healthy(settings_of())
        for key in (("Namespace", None, "gpu-device-plugin"), ("DaemonSet", "gpu-device-plugin", "nvidia-power-limit")):
            cluster.objects[key]["metadata"]["labels"] = {}
        (found,) = results_of(workstation.nothing_is_in_the_way, context_of(cluster))
        assert found.fact.startswith("Namespace gpu-device-plugin exists already")

    def test_an_object_of_the_stack_itself_is_not_in_the_way(self) -> None:
        cluster = healthy(settings_of())
        cluster.objects["RuntimeClass", None, "nvidia"]["metadata"]["annotations"] = {"gpu-sharing/stack": "gpu/lab"}
        (found,) = results_of(workstation.nothing_is_in_the_way, context_of(cluster))
        assert found.outcome is Outcome.PASS

    def test_alerts_need_the_operators_kind(self) -> None:
        context = context_of(healthy(settings_of()), settings_of(monitoring=True))
        (found,) = results_of(workstation.what_others_provide_is_there, context)
        assert found.fact.startswith("gpu:monitoring needs the Prometheus operator, and context admin@lab has no Cust")
        assert found.remedy == "pulumi config set --stack lab gpu:monitoring false"

    def test_an_object_of_others_is_told_with_the_command_that_hands_it_over(self) -> None:
        cluster = healthy(settings_of())
        del cluster.objects["RuntimeClass", None, "nvidia"]["metadata"]["labels"]
        (found,) = results_of(workstation.nothing_is_in_the_way, context_of(cluster))
        assert (found.outcome, found.subject) == (Outcome.FAIL, "RuntimeClass nvidia")
        assert found.remedy == "pulumi config set --stack lab gpu:createRuntimeClass false"

    def test_one_that_the_stack_uses_as_it_is_is_not_in_the_way(self) -> None:
        cluster = healthy(settings_of())
        del cluster.objects["RuntimeClass", None, "nvidia"]["metadata"]["labels"]
        context = context_of(cluster, settings_of(createRuntimeClass=False))
        for each in workstation.CLUSTER:
            assert [found.outcome for found in results_of(each, context)] == [Outcome.PASS]

    def test_what_others_should_provide_and_do_not_is_told_before_the_first_update(self) -> None:
        cluster = healthy(settings_of())
        del cluster.objects["RuntimeClass", None, "nvidia"]
        cluster.node_objects["gpu-2"]["metadata"]["labels"] = {"nvidia.com/gpu.present": "true"}
        context = context_of(cluster, settings_of(createRuntimeClass=False, labelNodes=False))
        found = results_of(workstation.what_others_provide_is_there, context)
        assert [(each.subject, each.remedy) for each in found] == [
            ("RuntimeClass nvidia", "pulumi config set --stack lab gpu:createRuntimeClass true"),
            (
                "gpu-2",
                "kubectl --context admin@lab label node gpu-2 nvidia.com/device-plugin.config=default --overwrite",
            ),
        ]

    def test_a_cluster_without_any_of_them_is_free(self) -> None:
        (found,) = results_of(workstation.nothing_is_in_the_way, context_of(FakeCluster()))
        assert found.outcome is Outcome.PASS
