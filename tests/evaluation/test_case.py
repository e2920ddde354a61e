"""One case: overlap, empty masks, regions, ignored voxels, and real lesions whose answer is known."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import surface_distance
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_surface_dice
from nnunetv2.evaluation.evaluate_predictions import compute_tp_fp_fn_tn, region_or_label_to_mask
from scipy import ndimage

from nndistill.errors import UserError
from nndistill.evaluation.case import Measures, case_metrics
from nndistill.evaluation.surfaces import surface_distances

SPACING = (1.0, 2.0, 4.0)
LESIONS = ["open_ms/patient07/lesions", "open_ms/patient19/lesions"]
LESIONS += ["ISLES-2022/derivatives/sub-strokecase0009/ses-0001/sub-strokecase0009_ses-0001_msk"]


def one(reference, prediction, **options):
    """Metrics of a single label 1."""
    return case_metrics(reference, prediction, SPACING, Measures(labels={"one": (1,)}, **options))["one"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.sampled_from([None, 4]))
def test_dice_is_that_of_nnunet_for_classes_and_regions(seed, size, ignore):
    reference, prediction = np.random.default_rng(seed).integers(0, 5 if ignore else 4, (2, size, size, size))
    prediction[prediction == ignore] = 0
    labels = {"whole": (1, 2, 3), "core": (2, 3), "three": (3,)}
    found = case_metrics(reference, prediction, SPACING, Measures(labels=labels, ignore=ignore))
    for name, values in labels.items():
        masks = [region_or_label_to_mask(array, values) for array in (reference, prediction)]
        tp, fp, fn, _ = compute_tp_fp_fn_tn(*masks, reference == ignore if ignore else None)
        expected = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else np.nan
        assert found[name]["dice"] == pytest.approx(expected, rel=1e-15, nan_ok=True)
        assert (found[name]["reference_voxels"], found[name]["predicted_voxels"]) == (tp + fn, tp + fp)


def test_cropping_changes_nothing():
    """Many labels in one volume give what each gives alone, at the border as well."""
    reference, prediction = np.random.default_rng(0).integers(0, 4, (2, 9, 8, 7))
    reference[:3] = prediction[:3] = 0
    labels = {"a": (1,), "b": (2,), "c": (3,), "all": (1, 2, 3)}
    found = case_metrics(reference, prediction, SPACING, Measures(labels=labels))
    for name, values in labels.items():
        distances = surface_distances(np.isin(reference, values), np.isin(prediction, values), SPACING)
        assert found[name]["hd95_mm"] == distances.hd95()
        assert found[name]["nsd"] == distances.nsd(1.0)


def test_volumes_are_in_millilitres():
    reference = np.zeros((10, 10, 10), np.uint8)
    reference[:5] = 1
    found = one(reference, reference)
    assert found["reference_ml"] == found["predicted_ml"] == pytest.approx(500 * 8 / 1000)


EMPTY, FULL = np.zeros((6, 6, 6), np.uint8), np.ones((6, 6, 6), np.uint8)
DIAGONAL = float(np.linalg.norm([6.0, 12.0, 24.0]))


@pytest.mark.parametrize("empty", ["diagonal", "leave_out", 374.0])
@pytest.mark.parametrize("definition", ["surface_elements", "boundary_voxels"])
def test_both_empty_is_undefined_under_every_policy(empty, definition):
    found = one(EMPTY, EMPTY, empty=empty, definition=definition)
    assert np.isnan([found["dice"], found["hd95_mm"], found["nsd"]]).all()


@pytest.mark.parametrize(
    ("both_empty", "values"), [("one", (1, 0, 1)), ("nsd_one", (np.nan, np.nan, 1)), ("leave_out", (np.nan,) * 3)]
)
def test_both_empty_counts_as_the_policy_says(both_empty, values):
    found = one(EMPTY, EMPTY, both_empty=both_empty)
    assert [found["dice"], found["hd95_mm"], found["nsd"]] == pytest.approx(values, nan_ok=True)
    assert one(EMPTY, FULL, both_empty=both_empty)["dice"] == 0


@pytest.mark.parametrize(("empty", "hd95"), [("diagonal", DIAGONAL), ("leave_out", np.nan), (374.0, 374.0)])
@pytest.mark.parametrize("maps", [(EMPTY, FULL), (FULL, EMPTY)])
def test_one_empty_costs_what_the_policy_says(maps, empty, hd95):
    found = one(*maps, empty=empty)
    assert (found["dice"], found["nsd"]) == (0, 0)
    assert found["hd95_mm"] == pytest.approx(hd95, nan_ok=True)


def test_diagonal_is_that_of_the_image_and_not_of_a_crop():
    reference = EMPTY.copy()
    reference[2, 2, 2] = 1
    assert one(reference, EMPTY)["hd95_mm"] == pytest.approx(DIAGONAL)


def test_equal_masks_are_perfect():
    assert one(FULL, FULL) | {"dice": 1.0, "hd95_mm": 0.0, "nsd": 1.0} == one(FULL, FULL)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tolerance": -1.0}, "tolerance"),
        ({"tolerance": np.nan}, "tolerance"),
        ({"definition": "surface_element"}, "Did you mean 'surface_elements'"),
        ({"empty": "diagonals"}, "Did you mean 'diagonal'"),
        ({"empty": np.inf}, "number of mm"),
        ({"both_empty": "leaveout"}, "Did you mean 'leave_out'"),
        ({"lesions": ("oen",)}, "Did you mean 'one'"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        Measures(labels={"one": (1,)}, **options)


@pytest.fixture(params=LESIONS, ids=lambda place: place.split("/")[-1] + place.split("/")[1][-2:])
def real_mask(request, real_data):
    image = nib.load(real_data / f"{request.param}.nii.gz")
    return np.asarray(image.dataobj) > 0, [float(size) for size in image.header.get_zooms()]


@pytest.mark.parametrize("definition", ["surface_elements", "boundary_voxels"])
@pytest.mark.parametrize(("axis", "voxels"), [(0, 1), (2, 3)])
def test_shifted_lesions_lie_within_the_shift(real_mask, axis, voxels, definition):
    mask, spacing = real_mask
    shift = voxels * spacing[axis]
    distances = surface_distances(mask, np.roll(mask, voxels, axis), spacing, definition=definition)
    assert distances.nsd(shift) == 1
    assert distances.nsd(0.99 * min(spacing)) < 1
    assert 0 < distances.hd95() <= shift + 1e-9
    assert max(distances.to_prediction) <= shift + 1e-9


def test_boundary_of_eroded_lesions_is_one_voxel_inside(real_mask):
    mask, spacing = real_mask
    assert spacing == pytest.approx([spacing[0]] * 3)
    distances = surface_distances(mask, ndimage.binary_erosion(mask), spacing, definition="boundary_voxels")
    np.testing.assert_allclose(distances.to_reference, spacing[0], rtol=1e-6)
    assert distances.nsd(0.99 * spacing[0]) == 0


@pytest.mark.parametrize("voxels", [1, 2])
def test_shifted_brain_has_hd95_of_the_shift(real_data, voxels):
    image = nib.load(real_data / "open_ms/patient07/FLAIR.nii.gz")
    brain = ndimage.binary_fill_holes(np.asarray(image.dataobj) > 0).astype(np.uint8)
    measures = Measures({"brain": (1,)}, tolerance=voxels)
    found = case_metrics(brain, np.roll(brain, voxels, 0), image.header.get_zooms(), measures)["brain"]
    assert (found["hd95_mm"], found["nsd"]) == (voxels, 1)


def test_both_libraries_agree_on_a_real_dilated_lesion(real_mask):
    mask, spacing = real_mask
    other = np.roll(ndimage.binary_dilation(mask), 1, 0)
    ours = surface_distances(mask, other, spacing)
    theirs = surface_distance.compute_surface_distances(mask, other, spacing)
    assert ours.hd95() == pytest.approx(surface_distance.compute_robust_hausdorff(theirs, 95), abs=1e-6)
    expected = surface_distance.compute_surface_dice_at_tolerance(theirs, 1.0)
    assert ours.nsd(1.0) == pytest.approx(expected, abs=1e-6)
    ours = surface_distances(mask, other, spacing, definition="boundary_voxels")
    tensors = [torch.from_numpy(array)[None, None].float() for array in (other, mask)]
    expected = compute_surface_dice(*tensors, [1.0], include_background=True, spacing=spacing)
    assert ours.nsd(1.0) == pytest.approx(float(expected), abs=1e-6)


def test_definitions_differ_by_what_the_docs_say(real_data):
    lesions = np.asarray(nib.load(real_data / "open_ms/patient19/lesions.nii.gz").dataobj) > 0
    other = np.roll(ndimage.binary_dilation(lesions), 1, 0)
    elements = surface_distances(lesions, other, (1, 1, 1), definition="surface_elements")
    voxels = surface_distances(lesions, other, (1, 1, 1), definition="boundary_voxels")
    assert [elements.nsd(1), voxels.nsd(1)] == pytest.approx([0.870, 0.675], abs=5e-4)
    assert [elements.hd95(), voxels.hd95()] == pytest.approx([np.sqrt(2), 2])
