"""Recipes: named training setups in small YAML files that a user can copy and change."""

from .loading import as_recipe, load_recipe, recipe_names, recipe_text
from .recipe import Balance, Init, Recipe
from .useless_images import refuse_useless_images
from .weighting import Weighting, weighting_of

__all__ = [
    "Balance",
    "Init",
    "Recipe",
    "Weighting",
    "as_recipe",
    "load_recipe",
    "recipe_names",
    "recipe_text",
    "refuse_useless_images",
    "weighting_of",
]
