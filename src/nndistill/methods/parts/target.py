"""What a target says about each voxel: whether it counts, and to which classes it belongs."""

from __future__ import annotations

import torch
from torch import Tensor


def counted(target: Tensor | None, *, ignores: bool | None) -> Tensor | None:
    """Mark the voxels that count.

    Args:
        target: As in `Method.forward`.
        ignores: Whether targets may leave voxels out; `None` if that is not known, and this one is looked through.

    Returns:
        `(B, *space)`, true where a voxel counts; `None` if all do.
    """
    if target is None or ignores is False:
        return None
    left_out = target[:, 0] < 0
    return ~left_out if ignores or left_out.any() else None


def memberships(target: Tensor, dtype: torch.dtype, *, classes: int | None) -> Tensor:
    """Write a target as one channel of zeros and ones per class; a voxel that is left out belongs to none.

    With regions, the voxels outside of all of them form one more class.

    Args:
        target: As in `Method.forward`.
        dtype: Of the result.
        classes: How many there are, the background included; `None` if that is not known, and the highest label of this
            target is looked up. Without effect on regions, which are counted by their channels.

    Returns:
        `(B, K, *space)`.
    """
    if target.shape[1] > 1:
        regions = target > 0
        outside = (target == 0).all(dim=1, keepdim=True)
        return torch.cat([outside, regions], dim=1).to(dtype)
    number = max(1, int(target.max()) + 1) if classes is None else classes
    values = torch.arange(number, device=target.device).view(-1, *[1] * (target.dim() - 2))
    return (target == values).to(dtype)
