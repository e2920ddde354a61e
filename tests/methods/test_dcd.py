"""DCD's loss and gradients are those of the plain definition, Eq. 7: φ, two projections, a mean of squares."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nndistill.errors import StageMismatch, UnknownName, UserError
from nndistill.methods import DCD, Activations
from nndistill.methods.parts.domain import Domain
from nndistill.methods.parts.projected_distance import projected_distance
from nndistill.wavelets import band_filter
from nndistill.wavelets.band_filter import BandFilter
from nndistill.wavelets.subbands import parse_bands
from plain_wavelets import decompose, projection_matrix

WEIGHTED = {"A": 1, "D": 0.75, "HHH": 0.5}
SHAPES = [(8, 8, 8), (4, 5, 7), (2, 2, 2), (1, 1, 1), (9, 6, 3)]


def volume(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def stage_loss(method: DCD, student: Tensor, teacher: Tensor) -> Tensor:
    return method(Activations([student]), Activations([teacher]))


def plain_loss(
    phi: nn.Module,
    student: Tensor,
    teacher: Tensor,
    bands: str | dict[str, float],
    mode: str,
    wavelet: str = "db4",
    level: int = 3,
) -> Tensor:
    matrix = projection_matrix(tuple(teacher.shape[2:]), bands, wavelet, mode, level)
    difference = teacher.flatten(2) @ matrix.mT - phi(student).flatten(2) @ matrix.mT
    return difference.square().sum() / teacher.numel()


@pytest.mark.parametrize("mode", ["symmetric", "periodization", "zero", "periodic"])
@pytest.mark.parametrize("bands", ["D", "A", "S", "A+D", "A+D+S", WEIGHTED])
def test_loss_and_gradients_equal_the_plain_definition(bands: str | dict[str, float], mode: str) -> None:
    for shape in SHAPES:
        method = DCD([3], [7], bands=bands, mode=mode).double()
        student, teacher = volume(2, 3, *shape).requires_grad_(), volume(2, 7, *shape, seed=1)
        inputs = [student, method.phi[0].weight, method.phi[0].bias]

        loss, reference = stage_loss(method, student, teacher), plain_loss(method.phi[0], student, teacher, bands, mode)
        assert torch.allclose(loss, reference, rtol=1e-10, atol=1e-14)
        for mine, expected in zip(
            torch.autograd.grad(loss, inputs), torch.autograd.grad(reference, inputs), strict=True
        ):
            assert mine.shape == expected.shape
            assert torch.allclose(mine, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", [{"mode": "symmetric"}, {"mode": "periodization"}, {"domain": "coefficients"}])
def test_frozen_phi_leaves_the_gradient_of_the_student_and_has_none(options: dict[str, str]) -> None:
    for shape in [(8, 8, 16), (8, 8, 7)]:
        frozen, trained = DCD([3], [7], train_phi=False, **options).double(), DCD([3], [7], **options).double()
        trained.load_state_dict(frozen.state_dict())
        student, teacher = volume(2, 3, *shape).requires_grad_(), volume(2, 7, *shape, seed=1)
        if "mode" in options:
            reference = plain_loss(frozen.phi[0], student, teacher, "D", options["mode"])
        else:
            reference = stage_loss(trained, student, teacher)
        loss = stage_loss(frozen, student, teacher)
        (expected,) = torch.autograd.grad(reference, student)
        loss.backward()
        torch.testing.assert_close(loss, reference, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(student.grad, expected, rtol=1e-9, atol=1e-12)
        assert all(parameter.grad is None for parameter in frozen.parameters())


def test_frozen_phi_saves_transforms_of_the_student(monkeypatch: pytest.MonkeyPatch) -> None:
    """The student's own channels are projected for the gradient of φ only."""
    transformed: list[int] = []
    apply = BandFilter.apply_
    monkeypatch.setattr(
        BandFilter, "apply_", lambda *args, **kw: transformed.append(len(args[1])) or apply(*args, **kw)
    )
    student, teacher = volume(1, 3, 8, 9, 10).requires_grad_(), volume(1, 7, 8, 9, 10, seed=1)
    volumes = {}
    for train_phi in (False, True):
        transformed.clear()
        stage_loss(DCD([3], [7], train_phi=train_phi).double(), student, teacher).backward()
        volumes[train_phi] = sum(transformed)
    assert volumes[False] == 7 + 3  # the difference, and the way back
    assert volumes[True] > volumes[False]

    transformed.clear()
    stage_loss(DCD([3], [7], loss_every=7).double(), student, teacher).backward()
    assert sum(transformed) == 1 + 4 * 3  # one channel of the difference; the student's there and back, twice


