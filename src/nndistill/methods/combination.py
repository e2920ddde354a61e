"""A combination: several methods at once, each with a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..errors import UserError
from .base import Activations, Method


class Combination(Method):
    r"""Weighted sum of other methods' losses.

    $$\mathcal L = \sum_j w_j \mathcal L_j$$

    In names it is written with `+`, and an option of one part is preceded by that part's name:
    `build_method("dcd+logits", …, weights=[1, 2], **{"dcd.level": 2})`.

    Args:
        parts: The methods by name.
        weights: $w_j$, one number per part; default: each part's `source_weight`, and 1 for a part that has none.

    The combination's own `source_weight` is 1, since its parts bring their weights; if `weights` is not given and a
    part has none, neither has the combination.

    Raises:
        UserError: The weights are not one number of at least zero per part.

    Example:
        >>> from nndistill.methods import DCD, Logits
        >>> method = Combination({"dcd": DCD([8], [32]), "logits": Logits()}, weights=[1, 20])
        >>> sorted(method.needs)
        ['encoder', 'logits']
    """

    def __init__(self, parts: Mapping[str, Method], *, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        own = [part.source_weight for part in parts.values()]
        self.weights = [1.0 if w is None else w for w in own] if weights is None else _checked(weights, list(parts))
        self.source_weight = None if weights is None and None in own else 1.0
        self.needs = frozenset().union(*(part.needs for part in parts.values()))
        self.needs_target = any(part.needs_target for part in parts.values())

    @property
    def named_weights(self) -> dict[str, float]:
        """$w_j$ by the name of the part."""
        return dict(zip(self.parts, self.weights, strict=True))

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        losses = [part(student, teacher, target) for part in self.parts.values()]
        total: Tensor = sum(weight * loss for weight, loss in zip(self.weights, losses, strict=True))  # type: ignore[assignment]
        return total


def _checked(weights: Sequence[float], parts: Sequence[str]) -> list[float]:
    listed = list(weights) if isinstance(weights, (list, tuple)) else []
    numbers = [w for w in listed if isinstance(w, (int, float)) and not isinstance(w, bool) and 0 <= w < float("inf")]
    if not len(numbers) == len(listed) == len(parts):
        raise UserError(
            f"weights {weights!r} do not fit {'+'.join(parts)}: give {len(parts)} numbers of at least 0, such as "
            f"weights={[1] * len(parts)}.",
            option="option",
        )
    return [float(weight) for weight in numbers]
