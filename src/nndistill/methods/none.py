"""No distillation: the student learns from the labels alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Activations, Method


class NoDistillation(Method):
    """The baseline every method is compared with. Its loss is zero and needs no teacher.

    Args:
        student_channels: Ignored, as no feature is compared.
        teacher_channels: Ignored.
    """

    def __init__(self, student_channels: Sequence[int] = (), teacher_channels: Sequence[int] = ()) -> None:
        super().__init__()

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        return torch.zeros(())
