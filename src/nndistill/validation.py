"""Validation of what users write (recipes, plans, descriptions), and its errors as one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import UnknownName


class Strict(BaseModel):
    """Values that cannot be changed once validated; a key that is not declared is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Path = tuple[str, ...]


def explain(error: ValidationError, model: type[BaseModel], values: Any, line_of: Callable[[Path], str]) -> str:
    """Explain the first mistake; a key that does not exist before one that is missing, as it may be that one misspelt.

    Args:
        error: What pydantic raised.
        model: What was validated.
        values: From what.
        line_of: Gives the place of a key in front of the sentence, such as `", line 3"`.
    """
    first = min(error.errors(), key=lambda mistake: mistake["type"] != "extra_forbidden")
    location, kind, given = first["loc"], first["type"], first["input"]
    path = _path(location, values)
    where = f"{line_of(path)}: "
    if kind == "extra_forbidden":
        return where + str(UnknownName("key", ".".join(path), _keys_beside(model, location)))
    if kind == "missing":
        return f"{where}the key {'.'.join(path)} is missing."
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return f"{where}{'.'.join(path)}.name has to be one of {first['ctx'].get('expected_tags', _tags(model, path))}."
    if kind == "model_type":
        return f"{where}{'.'.join(path) or 'a recipe'} has to be a list of keys and values (given: {given!r})."
    return f"{where}{'.'.join(path)}: {first['msg']} (given: {given!r})."


def _path(location: Sequence[Any], values: Any) -> Path:
    """The keys of a mistake as they stand in the file: pydantic's location without the names of union members."""
    path = []
    for i, part in enumerate(location):
        if isinstance(values, dict) and part in values:
            values = values[part]
            path.append(str(part))
        elif i == len(location) - 1:
            path.append(str(part))
    return tuple(path)


def _keys_beside(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    """Names of the keys allowed where the last of the location stands."""
    members = [model]
    for part in location[:-1]:
        named = [member for member in members if _tag(member) == part]  # a location goes through a union by its name
        members = named or list(_members(members[0].model_fields[part].annotation))
    return list(members[0].model_fields)


def _tags(model: type[BaseModel], path: Path) -> str:
    return ", ".join(repr(_tag(member)) for member in _members(model.model_fields[path[0]].annotation))


def _members(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type: of a union all, of an optional one the one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _members(argument)


def _tag(member: type[BaseModel]) -> str | None:
    """What `name` has to be for this member of a union to be meant."""
    return str(get_args(member.model_fields["name"].annotation)[0]) if "name" in member.model_fields else None
