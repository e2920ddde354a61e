"""Recipes: named training setups, each a small YAML file beside this one that a user can copy and change."""

from .recipe import Recipe, load_recipe, recipe_names

__all__ = ["Recipe", "load_recipe", "recipe_names"]
