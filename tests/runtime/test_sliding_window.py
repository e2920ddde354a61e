"""The sliding window equals nnU-Net's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian

from described import as_plans, describe
from fake_backend import FakeBackend, small_network
from nndistill.errors import UserError
from nndistill.runtime.preprocessing import Preprocessed
from nndistill.runtime.sliding_window import covered_voxels, gaussian, mirrorings, predict_logits, windows


def preprocessed_of(array: np.ndarray, mask: np.ndarray | None = None) -> Preprocessed:
    shape = array.shape[1:]
    return Preprocessed(
        array, mask, shape, tuple(map(slice, shape)), mask.shape if mask is not None else shape, (1, 1, 1)
    )


def by_nnunet(array, description, net, *, mirror: bool) -> np.ndarray:
    plans, configuration, dataset = as_plans(description)
    predictor = nnUNetPredictor(
        tile_step_size=1 - description.overlap, use_mirroring=mirror, device=torch.device("cpu"), allow_tqdm=False
    )
    axes = description.mirroring_axes or None
    predictor.manual_initialization(net, plans, configuration, None, dataset, "nnUNetTrainer", axes)
    return predictor.predict_sliding_window_return_logits(torch.from_numpy(array)).float().numpy()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.tuples(*[st.tuples(st.integers(3, 40), st.integers(0, 40))] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.75]),
)
def test_windows_are_nnunets_in_nnunets_order(sizes, overlap):
    patch = tuple(patch for patch, _ in sizes)
    shape = tuple(patch + more for patch, more in sizes)
    predictor = nnUNetPredictor(tile_step_size=1 - overlap, device=torch.device("cpu"))
    predictor.configuration_manager = as_plans(describe(patch_size=patch))[1]
    expected = [slicer[1:] for slicer in predictor._internal_get_sliding_window_slicers(shape)]
    assert windows(shape, patch, overlap) == expected


@settings(max_examples=30, deadline=None)
@given(
    slices=st.integers(1, 9),
    sizes=st.tuples(*[st.tuples(st.integers(3, 40), st.integers(0, 40))] * 2),
    overlap=st.sampled_from([0.0, 0.3, 0.5, 0.75]),
)
def test_windows_of_two_axes_are_nnunets_in_every_slice(slices, sizes, overlap):
    patch = tuple(patch for patch, _ in sizes)
    shape = (slices, *(patch + more for patch, more in sizes))
    predictor = nnUNetPredictor(tile_step_size=1 - overlap, device=torch.device("cpu"))
    predictor.configuration_manager = as_plans(describe(patch_size=patch, spacing=(1.0, 1.0)))[1]
    expected = [
        (slice(depth, depth + 1), *in_plane)
        for _, depth, *in_plane in predictor._internal_get_sliding_window_slicers(shape)
    ]
    assert windows(shape, patch, overlap) == expected


@pytest.mark.parametrize("patch", [(8, 8, 8), (32, 20, 48), (5, 7, 1), (20, 48)])
def test_weights_are_nnunets(patch):
    expected = compute_gaussian(patch, value_scaling_factor=10, device=torch.device("cpu")).float().numpy()
    np.testing.assert_array_equal(gaussian(patch), expected)
    assert gaussian(patch).dtype == np.float32


@pytest.mark.parametrize("axes", [(), (0,), (0, 1)])
@pytest.mark.parametrize("shape", [(3, 16, 20), (1, 8, 8), (2, 5, 30), (4, 3, 2)])
def test_logits_of_a_network_of_two_dimensions_equal_nnunets_slice_by_slice(axes, shape, monkeypatch):
    description = describe(
        "T1",
        "T2",
        mirroring_axes=axes,
        labels={"background": 0, "a": 1, "b": 2},
        patch_size=(8, 12),
        spacing=(1.0, 1.0),
    )
    net, array = small_network(2, 3, ndim=2), noise(2, *shape)
    backend = FakeBackend(net)
    ours = predict_logits(preprocessed_of(array.copy()), backend, description)
    assert {window.shape for window in backend.windows} == {(2, 8, 12)}
    monkeypatch.setattr(torch, "half", torch.float32)
    exact = by_nnunet(array, description, net, mirror=True)
    np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-5)


def test_slices_of_air_are_not_computed():
    description = describe(patch_size=(8, 8), spacing=(1.0, 1.0))
    array, mask = noise(1, 4, 8, 8), np.zeros((4, 8, 8), bool)
    mask[1] = True
    backend = FakeBackend(small_network(1, 2, ndim=2))
    logits = predict_logits(preprocessed_of(array, mask), backend, description)
    assert len(backend.windows) == 1
    assert logits[:, 1].any()
    assert not logits[:, [0, 2, 3]].any()


@pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("shape", [(16, 8, 8), (11, 19, 13), (3, 20, 5), (1, 1, 1)])
def test_logits_equal_nnunets_where_its_sums_are_made_exact(axes, mirror, shape, monkeypatch):
    description = describe("T1", "T2", mirroring_axes=axes, labels={"background": 0, "a": 1, "b": 2})
    net, array = small_network(2, 3), noise(2, *shape)
    ours = predict_logits(preprocessed_of(array.copy()), FakeBackend(net), description, mirror=mirror)
    assert ours.shape == (3, *shape)
    assert ours.dtype == np.float32
    stock = by_nnunet(array, description, net, mirror=mirror)
    inside = tuple(slice(size // 4, size - size // 4) for size in shape)
    np.testing.assert_allclose(ours[(slice(None), *inside)], stock[(slice(None), *inside)], atol=2e-2)
    monkeypatch.setattr(torch, "half", torch.float32)
    exact = by_nnunet(array, description, net, mirror=mirror)
    np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.75])
def test_overlap_can_be_chosen(overlap, monkeypatch):
    net, array = small_network(1, 2), noise(1, 20, 17, 9)
    monkeypatch.setattr(torch, "half", torch.float32)
    expected = by_nnunet(array, describe(overlap=overlap), net, mirror=False)
    ours = predict_logits(preprocessed_of(array), FakeBackend(net), describe(), overlap=overlap)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_mirrorings_are_every_set_of_axes_once():
    assert mirrorings(()) == [()]
    assert mirrorings((0, 2)) == [(), (0,), (2,), (0, 2)]
    assert len(set(mirrorings((0, 1, 2)))) == 8


def test_the_image_is_not_changed():
    array = noise(1, 12, 12, 12)
    before = array.copy()
    predict_logits(preprocessed_of(array), FakeBackend(small_network(1, 2)), describe())
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("factor", [1, 2, 0.5])
def test_windows_of_air_are_skipped_and_nothing_changes_inside_the_image(factor):
    """The mask is on the grid before resampling, which may be finer or coarser than the network's."""
    shape = (40, 24, 16)
    mask = np.zeros([int(size * factor) for size in shape], bool)
    mask[: int(9 * factor), : int(7 * factor)] = True
    array = noise(1, *shape)
    net = small_network(1, 2)
    everywhere, only_image = FakeBackend(net), FakeBackend(net)
    preprocessed = preprocessed_of(array, mask)
    expected = predict_logits(preprocessed, everywhere, describe(), skip_air=False)
    found = predict_logits(preprocessed, only_image, describe(), skip_air=True)
    assert 0 < len(only_image.windows) < len(everywhere.windows) / 2
    inside = np.zeros(shape, bool)
    inside[:9, :7] = True
    np.testing.assert_allclose(found[:, inside], expected[:, inside], rtol=1e-5, atol=1e-6)
    assert (found[:, 30:] == 0).all()
    np.testing.assert_array_equal(covered_voxels(preprocessed, describe()), (found != 0).all(0))


