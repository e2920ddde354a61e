"""Validation of what people write by hand or keep in files: recipes, plans, descriptions of models, options of methods.

`Strict` is the base of every validated model. `explain` turns what pydantic raises into a sentence for the person who
made the mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import UnknownName

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Strict(BaseModel):
    """Values that cannot be changed once they are validated; a key that is not declared is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Explanation(NamedTuple):
    """The first validation error, for a message that the caller completes with the place and a way out."""

    keys: tuple[str, ...]
    """The keys that lead to the value, outermost first; empty if it is the whole."""
    sentence: str
    """Which key, what is wrong with it, and what is allowed; ends with a full stop."""


def explain(error: ValidationError, expected: Any, values: Any) -> Explanation:
    """Explain the first validation error.

    A key that does not exist comes before one that is missing, as the one may be the other, misspelt.

    Args:
        error: What pydantic raised.
        expected: The model, or the type, that the values were validated as.
        values: What was validated.

    Example:
        >>> class Point(Strict):
        ...     x: int
        >>> try:
        ...     Point.model_validate({"x": "left"})
        ... except ValidationError as error:
        ...     explanation = explain(error, Point, {"x": "left"})
        >>> explanation.keys
        ('x',)
        >>> explanation.sentence
        "x: Input should be a valid integer, unable to parse string as an integer (given: 'left')."
    """
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    keys = _keys(first, values)
    return Explanation(keys, _sentence(first, ".".join(keys), expected))


def _keys(error: ErrorDetails, values: Any) -> tuple[str, ...]:
    """An error's location without the names of union members, which pydantic puts into it and nobody wrote."""
    keys = []
    for part in error["loc"]:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            continue
        keys.append(str(part))
    return (*keys, str(error["loc"][-1])) if error["type"] == "missing" else tuple(keys)


def _sentence(error: ErrorDetails, key: str, expected: Any) -> str:
    location, kind, given = error["loc"], error["type"], f"(given: {error['input']!r})"
    if kind == "extra_forbidden":
        return str(UnknownName("key", key, _models_at(location[:-1], expected)[0].model_fields))
    if kind == "missing":
        return f"the key {key} is missing."
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        names = ", ".join(repr(_name(model)) for model in _models_at(location, expected))
        return f"{key}.name has to be one of {names}."
    if kind == "model_type":
        return f"{key or 'the content'} has to be a list of keys and values {given}."
    return f"{key}: {error['msg']} {given}." if key else f"{error['msg']} {given}."


def _models_at(location: Sequence[int | str], expected: Any) -> list[type[BaseModel]]:
    """The models that the value at a location may be."""
    models = list(_models_in(expected))
    for part in location:
        if named := [model for model in models if _name(model) == part]:  # a location goes through a union by its name
            models = named
        elif with_field := [model for model in models if part in model.model_fields]:
            models = list(_models_in(with_field[0].model_fields[str(part)].annotation))
    return models


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type: all of a union, the one of an optional one or of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _name(model: type[BaseModel]) -> str | None:
    """The value of the field `name` that selects this member of a union."""
    field = model.model_fields.get("name")
    values = get_args(field.annotation) if field else ()
    return str(values[0]) if values else None
