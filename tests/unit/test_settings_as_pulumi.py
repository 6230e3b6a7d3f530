"""gpuctl and Pulumi say the same of a stack file: Pulumi's own code is asked, in a program of the test bed."""

import json
import os
import random
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from gpuctl.settings import Settings, SettingsError, read_config
from gpuctl.settings.stack_file import parse_stack
from testbed.errors import BedError
from testbed.pulumi_config import Answer, Edit, ask, program
from tests.fixtures import pulumi_config
from tests.fixtures.broken_stacks import configurations, mutated_text
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
        "-.inf",
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


KEYS = ("4", "010", "4.5", "1e3", "-4", "true", "~", ".inf", "2026-11-28", "yes", "'4'", "!!int '4'", "!!str 4", "[a]")
"""Of mappings; most are no texts, and Pulumi makes texts of them."""


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


def _values_of_others(seed: int) -> str:
    """A valid file with a structure under the key of another project, or a key without a value in its first mapping."""
    chance = random.Random(seed)
    text = chance.choice(VALID).read_text()
    if chance.random() < 0.5:
        return text.replace("}", f", {chance.choice(KEYS)}}}", 1)
    value = chance.choice(SCALARS)
    for _ in range(chance.randint(0, 2)):
        key = chance.choice(KEYS)
        value = chance.choice((f"[{value}]", f"[4, {value}]", f"{{a: 4, {key}}}", f"{{a: 4, {key}: {value}}}"))
    return re.sub(r"^config:$", lambda found: f"{found[0]}\n  other:x: {value}", text, count=1, flags=re.MULTILINE)


PLACES = (
    *("\nenvironment: {}\n", "\nother: {}\n", "\nother: [{}]\n", "\nencryptionsalt: {}\n", "\nsecretsprovider: {}\n"),
    *("config:\n  other:x: {}", "config:\n  other:x: [{}]", "config:\n  other:x: {{a: {}}}", "config:\n  {}: 4"),
)
TWINS = (
    *("4", "0x4", "4.0", "'4'", "!!str 4", "!!int '4'", "+4", "4.5", "4.50", ".nan", ".NaN"),
    *("~", "null", "'null'", "true", "True", "'true'"),
)
"""Keys of which some are one key, some two that are written alike, and some neither."""


def _keys(seed: int) -> str:
    """A valid file with a mapping of odd keys somewhere, of which two may be one."""
    chance = random.Random(seed)
    text, place = chance.choice(VALID).read_text(), chance.choice(PLACES)
    keys = chance.sample((*TWINS, *KEYS[:8], "&k 4", "*k "), chance.randint(1, 3))
    keys.sort(key=lambda key: key.startswith("*"))
    if any(key.startswith("*") for key in keys) and not any(key.startswith("&") for key in keys):
        keys = keys[:-1] or ["4"]
    mapping = "{" + ", ".join(f"{key}: {number}" for number, key in enumerate(keys)) + "}"
    if place.startswith("config"):
        added = place.format(keys[0] if ": 4" in place else mapping)
        return re.sub(r"^config:$", lambda _: added, text, count=1, flags=re.MULTILINE)
    return text + place.format(mapping)


TEXTS = {
    "keys": [_keys(seed) for seed in range(FILES)],
    "files as they are": [path.read_text() for path in (*VALID, *INVALID, *SHIPPED)],
    "values": [_other_values(seed) for seed in range(FILES)],
    "values of others": [_values_of_others(seed) for seed in range(FILES)],
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
    is_stricter = all(mistake.reason == STRICTER or mistake.value == "a secret" for mistake in said.mistakes)
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


def _broken(number: int) -> list[dict[str, Any]]:
    """Configurations with mistakes, the same ones each time."""
    found: list[dict[str, Any]] = []

    @hypothesis_settings(max_examples=number, derandomize=True, database=None)
    @given(configurations())
    def collect(config: dict[str, Any]) -> None:
        found.append(config)

    collect()
    return found


def _proposed(text: str) -> list[Edit]:
    """The edits that the messages about a file propose, but those that a person makes in an editor."""
    said = _read(text)
    proposed: list[Edit] = []
    for mistake in said.mistakes if isinstance(said, SettingsError) else []:
        try:
            proposed += pulumi_config.edits(mistake.command)
        except pulumi_config.ByHandError:
            continue
    return proposed


def _as_pulumi_says(value: Any) -> Any:
    """A value of a stack file as Pulumi's program prints it: secrets not decrypted, structures as JSON."""
    match value:
        case {"secure": text}:
            return text
        case dict() | list():
            return _as_json(json.dumps(value))
        case bool():
            return str(value).lower()
        case None:
            return ""
        case _:
            return str(value)


def _as_json(text: str) -> Any:
    """A structure, with its secrets as texts: what Pulumi has edited it prints with or without their mark."""
    return json.loads(text, object_hook=lambda each: each.get("secure", each))


def test_pulumi_carries_out_the_proposed_commands_and_makes_of_a_file_what_the_fuzz_expects() -> None:
    """So that a file which the fuzz sees repaired in a few rounds is one that Pulumi repairs."""
    asked: list[tuple[str, list[Edit], dict[str, Any]]] = []
    for config in _broken(FILES):
        text = yaml.safe_dump({"config": config}, allow_unicode=True, sort_keys=False)
        proposed = _proposed(text)
        if proposed:
            for edit in proposed:
                pulumi_config.carry_out(edit, config)
            asked.append((text, proposed, config))
    answers = ask(ROOT / "Pulumi.yaml", [(text, edits) for text, edits, _ in asked])
    for (text, edits, expected), answer in zip(asked, answers, strict=True):
        assert answer.stage in ("", "validate"), f"{answer.error}\n{edits}\n{text}"
        structured = [
            key for key, value in expected.items() if isinstance(value, dict | list) and "secure" not in value
        ]
        found = {key: _as_json(value) if key in structured else value for key, value in answer.config.items()}
        assert found == {key: _as_pulumi_says(value) for key, value in expected.items()}, f"{edits}\n{text}"
    assert len(asked) > len(answers) / 2 > 10
