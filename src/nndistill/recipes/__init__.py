"""Recipes: named training setups in small YAML files that a user can copy and change."""

from .loading import as_recipe, load_recipe, recipe_names, recipe_text
from .recipe import Balance, Recipe
from .weighting import Weighting, weighting_of

__all__ = [
    "Balance",
    "Recipe",
    "Weighting",
    "as_recipe",
    "load_recipe",
    "recipe_names",
    "recipe_text",
    "weighting_of",
]
