"""What git runs before a commit is what CI runs, target by target."""

import re
from typing import Any

import yaml

from tests.fixtures.stack_files import ROOT


def test_a_commit_is_judged_by_every_target_of_make_lint_and_by_nothing_else() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks: list[dict[str, Any]] = repository["hooks"]
    found = re.search(r"^lint: (.*?)  ##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    assert {hook["entry"] for hook in hooks} == {f"make --no-print-directory {target}" for target in found[1].split()}
    assert len(hooks) == 5
