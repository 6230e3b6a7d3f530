"""How the command ends, whatever its output, its reader or its user does: never with a traceback."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from gpuctl.cli.signals import end_at_once, interruptible
from gpuctl.forms.exits import Exit, worst
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


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("words", ["", "capacity", "talos patch"])
def test_help_has_a_short_name_everywhere(words: str, option: str) -> None:
    done = _shell(f"gpuctl {words} {option}")
    assert (done.returncode, "Usage:" in done.stdout) == (0, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_common_shell_completes_verbs_and_forms(shell: str) -> None:
    """By the protocol of the script that `gpuctl --install-completion` writes."""
    typed = {
        "bash": 'COMP_WORDS="gpuctl cap" COMP_CWORD=1',
        "zsh": '_TYPER_COMPLETE_ARGS="gpuctl cap"',
        "fish": '_TYPER_COMPLETE_ARGS="gpuctl cap" _TYPER_COMPLETE_FISH_ACTION=get-args',
    }
    main = "from gpuctl.cli.app import app; app(prog_name='gpuctl')"
    done = _shell(f'env {typed[shell]} _GPUCTL_COMPLETE=complete_{shell} "{sys.executable}" -c "{main}"')
    assert "capacity" in done.stdout, done.stderr


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
