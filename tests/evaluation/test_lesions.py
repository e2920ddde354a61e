"""Lesions found and missed, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nndistill.evaluation.lesions import detect_lesions


def row(text: str) -> np.ndarray:
    """A mask of one row: `row("##..#")`."""
    return np.array([[[sign == "#" for sign in text]]])


@pytest.mark.parametrize(
    ("reference", "prediction", "counts", "precision", "recall", "f1"),
    [
        ("##..##..##", "##..#.....", (3, 2, 2, 2), 1, 2 / 3, 0.8),
        ("####......", "#.##...#..", (1, 3, 1, 2), 2 / 3, 1, 0.8),  # one in two pieces: both are right
        ("##.##.....", "#####.....", (2, 1, 2, 1), 1, 1, 1),  # two under one: both are found
        ("##........", "....##....", (1, 1, 0, 0), 0, 0, 0),
        ("##........", "..........", (1, 0, 0, 0), np.nan, 0, 0),
        ("..........", "##........", (0, 1, 0, 0), 0, np.nan, 0),
        ("..........", "..........", (0, 0, 0, 0), np.nan, np.nan, np.nan),
    ],
)
def test_counts_and_shares(reference, prediction, counts, precision, recall, f1):
    found = detect_lesions(row(reference), row(prediction))
    assert (found.reference, found.predicted, found.found, found.right) == counts
    assert [found.precision, found.recall, found.f1] == pytest.approx([precision, recall, f1], nan_ok=True)


@pytest.mark.parametrize(
    ("offset", "together"), [((1, 0, 0), {6, 18, 26}), ((1, 1, 0), {18, 26}), ((1, 1, 1), {26}), ((2, 0, 0), set())]
)
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_connectivity_decides_what_belongs_together(offset, together, connectivity):
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[offset] = True
    found = detect_lesions(mask, mask, connectivity=connectivity)
    assert found.reference == (1 if connectivity in together else 2)


def test_match_needs_the_overlap_that_is_asked_for():
    reference, prediction = row("####.."), row(".###..")
    assert detect_lesions(reference, prediction, overlap=3).recall == 1
    assert detect_lesions(reference, prediction, overlap=4).recall == 0
