"""What a target says about each voxel: whether it counts, and to which classes it belongs."""

from __future__ import annotations

import torch
from torch import Tensor


def counted(target: Tensor | None) -> Tensor | None:
    """Mark the voxels that count.

    Args:
        target: As in `Method.forward`.

    Returns:
        `(B, D, H, W)`, true where a voxel counts; `None` if all do.
    """
    if target is None:
        return None
    left_out = target[:, 0] < 0
    return ~left_out if left_out.any() else None


def memberships(target: Tensor, dtype: torch.dtype) -> Tensor:
    """Write a target as one channel of zeros and ones per class; a voxel that is left out belongs to none.

    With regions, the voxels outside of all of them form one more class.

    Args:
        target: As in `Method.forward`.
        dtype: Of the result.

    Returns:
        `(B, K, D, H, W)`; with labels, K is the highest label plus one, for the background.
    """
    if target.shape[1] > 1:
        regions = target > 0
        outside = (target == 0).all(dim=1, keepdim=True)
        return torch.cat([outside, regions], dim=1).to(dtype)
    classes = torch.arange(max(1, int(target.max()) + 1), device=target.device)
    return (target == classes.view(-1, 1, 1, 1)).to(dtype)
