"""What DCD asks of a device at the size of the BraTS networks, counted on `meta` tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nndistill.analysis.operation_counts import OperationCounts, count_operations
from nndistill.methods import DCD, Activations
from nndistill.wavelets.fused.launches import Launch, listening

STAGES = [(32, 128, 160, 112), (64, 64, 80, 56), (128, 32, 40, 28), (256, 16, 20, 14), (320, 8, 10, 7), (320, 4, 5, 7)]
BATCH = 2


def counts(dtype: torch.dtype = torch.float32, **options: Any) -> OperationCounts:
    channels = [channels for channels, *_ in STAGES]
    method = DCD([c // 4 for c in channels], channels, **options).to("meta")
    student = [
        torch.empty(BATCH, c // 4, *shape, device="meta", dtype=dtype, requires_grad=True) for c, *shape in STAGES
    ]
    teacher = [torch.empty(BATCH, c, *shape, device="meta", dtype=dtype) for c, *shape in STAGES]
    method(Activations(student), Activations(teacher))  # the first call makes the matrices
    with count_operations() as found:
        method(Activations(student), Activations(teacher)).backward()
    return found


@pytest.mark.parametrize(("dtype", "most_bytes"), [(torch.float32, 18e9), (torch.float16, 19.5e9)])
def test_a_step_takes_few_calls_and_little_traffic(dtype: torch.dtype, most_bytes: float) -> None:
    found = counts(dtype)
    assert found.kernels <= 400
    assert found.bytes <= most_bytes  # half precision is widened first
    assert found.syncs == 0


def test_an_orthogonal_projection_costs_less() -> None:
    symmetric, periodization = counts(), counts(mode="periodization")
    assert periodization.bytes < 0.85 * symmetric.bytes
    assert periodization.flops < 0.75 * symmetric.flops


@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
def test_the_value_of_some_channels_saves_wide_transforms(mode: str) -> None:
    whole, some = counts(mode=mode), counts(mode=mode, loss_every=8)
    assert some.kernels <= 500
    assert some.bytes < 0.8 * whole.bytes
    assert some.flops < 0.85 * whole.flops


@pytest.mark.parametrize(
    ("mode", "most_bytes", "most_loaded", "most_kernels"),
    [("periodization", 2e9, 2.5e9, 400), ("symmetric", 3.8e9, 5.4e9, 1000)],
)
def test_with_kernels_of_triton_a_step_moves_little(mode, most_bytes, most_loaded, most_kernels) -> None:
    launches: list[Launch] = []
    with listening(launches.append):
        found = counts(torch.float16, mode=mode, kernels="triton")
    backward = sum(launch.kernel == "scaled" for launch in launches)
    step = launches[(len(launches) - backward) // 2 :]  # the first call makes the matrices
    assert found.bytes <= most_bytes
    assert sum(launch.loaded + launch.stored for launch in step) <= most_loaded  # what two programs load counts twice
    assert found.kernels <= most_kernels
    assert found.syncs == 0
