"""Autocast switched off, whatever the device: `torch.autocast` itself raises on devices that have none."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Compute in the precision of the tensors for a while.

    Args:
        device: Where they are; `meta`, on which nothing is computed, has no autocast.

    Example:
        >>> a = torch.rand(2, 2)
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), without_autocast(a.device):
        ...     (a @ a).dtype
        torch.float32
    """
    has_autocast = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if has_autocast else nullcontext()
