"""CIRKD's pixel-to-pixel term as its source has it: a similarity matrix for every ordered pair of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, softmax


def plain_loss(student: list[Tensor], teacher: list[Tensor], temperature: float) -> Tensor:
    """Of features at positions, `(C, N)` per image; images without positions have no pair and are counted."""
    total = torch.zeros((), dtype=student[0].dtype)
    for s_i, t_i in zip(student, teacher, strict=True):
        for s_j, t_j in zip(student, teacher, strict=True):
            if s_i.shape[1] and s_j.shape[1]:
                of_student, of_teacher = (cosines(a, b) / temperature for a, b in ((s_i, s_j), (t_i, t_j)))
                p, q = log_softmax(of_student, dim=1), softmax(of_teacher, dim=1)
                total = total + kl_div(p, q, reduction="batchmean")
    return total / len(student) ** 2


def cosines(a: Tensor, b: Tensor) -> Tensor:
    lengths = (a**2).sum(0).sqrt()[:, None] * (b**2).sum(0).sqrt()
    return a.T @ b / lengths


def plain_blocks(features: Tensor, size: int, mask: Tensor | None = None) -> list[Tensor]:
    """Mean features of the voxels that count, block by block: `(B, C, D, H, W)` → `(C, N)` per image.

    Args:
        mask: `(B, D, H, W)`, true where a voxel counts.
    """
    corners = torch.cartesian_prod(*(torch.arange(0, axis, size) for axis in features.shape[2:])).tolist()
    images = []
    for i, image in enumerate(features):
        columns = []
        for corner in corners:
            block = tuple(slice(first, first + size) for first in corner)
            voxels = image[(slice(None), *block)].flatten(1)
            if mask is not None:
                voxels = voxels[:, mask[i][block].flatten()]
            if voxels.shape[1]:
                columns.append(voxels.mean(1))
        images.append(torch.stack(columns, dim=1) if columns else image.new_zeros(len(image), 0))
    return images
