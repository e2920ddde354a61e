"""What a teacher engine is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..methods import Activations


class TeacherEngine(Protocol):
    """Computes what a method reads of a frozen teacher.

    `Distiller` calls it without recording gradients. Each call returns tensors of its own: losses keep them for the
    backward pass.

    Example:
        >>> import torch
        >>> class Constant:
        ...     name = "constant"
        ...
        ...     def __call__(self, x):
        ...         return Activations(encoder=[torch.ones_like(x)])
        >>> engine: TeacherEngine = Constant()
        >>> engine(torch.rand(1, 1, 8, 8, 8)).encoder[0].mean()
        tensor(1.)
    """

    @property
    def name(self) -> str:
        """What a checkpoint calls it."""
        ...

    def __call__(self, x: Tensor) -> Activations:
        """Return the activations of a batch `(B, C, D, H, W)`."""
        ...


def outputs_of(activations: Activations) -> list[Tensor]:
    """All tensors of activations in one order: encoder, decoder, logits."""
    logits = [] if activations.logits is None else [activations.logits]
    return [*activations.encoder, *activations.decoder, *logits]
