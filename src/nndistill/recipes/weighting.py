"""What the distillation loss of a run is multiplied with, and where that comes from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..methods import Combination, Method
from ..methods.registry import title_of
from ..validation import Strict
from .recipe import Balance, Recipe

DEFAULT_SHARE = 0.5
"""Share of the segmentation's gradient for a method whose source gives no weight."""

_WITHOUT_ANY = 1.0


class Weighting(Strict):
    """The weight of one run, as it stands in its setup.

    Args:
        weight: μ; under a balance, the one that counts while the gradients cannot be balanced.
        balance: How μ follows the gradients; `None` if it does not.
        origin: `given` by the recipe or the command, or the method's own `source` weight.
        parts: Weight of each part of a combination, which μ multiplies.

    Example:
        >>> Weighting(weight=3, origin="source").described("cwd")
        'μ = 3, the source weight of CWD'
    """

    weight: float = Field(ge=0)
    balance: Balance | None = None
    origin: Literal["given", "source"]
    parts: dict[str, float] = Field(default_factory=dict)

    @property
    def is_nothing(self) -> bool:
        """Whether the distillation loss never counts."""
        return self.weight == 0 and self.balance is None

    def described(self, method: str) -> str:
        """Say it in words, without a full stop, for a method's name."""
        if self.balance:
            words = f"μ keeps the gradient of the distillation at {self.balance.share:g} of the segmentation's"
            if self.origin == "source":
                words += f", since {title_of(method)} has no source weight"
        elif self.origin == "source" and not self.parts:
            words = f"μ = {self.weight:g}, the source weight of {title_of(method)}"
        else:
            words = f"μ = {self.weight:g}"
        if self.parts:
            words += "; weights of the parts: " + ", ".join(f"{part} {weight:g}" for part, weight in self.parts.items())
        return words


def weighting_of(recipe: Recipe, method: Method) -> Weighting:
    """Return the weighting of a method under a recipe: the recipe's own, or else the method's.

    Args:
        recipe: Its weight or balance counts, if it has one.
        method: The method as it was built, since options may change its `source_weight`.

    Example:
        >>> from nndistill.methods import build_method
        >>> from nndistill.recipes import load_recipe
        >>> recipe = load_recipe("paper").adjusted(method="cwd")
        >>> weighting_of(recipe, build_method("cwd", student_channels=[8], teacher_channels=[32])).weight
        3.0
    """
    parts = method.named_weights if isinstance(method, Combination) else {}
    fallback = _WITHOUT_ANY if method.source_weight is None else method.source_weight
    if recipe.balance is not None:
        return Weighting(weight=fallback, balance=recipe.balance, origin="given", parts=parts)
    if recipe.distillation_weight is not None:
        return Weighting(weight=recipe.distillation_weight, origin="given", parts=parts)
    if not method.needs:
        return Weighting(weight=0.0, origin="source")
    balance = Balance(share=DEFAULT_SHARE) if method.source_weight is None else None
    return Weighting(weight=fallback, balance=balance, origin="source", parts=parts)
