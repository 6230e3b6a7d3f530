"""Writes the generated files: `python -m reference`, or `make generate`; tests fail when they are not up to date."""

from pathlib import Path

from gpuctl.checks.model import DOCS
from reference.checks import reference
from reference.settings import files

_ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    for path, content in (files() | {DOCS: reference()}).items():
        (_ROOT / path).write_text(content)
