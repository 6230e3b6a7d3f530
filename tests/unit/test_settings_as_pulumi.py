"""gpuctl and Pulumi say the same of a stack file: Pulumi's own code is asked, in a program of the test bed."""

import os
import random
import re

import pytest

from gpuctl.settings import Settings, SettingsError, read_config
from gpuctl.settings.stack_file import parse_stack
from testbed.errors import BedError
from testbed.pulumi_config import Answer, ask, program
from tests.fixtures.broken_stacks import mutated_text
from tests.fixtures.stack_files import INVALID, ROOT, SHIPPED, STACK, VALID

STRICTER = "must be a text"
"""Pulumi hands a number at the top of a file to a program as a text, `010` as `8`; gpuctl asks for quotes."""
FILES = int(os.environ.get("FUZZ_FILES", "500"))
"""Of each kind; `make fuzz` asks for more."""
SCALARS = (
    *(
        "yes",
        "on",
        "n",
        "Y",
        "TRUE",
        "True",
        "true",
        "'true'",
        "~",
        "null",
        "''",
        '""',
        "!!str 4",
        "!!int '4'",
        "!!int x",
    ),
    *(
        "4",
        "'4'",
        "' 4'",
        "4.0",
        "'4.0'",
        "4.5",
        "+4",
        "-4",
        "010",
        "09",
        "0o10",
        "0x10",
        "0b11",
        "1_000",
        "1e1",
        "1e400",
    ),
    *(
        ".inf",
        ".nan",
        "1:30",
        "2026-11-28",
        "2026-99-99",
        "!!float 4",
        "!!bool yes",
        "!!timestamp x",
        "!!binary NA==",
        "\u0664",
    ),
    *(
        "99999999999999999999",
        "0.1e1",
        "[]",
        "{}",
        "[4]",
        "{a: 4}",
        "'[]'",
        '\'[{"name": "a"}]\'',
        "{secure: v1:x}",
        "|\n   4\n",
    ),
)


@pytest.fixture(scope="module", autouse=True)
def pulumi() -> None:
    """The program, which the first test builds."""
    try:
        program()
    except BedError as error:
        pytest.skip(str(error))


def _other_values(seed: int) -> str:
    """A valid file in which some values are other ones."""
    chance = random.Random(seed)
    text = chance.choice(VALID).read_text()
    for _ in range(chance.randint(1, 2)):
        places = list(re.finditer(r"(?<=: )[^\s,{}\[\]]+", text))
        place = chance.choice(places)
        text = text[: place.start()] + chance.choice(SCALARS) + text[place.end() :]
    return text


TEXTS = {
    "files as they are": [path.read_text() for path in (*VALID, *INVALID, *SHIPPED)],
    "values": [_other_values(seed) for seed in range(FILES)],
    "bytes and tokens": [mutated_text(seed) for seed in range(FILES)],
}


def _read(text: str) -> Settings | SettingsError:
    try:
        return parse_stack(STACK, text, "the file")
    except SettingsError as error:
        return error


def _passed(answer: Answer) -> Settings | SettingsError:
    try:
        return read_config(STACK, dict(answer.passed))
    except SettingsError as error:
        return error


def _difference(said: Settings | SettingsError, answer: Answer) -> str:
    """Where gpuctl and Pulumi part; empty where they agree."""
    if isinstance(said, Settings):
        if answer.stage:
            return f"gpuctl takes it, and Pulumi does not: {answer.error}"
        passed = _passed(answer)
        same = isinstance(passed, Settings) and passed.model_dump() == said.model_dump()
        return "" if same else f"the program gets other settings: {passed}"
    whole_file = any(mistake.value == "stack file" for mistake in said.mistakes)
    if whole_file and answer.stage != "load":
        return f"only gpuctl refuses the file as a whole: {said}"
    is_stricter = all(mistake.reason == STRICTER for mistake in said.mistakes)
    if not answer.stage and isinstance(_passed(answer), Settings) and not is_stricter:
        return f"gpuctl refuses what its program would deploy: {said}"
    return ""


@pytest.mark.parametrize("kind", TEXTS)
def test_gpuctl_and_pulumi_agree_about_a_file(kind: str) -> None:
    """Whether it can be read, whether its types are right, and which settings the program gets."""
    texts = TEXTS[kind]
    answers = ask(ROOT / "Pulumi.yaml", [(text, ()) for text in texts])
    outcomes = [(text, _difference(_read(text), answer)) for text, answer in zip(texts, answers, strict=True)]
    differ = [(text, reason) for text, reason in outcomes if reason]
    assert not differ, f"{len(differ)} of {len(texts)}\n" + "\n\n".join(
        f"{reason}\n{text}" for text, reason in differ[:5]
    )
    assert {answer.stage for answer in answers} >= {"", "load"} - ({"load"} if kind == "files as they are" else set())
