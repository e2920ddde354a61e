"""Matrix products in true float32, whatever precision the user allows elsewhere.

TF32 keeps ten bits of each factor: 5e-4 of a feature's low bands, which hold most of its energy, would leak into the
detail.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

EXACT = {"none", "ieee"}


@contextmanager
def full_precision() -> Iterator[None]:
    """Undo `torch.set_float32_matmul_precision` and its newer forms for a while.

    Example:
        >>> torch.set_float32_matmul_precision("high")
        >>> with full_precision():
        ...     torch.get_float32_matmul_precision()
        'highest'
        >>> torch.get_float32_matmul_precision()
        'high'
        >>> torch.set_float32_matmul_precision("highest")
    """
    overall, backends = _overall_precision(), _backends()
    before = [backend.fp32_precision for backend in backends]
    if overall == "highest" and EXACT.issuperset(before):  # as is usual: no global state is touched
        yield
        return
    try:
        if overall is None:
            for backend in backends:
                backend.fp32_precision = "ieee"
        else:
            torch.set_float32_matmul_precision("highest")
        yield
    finally:
        if overall is not None:
            torch.set_float32_matmul_precision(overall)
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _overall_precision() -> str | None:
    """The setting for all backends; `None` if they were set one by one, which PyTorch refuses to sum up."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _backends() -> list[Any]:
    """Where PyTorch 2.9 and newer keep one setting for each backend."""
    found = (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None))
    return [backend for backend in found if hasattr(backend, "fp32_precision")]
