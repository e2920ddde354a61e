"""A batch in equal parts, which are computed one after the other in less memory than the whole takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

Targets = TypeVar("Targets", Tensor, list[Tensor])


def parts_of(data: Tensor, target: Targets, parts: int) -> Sequence[tuple[Tensor, Targets]]:
    """Split a batch along its first axis.

    Args:
        data: Input (B, C, D, H, W).
        target: The target, or under deep supervision one per size, each (B, …).
        parts: Number of parts, which divides B.

    Returns:
        Input and target of each part.

    Raises:
        ValueError: The number does not divide B.

    Example:
        >>> import torch
        >>> whole = torch.arange(4).view(4, 1)
        >>> [data.flatten().tolist() for data, _ in parts_of(whole, [whole, whole], 2)]
        [[0, 1], [2, 3]]
    """
    if len(data) % parts:
        raise ValueError(f"a batch of {len(data)} cannot be split into {parts} equal parts")
    size = len(data) // parts
    pieces = [slice(start, start + size) for start in range(0, len(data), size)]
    if isinstance(target, list):
        return [(data[piece], [each[piece] for each in target]) for piece in pieces]
    return [(data[piece], target[piece]) for piece in pieces]
