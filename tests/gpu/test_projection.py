"""The projection onto subbands on CUDA, against PyWavelets in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch
from torch import Tensor

from nndistill.methods import DCD, Activations
from nndistill.methods.parts.projected_distance import projected_distance
from nndistill.wavelets import SubbandProjection, wavedec3, waverec3

SHAPES = [(33, 20, 13), (16, 20, 14), (4, 5, 7)]
MODES = ["symmetric", "periodization", "zero", "reflect"]


def volume(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_pywavelets(x: Tensor, mode: str) -> Tensor:
    """The directional bands of every level of `(C, D, H, W)`, in double precision."""
    axes = (-3, -2, -1)
    approximation, *details = pywt.wavedecn(x.numpy(), "db4", mode, level=3, axes=axes)
    kept = [{key: band for key, band in finer.items() if key != "ddd"} for finer in details]
    zeroed = [finer | {"ddd": np.zeros_like(next(iter(finer.values())))} for finer in kept]
    back = pywt.waverecn([np.zeros_like(approximation), *zeroed], "db4", mode, axes=axes)
    return torch.from_numpy(back[(..., *(slice(size) for size in x.shape[-3:]))])


@pytest.mark.filterwarnings("ignore:Level value")
@pytest.mark.parametrize("allowed", ["highest", "high"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_projection_equals_pywavelets_whatever_precision_is_allowed(shape, mode, allowed, device):
    x = volume(3, *shape)
    x += 10  # the low band holds most of the energy; TF32 would leak 5e-4 of it into the detail
    torch.set_float32_matmul_precision(allowed)
    try:
        found = SubbandProjection("D", mode=mode)(x.to(device, torch.float32))
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (found.cpu().double() - of_pywavelets(x, mode)).abs().max() < 1e-4


@pytest.mark.filterwarnings("ignore:Level value")
@pytest.mark.parametrize("shape", SHAPES)
def test_in_double_precision_it_is_pywavelets_up_to_rounding(shape, device):
    x = volume(3, *shape)
    found = SubbandProjection("D")(x.to(device))
    assert (found.cpu() - of_pywavelets(x, "symmetric")).abs().max() < 1e-12


@pytest.mark.parametrize("mode", MODES)
def test_pyramid_inverts_and_its_adjoint_is_its_transpose(mode, device):
    x, y = (volume(2, 19, 16, 13, seed=seed).to(device, torch.float32) for seed in (0, 1))
    torch.testing.assert_close(waverec3(wavedec3(x, mode=mode), mode=mode, shape=x.shape[-3:]), x, rtol=0, atol=1e-4)
    project = SubbandProjection("D", mode=mode)
    left, right = ((a.double() * b.double()).sum() for a, b in ((project(x), y), (x, project.adjoint(y))))
    assert abs(left - right) < 1e-5 * x.norm() * y.norm()


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("every", [1, 4])
def test_projected_distance_and_its_gradients_are_those_in_double_precision(every, precision, device):
    dtype = getattr(torch, precision)
    spec = SubbandProjection("D").filter
    rounded = [volume(2, c, 16, 20, 14, seed=c).to(dtype) for c in (4, 16)]
    weight, bias = volume(16, 4, seed=3).float(), volume(16, seed=4).float()

    def result(place: torch.device, working: torch.dtype | None) -> list[Tensor]:
        student, teacher = (x.to(place, working or dtype) for x in rounded)
        inputs = [student, *(x.to(place, working or torch.float32) for x in (weight, bias))]
        for x in inputs:
            x.requires_grad_()
        loss = projected_distance(*inputs, teacher, spec, every=every)
        loss.backward()
        return [loss.detach().cpu().double(), *(x.grad.cpu().double() for x in inputs[:2])]

    of_half = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}[precision]  # the gradient's own rounding
    expected, found = result(torch.device("cpu"), torch.float64), result(device, None)
    for reference, number, tolerance in zip(expected, found, (1e-5, of_half, 1e-5), strict=True):
        assert (number - reference).norm() <= tolerance * reference.norm()


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
@pytest.mark.parametrize("shape", [(16, 20, 14), (33, 40, 29)])
def test_kernels_of_triton_compute_what_matrix_products_do(shape, mode, precision, cuda):
    pytest.importorskip("triton")
    dtype, (student_channels, teacher_channels) = getattr(torch, precision), (20, 70)
    found = {}
    for kernels in ("triton", "torch"):
        torch.manual_seed(0)
        method = DCD([student_channels], [teacher_channels], mode=mode, kernels=kernels).to(cuda)
        student = volume(2, student_channels, *shape, seed=1).to(cuda, dtype).requires_grad_()
        teacher = volume(2, teacher_channels, *shape, seed=2).to(cuda, dtype)
        loss = method(Activations([student]), Activations([teacher]))
        (1024 * loss).backward()
        found[kernels] = [x.detach().double() for x in (loss, student.grad, method.phi[0].weight.grad)]
    rounding = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}[precision]
    for mine, reference in zip(found["triton"], found["torch"], strict=True):
        assert (mine - reference).norm() <= rounding * reference.norm()
