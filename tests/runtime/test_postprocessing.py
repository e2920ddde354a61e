"""From logits to labels as nnU-Net does it."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

from described import as_plans, describe
from nndistill.runtime.description import Resampling
from nndistill.runtime.postprocessing import labels_and_probabilities_of, labels_of
from nndistill.runtime.preprocessing import Preprocessed
from nndistill.runtime.resampling import compute_shape

LABELS = {"background": 0, "oedema": 1, "core": 2, "enhancing": 3}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}


def preprocessed_of(shape, spacing, description, *, around=(0, 0, 0)) -> Preprocessed:
    """An image of which `shape` is left after cropping, with so many voxels around it on either side."""
    box = tuple(slice(margin, margin + size) for margin, size in zip(around, shape, strict=True))
    before = tuple(size + 2 * margin for margin, size in zip(around, shape, strict=True))
    size = compute_shape(shape, spacing, description.spacing_of(spacing))
    return Preprocessed(np.empty((1, *size), np.float32), None, before, box, shape, spacing)


def logits_of(preprocessed, description, seed=0) -> np.ndarray:
    shape = (description.heads, *preprocessed.array.shape[1:])
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def by_nnunet(logits, preprocessed, description, **options):
    plans, configuration, dataset = as_plans(description)
    spacing = [preprocessed.spacing_before[axis] for axis in description.transpose_backward]
    properties = {
        "spacing": spacing,
        "shape_before_cropping": preprocessed.shape_before_cropping,
        "bbox_used_for_cropping": [[part.start, part.stop] for part in preprocessed.bbox],
        "shape_after_cropping_and_before_resampling": preprocessed.shape_before_resampling,
    }
    labels = plans.get_label_manager(dataset)
    return convert_predicted_logits_to_segmentation_with_correct_shape(
        logits.copy(), plans, configuration, labels, properties, num_threads_torch=1, **options
    )


def check_equal(preprocessed, description) -> np.ndarray:
    logits = logits_of(preprocessed, description)
    before = logits.copy()
    ours = labels_of(logits, preprocessed, description)
    expected = by_nnunet(logits, preprocessed, description)
    np.testing.assert_array_equal(ours, expected)
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(logits, before)
    return ours


MODELS = {
    "labels": {"labels": LABELS},
    "regions": {"labels": REGIONS, "regions_class_order": (1, 2, 3)},
    "regions in another order": {"labels": REGIONS, "regions_class_order": (3, 1, 2)},
    "one region": {"labels": {"background": 0, "both": [1, 2]}, "regions_class_order": (1,)},
    "with ignore": {"labels": {"background": 0, "a": 1, "ignore": 2}},
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.7, 0.6, 1.0), (5.0, 1.0, 0.8)])
@pytest.mark.parametrize("around", [(0, 0, 0), (2, 0, 3)])
def test_label_maps_equal_nnunets(model, spacing, around):
    description = describe("T1", **MODELS[model])
    check_equal(preprocessed_of((9, 13, 11), spacing, description, around=around), description)


@pytest.mark.parametrize("forward", list(permutations(range(3))))
def test_axes_are_transposed_back(forward):
    backward = tuple(int(axis) for axis in np.argsort(forward))
    description = describe("T1", labels=LABELS, transpose_forward=forward, transpose_backward=backward)
    labels = check_equal(preprocessed_of((5, 7, 6), (2.0, 1.0, 0.5), description, around=(1, 2, 3)), description)
    assert labels.flags.c_contiguous


@pytest.mark.parametrize("model", ["labels", "regions"])
@pytest.mark.parametrize("forward", [(0, 1, 2), (2, 0, 1)])
def test_label_maps_of_a_network_of_two_dimensions_equal_nnunets(model, forward):
    backward = tuple(int(axis) for axis in np.argsort(forward))
    description = describe(
        **MODELS[model], transpose_forward=forward, transpose_backward=backward, spacing=(0.8, 1.1), patch_size=(8, 8)
    )
    check_equal(preprocessed_of((5, 13, 11), (4.0, 1.0, 1.7), description, around=(1, 0, 2)), description)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.6, 0.8, 1.0, 1.7, 5.0])] * 3),
    order=st.integers(0, 3),
    apart=st.sampled_from([None, True, False]),
    model=st.sampled_from(sorted(MODELS)),
)
def test_any_label_map_equals_nnunets(shape, spacing, order, apart, model):
    resampling = Resampling(order=order, order_z=1, force_separate_z=apart)
    description = describe("T1", resample_probabilities=resampling, **MODELS[model])
    check_equal(preprocessed_of(shape, spacing, description), description)


@pytest.mark.parametrize(("count", "type_"), [(254, np.uint8), (255, np.uint16), (300, np.uint16)])
def test_more_than_254_labels_take_16_bits(count, type_):
    labels = {"background": 0} | {f"structure {value}": value for value in range(1, count + 1)}
    description = describe("T1", labels=labels)
    assert check_equal(preprocessed_of((3, 4, 5), (1.0, 1.0, 1.0), description), description).dtype == type_


@pytest.mark.parametrize("model", ["labels", "regions"])
def test_logits_of_zero_are_background(model):
    description = describe("T1", **MODELS[model])
    preprocessed = preprocessed_of((4, 4, 4), (1.0, 1.0, 1.0), description)
    assert not labels_of(np.zeros((description.heads, 4, 4, 4), np.float32), preprocessed, description).any()


@pytest.mark.parametrize("forward", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.7, 0.6, 1.0), (5.0, 1.0, 0.8)])
def test_probabilities_equal_nnunets(model, spacing, forward):
    backward = tuple(int(axis) for axis in np.argsort(forward))
    description = describe("T1", transpose_forward=forward, transpose_backward=backward, **MODELS[model])
    preprocessed = preprocessed_of((9, 13, 11), spacing, description, around=(2, 0, 3))
    logits = 20 * logits_of(preprocessed, description)
    before = logits.copy()
    labels, probabilities = labels_and_probabilities_of(logits, preprocessed, description)
    _, expected = by_nnunet(logits, preprocessed, description, return_probabilities=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert probabilities.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(labels, labels_of(logits, preprocessed, description))
    np.testing.assert_array_equal(logits, before)
    assert probabilities.max() > 0.99


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.7, 0.6, 1.0), (5.0, 1.0, 0.8)])
@pytest.mark.parametrize("order", [1, 3])
def test_what_was_not_computed_is_background_and_the_label_map_stays(model, spacing, order):
    resampling = Resampling(order=order, order_z=0)
    description = describe("T1", resample_probabilities=resampling, **MODELS[model])
    preprocessed = preprocessed_of((24, 13, 11), spacing, description, around=(2, 0, 3))
    logits = 9 * logits_of(preprocessed, description)
    covered = np.zeros(logits.shape[1:], bool)
    covered[: len(covered) // 2] = True
    logits[:, ~covered] = 0
    labels, found = labels_and_probabilities_of(logits, preprocessed, description, covered=covered)
    np.testing.assert_array_equal(labels, labels_of(logits, preprocessed, description))
    background = np.zeros(description.heads, np.float32)
    if description.regions_class_order is None:
        background[0] = 1
        np.testing.assert_allclose(found.sum(0), 1, rtol=1e-6)
        if order == 1:
            np.testing.assert_array_equal(np.take(description.predicted_labels, found.argmax(0)), labels)
    assert (found[:, 16:] == background[:, None, None, None]).all()
    _, everywhere = labels_and_probabilities_of(logits, preprocessed, description)
    np.testing.assert_array_equal(found[:, :5], everywhere[:, :5])


def test_voxels_between_computed_ones_and_others_get_the_probabilities_of_the_computed_ones():
    description = describe("T1", **MODELS["labels"])
    preprocessed = preprocessed_of((40, 4, 4), (0.4, 1.0, 1.0), description)
    logits = np.zeros((description.heads, *preprocessed.array.shape[1:]), np.float32)
    logits[:, :8] = np.array([9, 1, 2, 3], np.float32)[:, None, None, None]
    _, found = labels_and_probabilities_of(logits, preprocessed, description, covered=logits.any(0))
    computed = found[0] < 1
    assert computed[:20].all()
    assert not computed[23:].any()
    np.testing.assert_allclose(
        found[:, computed], np.broadcast_to(found[:, 0, 0, :1], found[:, computed].shape), rtol=1e-5
    )


@settings(max_examples=25)
@given(scale=st.sampled_from([1e-3, 1.0, 1e3, 1e30]), model=st.sampled_from(sorted(MODELS)), seed=st.integers(0, 99))
def test_probabilities_are_between_0_and_1_whatever_the_logits(scale, model, seed):
    description = describe("T1", **MODELS[model])
    preprocessed = preprocessed_of((3, 4, 5), (1.0, 1.0, 1.0), description, around=(1, 1, 1))
    _, probabilities = labels_and_probabilities_of(
        np.float32(scale) * logits_of(preprocessed, description, seed), preprocessed, description
    )
    assert np.isfinite(probabilities).all()
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    if description.regions_class_order is None:
        np.testing.assert_allclose(probabilities.sum(0), 1, rtol=1e-6)
