"""docs/checks.md says what the registry says, and every check can be linked to."""

import re
from collections import Counter

import pytest

from gpuctl.checks.model import DOCS, Check
from gpuctl.checks.registry import CHECKS
from reference.checks import reference
from tests.fixtures.stack_files import ROOT

PAGE = (ROOT / DOCS).read_text()
HEADINGS = set(re.findall(r"^### (.+)$", PAGE, re.MULTILINE))
each_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)


def test_the_page_is_up_to_date() -> None:
    assert reference() == PAGE, "make generate"


def test_every_id_is_that_of_one_check_and_of_the_usual_form() -> None:
    assert [id_ for id_, count in Counter(check.id for check in CHECKS).items() if count > 1] == []
    assert [check.id for check in CHECKS if not re.fullmatch("[A-Z]{3}[0-9]{3}", check.id)] == []


@each_check
def test_the_anchor_of_a_check_is_that_of_its_heading(check: Check) -> None:
    """GitHub makes an anchor of a heading by lower case, and blanks to hyphens."""
    path, anchor = check.anchor.split("#")
    assert path == DOCS
    assert anchor in {heading.lower().replace(" ", "-") for heading in HEADINGS}


@each_check
def test_a_check_is_explained(check: Check) -> None:
    """With a cause that is a sentence without its full stop, an example, and what to do."""
    assert check.example
    assert check.fix
    assert check.cause == check.cause.strip().rstrip(".")
    assert not check.title.endswith(".")


def test_the_checks_of_a_category_stand_together() -> None:
    """Its name is one heading on the screen, and one suite in JUnit."""
    names = [check.category.name for check in CHECKS]
    assert len(set(names)) == sum(name != before for name, before in zip(names, ["", *names], strict=False))
