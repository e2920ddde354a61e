"""Slice and box are where predictions differ, at fine structures first."""

from __future__ import annotations

import numpy as np
import pytest

from nndistill.reporting.figures.view_selection import (
    Box,
    axial_picture,
    choose_box,
    choose_slice,
    content_box,
    interest_weights,
    near_fine_structure,
)

SHAPE = (30, 40, 20)


def solid() -> np.ndarray:
    reference = np.zeros(SHAPE, np.uint8)
    reference[5:25, 5:35, 2:18] = 1
    return reference


def test_front_is_above_and_the_patients_right_on_the_left() -> None:
    volume = np.zeros(SHAPE)
    volume[-1, 0, 7] = 1  # right, back
    volume[0, -1, 7] = 2  # left, front
    picture = axial_picture(volume, 7)
    assert picture.shape == (40, 30)
    assert picture[0, 0] == 1
    assert picture[-1, -1] == 2


@pytest.mark.parametrize("where", [3, 9, 16])
def test_chosen_slice_is_where_predictions_differ_most(where: int) -> None:
    reference = solid()
    one, other = reference.copy(), reference.copy()
    other[10:13, 10:13, 5] = 0
    other[10:18, 10:18, where] = 0
    assert choose_slice(interest_weights(reference, [one, other])) == where


def test_errors_that_all_predictions_share_do_not_attract() -> None:
    reference = solid()
    one, other = reference.copy(), reference.copy()
    for prediction in (one, other):
        prediction[8:22, 8:32, 4] = 0
    other[12, 12, 11] = 0
    assert choose_slice(interest_weights(reference, [one, other])) == 11


def test_fine_structure_outweighs_a_solid_of_the_same_size() -> None:
    reference = solid()
    reference[:, :, 10:] = 0
    reference[15, 10:30, 14] = 2
    one, other = reference.copy(), reference.copy()
    other[10:15, 10:15, 5] = 0  # 25 voxels of the solid
    other[15, 10:25, 14] = 0  # 15 voxels of the thread
    assert choose_slice(interest_weights(reference, [one, other])) == 14


def test_slices_without_reference_come_last() -> None:
    reference = solid()
    one, other = reference.copy(), reference.copy()
    other[:, :, 0] = 1
    other[12, 12, 11] = 0
    assert choose_slice(interest_weights(reference, [one, other])) == 11
    only_there = one.copy()
    only_there[:, :, 0] = 1
    assert choose_slice(interest_weights(reference, [one, only_there])) == 0


def test_equal_predictions_are_compared_with_the_reference() -> None:
    reference = solid()
    wrong = reference.copy()
    wrong[10:15, 10:15, 6] = 0
    assert choose_slice(interest_weights(reference, [wrong])) == 6
    assert choose_slice(interest_weights(reference, [wrong, wrong])) == 6


def test_there_is_always_something_to_show() -> None:
    nothing = np.zeros(SHAPE, np.uint8)
    assert interest_weights(solid(), [solid()]).sum() > 0
    assert interest_weights(nothing, [nothing, nothing]).sum() > 0


def test_fine_is_what_is_thinner_than_three_voxels() -> None:
    reference = solid()
    assert not near_fine_structure(reference)[10:20, 10:30, 5:15].any()
    reference[15, 20, 10] = 2
    fine = near_fine_structure(reference)
    assert fine[15, 20, 10]
    assert fine[14, 20, 10]


@pytest.mark.parametrize("centre", [(20, 30), (3, 4), (57, 75), (0, 79)])
@pytest.mark.parametrize("zoom", [None, 2.0, 3.5])
def test_box_holds_the_largest_cluster(centre: tuple[int, int], zoom: float | None) -> None:
    weights = np.zeros((60, 80))
    weights[30:32, 48:50] = 1  # a smaller one
    row, column = centre
    cluster = np.zeros_like(weights)
    cluster[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = 1
    box = choose_box(np.maximum(weights, cluster), zoom=zoom)
    assert box.crop(cluster).sum() == cluster.sum()


def test_box_is_centred_on_a_lonely_cluster() -> None:
    weights = np.zeros((60, 90))
    weights[30, 45] = 1
    box = choose_box(weights, zoom=3)
    assert abs(box.row + box.height / 2 - 30.5) <= 1
    assert abs(box.column + box.width / 2 - 45.5) <= 1


@pytest.mark.parametrize("shape", [(60, 90), (5, 7), (1, 1), (128, 31)])
@pytest.mark.parametrize("zoom", [None, 1.0, 4.0])
def test_box_lies_in_the_picture_and_has_its_proportions(shape: tuple[int, int], zoom: float | None) -> None:
    for weights in (np.zeros(shape), np.eye(*shape)):
        box = choose_box(weights, zoom=zoom)
        assert box.crop(weights).shape == (box.height, box.width)
        if zoom is not None:
            assert box.height == max(1, round(shape[0] / zoom))
            assert box.width == max(1, round(shape[1] / zoom))


def test_air_is_cut_away_and_labels_are_not() -> None:
    grey = np.zeros((50, 60))
    grey[10:30, 20:40] = 0.5
    label = np.zeros((50, 60), int)
    assert content_box(grey, [label]) == Box(8, 18, 24, 24)
    label[45, 5] = 1
    assert content_box(grey, [label]) == Box(8, 3, 40, 39)
    assert content_box(np.zeros((50, 60)), [label * 0]) == Box(0, 0, 50, 60)
