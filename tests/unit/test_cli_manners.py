"""How the command ends, whatever its output, its reader or its user does: never with a traceback."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from gpuctl import __version__
from gpuctl.cli.signals import end_at_once, interruptible
from gpuctl.forms.exits import Exit, worst
from tests.fixtures import command_line
from tests.fixtures.fuzzing import fuzz
from tests.fixtures.stack_files import ROOT

_ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "dumb", "KUBECONFIG": "/nonexistent/kubeconfig"}


def _shell(line: str) -> subprocess.CompletedProcess[str]:
    """A command line, in which gpuctl is the command."""
    gpuctl = f'gpuctl() {{ "{sys.executable}" -m gpuctl "$@"; }}'
    return subprocess.run(
        ["sh", "-c", f"{gpuctl}; {line}"], cwd=ROOT, env=_ENVIRONMENT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("gpuctl capacity --stack lab >/dev/full", 2, "gpuctl: error: the output: No space left on device\n"),
        ("gpuctl capacity --stack lab >/dev/full 2>&1", 2, ""),
        ("gpuctl capacity --stack lab >&-", 0, ""),
        ("gpuctl capacity --stack nowhere 2>&-", 2, ""),
    ],
)
def test_an_output_that_takes_nothing_is_no_traceback(line: str, code: int, said: str) -> None:
    done = _shell(line)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize("seconds", [0.2, 0.4, 0.8])
def test_an_interrupt_ends_it_at_any_moment_with_130_and_no_traceback(seconds: float) -> None:
    """While it loads itself, a verb, or what the verb needs."""
    code = "import sys\nsys.argv = ['gpuctl', 'doctor', '--stack', 'lab']\nfrom gpuctl.__main__ import main\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code + "print('ready', flush=True)\nmain()"],
        cwd=ROOT,
        env=_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT, 3), "a shell calls both 130; 3: it was over"
    assert len(stderr.splitlines()) <= 1


def test_who_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    """As a program started by nohup does."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        end_at_once()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


_SIGNAL_WHILE_LOADING = """
import os, sys
class Loading:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), int(sys.argv[2]))
sys.meta_path.insert(0, Loading())
from gpuctl.__main__ import main
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
@pytest.mark.parametrize(
    "module",
    ["gpuctl.cli", "gpuctl.cli.signals", "gpuctl.forms.exits", "gpuctl.cli.app", "typer", "gpuctl.forms.output"],
)
def test_a_signal_ends_it_without_a_traceback_from_the_first_module_that_it_loads(
    module: str, number: int, code: int
) -> None:
    """A shell calls the end by SIGTERM 143."""
    words = [sys.executable, "-c", _SIGNAL_WHILE_LOADING, module, str(int(number))]
    done = subprocess.run(words, cwd=ROOT, env=_ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with interruptible(also_terminated=True), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


VERBS = (
    "init",
    "adopt",
    "capacity",
    "stacks",
    "plan",
    "render",
    "talos",
    "verify",
    "status",
    "usage",
    "power",
    "doctor",
)
_TALOS = ("talos patch", "talos schematic", "talos check")


def _gpuctl(words: str, columns: int) -> subprocess.CompletedProcess[str]:
    """What a command prints into a pipe, where the environment says that a line has this many columns."""
    return command_line.run(*words.split(), cwd=ROOT, env=_ENVIRONMENT | {"COLUMNS": str(columns)})


def test_help_names_every_verb() -> None:
    assert set(VERBS) <= set(_gpuctl("--help", 80).stdout.replace("│", " ").split())


@pytest.mark.parametrize("words", ["", *VERBS, *_TALOS])
def test_help_has_a_short_name_everywhere_and_is_never_cut_in_a_pipe(words: str) -> None:
    short, long = _gpuctl(f"{words} -h", 80), _gpuctl(f"{words} --help", 40)
    assert (short.returncode, "Usage:" in short.stdout) == (0, True)
    assert long.stdout == short.stdout
    assert "…" not in long.stdout


@pytest.mark.parametrize(
    "words",
    [
        *("capacity --stack lab", "stacks", "plan", "render --stack lab", "talos schematic --stack lab"),
        *("verify --list", "verify --stack lab", "verify --stack lab -o short", "doctor --stack lab"),
    ],
)
def test_no_table_is_cut_or_wrapped_in_a_pipe(words: str) -> None:
    narrow, wide = (_without_durations(_gpuctl(words, columns).stdout) for columns in (40, 400))
    assert narrow
    assert narrow == wide


def _without_durations(text: str) -> str:
    return re.sub(r"in \d+\.\d s", "in 0.0 s", text)


def test_the_version_says_what_matters_for_an_answer() -> None:
    version, python, talos = _gpuctl("--version", 80).stdout.splitlines()
    assert version == f"gpuctl {__version__}"
    assert python == f"Python {sys.version.split()[0]}"
    assert re.fullmatch(r"Talos v1\.9 to v1\.\d+; drivers known up to v1\.\d+\.\d+\S*", talos)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("cap", "capacity"),
        ("capacity --stack la", "lab"),
        ("verify --stack demo --stack hom", "homelab"),
        ("capacity --stack lab -o j", "json"),
    ],
)
def test_every_common_shell_completes_verbs_stacks_and_forms(shell: str, typed: str, completed: str) -> None:
    """By the protocol of the script that `gpuctl --show-completion` prints."""
    protocol = {
        "bash": f'COMP_WORDS="gpuctl {typed}" COMP_CWORD={len(typed.split())}',
        "zsh": f'_TYPER_COMPLETE_ARGS="gpuctl {typed}"',
        "fish": f'_TYPER_COMPLETE_ARGS="gpuctl {typed}" _TYPER_COMPLETE_FISH_ACTION=get-args',
    }
    main = "from gpuctl.cli.app import app; app(prog_name='gpuctl')"
    done = _shell(f'env {protocol[shell]} _GPUCTL_COMPLETE=complete_{shell} "{sys.executable}" -c "{main}"')
    assert completed in done.stdout, done.stderr


def test_the_whole_pipeline_is_not_run_by_a_question() -> None:
    done = subprocess.run([ROOT / ".ci" / "run", "--help"], capture_output=True, text=True, check=False, timeout=10)
    assert (done.returncode, done.stderr) == (0, "usage: .ci/run, without arguments: make lint, then make test\n")


@pytest.mark.parametrize(
    ("codes", "one"),
    [(set[Exit](), 0), ({0, 124}, 124), ({1, 124}, 1), ({1, 3}, 3), ({1, 2, 3, 124}, 2)],
)
def test_of_several_exit_codes_the_one_that_must_be_fixed_first_counts(codes: set[int], one: int) -> None:
    assert worst({Exit(code) for code in codes}) == one


def test_no_signal_and_no_closed_pipe_at_any_moment_ends_it_with_a_traceback() -> None:
    verbs = (["capacity"], ["verify"], ["doctor"], ["status"], ["plan"], ["render"])

    def attempt(chance: random.Random) -> str:
        words = [sys.executable, "-m", "gpuctl", *chance.choice(verbs), "--stack", "lab"]
        process = subprocess.Popen(
            words, cwd=ROOT, env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout
        time.sleep(chance.random() * 2)
        number = chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, None])
        if number is None:
            process.stdout.close()
        else:
            process.send_signal(number)
        assert process.stderr
        said = process.stderr.read()
        code = process.wait(60)
        before_main = number is signal.SIGINT and "gpuctl/cli" not in said and "<frozen" in said  # Python's own start
        assert before_main or "Traceback" not in said, said
        return f"exit {code}"

    fuzz("signals and closed pipes", attempt, least=4)
