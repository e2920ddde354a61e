"""Whether an engine gives the features that PyTorch gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..methods import Activations
from .base import outputs_of
from .pytorch import TorchEngine

FLOAT32_BOUND = 1e-3
"""Largest relative difference from PyTorch's float32 features at which an engine is said to compute float32.

Other algorithms of convolution differ by 1e-5 to 1e-4; bfloat16 differs by 6e-3 and more, so it never passes.
"""

BEYOND_PYTORCH = 1.5
"""In a reduced precision, how many times as far from float32 as PyTorch in the same precision an engine may be."""


@dataclass(frozen=True)
class Reference:
    """A teacher's float32 features of one batch, and how far from each of them an engine may be.

    Attributes:
        activations: In float32.
        bounds: One per output, relative as in `relative_differences`.
    """

    activations: Activations
    bounds: list[float]

    @classmethod
    def of(cls, teacher: TorchEngine, x: Tensor) -> Reference:
        """Compute a batch in float32, and under the present autocast to see what that alone changes."""
        with torch.autocast(x.device.type, enabled=False):
            exact = teacher(x)
        if not torch.is_autocast_enabled(x.device.type):
            return cls(exact, [FLOAT32_BOUND] * len(teacher.outputs))
        own = relative_differences(exact, teacher(x))
        return cls(exact, [max(FLOAT32_BOUND, BEYOND_PYTORCH * difference) for difference in own])

    def allows(self, differences: list[float]) -> bool:
        """Whether no output is further away than it may be; one that is not a number never passes."""
        return all(difference <= bound for difference, bound in zip(differences, self.bounds, strict=True))


def relative_differences(reference: Activations, other: Activations) -> list[float]:
    r"""Distance of each output from its reference, $\lVert F - F^{ref}\rVert_2 / \lVert F^{ref}\rVert_2$.

    Args:
        reference: What the other is measured by.
        other: Activations of the same shapes, in any precision.

    Raises:
        ValueError: The two differ in the number or the shapes of their outputs.

    Example:
        >>> ones = Activations([torch.ones(1, 1, 2, 2, 2)], logits=torch.ones(1, 1, 2, 2, 2))
        >>> halves = Activations([torch.ones(1, 1, 2, 2, 2) / 2], logits=torch.ones(1, 1, 2, 2, 2))
        >>> relative_differences(ones, halves)
        [0.5, 0.0]
    """
    wanted, found = outputs_of(reference), outputs_of(other)
    if [tensor.shape for tensor in wanted] != [tensor.shape for tensor in found]:
        raise ValueError(f"shapes {[tuple(t.shape) for t in found]} instead of {[tuple(t.shape) for t in wanted]}")
    return [_relative_distance(a.float(), b.float()) for a, b in zip(wanted, found, strict=True)]


def _relative_distance(reference: Tensor, other: Tensor) -> float:
    norm = torch.linalg.vector_norm(reference).clamp_min(torch.finfo(reference.dtype).tiny)
    return float(torch.linalg.vector_norm(other - reference) / norm)
