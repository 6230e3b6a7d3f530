"""Commands that are printed for a person: the shell takes them apart into the words that were meant."""

import os
import shutil
import subprocess
import tempfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpuctl.forms.command import command

_WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_PRINTABLE = st.lists(_WORD.filter(str.isprintable), min_size=1, max_size=4)


def _words(shell: str, line: str) -> list[str]:
    """What a program of that command line is given; where quotes fail, the shell finds nothing to run."""
    found = shutil.which(shell) or shell
    subprocess.run([found, "-n", "-c", f": {line}"], check=True)
    harmless = os.environ | {"PATH": "/nowhere", "HOME": "/nowhere"}
    done = subprocess.run(
        [found, "-c", f"printf '%s\\0' {line}"],
        capture_output=True,
        check=True,
        env=harmless,
        cwd=tempfile.gettempdir(),
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=25, deadline=None)
@given(_PRINTABLE)
@example(["kubectl", "--context", "a b; exit 3", "version"])
@example(["--context", "-x", "$(id)", "`id`", "*", "it's", '"', "!", "\\", ""])
def test_every_shell_takes_the_words_that_were_meant(words: list[str]) -> None:
    assert _words("sh", command(*words)) == words


@settings(max_examples=25, deadline=None)
@given(st.lists(_WORD, min_size=1, max_size=4))
@example(["admin@lab\n---\nkind: ClusterRoleBinding", "\x1b[2J", "it's\t\\n"])
def test_control_characters_stay_in_the_line_and_in_the_word(words: list[str]) -> None:
    line = command(*words)
    assert line.isprintable()
    assert _words("bash", line) == words


@pytest.mark.parametrize("word", ["nvidia.com/gpu.present=true", "admin@lab", "daemonset/nvidia-device-plugin", "-A"])
def test_what_needs_no_quotes_has_none(word: str) -> None:
    assert command("kubectl", word) == f"kubectl {word}"
