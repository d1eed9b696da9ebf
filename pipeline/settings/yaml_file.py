"""YAML files from anyone: read without running anything, checked against a strict model, errors with file and line."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ldas.pipeline.errors import ConfigurationError

MAXIMUM_BYTES = 2_000_000
MAXIMUM_NODES = 200_000  # after expansion of aliases: a small file can name billions
Model = TypeVar("Model", bound="StrictModel")
KeyPath = tuple[str | int, ...]


class StrictModel(BaseModel):
    """Base of all configuration: unknown keys are errors, values are frozen, no infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class OptionsSection:
    """Base of a library's options as a section of the experiment file: unknown keys are errors."""

    __pydantic_config__ = ConfigDict(extra="forbid")


def read_yaml(path: Path) -> tuple[Any, dict[KeyPath, int]]:
    """Content of a YAML file and the line of each key.

    Raises:
        ConfigurationError: a missing file, bad syntax, a key given twice, or a file too large to be honest.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not a text file in UTF-8") from error
    if len(text) > MAXIMUM_BYTES:
        raise ConfigurationError(f"{path}: larger than {MAXIMUM_BYTES} bytes, an experiment file was expected")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise ConfigurationError(f"{path}: the file is empty")
        lines: dict[KeyPath, int] = {}
        _walk(node, (), lines, path, budget=[MAXIMUM_NODES])
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}" if mark else ""
        tab = " (indent with spaces, not with tabs)" if "'\\t'" in str(error.problem) else ""
        raise ConfigurationError(f"{path}{where}: not valid YAML: {error.problem}{tab}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from error


def _walk(node: yaml.Node, place: KeyPath, lines: dict[KeyPath, int], path: Path, budget: list[int]) -> None:
    budget[0] -= 1
    if budget[0] < 0:
        raise ConfigurationError(f"{path}: more than {MAXIMUM_NODES} values, an experiment file was expected")
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise ConfigurationError(f"{path}:{key.start_mark.line + 1}: '{name}' is given twice")
            seen.add(name)
            lines[(*place, name)] = key.start_mark.line + 1
            _walk(value, (*place, name), lines, path, budget)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*place, index), lines, path, budget)
    elif node.tag == "tag:yaml.org,2002:timestamp":
        try:
            yaml.SafeLoader("").construct_object(node)
        except ValueError as error:
            key = ".".join(map(str, place))
            raise ConfigurationError(
                f"{path}:{node.start_mark.line + 1}: {key}: {node.value} is not a date: {error}"
            ) from error


def load_model(path: Path, model: type[Model]) -> Model:
    """A YAML file as a model; ConfigurationError lists every problem as `file:line: key: what is wrong`."""
    content, lines = read_yaml(path)
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{path}: a mapping of keys was expected at the top level")
    return validate(content, model, source=str(path), lines=lines)


def validate(
    content: Mapping[str, Any], model: type[Model], *, source: str, lines: Mapping[KeyPath, int] | None = None
) -> Model:
    """A mapping as a model; ConfigurationError lists every problem, with a suggestion for unknown keys."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = [(_given(item, content), item) for item in error.errors(include_url=False)]
        # Of a union, only the errors of the member that is nearest to what is given: those deepest in it.
        deepest = [
            (place, item)
            for place, item in found
            if not any(len(other) > len(place) and other[: len(place)] == place for other, _ in found)
        ]
        together: dict[KeyPath, list[Any]] = {}  # of one key, what each form that it may have says
        for place, item in deepest:
            together.setdefault(place, []).append(item)
        problems = [_describe(items, place, model, source, lines or {}) for place, items in together.items()]
        raise ConfigurationError("\n".join(problems)) from error


def _given(item: Any, content: Any) -> KeyPath:
    """Where an error is, in the keys of the content: without the names of a union's members."""
    place: list[str | int] = []
    for part in item["loc"]:
        with suppress(LookupError, TypeError):  # not in the content: the name of a member
            content = content[part]
            place.append(part)
    return (*place, item["loc"][-1]) if item["type"] == "missing" else tuple(place)


def _describe(
    items: Sequence[Any], place: KeyPath, model: type[BaseModel], source: str, lines: Mapping[KeyPath, int]
) -> str:
    item = items[0]
    line = next((lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in lines), None)
    where = f"{source}:{line}" if line else source
    key = ".".join(str(part) for part in place)
    if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):  # of a model, of a library's options
        return f"{where}: {key}: unknown key{_suggestion(str(place[-1]), _keys_at(model, place[:-1]))}"
    if item["type"] == "missing":
        return f"{where}: {key}: this key is needed and was not given"
    message = " or ".join(_message(one) for one in items).replace(" or Input should be ", " or ")
    given = item["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{where}: {key + ': ' if key else ''}{message}{shown}"


def _message(item: Any) -> str:
    """What pydantic says, in the words of YAML."""
    if item["type"].startswith("date_"):
        return "Input should be a date, year-month-day, such as 2007-01-31"
    if item["type"] == "tuple_type":
        return "Input should be a list"
    if item["type"] in ("model_type", "dataclass_type", "dict_type"):
        return "Input should be a mapping of keys"
    return str(item["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _suggestion(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; known here: {', '.join(known)}"


def _keys_at(model: type[BaseModel], place: KeyPath) -> set[str]:
    """Keys of the model, or models, that a place in the configuration leads to."""
    models: list[type] = [model]
    for part in place:
        following: list[type] = []
        for current in models:
            if issubclass(current, BaseModel) and isinstance(part, str) and part in current.model_fields:
                following += _models_in(current.model_fields[part].annotation)
        models = following or models  # list indices, mapping keys and union tags stay at the same model
    return {name for current in models for name in _keys_of(current)}


def _keys_of(section: Any) -> list[str]:
    """Of a model, or of a library's options, a dataclass."""
    return list(section.model_fields) if issubclass(section, BaseModel) else [field.name for field in fields(section)]


def _models_in(annotation: Any) -> list[type]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel | OptionsSection):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
