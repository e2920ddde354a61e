"""What several teachers say of one batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from .base import Activations


@dataclass(frozen=True)
class Lesson:
    """What one of several teachers says of the samples that it teaches.

    Args:
        teacher: Its number among the teachers.
        rows: Its samples in the batch, ascending; `None` for all of them.
        weight: Its part of the loss; those of a batch add up to 1.
        activations: Of its samples alone. The logits are those of all teachers of these samples together.
    """

    teacher: int
    rows: list[int] | None
    weight: float
    activations: Activations


@dataclass(frozen=True)
class Lessons(Activations):
    """The activations of several teachers for one batch.

    Features of two networks have nothing to do with each other, so there are none for all teachers together; the logits
    of a sample are those of its teachers together.

    Args:
        of_teachers: One lesson per teacher that teaches in this batch.

    Example:
        >>> import torch
        >>> logits = torch.rand(2, 3, 8, 8, 8)
        >>> one, other = (Lesson(k, None, 0.5, Activations([torch.rand(2, 4, 8, 8, 8)], logits=logits)) for k in (0, 1))
        >>> sum(lesson.weight for lesson in Lessons([], logits=logits, of_teachers=[one, other]).of_teachers)
        1.0
    """

    of_teachers: list[Lesson] = field(default_factory=list)
