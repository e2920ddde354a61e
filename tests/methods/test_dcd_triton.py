"""DCD by Triton's kernels, in its interpreter: loss and gradients are those of the plain definition."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")

from triton.runtime.interpreter import InterpreterBuilder

from nndistill.methods import DCD, Activations
from nndistill.methods.parts.fused.distance import fused_distance
from nndistill.methods.parts.fused.products import products
from nndistill.methods.parts.projected_distance import projected_distance
from nndistill.wavelets.band_filter import BandFilter
from nndistill.wavelets.fused.launches import Launch, listening
from nndistill.wavelets.subbands import parse_bands
from plain_wavelets import projection_matrix

pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="needs Triton's interpreter")


def volume(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def features(channels: tuple[int, int], *shape: int, samples: int = 1) -> list[Tensor]:
    """Student, weight, bias and teacher, float64: of each channel a constant, a slope, and noise."""
    slope = torch.linspace(-1, 1, shape[0], dtype=torch.float64)[:, None, None]
    of_s, of_t = channels
    student, teacher = (
        volume(samples, c, *shape, seed=c) + 2 * slope * volume(c, 1, 1, 1, seed=c + 1) + 3 for c in channels
    )
    return [student, volume(of_t, of_s, seed=5), volume(of_t, seed=6), teacher]


def plain_loss(student: Tensor, weight: Tensor, bias: Tensor, teacher: Tensor, spec: BandFilter) -> Tensor:
    matrix = projection_matrix(tuple(teacher.shape[2:]), "D", spec.wavelet, spec.mode, spec.level)
    difference = teacher.flatten(2) - weight @ student.flatten(2) - bias[:, None]
    return (difference @ matrix.mT).square().sum() / teacher.numel()


def loss_and_gradients(distance, inputs: list[Tensor], *others, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    student, weight, bias, teacher = (x.detach().to(dtype) for x in inputs)
    trained = [x.requires_grad_() for x in (student, weight, bias)]
    loss = distance(*trained, teacher, *others)
    return [loss.detach(), *torch.autograd.grad(loss, trained)]


def assert_equal(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-5) -> None:
    for mine, reference in zip(found[:3], expected[:3], strict=True):
        assert mine.shape == reference.shape
        assert (mine.double() - reference).norm() <= tolerance * reference.norm()
    assert found[3].shape == expected[3].shape
    assert not found[3].any()


@pytest.mark.parametrize(
    ("shape", "wavelet", "level", "mode", "samples"),
    [
        ((6, 4, 8), "haar", 2, "periodization", 2),
        ((5, 4, 6), "db2", 1, "symmetric", 1),
        pytest.param((16, 8, 24), "db4", 3, "periodization", 2, marks=pytest.mark.slow),
        pytest.param((9, 10, 8), "db4", 3, "symmetric", 1, marks=pytest.mark.slow),
        pytest.param((9, 10, 7), "db4", 3, "periodization", 1, marks=pytest.mark.slow),
    ],
)
def test_loss_and_gradients_equal_the_plain_definition(
    shape, wavelet: str, level: int, mode: str, samples: int
) -> None:
    spec = BandFilter(parse_bands("D"), wavelet, level, mode)
    inputs = features((1, 2), *shape, samples=samples)
    expected = loss_and_gradients(plain_loss, inputs, spec)
    assert_equal(loss_and_gradients(fused_distance, inputs, spec, dtype=torch.float32), expected)


@pytest.mark.slow
@given(
    shape=st.tuples(*[st.integers(2, 11)] * 3),
    wavelet=st.sampled_from(["haar", "db2", "db4", "bior2.2"]),
    level=st.integers(1, 3),
    mode=st.sampled_from(["symmetric", "periodization"]),
    channels=st.sampled_from([(1, 1), (2, 3), (1, 17)]),
)
@settings(max_examples=8, deadline=None)
def test_for_any_size_it_is_the_distance_by_matrix_products(shape, wavelet, level, mode, channels) -> None:
    spec = BandFilter(parse_bands("D"), wavelet, level, mode)
    inputs = features(channels, *shape)
    expected = loss_and_gradients(projected_distance, inputs, spec)
    found = loss_and_gradients(fused_distance, inputs, spec, dtype=torch.float32)
    largest = inputs[3].square().mean()
    assert abs(found[0] - expected[0]) <= 1e-5 * expected[0] + 1e-6 * largest
    for mine, reference in zip(found[1:], expected[1:], strict=True):
        assert (mine.double() - reference).norm() <= 1e-5 * reference.norm() + 1e-6


def stage_loss(method: DCD, student: Tensor, teacher: Tensor) -> Tensor:
    return method(Activations([student]), Activations([teacher]))


@pytest.mark.parametrize("partner_is_student", [True, False])
def test_products_of_more_channels_than_a_program_takes(partner_is_student: bool) -> None:
    teacher, student, other = (volume(2, c, 1, 2, 3, seed=c) + 5 for c in (20, 40, 40))
    weight, partner = volume(20, 40, seed=3), student if partner_is_student else other + student
    centres = [x.mean((2, 3, 4)).flatten() for x in (teacher, student)]
    T, S, Z = (
        (x.flatten(2) - centre.view(2, -1, 1)).transpose(0, 1).flatten(1)
        for x, centre in zip((teacher, student, partner), [*centres, centres[1]], strict=True)
    )
    narrow = [x.float() for x in (teacher, student, partner)]
    if partner_is_student:
        narrow[2] = narrow[1]
    mixed, found = products(*narrow, weight.float(), centres=tuple(centre.float() for centre in centres))
    expected = [weight.mT @ (T - weight @ S), T @ Z.mT, S @ Z.mT, T.square().sum()]
    for mine, reference in zip(
        [mixed.flatten(2).transpose(0, 1).flatten(1), found.of_teacher, found.of_student, found.energy],
        expected,
        strict=True,
    ):
        assert (mine.double() - reference).norm() <= 1e-5 * reference.norm()


HALVED = {"wavelet": "haar", "level": 1, "mode": "periodization"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_single(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nndistill.methods.dcd.LARGEST_DENSE_VOLUME", 0)
    student, _, _, teacher = (x.to(dtype) for x in features((2, 4), 4, 4, 6))
    student.requires_grad_()
    fused, usual = DCD([2], [4], kernels="triton", **HALVED), DCD([2], [4], **HALVED)
    usual.load_state_dict(fused.state_dict())
    found = {}
    for method in (fused, usual):
        student.grad = None
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = stage_loss(method, student, teacher)
        (loss * 1024).backward()
        found[method] = loss.detach(), student.grad, method.phi[0].weight.grad
    rounding = {torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]  # of the gradient, and of HHH
    for mine, reference in zip(found[fused], found[usual], strict=True):
        assert mine.dtype == reference.dtype
        assert (mine.double() - reference.double()).norm() <= rounding * reference.double().norm()


def test_a_large_constant_offset_costs_nothing() -> None:
    student, weight, bias, teacher = (x.float() for x in features((1, 2), 4, 4, 6))
    spec = BandFilter(parse_bands("D"), "haar", 1, "periodization")
    near, far = (fused_distance(student, weight, bias, teacher + offset, spec) for offset in (0, 1000))
    assert far.item() == pytest.approx(near.item(), rel=1e-4)


def test_a_feature_that_is_not_finite_shows_in_the_loss() -> None:
    student, weight, bias, teacher = (x.float() for x in features((1, 2), 4, 4, 4))
    teacher[0, 1, 1, 2, 3] = torch.inf
    spec = BandFilter(parse_bands("D"), "haar", 1, "periodization")
    assert not fused_distance(student, weight, bias, teacher, spec).isfinite()


@pytest.mark.parametrize(
    ("mode", "wavelet", "shape"), [("periodization", "haar", (6, 4, 8)), ("symmetric", "db2", (5, 4, 6))]
)
def test_what_launches_announce_is_what_their_programs_load_and_store(mode, wavelet, shape, monkeypatch) -> None:
    moved = {"loaded": 0, "stored": 0}

    def counting(name: str, of: str) -> None:
        real = getattr(InterpreterBuilder, name)

        def call(self, pointers, *others):
            mask = next((x for x in others if getattr(x, "data", None) is not None and x.data.dtype == bool), None)
            kind = pointers.get_element_ty()
            if kind.is_floating():
                many = pointers.data.size if mask is None else np.broadcast_to(mask.data, pointers.data.shape).sum()
                moved[of] += int(many) * kind.primitive_bitwidth // 8
            return real(self, pointers, *others)

        monkeypatch.setattr(InterpreterBuilder, name, call)

    counting("create_masked_load", "loaded")
    counting("create_masked_store", "stored")
    student, weight, bias, teacher = (x.half() if x.ndim == 5 else x.float() for x in features((1, 2), *shape))
    heard: list[Launch] = []
    with listening(heard.append):
        fused_distance(student, weight, bias, teacher, BandFilter(parse_bands("D"), wavelet, 1, mode))
    assert moved == {of: sum(getattr(launch, of) for launch in heard) for of in moved}
