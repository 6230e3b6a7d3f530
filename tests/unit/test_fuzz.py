"""Whatever a file, an option or a variable holds: an answer or one message, never a traceback, in bounded time."""

import os
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpuctl.cli.app import app
from gpuctl.cluster import ClusterError, connect
from gpuctl.forms.output import complain
from gpuctl.settings import ProjectError, SettingsError, config_folder
from tests.fixtures.broken_stacks import mutated
from tests.fixtures.fuzzing import fuzz
from tests.fixtures.stack_files import ROOT, SHIPPED, VALID

TALOS = [path.read_text() for path in sorted(Path(ROOT, "tests/talos/cases").glob("*.yaml"))]
WHOLE = """\
version: v1alpha1
machine:
  type: worker
  install: {disk: /dev/sda, image: ghcr.io/siderolabs/installer:v1.13.9}
  nodeLabels: {a: b}
  kernel: {modules: [{name: nvidia}, {name: nvidia_uvm, parameters: [a=b]}]}
  sysctls: {net.core.bpf_jit_harden: "1"}
  files:
    - {path: /etc/cri/conf.d/20-customization.part, op: create, content: "[plugins]\\n"}
cluster: {clusterName: lab}
---
apiVersion: v1alpha1
kind: KernelModuleConfig
name: nvidia
"""
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: admin@lab
clusters:
  - name: lab
    cluster: {server: 'https://10.0.0.10:6443', tls-server-name: a, proxy-url: 'http://b:1', disable-compression: true}
contexts:
  - name: admin@lab
    context: {cluster: lab, user: admin, namespace: default}
users:
  - name: admin
    user:
      username: jane
      password: x
      as: jane
      as-groups: [a, b]
      as-user-extra: {k: [v]}
  - name: other
    user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login, args: [a], env: [{name: A, value: B}]}}
  - {name: third, user: {token: x}}
"""
LONGEST_MESSAGE = 20_000
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(9 * [f'*{before}'])}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)
HARD = (
    *(
        "!!bool x",
        "!!int x",
        "!!float x",
        "!!timestamp x",
        "!!binary ~",
        "!!set {a}",
        "!!omap [a]",
        "!!python/name:os.system x",
    ),
    *("2020-99-99", "1e999", "0o777", "1:30:00", "[" * 100, "{a: " * 100, "&x [*x]", "*nowhere", "? [a]: b", "<<: [1]"),
    *(
        "\u2028",
        "\u202e",
        "\ufeff",
        "\x85",
        "'\udcff'",
        "9" * 5000,
        "-" + "9" * 5000,
        "~",
        "[]",
        "{}",
        "''",
        '"\\uD800"',
    ),
)
"""Values that some reader of YAML somewhere stumbles over."""
WORDS = (
    *("", " ", "-", "--", "-1", "0", "a b; id", "$(id)", "../..", "/dev/zero", "/dev/full", "/", ".", "x" * 5000, "\n"),
    *(
        "\x00",
        "\x1b[31m",
        "\u202e",
        "\udcff",
        "9" * 5000,
        "1e999",
        "99999999999999d",
        "1h",
        "٣s",
        "[/bold]",
        "##[error]x",
    ),
    *(
        "::error::x",
        "*",
        "HEAD",
        "HEAD^{tree}",
        "--upload-pack=id",
        "@{-1}",
        "lab",
        "homelab",
        "table",
        "json",
        "v1.13.9",
    ),
)
OPTIONS = (
    *(
        "--stack",
        "--output",
        "-o",
        "--check",
        "--skip",
        "--list",
        "--base",
        "--head",
        "--diff",
        "--exit-zero",
        "--node",
    ),
    *("--config", "--talos-version", "--strict", "--junit", "--evidence", "--sharing", "--interval", "--in-cluster"),
    *("--version", "--help", "-h", "--no", "--verify-cronjob", "--image", "--schedule", "--pre", "--since", "--of"),
)
VERBS: tuple[list[str], ...] = (
    *(["capacity"], ["stacks"], ["plan"], ["render"], ["talos"], ["talos", "check"], ["talos", "patch"], ["verify"]),
    *(["talos", "schematic"], ["status"], ["usage"], ["power"], ["power", "history"], ["doctor"], ["nothing"], []),
)
VARIABLES = (
    *("PULUMI_OPTION_CONFIG_FILE", "KUBECONFIG", "COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "HOME", "LANG"),
    *(
        "HTTPS_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
        "GITHUB_ACTIONS",
    ),
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own to write in, no cluster, and no program to ask."""
    (tmp_path / "Pulumi.yaml").write_text("name: gpu\nstackConfigDir: config\n")
    (tmp_path / "config").mkdir()
    for path in SHIPPED:
        (tmp_path / "config" / path.name).write_text(path.read_text())
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _broken(chance: random.Random, text: str) -> str:
    """A text that is mutated, or has a hard value in the place of one of its own."""
    match chance.randrange(20):
        case 0:
            return BOMB + text
        case 1:
            return text
        case number if number < 8:
            return mutated(chance, text)
        case _:
            pass
    lines = text.splitlines()
    at = chance.randrange(len(lines))
    key, colon, _ = lines[at].partition(": ")
    lines[at] = f"{key}{colon}{chance.choice(HARD)}"
    return "\n".join(lines)


