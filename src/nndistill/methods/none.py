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

    zero: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # moves with the networks to their device

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        return self.zero.clone()
