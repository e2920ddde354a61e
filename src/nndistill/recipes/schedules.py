"""How the weight of the distillation changes during a training.

Time is a share of the training, so that a schedule keeps its shape when the number of epochs is changed.
"""

from __future__ import annotations

from math import cos, pi
from typing import Literal

from pydantic import Field

from .strict import Strict


class Constant(Strict):
    """The full weight from the first epoch on (Eq. 8 of the paper)."""

    name: Literal["constant"] = "constant"

    def factor(self, share: float) -> float:
        """Share of the weight at `share` of the training, both in [0, 1]."""
        return 1.0


class CosineRamp(Strict):
    r"""Nothing until `start`, then up to the full weight along half a cosine of the given length.

    $$\tfrac12\big(1-\cos(\pi\,\min(1, \max(0, (s - s_0)/\Delta)))\big)$$

    Args:
        start: $s_0$, share of the training before the ramp, in [0, 1).
        length: $\Delta$, share of the training it takes, in (0, 1].
    """

    name: Literal["cosine-ramp"]
    start: float = Field(default=0.0, ge=0, lt=1)
    length: float = Field(gt=0, le=1)

    def factor(self, share: float) -> float:
        """Share of the weight at `share` of the training, both in [0, 1]."""
        return (1 - cos(pi * min(1.0, max(0.0, (share - self.start) / self.length)))) / 2
