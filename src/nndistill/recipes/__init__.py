"""Recipes: named training setups in small YAML files that a user can copy and change."""

from .loading import as_recipe, load_recipe, recipe_names, recipe_text
from .recipe import Recipe

__all__ = ["Recipe", "as_recipe", "load_recipe", "recipe_names", "recipe_text"]
