"""Preprocessing equals nnU-Net's."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

from described import as_plans, describe
from nndistill.errors import UserError
from nndistill.runtime.description import Normalization, Resampling
from nndistill.runtime.image import Geometry, Image
from nndistill.runtime.preprocessing import preprocess

SCHEMES = [
    Normalization(scheme="ZScoreNormalization"),
    Normalization(scheme="ZScoreNormalization", use_mask=True),
    Normalization(scheme="CTNormalization", mean=90.5, std=70.25, percentile_00_5=12.0, percentile_99_5=220.0),
    Normalization(scheme="NoNormalization"),
    Normalization(scheme="RescaleTo01Normalization"),
    Normalization(scheme="RGBTo01Normalization"),
]


def image_of(array: np.ndarray, spacing=(1.0, 1.0, 1.0)) -> Image:
    geometry = Geometry(array.shape[:0:-1], spacing[::-1], (0.0,) * 3, tuple(np.eye(3).ravel()))
    return Image(array, spacing, geometry, tuple(Path(f"case_{k:04d}.nii.gz") for k in range(len(array))))


def in_air(shape, channels=1, seed=0) -> np.ndarray:
    """Noise from 1 to 250 in a box that leaves air around it, with a hole."""
    array = np.zeros((channels, *shape), np.float32)
    inside = tuple(slice(size // 4, size - size // 8) for size in shape)
    array[(slice(None), *inside)] = np.random.default_rng(seed).uniform(1, 250, array[(slice(None), *inside)].shape)
    array[(slice(None), *(size // 2 for size in shape))] = 0
    return array


def by_nnunet(image: Image, description):
    plans, configuration, dataset = as_plans(description)
    data, seg, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        image.array, None, {"spacing": list(image.spacing)}, plans, configuration, dataset
    )
    return data, seg, properties


def shape_by_nnunet(image: Image, description) -> list[int]:
    forward = description.transpose_forward
    cropped, *_ = crop_to_nonzero(image.array.transpose(0, *(axis + 1 for axis in forward)))
    spacing = [image.spacing[axis] for axis in forward]
    return list(compute_new_shape(cropped.shape[1:], spacing, description.spacing))


def check_equal(image: Image, description, *, exactly: bool) -> None:
    before = image.array.copy()
    ours = preprocess(image, description)
    data, _, properties = by_nnunet(image, description)
    if exactly:
        np.testing.assert_array_equal(ours.array, data)
    else:
        np.testing.assert_allclose(ours.array, data, rtol=2e-6, atol=2e-6 * max(1, np.abs(data).max()))
    assert ours.array.dtype == data.dtype == np.float32
    assert ours.array.flags.c_contiguous
    assert [[part.start, part.stop] for part in ours.bbox] == properties["bbox_used_for_cropping"]
    assert ours.shape_before_cropping == properties["shape_before_cropping"]
    assert ours.shape_before_resampling == properties["shape_after_cropping_and_before_resampling"]
    np.testing.assert_array_equal(image.array, before)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda how: how.scheme + " masked" * how.use_mask)
@pytest.mark.parametrize("air", [True, False])
def test_without_resampling_it_equals_nnunets_to_the_last_bit(scheme, air):
    array = in_air((21, 30, 25), channels=2) if air else in_air((21, 30, 25), channels=2) + 1
    check_equal(image_of(array), describe(scheme, scheme), exactly=True)


@pytest.mark.parametrize("forward", list(permutations(range(3))))
def test_transposed_axes_equal_nnunets(forward):
    backward = tuple(int(axis) for axis in np.argsort(forward))
    image = image_of(in_air((12, 20, 17), channels=2), spacing=(3.0, 1.0, 0.5))
    description = describe(
        "T1", "T2", transpose_forward=forward, transpose_backward=backward, spacing=(1.5, 0.75, 1.25)
    )
    check_equal(image, description, exactly=False)


@pytest.mark.parametrize("forward", list(permutations(range(3))))
def test_slices_of_a_network_of_two_dimensions_stay_where_they_are_as_in_nnunet(forward):
    backward = tuple(int(axis) for axis in np.argsort(forward))
    image = image_of(in_air((12, 20, 17), channels=2), spacing=(3.0, 1.0, 0.5))
    description = describe(
        "T1", "T2", transpose_forward=forward, transpose_backward=backward, spacing=(0.75, 1.25), patch_size=(8, 8)
    )
    check_equal(image, description, exactly=False)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("order_z", [0, 1, 3])
@pytest.mark.parametrize("apart", [None, True, False])
@pytest.mark.parametrize(
    ("spacing", "new_spacing"),
    [
        ((1.0, 1.0, 1.0), (0.7, 1.3, 1.0)),
        ((5.0, 1.0, 1.0), (2.5, 0.8, 1.4)),
        ((1.0, 4.5, 1.0), (1.3, 4.5, 0.9)),
        ((1.2, 1.0, 1.1), (1.0, 1.0, 6.0)),
        ((0.2, 1.0, 1.0), (0.4, 1.3, 0.9)),
    ],
)
def test_resampled_images_equal_nnunets(order, order_z, apart, spacing, new_spacing):
    resampling = Resampling(order=order, order_z=order_z, force_separate_z=apart)
    description = describe("T1", spacing=new_spacing, resample_data=resampling)
    check_equal(image_of(in_air((9, 14, 16)), spacing), description, exactly=False)


spacings = st.tuples(*[st.sampled_from([0.3, 0.5, 0.8, 1.0, 1.7, 5.0])] * 3)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    spacing=spacings,
    new_spacing=spacings,
    forward=st.permutations(range(3)),
    schemes=st.lists(st.sampled_from(SCHEMES), min_size=1, max_size=3),
    order=st.integers(0, 3),
    order_z=st.integers(0, 1),
    apart=st.sampled_from([None, True, False]),
    full=st.floats(0.05, 1),
    seed=st.integers(0, 99),
)
def test_any_image_is_preprocessed_as_by_nnunet(
    shape, spacing, new_spacing, forward, schemes, order, order_z, apart, full, seed
):
    random = np.random.default_rng(seed)
    array = (random.uniform(1, 250, (len(schemes), *shape)) * (random.uniform(size=shape) < full)).astype(np.float32)
    array[:, 0, 0, 0] = 7  # nnU-Net crops an empty image to itself; here it is never one
    description = describe(
        *schemes,
        spacing=new_spacing,
        transpose_forward=tuple(forward),
        resample_data=Resampling(order=order, order_z=order_z, force_separate_z=apart),
    )
    image = image_of(array, spacing)
    if 0 in shape_by_nnunet(image, description):
        with pytest.raises(UserError, match="thinner than half a voxel"):
            preprocess(image, description)
    else:
        check_equal(image, description, exactly=False)


def test_the_mask_is_nnunets_before_resampling():
    image = image_of(in_air((13, 17, 15), channels=2))
    ours = preprocess(image, describe("T1", "T2"))
    _, seg, _ = by_nnunet(image, describe("T1", "T2"))
    np.testing.assert_array_equal(ours.mask, seg[0] >= 0)
    assert preprocess(image_of(image.array + 1), describe("T1", "T2")).mask is None


def test_colours_out_of_range_are_a_sentence_that_names_the_file():
    array = in_air((6, 6, 6)) * 2
    with pytest.raises(UserError, match=r"case_0000\.nii\.gz should hold colours from 0 to 255.*go from 0 to 4"):
        preprocess(image_of(array), describe(Normalization(scheme="RGBTo01Normalization")))
