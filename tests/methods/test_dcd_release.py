"""The release's loss, against a plain transcription of its formulas; and how far its synthesis is from an inverse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nndistill.errors import UnknownName, UserError
from nndistill.methods import Activations, DCDRelease
from nndistill.methods.parts.release_pyramid import ReleasePyramid, pyramid_energy
from plain_release import BANDS, analyse, loss_of_coefficients, release_loss, synthesise, training_loss
from plain_wavelets import GROUPS


def volume(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def loss_of(method: DCDRelease, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    return method(Activations(student), Activations(teacher))


@pytest.mark.parametrize("shape", [(16, 12, 8), (4, 5, 7), (9, 6, 3), (2, 2, 2)])
@pytest.mark.parametrize(("wavelet", "level"), [("db4", 3), ("haar", 2), ("bior2.2", 1)])
@pytest.mark.parametrize("bands", ["D", "A", "S"])
@pytest.mark.parametrize(("domain", "plain"), [("spatial", release_loss), ("coefficients", loss_of_coefficients)])
def test_loss_and_gradients_equal_the_formulas(shape, wavelet, level, bands, domain, plain) -> None:
    options = {"wavelet": wavelet, "level": level, "bands": bands, "domain": domain}
    method = DCDRelease([3], [5], train_phi=True, **options).double()
    student, teacher = volume(2, 3, *shape).requires_grad_(), volume(2, 5, *shape, seed=1)
    inputs = [student, method.phi[0].weight, method.phi[0].bias]
    loss = loss_of(method, [student], [teacher])
    reference = plain(method.phi[0](student), teacher, GROUPS[bands], wavelet, level)
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
    for domain, plain in (("spatial", release_loss), ("coefficients", loss_of_coefficients)):
        loss = pyramid_energy(teacher - student, ReleasePyramid(frozenset(bands), "db2", level, domain))
        torch.testing.assert_close(loss, plain(student, teacher, bands, "db2", level), rtol=1e-10, atol=1e-14)


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


def test_stages_are_summed_as_in_the_training_of_the_release() -> None:
    """All stages at once, as built by default, in single precision: the loss, and the gradient in every stage."""
    sizes = [(20, 16, 12), (10, 8, 6), (5, 4, 3), (5, 2, 2)]
    student_channels, teacher_channels = [1, 2, 3, 4], [4, 8, 12, 16]
    method = DCDRelease(student_channels, teacher_channels)
    students, teachers = (
        [volume(2, c, *size, dtype=torch.float32, seed=seed) for c, size in zip(channels, sizes, strict=True)]
        for seed, channels in enumerate((student_channels, teacher_channels))
    )
    for student in students:
        student.requires_grad_()
    projected = [phi(student) for phi, student in zip(method.phi, students, strict=True)]
    loss, reference = loss_of(method, students, teachers), training_loss(projected, teachers, GROUPS["D"], "db4", 3)
    torch.testing.assert_close(loss, reference, rtol=1e-5, atol=0)
    of_loss, of_reference = (torch.autograd.grad(value, students) for value in (loss, reference))
    for mine, expected in zip(of_loss, of_reference, strict=True):
        assert (mine - expected).norm() <= 1e-5 * expected.norm()


def test_the_domains_differ() -> None:
    """Unlike in the paper's equations under an orthonormal transform, because this synthesis is no inverse."""
    x = volume(1, 1, 32, 32, 32).requires_grad_()
    gradients = []
    for domain in ("spatial", "coefficients"):
        energy = pyramid_energy(x, ReleasePyramid(frozenset(GROUPS["D"]), "db4", 3, domain))
        gradients.append(torch.autograd.grad(energy, x)[0].flatten())
    assert torch.cosine_similarity(*gradients, dim=0) < 0.99


@pytest.mark.parametrize("domain", ["spatial", "coefficients"])
def test_gradient_is_exact(domain) -> None:
    pyramid = ReleasePyramid(frozenset(GROUPS["D"]), "db2", 2, domain)
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


def test_an_axis_of_one_voxel_has_coefficients() -> None:
    student, teacher = volume(1, 2, 4, 4, 1), volume(1, 2, 4, 4, 1, seed=1)
    loss = pyramid_energy(teacher - student, ReleasePyramid(frozenset(GROUPS["D"]), "db4", 3, "coefficients"))
    torch.testing.assert_close(loss, loss_of_coefficients(student, teacher, GROUPS["D"], "db4", 3))


def test_unknown_domain_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'coefficients'"):
        DCDRelease([2], [4], domain="coefficient")
