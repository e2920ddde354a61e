"""wavedec3 and waverec3 are PyWavelets' wavedecn and waverecn."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nndistill.errors import UnknownName, UserError
from nndistill.wavelets import wavedec3, wavedecn, waverec3, waverecn
from plain_wavelets import compose, decompose

WAVELETS = ["haar", "db2", "db4", "db8", "sym5", "coif2", "bior1.3", "bior2.2", "bior4.4", "rbio3.1"]
SHAPES = [(4, 5, 7), (1, 2, 3), (16, 11, 9), (33, 20, 13), (8, 8, 8)]
MODES = pywt.Modes.modes

shapes = st.tuples(*[st.integers(1, 17)] * 3)
settings_of_transform = {
    "shape": shapes,
    "wavelet": st.sampled_from(WAVELETS),
    "mode": st.sampled_from([mode for mode in MODES if "reflect" not in mode]),
    "level": st.integers(0, 3),
    "seed": st.integers(0, 2**31),
}


def volume(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def deviation(ours: list, theirs: list) -> float:
    """Largest difference, relative to the largest coefficient, as extrapolating modes give huge and tiny ones."""
    assert len(ours) == len(theirs)
    pairs = [(ours[0], theirs[0])]
    for mine, reference in zip(ours[1:], theirs[1:], strict=True):
        assert mine.keys() == reference.keys()
        pairs += [(mine[key], reference[key]) for key in mine]
    assert all(mine.shape == reference.shape for mine, reference in pairs)
    largest = max(np.abs(reference).max() for _, reference in pairs)
    return max(np.abs(np.asarray(mine) - reference).max() for mine, reference in pairs) / largest


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_pyramid_and_its_inverse_equal_pywavelets(wavelet: str, mode: str) -> None:
    for shape in SHAPES:
        x = volume(2, *shape, dtype=torch.float32).double()
        for level in (1, 2, 3):
            try:
                reference = decompose(x.numpy(), wavelet, mode, level)
            except ValueError:  # PyWavelets refuses one sample in the reflecting modes
                with pytest.raises(UserError, match="cannot continue an axis of 1 sample"):
                    wavedec3(x, wavelet, mode=mode, level=level)
                continue
            ours = wavedec3(x, wavelet, mode=mode, level=level)
            assert deviation(ours, reference) <= 1e-12

            single = wavedec3(x.float(), wavelet, mode=mode, level=level)
            assert single[0].dtype == torch.float32
            assert deviation(single, reference) <= 1e-5

            back, reference_back = waverec3(ours, wavelet, mode=mode), compose(reference, wavelet, mode)
            assert back.shape == reference_back.shape
            largest = max(np.abs(reference[0]).max(), np.abs(reference_back).max())
            assert np.abs(back.numpy() - reference_back).max() <= 1e-12 * largest


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_pyramid_and_its_inverse_equal_pywavelets_in_fewer_dimensions(wavelet: str, ndim: int) -> None:
    for mode in MODES:
        for shape in {shape[:ndim] for shape in SHAPES[:3]}:
            x = volume(3, *shape, dtype=torch.float32).double()
            for level in (1, 2, 3):
                try:
                    reference = decompose(x.numpy(), wavelet, mode, level, ndim=ndim)
                except ValueError:
                    with pytest.raises(UserError, match="cannot continue an axis of 1 sample"):
                        wavedecn(x, wavelet, ndim=ndim, mode=mode, level=level)
                    continue
                ours = wavedecn(x, wavelet, ndim=ndim, mode=mode, level=level)
                assert deviation(ours, reference) <= 1e-12
                assert deviation(wavedecn(x.float(), wavelet, ndim=ndim, mode=mode, level=level), reference) <= 1e-5
                back = waverecn(ours, wavelet, ndim=ndim, mode=mode)
                reference_back = compose(reference, wavelet, mode, ndim=ndim)
                assert back.shape == reference_back.shape
                largest = max(np.abs(reference[0]).max(), np.abs(reference_back).max())
                assert np.abs(back.numpy() - reference_back).max() <= 1e-12 * largest


@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=2),
    **{name: drawn for name, drawn in settings_of_transform.items() if name != "shape"},
)
@settings(max_examples=60, deadline=None)
def test_any_size_equals_pywavelets_and_is_reconstructed_in_fewer_dimensions(shape, wavelet, mode, level, seed) -> None:
    x = volume(2, *shape, seed=seed)
    ours = wavedecn(x, wavelet, ndim=len(shape), mode=mode, level=level)
    assert deviation(ours, decompose(x.numpy(), wavelet, mode, level, ndim=len(shape))) <= 1e-12
    scale = max(1.0, float(ours[0].abs().max()))
    assert torch.allclose(waverecn(ours, wavelet, ndim=len(shape), mode=mode, shape=shape), x, atol=1e-10 * scale)


@pytest.mark.parametrize("wavelet", ["dmey", "db38", "sym20", "coif17", "bior6.8"])
def test_long_filters_equal_pywavelets(wavelet: str) -> None:
    x = volume(9, 5, 8)
    for mode in ("symmetric", "periodization"):
        reference = decompose(x.numpy(), wavelet, mode, 1)
        assert deviation(wavedec3(x, wavelet, mode=mode, level=1), reference) <= 1e-12


@given(**settings_of_transform)
@settings(max_examples=60, deadline=None)
def test_perfect_reconstruction(shape, wavelet, mode, level, seed) -> None:
    x = volume(*shape, seed=seed)
    coefficients = wavedec3(x, wavelet, mode=mode, level=level)
    scale = max(1.0, float(coefficients[0].abs().max()))
    assert torch.allclose(waverec3(coefficients, wavelet, mode=mode, shape=shape), x, atol=1e-10 * scale)


@given(**settings_of_transform)
@settings(max_examples=30, deadline=None)
def test_linear(shape, wavelet, mode, level, seed) -> None:
    x, y = volume(2, *shape, seed=seed)
    together = wavedec3(2 * x - 3 * y, wavelet, mode=mode, level=level)[0]
    apart = 2 * wavedec3(x, wavelet, mode=mode, level=level)[0] - 3 * wavedec3(y, wavelet, mode=mode, level=level)[0]
    assert torch.allclose(together, apart, atol=1e-10 * max(1.0, float(apart.abs().max())))


@given(
    exponents=st.tuples(*[st.integers(3, 5)] * 3),
    wavelet=st.sampled_from(["haar", "db2", "db4", "sym4", "coif2"]),
    level=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None)
def test_periodization_preserves_energy_where_sizes_halve_exactly(exponents, wavelet, level, seed) -> None:
    x = volume(*(2**e for e in exponents), seed=seed)
    approximation, *details = wavedec3(x, wavelet, mode="periodization", level=level)
    energy = approximation.square().sum() + sum(band.square().sum() for finer in details for band in finer.values())
    assert torch.allclose(energy, x.square().sum(), rtol=1e-9)


@pytest.mark.parametrize("mode", ["symmetric", "periodization", "smooth"])
def test_gradients_are_exact(mode: str) -> None:
    x = volume(2, 4, 5, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: tuple(wavedec3(v, "db2", mode=mode, level=2)[1].values()), x)
    assert torch.autograd.gradcheck(
        lambda v: waverec3(wavedec3(v, "bior2.2", mode=mode, level=2), "bior2.2", mode=mode), x
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_transformed_in_single(dtype: torch.dtype) -> None:
    x = volume(2, 8, 9, 10, dtype=torch.float32).to(dtype)
    coefficients = wavedec3(x, level=2)
    assert coefficients[0].dtype == torch.float32
    assert torch.equal(coefficients[0], wavedec3(x.float(), level=2)[0])


def test_autocast_does_not_reach_the_transform() -> None:
    x = volume(2, 8, 9, 10, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = wavedec3(x)
        back = waverec3(inside, "db4")
    assert torch.equal(inside[0], wavedec3(x)[0])
    assert back.dtype == torch.float32


def test_non_contiguous_input_gives_the_same() -> None:
    x = volume(6, 10, 8, 2)
    assert torch.allclose(wavedec3(x.permute(3, 0, 1, 2))[0], wavedec3(x.permute(3, 0, 1, 2).contiguous())[0])


def test_a_band_can_be_masked_in_place_and_the_gradient_knows() -> None:
    x = torch.rand(2, 8, 6, 7, requires_grad=True)
    approximation, details = wavedec3(x, "haar", level=1)
    details["aad"].mul_(0)
    approximation.zero_()
    (gradient,) = torch.autograd.grad(approximation.sum() + details["aad"].sum() + details["ddd"].square().sum(), x)
    other = x.detach().requires_grad_()
    (expected,) = torch.autograd.grad(wavedec3(other, "haar", level=1)[1]["ddd"].square().sum(), other)
    torch.testing.assert_close(gradient, expected)


def test_missing_details_count_as_zero() -> None:
    x = volume(9, 10, 11)
    full = wavedec3(x, level=2)
    zeroed = [full[0]] + [{k: v if k == "aad" else torch.zeros_like(v) for k, v in d.items()} for d in full[1:]]
    sparse = [full[0], {"aad": full[1]["aad"], "ddd": None}, {"aad": full[2]["aad"]}]
    assert torch.allclose(waverec3(sparse, "db4"), waverec3(zeroed, "db4"))


def test_first_call_under_inference_mode_does_not_spoil_training() -> None:
    x = volume(7, 19, 23, dtype=torch.float32)
    with torch.inference_mode():
        wavedec3(x, "sym7")
    x.requires_grad_()
    wavedec3(x, "sym7")[0].sum().backward()
    assert x.grad is not None


@pytest.mark.slow
def test_compiles() -> None:
    compiled = torch.compile(
        lambda v: waverec3(wavedec3(v, "db4", level=2), "db4", shape=v.shape[-3:]),
        backend="aot_eager",
    )
    x = volume(2, 9, 10, 12, dtype=torch.float32).requires_grad_()
    y = compiled(x)
    y.square().sum().backward()
    assert torch.allclose(y, x, atol=1e-4)
    assert torch.allclose(x.grad, 2 * x, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda x: wavedec3(x, "db44"), UnknownName, "no wavelet 'db44'. Did you mean 'db4'?"),
        (lambda x: wavedec3(x, "morl"), UserError, "continuous"),
        (lambda x: wavedec3(x, mode="symetric"), UnknownName, "Did you mean 'symmetric'?"),
        (lambda x: wavedec3(x, level=-1), UserError, "level must be a whole number of at least 0, not -1"),
        (lambda x: wavedec3(x, level=1.5), UserError, "level must be a whole number"),
        (lambda x: wavedec3(x.int()), UserError, "floating point"),
        (lambda x: wavedec3(x[0]), UserError, "at least the three axes"),
        (lambda x: wavedec3(x[:0]), UserError, "at least one sample"),
        (lambda x: wavedecn(x[0, 0], ndim=2), UserError, "at least the two axes H, W"),
        (lambda x: wavedecn(x, ndim=0), UserError, "in 1, 2 or 3 dimensions, not in 0"),
        (lambda x: waverecn([x, {"aad": x}], ndim=2), UserError, "'aad' in two dimensions; keys are ad, da, dd"),
        (lambda x: waverecn([x], ndim=2, shape=(8,)), UserError, r"a volume of \(8, 8\), not of \(8,\)"),
        (lambda x: waverec3([], "db4"), UserError, "start with the approximation"),
        (lambda x: waverec3([x, x], "db4"), UserError, "dictionary"),
        (lambda x: waverec3([x, {"aaaa": x}], "db4"), UserError, "no subband 'aaaa'"),
        (lambda x: waverec3([x, {"aad": x[:4]}], "db4"), UserError, "does not fit"),
        (lambda x: waverec3([x], "db4", shape=(9, 9, 9)), UserError, r"a volume of \(8, 8, 8\), not of \(9, 9, 9\)"),
    ],
)
def test_mistakes_are_explained_in_a_sentence(call, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        call(volume(8, 8, 8))
