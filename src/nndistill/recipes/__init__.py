"""Recipes: named training setups in small YAML files that a user can copy and change."""

from .loading import load_recipe, recipe_names, recipe_text
from .recipe import Recipe

__all__ = ["Recipe", "load_recipe", "recipe_names", "recipe_text"]
