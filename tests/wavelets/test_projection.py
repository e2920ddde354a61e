"""The fast projection is the plain definition, Eq. 6, and its adjoint is the transpose."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nndistill.errors import UnknownName, UserError
from nndistill.wavelets import SubbandProjection, wavedec3, wavedecn
from nndistill.wavelets.subbands import SUBBANDS, parse_bands
from plain_wavelets import project

NAMED = ["A", "D", "S", "A+D", "A+S", "D+S", "A+D+S", ["LLH", "HLL"], ["LLL", "HHL"]]
WEIGHTED = [{"A": 1, "D": 0.75, "S": 0.5}, {"LLH": 2, "HLL": 1e-7}]
BANDS = [*NAMED, *WEIGHTED]
MODES = pywt.Modes.modes
WAVELETS = ["haar", "db2", "db4", "sym5", "bior1.3", "bior4.4", "rbio3.1"]


def volume(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_equals_the_plain_definition(wavelet: str, mode: str) -> None:
    for shape, level in [((4, 5, 7), 3), ((16, 11, 9), 2), ((45, 6, 8), 1), ((1, 2, 3), 1)]:
        if "reflect" in mode and min(shape) < 2**level:  # PyWavelets refuses an axis of one sample
            continue
        x = volume(2, *shape, dtype=torch.float32).double()
        scale = max(1.0, float(wavedec3(x, wavelet, mode=mode, level=level)[0].abs().max()))
        for bands in BANDS:
            projection = SubbandProjection(bands, wavelet=wavelet, mode=mode, level=level)
            reference = project(x.numpy(), bands, wavelet, mode, level)
            assert np.abs(projection(x).numpy() - reference).max() <= 1e-12 * scale
            assert np.abs(projection(x.float()).numpy() - reference).max() <= 1e-5 * scale


@pytest.mark.parametrize("bands", ["A", "D", "S", "A+D+S"])
def test_equals_the_plain_definition_for_a_wavelet_that_inverts_only_nearly(bands) -> None:
    x = volume(2, 9, 8, 5)
    reference = project(x.numpy(), bands, "dmey", "symmetric", 1)
    assert np.abs(SubbandProjection(bands, wavelet="dmey", level=1)(x).numpy() - reference).max() <= 1e-12
    if bands == "A+D+S":
        assert np.abs(reference - x.numpy()).max() > 1e-6


@pytest.mark.parametrize("mode", ["symmetric", "periodization", "periodic", "zero"])
def test_equals_the_plain_definition_on_long_axes(mode: str) -> None:
    for shape in [(64, 80, 6), (5, 47, 112), (130, 4, 4)]:
        x = volume(3, *shape)
        for bands in ("D", "S", "A+D", ["LHL"]):
            reference = project(x.numpy(), bands, "db4", mode, 3)
            assert np.abs(SubbandProjection(bands, mode=mode)(x).numpy() - reference).max() <= 1e-12


@st.composite
def projections_in_fewer_dimensions(draw) -> tuple[tuple[int, ...], dict, list[str] | dict[str, float]]:
    ndim = draw(st.sampled_from([1, 2]))
    shape = draw(st.tuples(*[st.integers(1, 60)] * ndim))
    names, weights = st.sampled_from(SUBBANDS[ndim]), st.sampled_from([0.25, 1, 3])
    bands = draw(st.sets(names, min_size=1).map(sorted) | st.dictionaries(names, weights, min_size=1))
    return shape, {"wavelet": draw(st.sampled_from(WAVELETS)), "level": draw(st.integers(1, 4))}, bands


@given(
    drawn=projections_in_fewer_dimensions(),
    mode=st.sampled_from([mode for mode in MODES if "reflect" not in mode]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=100, deadline=None)
def test_equals_the_plain_definition_in_fewer_dimensions_and_the_adjoint_is_the_transpose(drawn, mode, seed) -> None:
    shape, options, bands = drawn
    ndim = len(shape)
    x, y = volume(2, 3, *shape, seed=seed)
    projection = SubbandProjection(bands, **options, mode=mode, ndim=ndim)
    reference = project(x.numpy(), bands, options["wavelet"], mode, options["level"], ndim=ndim)
    scale = max(1.0, float(wavedecn(x, **options, ndim=ndim, mode=mode)[0].abs().max()))
    projected, adjoint = projection(x), projection.adjoint(y)
    assert np.abs(projected.numpy() - reference).max() <= 1e-12 * scale
    left, right = (projected * y).sum(), (x * adjoint).sum()
    assert abs(left - right) <= 1e-10 * (projected.norm() * y.norm() + x.norm() * adjoint.norm() + 1)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_groups_of_bands_equal_the_plain_definition_in_fewer_dimensions(mode: str, ndim: int) -> None:
    for shape, level in [((40, 27), 3), ((5, 64), 1), ((8, 8), 2)]:
        x = volume(2, *shape[:ndim], dtype=torch.float32).double()
        for bands in ("A", "D", "S", "A+D", "D+S", "A+D+S")[:: 1 if ndim == 2 else 2]:
            projection = SubbandProjection(bands, mode=mode, level=level, ndim=ndim)
            reference = project(x.numpy(), bands, "db4", mode, level, ndim=ndim)
            scale = max(1.0, float(wavedecn(x, ndim=ndim, mode=mode, level=level)[0].abs().max()))
            assert np.abs(projection(x).numpy() - reference).max() <= 1e-12 * scale
            assert np.abs(projection(x.float()).numpy() - reference).max() <= 1e-5 * scale


@given(
    shape=st.tuples(*[st.integers(1, 50)] * 3).filter(lambda s: s[0] * s[1] * s[2] < 30000),
    wavelet=st.sampled_from(WAVELETS),
    mode=st.sampled_from([mode for mode in MODES if "reflect" not in mode]),
    bands=st.sets(st.sampled_from(SUBBANDS[3]), min_size=1).map(sorted),
    level=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_adjoint_passes_the_dot_product_test(shape, wavelet, mode, bands, level, seed) -> None:
    x, y = volume(2, 1, *shape, seed=seed)
    projection = SubbandProjection(bands, wavelet=wavelet, mode=mode, level=level)
    forward, adjoint = projection(x), projection.adjoint(y)
    left, right = (forward * y).sum(), (x * adjoint).sum()
    assert abs(left - right) <= 1e-10 * (forward.norm() * y.norm() + x.norm() * adjoint.norm() + 1)


@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
@pytest.mark.parametrize("bands", ["D", "S", "D+S", ["LLH", "HHH"]])
def test_constants_vanish_under_bands_without_approximation(bands, mode: str) -> None:
    for shape in [(4, 5, 7), (16, 20, 14), (33, 8, 9)]:
        constant = torch.full((1, *shape), 1000.0)
        assert SubbandProjection(bands, mode=mode)(constant).abs().max() < 1e-2
        assert SubbandProjection(bands, mode=mode)(constant.double()).abs().max() < 1e-9


@pytest.mark.parametrize("bands", NAMED)
@pytest.mark.parametrize("wavelet", ["haar", "db4"])
def test_orthogonal_projection_under_periodization(bands, wavelet: str) -> None:
    x = volume(2, 16, 8, 24)
    projection = SubbandProjection(bands, wavelet=wavelet, mode="periodization")
    once = projection(x)
    assert torch.allclose(projection(once), once, atol=1e-10)
    assert torch.allclose(projection.adjoint(x), once, atol=1e-10)


def test_bands_add_up_to_the_volume() -> None:
    x = volume(2, 13, 20, 9)
    assert torch.allclose(sum(SubbandProjection(b)(x) for b in "ADS"), x, atol=1e-11)


@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
@pytest.mark.parametrize("bands", ["D", "A"])
def test_gradient_is_exact(bands, mode: str) -> None:
    x = volume(2, 3, 5, 4).requires_grad_()
    projection = SubbandProjection(bands, wavelet="db2", level=2, mode=mode)
    assert torch.autograd.gradcheck(projection, x)
    assert torch.autograd.gradgradcheck(projection, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_result_has_the_type_of_the_input(dtype: torch.dtype) -> None:
    x = volume(2, 3, 8, 9, 10).to(dtype)
    result = SubbandProjection()(x)
    assert result.dtype == dtype
    wide = SubbandProjection()(x if dtype == torch.float64 else x.float())
    assert torch.equal(result, wide.to(dtype))


def test_autocast_does_not_reach_the_projection() -> None:
    x = volume(2, 8, 9, 10, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = SubbandProjection()(x)
    assert torch.equal(inside, SubbandProjection()(x))


def test_non_contiguous_input_and_gradient() -> None:
    leaf = volume(6, 10, 8, 2).requires_grad_()
    projection = SubbandProjection()
    result = projection(leaf.permute(3, 0, 1, 2))
    assert torch.allclose(result, projection(leaf.permute(3, 0, 1, 2).contiguous()), atol=1e-12)
    result.sum().backward()  # an expanded gradient
    ones = torch.ones(2, 6, 10, 8, dtype=leaf.dtype)
    assert torch.allclose(leaf.grad, projection.adjoint(ones).permute(1, 2, 3, 0), atol=1e-12)


def test_leaves_its_input_alone_and_takes_any_leading_axes() -> None:
    x = volume(2, 3, 4, 8, 9, 10)
    before = x.clone()
    y = SubbandProjection()(x)
    assert torch.equal(x, before)
    assert torch.allclose(y[1, 2, 3], SubbandProjection()(x[1, 2, 3]), atol=1e-12)
    assert SubbandProjection()(x[:0]).shape == (0, 3, 4, 8, 9, 10)


@pytest.mark.parametrize("bands", ["D", WEIGHTED[0]])
def test_compiles_without_a_break(bands) -> None:
    projection = SubbandProjection(bands)
    compiled = torch.compile(projection, backend="aot_eager", fullgraph=True)
    x = volume(2, 9, 10, 12, dtype=torch.float32).requires_grad_()
    y = compiled(x)
    y.sum().backward()
    assert torch.allclose(y, projection(x))
    assert torch.allclose(x.grad, projection.adjoint(torch.ones_like(x)), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "bands"),
    [
        ("A", {"LLL"}),
        ("s", {"HHH"}),
        ("A + S", {"LLL", "HHH"}),
        (["LLH", "HLL"], {"LLH", "HLL"}),
        ("D+LLL", set(SUBBANDS[3]) - {"HHH"}),
    ],
)
def test_bands_are_read(text, bands) -> None:
    assert parse_bands(text) == bands


@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
def test_weights_that_are_all_one_compute_what_the_names_alone_do(mode: str) -> None:
    named, weighted = SubbandProjection("A+D", mode=mode), SubbandProjection({"A": 1, "D": 1.0}, mode=mode)
    assert weighted.filter == named.filter
    assert "LLL" in weighted.extra_repr()
    assert "HHH:0.5,LLL" in SubbandProjection({"A": 1, "S": 0.5}).extra_repr()


def test_a_weighted_projection_is_not_taken_for_an_orthogonal_one() -> None:
    shape = (16, 16, 8)
    assert SubbandProjection({"A": 1, "D": 1}, mode="periodization").filter.is_orthogonal_projection(shape)
    assert not SubbandProjection({"A": 1, "D": 0.5}, mode="periodization").filter.is_orthogonal_projection(shape)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"bands": {"X": 1}}, UnknownName, "no subband 'X'"),
        ({"bands": {}}, UserError, "no subband is chosen"),
        ({"bands": {"D": 0}}, UserError, "the weight of subband D has to be a number above 0, not 0"),
        ({"bands": {"D": True}}, UserError, "above 0, not True"),
        ({"bands": {"D": "half"}}, UserError, "above 0, not 'half'"),
        ({"bands": {"D": float("inf")}}, UserError, "above 0, not inf"),
        ({"bands": {"D": 1, "LLH": 0.5}}, UserError, "subband LLH has a weight from D and one from LLH; give it one"),
        ({"bands": {"LLH": 1, "d": 0.5}}, UserError, "subband LLH has a weight from LLH and one from d"),
        ({"bands": {1: 1}}, UserError, "a subband is named by text"),
        ({"bands": "X"}, UnknownName, "no subband 'X'"),
        ({"bands": "LLX"}, UnknownName, "Did you mean 'LL"),
        ({"bands": ""}, UserError, "no subband is chosen"),
        ({"bands": []}, UserError, "no subband is chosen"),
        ({"bands": [1]}, UserError, "a subband is named by text, such as 'D' or 'LLH', not by 1"),
        ({"bands": [["LLH"]]}, UserError, "a subband is named by text"),
        ({"level": 0}, UserError, "at least 1, not 0"),
        ({"wavelet": "db4s"}, UnknownName, "Did you mean 'db4"),
        ({"mode": "reflekt"}, UnknownName, "Did you mean 'reflect'"),
        ({"bands": ["LLH"], "ndim": 2}, UnknownName, "no subband 'LLH'"),
        ({"bands": "D", "ndim": 1}, UserError, "in one dimension there are no directional details D"),
        ({"ndim": 4}, UserError, "in 1, 2 or 3 dimensions, not in 4"),
    ],
)
def test_mistakes_are_explained_in_a_sentence(options, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        SubbandProjection(**options)