@pytest.mark.parametrize("bands", ["D", "A"])  # a bias that has no part in the distance, and one that has
def test_many_tiles_and_chunks_give_the_same(bands: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nndistill.methods.parts.projected_distance.TILE_ELEMENTS", 1)
    monkeypatch.setattr("nndistill.methods.parts.projected_distance.TILE_CHANNELS", 3)
    monkeypatch.setattr("nndistill.methods.parts.projected_distance.COLUMN_ELEMENTS", 7 * 11)
    monkeypatch.setattr("nndistill.wavelets.band_filter.CHUNK_ELEMENTS", 2 * 4 * 5 * 7)
    monkeypatch.setattr("nndistill.wavelets.band_filter.LARGEST_DENSE_VOLUME", 0)
    test_loss_and_gradients_equal_the_plain_definition(bands, "symmetric")
    test_value_of_some_channels_has_the_gradients_of_all(bands, "symmetric")


@pytest.mark.parametrize("mode", ["symmetric", "periodization", "zero"])
@pytest.mark.parametrize("bands", ["D", "A", "A+D", WEIGHTED])
def test_value_of_some_channels_has_the_gradients_of_all(bands: str | dict[str, float], mode: str) -> None:
    for shape in SHAPES:
        method = DCD([3], [7], bands=bands, mode=mode, loss_every=3).double()
        student, teacher = volume(2, 3, *shape).requires_grad_(), volume(2, 7, *shape, seed=1)
        phi = method.phi[0]
        value = stage_loss(method, student, teacher)

        third = nn.Conv3d(3, 3, 1).double()
        third.load_state_dict({name: x[::3] for name, x in phi.state_dict().items()})
        assert torch.allclose(value, plain_loss(third, student, teacher[:, ::3], bands, mode), rtol=1e-10, atol=1e-14)
        inputs = [student, phi.weight, phi.bias]
        expected = torch.autograd.grad(plain_loss(phi, student, teacher, bands, mode), inputs)
        for mine, plain in zip(torch.autograd.grad(value, inputs), expected, strict=True):
            assert torch.allclose(mine, plain, rtol=1e-9, atol=1e-12)


@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    wavelet=st.sampled_from(["haar", "db4", "bior2.2"]),
    mode=st.sampled_from(["symmetric", "periodization", "zero", "constant"]),
    bands=st.sampled_from(["D", "A", "S", "A+D"]),
    every=st.integers(2, 9),
)
@settings(max_examples=25, deadline=None)
def test_gradients_do_not_depend_on_the_channels_of_the_value(shape, wavelet, mode, bands, every) -> None:
    spec = BandFilter(parse_bands(bands), wavelet, 2, mode)
    inputs = [volume(*s).requires_grad_() for s in [(2, 2, *shape), (5, 2), (5,)]]
    teacher = volume(2, 5, *shape, seed=1)
    whole, some = (torch.autograd.grad(projected_distance(*inputs, teacher, spec, every=n), inputs) for n in (1, every))
    for a, b in zip(whole, some, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
def test_single_precision_is_as_exact_as_it_can_be(mode: str, every: int) -> None:
    spec = BandFilter(parse_bands("D"), "db4", 3, mode)
    wide = [volume(*s).requires_grad_() for s in [(2, 4, 16, 24, 8), (16, 4), (16,)]]
    narrow = [x.detach().float().requires_grad_() for x in wide]
    teacher = volume(2, 16, 16, 24, 8, seed=1)
    reference, loss = (
        projected_distance(*inputs, teacher.to(inputs[0].dtype), spec, every=every) for inputs in (wide, narrow)
    )
    assert loss.item() == pytest.approx(reference.item(), rel=1e-6)
    for mine, expected in zip(
        torch.autograd.grad(loss, narrow[:2]), torch.autograd.grad(reference, wide[:2]), strict=True
    ):
        assert (mine - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("options", [{}, {"bands": "A"}, {"loss_every": 2}])
def test_phi_without_a_bias(options: dict[str, object]) -> None:
    method = DCD([3], [7], **options)
    method.phi[0] = nn.Conv3d(3, 7, 1, bias=False)
    method.double()
    student, teacher = volume(2, 3, 4, 5, 7).requires_grad_(), volume(2, 7, 4, 5, 7, seed=1)
    reference = plain_loss(method.phi[0], student, teacher, str(options.get("bands", "D")), "symmetric")
    inputs = [student, method.phi[0].weight]
    mine = torch.autograd.grad(stage_loss(method, student, teacher), inputs)
    for a, b in zip(mine, torch.autograd.grad(reference, inputs), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("every", [1, 2])
def test_gradients_can_be_asked_for_twice_and_accumulate(every: int) -> None:
    """Balanced weights ask for the gradient's norm before the step's own backward pass."""
    method = DCD([2], [4], loss_every=every)
    student, teacher = volume(1, 2, 8, 8, 8).float().requires_grad_(), volume(1, 4, 8, 8, 8, seed=1).float()
    loss = stage_loss(method, student, teacher)
    (alone,) = torch.autograd.grad(loss, student, retain_graph=True)
    (3 * loss).backward()
    torch.testing.assert_close(student.grad, 3 * alone)
    stage_loss(method, student, teacher).backward()
    torch.testing.assert_close(student.grad, 4 * alone)


@pytest.mark.parametrize("train_phi", [True, False])
@pytest.mark.parametrize("channel", [0, 1])
def test_a_feature_that_is_not_finite_shows_in_the_value_of_some_channels(channel: int, train_phi: bool) -> None:
    student, teacher = volume(1, 2, 4, 4, 4).requires_grad_(), volume(1, 4, 4, 4, 4, seed=1)
    teacher[0, channel, 1, 2, 3] = torch.inf
    value = stage_loss(DCD([2], [4], loss_every=2, train_phi=train_phi).double(), student, teacher)
    assert not value.isfinite()


@pytest.mark.parametrize("every", [1, 2])
def test_projection_of_a_constant_is_computed_once(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[bool] = []
    apply = band_filter._apply
    monkeypatch.setattr(band_filter, "_apply", lambda plan, x: alone.append(len(x) == 1) or apply(plan, x))
    method = DCD([2], [4], mode="zero", loss_every=every).double()  # ones are not zero beyond the border: detail
    student, teacher = volume(1, 2, 5, 3, 9).requires_grad_(), volume(1, 4, 5, 3, 9, seed=1)
    found = []
    for _ in range(3):
        alone.clear()
        stage_loss(method, student, teacher).backward()
        found.append(sum(alone))
    assert found[0] > 0
    assert found[1:] == [0, 0]


def test_stages_are_summed() -> None:
    method = DCD([2, 3], [4, 6]).double()
    students = [volume(1, 2, 8, 10, 12), volume(1, 3, 4, 5, 6)]
    teachers = [volume(1, 4, 8, 10, 12, seed=1), volume(1, 6, 4, 5, 6, seed=2)]
    apart = sum(
        plain_loss(phi, s, t, "D", "symmetric") for phi, s, t in zip(method.phi, students, teachers, strict=True)
    )
    assert torch.allclose(method(Activations(students), Activations(teachers)), apart)


@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
def test_gradients_are_exact(mode: str) -> None:
    spec = BandFilter(parse_bands("D"), "db2", 2, mode)
    student, weight, bias = (volume(*s).requires_grad_() for s in [(2, 2, 4, 3, 5), (3, 2), (3,)])
    teacher = volume(2, 3, 4, 3, 5, seed=1)
    assert torch.autograd.gradcheck(lambda *inputs: projected_distance(*inputs, teacher, spec), (student, weight, bias))


@pytest.mark.parametrize("trained", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_what_is_trained_gets_a_gradient(trained: tuple[bool, ...]) -> None:
    spec = BandFilter(parse_bands("A+D"), "db2", 2, "symmetric")
    inputs = [volume(*s).requires_grad_(t) for s, t in zip([(1, 2, 4, 3, 5), (3, 2), (3,)], trained, strict=True)]
    projected_distance(*inputs, volume(1, 3, 4, 3, 5), spec).backward()
    assert [x.grad is not None for x in inputs] == list(trained)


def identity_phi(method: DCD) -> DCD:
    with torch.no_grad():
        weight = method.phi[0].weight
        weight.copy_(torch.eye(*weight.shape[:2])[:, :, None, None, None])
        method.phi[0].bias.zero_()
    return method


def test_equal_features_cost_nothing() -> None:
    x = volume(1, 4, 16, 11, 9, dtype=torch.float32)
    assert stage_loss(identity_phi(DCD([4], [4], bands="A+D+S")), x, x) == 0


@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
@pytest.mark.parametrize("bands", ["D", "S"])
def test_constant_offset_between_teacher_and_student_costs_nothing(bands: str, mode: str) -> None:
    x = volume(1, 4, 16, 20, 14, dtype=torch.float32).requires_grad_()
    method = identity_phi(DCD([4], [4], bands=bands, mode=mode))
    assert stage_loss(method, x, x.detach() + 1000.0) < 1e-6
    assert stage_loss(DCD([4], [4], bands="A"), x, x.detach() + 1000.0) > 1e5


@pytest.mark.parametrize("bands", ["D", "A", "S", "A+S", WEIGHTED])
def test_coefficients_equal_spatial_under_periodization(bands: str | dict[str, float]) -> None:
    student, teacher = volume(2, 2, 16, 8, 24).requires_grad_(), volume(2, 5, 16, 8, 24, seed=1)
    spatial = DCD([2], [5], bands=bands, mode="periodization").double()
    coefficients = DCD([2], [5], bands=bands, mode="periodization", domain="coefficients").double()
    coefficients.load_state_dict(spatial.state_dict())
    losses = [stage_loss(method, student, teacher) for method in (spatial, coefficients)]
    gradients = [torch.autograd.grad(loss, student)[0] for loss in losses]
    assert torch.allclose(*losses, rtol=1e-9)
    assert torch.allclose(*gradients, rtol=1e-8, atol=1e-12)


def test_coefficients_are_compared_as_defined() -> None:
    student, teacher = volume(1, 2, 9, 8, 7), volume(1, 5, 9, 8, 7, seed=1)
    method = DCD([2], [5], domain="coefficients", level=2).double()
    difference = (teacher - method.phi[0](student)).detach().numpy()
    _, *details = decompose(difference, "db4", "symmetric", 2)
    energy = sum((band**2).sum() for finer in details for key, band in finer.items() if key != "ddd")
    assert stage_loss(method, student, teacher).item() == pytest.approx(energy / difference.size, rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_single(dtype: torch.dtype) -> None:
    student, teacher = volume(1, 2, 8, 9, 10).to(dtype).requires_grad_(), volume(1, 6, 8, 9, 10, seed=1).to(dtype)
    method = DCD([2], [6])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = stage_loss(method, student, teacher)
    assert loss.dtype == torch.float32
    (loss * 1024).backward()
    wide = student.detach().float().requires_grad_()
    reference = stage_loss(method, wide, teacher.float())
    reference.backward()
    assert torch.allclose(loss, reference)
    assert student.grad.dtype == dtype
    assert torch.allclose(student.grad.float(), 1024 * wide.grad, rtol=1e-2, atol=1e-3)
    assert method.phi[0].weight.grad.dtype == torch.float32


def test_teacher_from_inference_mode() -> None:
    with torch.inference_mode():
        teacher = volume(1, 4, 8, 8, 8, dtype=torch.float32) * 2
    student = volume(1, 2, 8, 8, 8, dtype=torch.float32).requires_grad_()
    stage_loss(DCD([2], [4]), student, teacher).backward()
    assert student.grad is not None


def test_non_contiguous_features_give_the_same() -> None:
    method = DCD([2], [4]).double()
    student, teacher = volume(1, 2, 9, 8, 7), volume(1, 4, 9, 8, 7, seed=1)
    last = torch.channels_last_3d
    strided = stage_loss(method, student.to(memory_format=last), teacher.to(memory_format=last))
    assert torch.allclose(strided, stage_loss(method, student, teacher), rtol=1e-12)


def test_compiles() -> None:
    method = DCD([2], [4])
    student, teacher = volume(1, 2, 8, 9, 10).float().requires_grad_(), volume(1, 4, 8, 9, 10, seed=1).float()
    eager = stage_loss(method, student, teacher)
    (expected,) = torch.autograd.grad(eager, student)
    loss = torch.compile(stage_loss, backend="aot_eager")(method, student, teacher)
    assert torch.allclose(loss, eager)
    assert torch.allclose(torch.autograd.grad(loss, student)[0], expected, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"domain": "spacial"}, UnknownName, "Did you mean 'spatial'?"),
        ({"wavelet": "db44"}, UnknownName, "Did you mean 'db4'?"),
        ({"bands": "Q"}, UnknownName, "no subband 'Q'"),
        ({"loss_every": 0}, UserError, "at least 1, not 0"),
        ({"loss_every": 2.5}, UserError, "a whole number"),
        ({"loss_every": 4, "domain": "coefficients"}, UserError, "Leave one of the two out"),
    ],
)
def test_mistakes_are_told_in_a_sentence(options, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        DCD([2], [4], **options)


def test_unequal_sizes_are_refused() -> None:
    with pytest.raises(StageMismatch, match="unequal size at stage 0"):
        stage_loss(DCD([2], [4]), volume(1, 2, 8, 8, 8), volume(1, 4, 8, 8, 7))


def test_decoders_are_compared_as_stages_are_all_but_the_coarsest() -> None:
    method = DCD([2, 3, 4], [4, 6, 8], match="decoder").double()
    students = [volume(1, 2, 8, 10, 12), volume(1, 3, 4, 5, 6)]
    teachers = [volume(1, 4, 8, 10, 12, seed=1), volume(1, 6, 4, 5, 6, seed=2)]
    apart = sum(
        plain_loss(phi, s, t, "D", "symmetric") for phi, s, t in zip(method.phi, students, teachers, strict=True)
    )
    loss = method(Activations([], decoder=students), Activations([], decoder=teachers))
    assert torch.allclose(loss, apart)
    assert method.needs == {"decoder"}
    assert method.source_weight is None


@pytest.mark.parametrize("domain", ["spatial", "coefficients"])
def test_logits_are_compared_as_they_are(domain: Domain) -> None:
    method = DCD([2, 3], [4, 6], match="logits", mode="periodization", domain=domain).double()
    student, teacher = volume(1, 3, 8, 8, 16).requires_grad_(), volume(1, 3, 8, 8, 16, seed=1)
    reference = plain_loss(nn.Identity(), student, teacher, "D", "periodization")
    loss = method(Activations([], logits=student), Activations([], logits=teacher))
    assert torch.allclose(loss, reference)
    for mine, expected in zip(
        torch.autograd.grad(loss, [student]), torch.autograd.grad(reference, [student]), strict=True
    ):
        assert torch.allclose(mine, expected)
    assert list(method.parameters()) == []


@pytest.mark.parametrize("options", [{"loss_every": 2}, {"kernels": "triton"}])
def test_what_saves_work_on_many_channels_is_refused_for_logits(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="of which logits have few"):
        DCD([2], [4], match="logits", **options)


def test_what_is_matched_has_one_of_three_names() -> None:
    with pytest.raises(UnknownName, match="'bottleneck'"):
        DCD([2], [4], match="bottleneck")  # type: ignore[arg-type]
