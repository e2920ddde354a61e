"""Tests of what CUDA computes. Without it they are skipped; `NNDISTILL_TEST_DEVICE=cpu` runs them on a processor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

DEVICE = torch.device(os.environ.get("NNDISTILL_TEST_DEVICE", "cuda"))
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skip(reason="this machine has no CUDA; see docs/how-to/gpu-tests.md")
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.gpu)
            if DEVICE.type == "cuda" and not torch.cuda.is_available():
                item.add_marker(missing)


@pytest.fixture
def device() -> Iterator[torch.device]:
    """Where to compute; cuDNN looks for the fastest algorithms, and takes their memory, only where a test lets it."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    yield DEVICE
    torch.backends.cudnn.benchmark = before


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    """For what only CUDA has."""
    if device.type != "cuda":
        pytest.skip("only CUDA has this")
    return device


@pytest.fixture
def without_tf32() -> Iterator[None]:
    """Convolutions and matrix products in true float32, in which results of two devices can be compared."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    yield
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


@pytest.fixture
def not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net compiles the student on CUDA; that takes as long as all else here, so one test file alone lets it."""
    monkeypatch.setenv("nnUNet_compile", "f")