def test_an_image_without_skipped_windows_is_covered():
    array, mask = noise(1, 20, 8, 8), np.ones((20, 8, 8), bool)
    mask[:3] = False
    assert covered_voxels(preprocessed_of(array), describe()) is None
    assert covered_voxels(preprocessed_of(array, mask), describe()) is None


def test_a_single_voxel_of_image_keeps_its_windows_however_it_is_padded():
    mask = np.zeros((5, 30, 5), bool)
    mask[4, 24, 4] = True
    backend = FakeBackend(small_network(1, 2))
    logits = predict_logits(preprocessed_of(noise(1, 5, 30, 5), mask), backend, describe())
    assert len(backend.windows) == 2
    assert (logits[:, 4, 24, 4] != 0).all()


def test_progress_counts_the_windows_that_are_computed():
    mask = np.zeros((40, 8, 8), bool)
    mask[0] = True
    told: list[tuple[int, int]] = []
    backend = FakeBackend(small_network(1, 2))
    preprocessed = preprocessed_of(noise(1, 40, 8, 8), mask)
    predict_logits(preprocessed, backend, describe(), progress=lambda *counts: told.append(counts))
    assert told == [(done, len(backend.windows)) for done in range(len(backend.windows) + 1)]


@pytest.mark.parametrize("overlap", [-0.1, 1, 1.5])
def test_an_overlap_out_of_range_is_a_sentence(overlap):
    with pytest.raises(UserError, match="overlap of windows has to be at least 0 and below 1"):
        windows((8, 8, 8), (8, 8, 8), overlap)
