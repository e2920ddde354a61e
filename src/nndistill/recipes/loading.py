"""Recipes from YAML files: those that come with nnDistill, and the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import UnknownName, UserError
from ..yaml_files import validated_yaml
from .recipe import Recipe


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with nnDistill.

    Example:
        >>> recipe_names()
        ['best', 'paper', 'quick', 'release-brats2024', 'release-isles2022']
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
    return validated_yaml(recipe_text(name_or_file), Recipe, source=str(name_or_file))


def as_recipe(recipe: Recipe | str | Path) -> Recipe:
    """Return a recipe as it is; load one that is given by its name or file, as `load_recipe` does."""
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe)


def _shipped() -> Iterator[Any]:
    return (file for file in files(__package__).iterdir() if file.name.endswith(".yaml"))
