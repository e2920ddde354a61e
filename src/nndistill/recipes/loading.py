"""Recipes from YAML files: those that come with nnDistill, and the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ..errors import UnknownName, UserError
from ..validation import explain
from .recipe import Recipe


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with nnDistill.

    Example:
        >>> recipe_names()
        ['paper', 'quick', 'release-brats2024', 'release-isles2022']
    """
    return sorted(path.name.removesuffix(".yaml") for path in _shipped())


def recipe_text(name_or_file: str | Path) -> str:
    """Return the YAML text of a recipe, by name or from a file of the user's.

    Raises:
        UnknownName: No recipe has this name.
        UserError: The file does not exist, or is not text.
    """
    path = Path(name_or_file)
    if path.suffix in {".yaml", ".yml"}:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UserError(f"there is no recipe file {path}.", option="recipe") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the recipe file {path} cannot be read: {error}.") from error
    shipped = {file.name.removesuffix(".yaml"): file for file in _shipped()}
    if str(name_or_file) not in shipped:
        raise UnknownName("recipe", str(name_or_file), shipped, option="recipe")
    return str(shipped[str(name_or_file)].read_text(encoding="utf-8"))


def load_recipe(name_or_file: str | Path) -> Recipe:
    """Load a recipe by name or from a YAML file of the user's.

    Raises:
        UnknownName: No recipe has this name.
        UserError: The file is missing or not valid; the message names the key, its line and what is allowed.

    Example:
        >>> load_recipe("paper").distillation_weight
        0.05
    """
    text = recipe_text(name_or_file)
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{name_or_file} is not valid YAML: {' '.join(str(error).split())}") from error
    _refuse_repeated_keys(document, str(name_or_file))
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        keys, sentence = explain(error, Recipe, values)
        raise UserError(f"{name_or_file}, line {_line(document, keys)}: {sentence}") from error


def as_recipe(recipe: Recipe | str | Path) -> Recipe:
    """Return a recipe as it is; load one that is given by its name or file, as `load_recipe` does."""
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe)


def _shipped() -> Iterator[Any]:
    return (file for file in files(__package__).iterdir() if file.name.endswith(".yaml"))


def _refuse_repeated_keys(document: yaml.Node | None, source: str) -> None:
    """YAML itself silently takes the last of two equal keys."""
    if not isinstance(document, yaml.MappingNode):
        return
    seen = set()
    for key, value in document.value:
        if key.value in seen:
            raise UserError(f"{source}, line {key.start_mark.line + 1}: the key {key.value} is given twice.")
        seen.add(key.value)
        _refuse_repeated_keys(value, source)


def _line(document: yaml.Node | None, keys: Sequence[str]) -> int:
    """Line of the innermost of nested keys that the document has, counted from 1."""
    line = 1
    for wanted in keys:
        if isinstance(document, yaml.MappingNode):
            for key, value in document.value:
                if key.value == wanted:
                    line, document = key.start_mark.line + 1, value
                    break
    return line