def _write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode(errors="surrogateescape"))
    return path


def _gpuctl(*words: str, env: dict[str, str] | None = None) -> str:
    """How a run ends, as main() would have it; whatever is no message is raised."""
    done = CliRunner().invoke(app, words, env=env)
    match done.exception:
        case None | SystemExit():
            assert done.exit_code in (0, 1, 2, 3, 10, 124, 130), words
            return f"exit {done.exit_code}"
        case SettingsError() | OSError() as error:
            complain(f"gpuctl: error: {error}")
            return "exit 2"
        case error:
            raise AssertionError(f"{words!r} {env!r}: {error!r}") from error


def test_any_machine_configuration_is_judged_or_refused(elsewhere: Path) -> None:
    def attempt(chance: random.Random) -> str:
        file = _write(elsewhere / "file.yaml", _broken(chance, chance.choice([WHOLE, WHOLE, *TALOS])))
        if chance.random() < 0.3:
            return _gpuctl(
                "talos", "patch", "--stack", "lab", "--node", "gpu-1", "--config", str(file), "-o", "patches"
            )
        return _gpuctl("talos", "check", str(file), "--talos-version", chance.choice(["v1.10.6", "v1.13.9", "v1.14.0"]))

    assert set(fuzz("Talos files", attempt)) == {"exit 0", "exit 1", "exit 2"}


def test_any_kubeconfig_is_understood_or_refused(elsewhere: Path) -> None:
    def attempt(chance: random.Random) -> str:
        text = KUBECONFIG.replace("user: admin,", f"user: {chance.choice(['admin', 'other', 'third'])},")
        file = _write(elsewhere / "kubeconfig", _broken(chance, text))
        try:
            connect("admin@lab", str(file))
        except ClusterError as error:
            return "refused" if len(str(error)) < LONGEST_MESSAGE else "too long"
        return "taken"

    assert set(fuzz("kubeconfigs", attempt)) == {"refused", "taken"}


def test_any_project_file_is_understood_or_refused(elsewhere: Path) -> None:
    project = (ROOT / "Pulumi.yaml").read_text().partition("config:\n")[0]

    def attempt(chance: random.Random) -> str:
        _write(elsewhere / "Pulumi.yaml", _broken(chance, project))
        try:
            config_folder()
        except ProjectError as error:
            return "refused" if all(map(str.isprintable, str(error).splitlines())) else "not printable"
        return "taken"

    assert set(fuzz("project files", attempt)) == {"refused", "taken"}


def test_any_stack_file_ends_every_verb_with_a_message(elsewhere: Path) -> None:
    verbs = (["capacity"], ["capacity", "-o", "json"], ["render"], ["talos", "schematic"], ["talos", "patch"])

    def attempt(chance: random.Random) -> str:
        _write(elsewhere / "config" / "Pulumi.broken.yaml", _broken(chance, chance.choice(VALID).read_text()))
        words = ["stacks"] if chance.random() < 0.1 else [*chance.choice(verbs), "--stack", "broken"]
        return _gpuctl(*words)

    assert set(fuzz("stack files, by the command line", attempt)) == {"exit 0", "exit 2"}


def test_any_options_end_with_a_message() -> None:
    def attempt(chance: random.Random) -> str:
        words = [chance.choice(OPTIONS if chance.random() < 0.6 else WORDS) for _ in range(chance.randrange(5))]
        return _gpuctl(*chance.choice(VERBS), *words)

    assert set(fuzz("options", attempt)) >= {"exit 0", "exit 2"}


def test_any_environment_ends_with_a_message() -> None:
    verbs = (
        ["capacity", "--stack", "lab"],
        ["status", "--stack", "lab"],
        ["stacks"],
        ["verify", "--in-cluster", "--stack", "lab"],
    )

    def attempt(chance: random.Random) -> str:
        usable = [word for word in WORDS if "\x00" not in word]
        chosen = {name: chance.choice(usable) for name in chance.sample(VARIABLES, 3)}
        return _gpuctl(*chance.choice(verbs), env=chosen)

    assert set(fuzz("environments", attempt)) >= {"exit 0", "exit 2", "exit 3"}


def test_the_environment_is_as_it_was() -> None:
    """The tests above must not leave what they try."""
    assert "\u202e" not in "".join(os.environ.values())
