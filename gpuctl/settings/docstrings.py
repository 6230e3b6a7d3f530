"""What the keys of a stack file mean, read from the texts below the fields of a model.

pydantic would read them too (`use_attribute_docstrings`), each time that any command starts: that means parsing the
model's source, for texts that only the documentation and a mistake need.
"""

import ast
import inspect
from itertools import pairwise
from typing import cast

from pydantic import BaseModel


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Name of the field -> the text below it, of the fields that have one."""
    [definition] = ast.parse(inspect.getsource(model)).body
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(cast("ast.ClassDef", definition).body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
