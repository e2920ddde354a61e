"""Whether images without labels can join a distillation."""

from __future__ import annotations

from ..errors import UserError
from ..methods import Method
from .recipe import Recipe
from .weighting import Weighting


def refuse_useless_images(method: Method, recipe: Recipe, weighting: Weighting) -> None:
    """Refuse images without labels, before they are looked at, if they would do nothing or are not possible.

    Args:
        method: The method as it was built.
        recipe: The recipe that names it.
        weighting: Of the method under the recipe.

    Raises:
        UserError: There is no distillation that counts, or the method needs labels.

    Example:
        >>> from nndistill.methods import build_method
        >>> from nndistill.recipes import load_recipe, weighting_of
        >>> recipe = load_recipe("quick").adjusted(method="logits")
        >>> method = build_method("logits", student_channels=[8], teacher_channels=[32])
        >>> refuse_useless_images(method, recipe, weighting_of(recipe, method))
    """
    if not method.needs or weighting.is_nothing:
        raise UserError(
            f"unlabelled images join the distillation alone, which does not count here (method {recipe.method}, μ = "
            f"{weighting.weight:g}): choose a method and a weight, or leave the images out.",
            option=("unlabelled", "method", "weight"),
        )
    if method.needs_target:
        raise UserError(
            f"the method {recipe.method} compares class by class where the labels are, and unlabelled images have "
            "none; choose another method, such as logits or dcd.",
            option=("unlabelled", "method"),
        )
