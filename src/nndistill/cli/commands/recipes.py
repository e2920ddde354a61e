"""`nndistill recipes`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..options import AsJson
from ..output import print_json, show


def recipes(
    name: Annotated[str | None, typer.Argument(help="Recipe to print, or YAML file to check and print.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes, or print one as a start for your own: nndistill recipes paper > my.yaml."""
    import pandas as pd

    from ...recipes import load_recipe, recipe_names, recipe_text

    loaded = {each: load_recipe(each) for each in ([name] if name else recipe_names())}
    if as_json:
        print_json({each: recipe.model_dump(mode="json") for each, recipe in loaded.items()})
    elif name:
        print(recipe_text(name), end="")
    else:
        descriptions = {each: recipe.description for each, recipe in loaded.items()}
        show(pd.DataFrame({"purpose": descriptions}), "Recipes")
        print("\nTo make your own, copy one and change it:\n  nndistill recipes paper > my.yaml")
        print("  nndistill distill TEACHER_FOLDER --recipe my.yaml")
