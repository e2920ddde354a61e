"""HD95 and NSD against DeepMind's package and MONAI, and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import surface_distance
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from monai.metrics.utils import get_edge_surface_distance
from scipy import ndimage

from masks import SPACINGS, ball, mask_pairs
from nndistill.evaluation.surfaces import surface_distances

TOLERANCES = [0.0, 0.5, 1.0, 2.0]


@settings(max_examples=150, deadline=None)
@given(mask_pairs(), st.sampled_from(SPACINGS), st.sampled_from(TOLERANCES))
def test_surface_elements_are_those_of_deepmind(masks, spacing, tolerance):
    ours = surface_distances(*masks, spacing)
    theirs = surface_distance.compute_surface_distances(*masks, spacing)
    # One value, unless just 95 % of an area is reached, or a distance is just the tolerance: there theirs is rounded.
    low, high = (surface_distance.compute_robust_hausdorff(theirs, 95 + change) for change in (-1e-6, 1e-6))
    assert low - 1e-6 <= ours.hd95() <= high + 1e-6
    low, high = (surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance + change) for change in (0, 2e-6))
    assert low - 1e-6 <= ours.nsd(tolerance) <= high + 1e-6


@settings(max_examples=150, deadline=None)
@given(mask_pairs(), st.sampled_from(SPACINGS), st.sampled_from(TOLERANCES))
def test_boundary_voxels_are_those_of_monai(masks, spacing, tolerance):
    ours = surface_distances(*masks, spacing, definition="boundary_voxels")
    reference, prediction = (torch.from_numpy(mask)[None, None] for mask in masks)
    options = {"include_background": True, "spacing": spacing}
    expected = compute_surface_dice(prediction.float(), reference.float(), [tolerance], **options)
    assert ours.nsd(tolerance) == pytest.approx(float(expected), abs=1e-6)
    # MONAI interpolates the percentile in single precision, which costs up to 1e-5 mm here: first without that.
    _, distances, _ = get_edge_surface_distance(prediction[0, 0], reference[0, 0], spacing=spacing, symmetric=True)
    assert ours.hd95() == pytest.approx(max(np.percentile(d.double(), 95) for d in distances), rel=1e-6, abs=1e-6)
    expected = compute_hausdorff_distance(prediction, reference, percentile=95, **options)
    assert ours.hd95() == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("definition", ["surface_elements", "boundary_voxels"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_far_apart_and_close_by_are_measured_alike(definition, spacing):
    """The short steps and the tree give what a distance transform of the whole volume gives."""
    shape = (40, 36, 30)
    a, b = ball(shape, (9, 9, 9), 5 * min(spacing), spacing), ball(shape, (27, 22, 20), 9 * min(spacing), spacing)
    b |= ball(shape, (9, 9, 9), 4 * min(spacing), spacing)
    found = surface_distances(a, b, spacing, definition=definition)
    if definition == "boundary_voxels":
        edges = [mask & ~ndimage.binary_erosion(mask) for mask in (a, b)]
    else:
        edges = []
        for mask in (a, b):
            filled = ndimage.uniform_filter(np.pad(mask, 1).astype(float), 2)[1:, 1:, 1:]
            edges.append((filled > 1e-9) & (filled < 1 - 1e-9))
    for origin, target, distances in ((*edges, found.to_prediction), (*edges[::-1], found.to_reference)):
        transform = ndimage.distance_transform_edt(~target, sampling=spacing)
        np.testing.assert_allclose(distances, transform[origin], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("definition", ["surface_elements", "boundary_voxels"])
@pytest.mark.parametrize(("axis", "voxels"), [(0, 3), (1, 2), (2, 1)])
def test_shifted_box_is_as_far_away_as_it_was_shifted(definition, axis, voxels):
    spacing = (1.0, 1.5, 3.0)
    box = np.zeros((60, 60, 40), bool)
    box[10:40, 10:40, 5:30] = True
    distances = surface_distances(box, np.roll(box, voxels, axis), spacing, definition=definition)
    assert distances.hd95() == pytest.approx(voxels * spacing[axis])
    assert distances.nsd(voxels * spacing[axis]) == 1
    assert distances.nsd(voxels * spacing[axis] - 0.01) < 1


def test_tolerance_holds_in_spite_of_a_spacing_in_32_bits():
    spacing = [float(np.float32(0.3))] * 3  # as a NIfTI header keeps it: 3 × 0.3 is a little more than 0.9
    box = np.zeros((20, 20, 20), bool)
    box[3:12, 3:12, 3:12] = True
    assert surface_distances(box, np.roll(box, 3, 0), spacing).nsd(0.9) == 1


@pytest.mark.parametrize("definition", ["surface_elements", "boundary_voxels"])
def test_what_a_mask_looks_like_does_not_depend_on_memory_order(definition):
    random = np.random.default_rng(0)
    a, b = random.random((2, 9, 8, 7)) < 0.4
    distances = surface_distances(a, b, (1, 2, 3), definition=definition)
    other = surface_distances(np.asfortranarray(a), np.asfortranarray(b), (1, 2, 3), definition=definition)
    assert distances.hd95() == other.hd95()
    assert distances.nsd(1) == other.nsd(1)
