"""The release's loss, against a plain transcription of its formulas; and how far its synthesis is from an inverse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nndistill.errors import UserError
from nndistill.methods import Activations, DCDRelease
from nndistill.methods.parts.release_pyramid import ReleasePyramid, pyramid_energy
from plain_release import BANDS, analyse, release_loss, synthesise
from plain_wavelets import GROUPS


def volume(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def loss_of(method: DCDRelease, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    return method(Activations(student), Activations(teacher))


@pytest.mark.parametrize("shape", [(16, 12, 8), (4, 5, 7), (9, 6, 3), (2, 2, 2)])
@pytest.mark.parametrize(("wavelet", "level"), [("db4", 3), ("haar", 2), ("bior2.2", 1)])
@pytest.mark.parametrize("bands", ["D", "A", "S"])
def test_loss_and_gradients_equal_the_formulas(shape, wavelet, level, bands) -> None:
    method = DCDRelease([3], [5], wavelet=wavelet, level=level, bands=bands).double()
    student, teacher = volume(2, 3, *shape).requires_grad_(), volume(2, 5, *shape, seed=1)
    inputs = [student, method.phi[0].weight, method.phi[0].bias]
    loss = loss_of(method, [student], [teacher])
    reference = release_loss(method.phi[0](student), teacher, GROUPS[bands], wavelet, level)
    torch.testing.assert_close(loss, reference, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(
        torch.autograd.grad(loss, inputs), torch.autograd.grad(reference, inputs), rtol=1e-9, atol=1e-12
    )


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 11)] * 3),
    level=st.integers(1, 3),
    bands=st.sets(st.sampled_from(BANDS), min_size=1).map(sorted),
)
def test_equals_the_formulas_for_any_size_and_any_bands(shape, level, bands) -> None:
    student, teacher = volume(1, 2, *shape), volume(1, 2, *shape, seed=1)
    loss = pyramid_energy(teacher - student, ReleasePyramid(frozenset(bands), "db2", level))
    torch.testing.assert_close(loss, release_loss(student, teacher, bands, "db2", level), rtol=1e-10, atol=1e-14)


def test_equals_the_formulas_in_single_precision_and_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nndistill.methods.parts.release_pyramid.CHUNK_ELEMENTS", 2 * 20 * 14 * 9)
    method = DCDRelease([4], [7])
    student, teacher = volume(2, 4, 20, 14, 9).float().requires_grad_(), volume(2, 7, 20, 14, 9, seed=1).float()
    loss = loss_of(method, [student], [teacher])
    reference = release_loss(method.phi[0](student), teacher, GROUPS["D"], "db4", 3)
    torch.testing.assert_close(loss, reference, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, student)[0] for value in (loss, reference)), rtol=1e-4, atol=1e-9
    )


def test_stages_are_averaged() -> None:
    method = DCDRelease([2, 3], [4, 6]).double()
    students, teachers = (
        [volume(1, 2, 8, 10, 12), volume(1, 3, 4, 5, 6)],
        [volume(1, 4, 8, 10, 12, seed=1), volume(1, 6, 4, 5, 6, seed=2)],
    )
    apart = [
        release_loss(phi(s), t, GROUPS["D"], "db4", 3) for phi, s, t in zip(method.phi, students, teachers, strict=True)
    ]
    torch.testing.assert_close(loss_of(method, students, teachers), sum(apart) / 2)


def test_gradient_is_exact() -> None:
    pyramid = ReleasePyramid(frozenset(GROUPS["D"]), "db2", 2)
    x = volume(1, 2, 4, 3, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pyramid_energy(x, pyramid), (x,))


def test_equal_features_cost_nothing() -> None:
    x = volume(1, 3, 9, 8, 7, dtype=torch.float32)
    method = DCDRelease([3], [3])
    with torch.no_grad():
        method.phi[0].weight.copy_(torch.eye(3)[:, :, None, None, None])
        method.phi[0].bias.zero_()
    assert loss_of(method, [x], [x]) == 0


def test_constant_offset_costs_something_at_the_border() -> None:
    """Unlike in the paper's projection: zeros outside make an edge of a constant."""
    pyramid = ReleasePyramid(frozenset(GROUPS["D"]), "db4", 3)
    assert pyramid_energy(torch.ones(1, 1, 16, 16, 16), pyramid) > 0.01


@pytest.mark.parametrize(("wavelet", "error"), [("db4", 1.29), ("haar", 1.36)])
def test_its_synthesis_does_not_invert_its_analysis(wavelet, error) -> None:
    x = volume(8, 32, 32, 32, dtype=torch.float32)
    back = synthesise(analyse(x, wavelet), (32, 32, 32), wavelet)
    assert ((back - x).norm() / x.norm()).item() == pytest.approx(error, abs=0.02)


@pytest.mark.parametrize("wavelet", ["db4", "haar"])
def test_with_the_analysis_filters_it_would(wavelet) -> None:
    x = volume(8, 32, 32, 32, dtype=torch.float32)
    back = synthesise(analyse(x, wavelet), (32, 32, 32), wavelet, "dec_lo", "dec_hi")
    assert (back - x).norm() / x.norm() < 2e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_single(dtype) -> None:
    student, teacher = volume(1, 2, 8, 9, 10).to(dtype).requires_grad_(), volume(1, 6, 8, 9, 10, seed=1).to(dtype)
    method = DCDRelease([2], [6])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(method, [student], [teacher])
    loss.backward()
    assert loss.dtype == torch.float32
    assert student.grad.dtype == dtype


def test_an_axis_of_one_voxel_is_refused() -> None:
    with pytest.raises(UserError, match="drops the last voxel"):
        loss_of(DCDRelease([2], [4]), [volume(1, 2, 4, 4, 1).float()], [volume(1, 4, 4, 4, 1).float()])
