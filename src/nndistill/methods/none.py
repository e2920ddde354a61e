"""No distillation: the student learns from the labels alone."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Activations, Method
from .registry import register


@register
class NoDistillation(Method):
    """The baseline that every method is compared with. Its loss is zero and needs no teacher.

    Example:
        >>> NoDistillation()(Activations([]), Activations([]))
        tensor(0.)
    """

    name = "none"
    title = "No distillation"
    matches = "nothing: the student alone, the baseline"

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        return torch.zeros(())
