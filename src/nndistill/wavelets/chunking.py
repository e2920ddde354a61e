"""How much is worked on at once: on a CPU what stays in its cache, elsewhere as much as memory allows."""

from __future__ import annotations

import torch

ELSEWHERE = 1 << 26
"""Elements per chunk where calls cost more than memory traffic: a quarter of a gigabyte for each temporary tensor."""


def works_in_cache(device: torch.device) -> bool:
    """Whether small chunks are faster there, which stay in a cache; the one place that decides it.

    Example:
        >>> works_in_cache(torch.device("cpu")), works_in_cache(torch.device("mps"))
        (True, False)
    """
    return device.type == "cpu"


def chunked(rows: int, elements: int, device: torch.device, *, in_cache: int) -> list[slice]:
    """Split rows into runs that are worked on one after the other.

    Args:
        rows: How many there are.
        elements: Of each row.
        device: Where they are.
        in_cache: Elements per chunk on a CPU.

    Example:
        >>> chunked(10, 1 << 18, torch.device("cpu"), in_cache=1 << 20)
        [slice(0, 4, None), slice(4, 8, None), slice(8, 10, None)]
        >>> chunked(10, 1 << 18, torch.device("cuda"), in_cache=1 << 20)
        [slice(0, 10, None)]
    """
    at_once = in_cache if works_in_cache(device) else max(in_cache, ELSEWHERE)
    step = max(1, at_once // max(1, elements))
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]
