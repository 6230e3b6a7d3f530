"""From the values in a stack file to settings, or to everything that is wrong with them."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

from gpuctl.settings.explaining import path_of, problem_of
from gpuctl.settings.model import Settings
from gpuctl.settings.nodes import GpuNode
from gpuctl.settings.refusal import NOT_SET, Path, Problem, RemoveKey, SetValue, StoreSecret
from gpuctl.settings.rules import RULES, Sound

_MOST_PASSES = 6
"""Leaving a value out can make another one missing: an entry of `gpus`, then `gpus`."""
_MOST_EXPLAINED = 500
"""Of the mistakes in one file; it has more only where it is no stack file."""
_DEPTH = 4
"""Levels of the settings in which a single value can be left out: `nodes`, an entry, its `gpus`, a model."""


def check(raw: Mapping[str, object], notes: Sequence[str] = ()) -> Settings | list[Problem]:
    """The settings that values mean, or every independent problem with them.

    Args:
        raw: key without `gpu:` -> value.
        notes: become warnings of the settings.
    """
    values = cast(dict[str, Any], _copied(raw, _DEPTH))
    problems: list[Problem] = []
    unsound: set[Path] = set()
    for _ in range(_MOST_PASSES):
        try:
            settings = Settings.model_validate(values, context=notes)
            break
        except ValidationError as error:
            errors = error.errors(include_url=False)
            found = [problem_of(details, raw) for details in errors[:_MOST_EXPLAINED]]
            problems += [problem for problem in found if not _is_below(problem.path, unsound)]
            if len(errors) > _MOST_EXPLAINED:
                return _in_order(problems)
            paths = dict.fromkeys(map(path_of, errors))
            unsound.update(paths)
            for path in reversed(paths):  # what is taken out of a list moves what comes after it
                _leave_out(values, path)
    else:
        return _in_order(_without_moved(problems))
    sound = Sound(settings, frozenset(unsound))
    for rule in RULES:
        wrong = [] if any(map(sound.lacks, rule.needs)) else list(rule.judge(sound))
        if wrong:
            problems += wrong
            sound = Sound(settings, sound.unsound | {problem.path for problem in wrong})
    return _in_order(_without_moved(problems)) if problems else settings


def _copied(value: object, depth: int) -> object:
    """A copy of the containers down to a depth; what is deeper is shared."""
    if depth and isinstance(value, Mapping):
        return {key: _copied(part, depth - 1) for key, part in cast(Mapping[object, object], value).items()}
    if depth and isinstance(value, list):
        return [_copied(part, depth - 1) for part in cast(list[object], value)]
    return value


def _is_below(path: Path, unsound: set[Path]) -> bool:
    return any(path[:length] in unsound for length in range(1, len(path) + 1))


def _leave_out(values: dict[str, Any], path: Path) -> None:
    """Takes a value away, or puts one in its place where something must be; the whole of a GPU model."""
    if path[0] == "gpuModels" and len(path) > 2:
        values["gpuModels"].pop(path[1], None)
        return
    *above, last = list(path)
    container: Any = values
    for part in above:
        container = container[part]
    match path:
        case ("context",):
            container[last] = "unknown"
        case ("nodes",):
            container[last] = []
        case ("nodes", int(index)):
            container[last] = {"name": f"entry-{index}"}
        case ("nodes", int(index), "name"):
            container[last] = f"entry-{index}"
        case _ if isinstance(container, dict):
            cast(dict[Any, Any], container).pop(last, None)
        case _:
            del container[last]


def _without_moved(problems: list[Problem]) -> list[Problem]:
    """Without a missing key that stands misspelt beside it: that it is moved fixes both."""
    remedies = [each for problem in problems for each in problem.remedies if problem.value is not NOT_SET]
    targets = {each.path[:1] for each in remedies if isinstance(each, SetValue | StoreSecret)}
    return [each for each in problems if each.value is not NOT_SET or each.path not in targets]


def _in_order(problems: list[Problem]) -> list[Problem]:
    """By place in the documentation; what removes entries of lists comes last, from the last entry to the first.

    The commands are run in this order, and removing an entry moves those behind it.
    """
    return sorted(problems, key=lambda problem: (_removed(problem) or (), _place(problem.path)))


def _removed(problem: Problem) -> tuple[int, ...]:
    paths = [each.path or problem.path for each in problem.remedies if isinstance(each, RemoveKey)]
    entries = [path[-1] for path in paths if isinstance(path[-1], int)]
    return (1, -max(entries)) if entries else ()


def _place(path: Path) -> tuple[int, ...]:
    key, *rest = path
    place = [_position(Settings, key)]
    if key == "nodes" and rest:
        place += [int(rest[0]), *(_position(GpuNode, each) for each in rest[1:2])]
    return tuple(place)


def _position(model: type[Settings] | type[GpuNode], key: str | int) -> int:
    names = [field.alias for field in model.model_fields.values()]
    return names.index(str(key)) if key in names else len(names)
