"""Lesion-wise metrics of BraTS by hand: split, merged, missed, false, small and touching lesions."""

from __future__ import annotations

import numpy as np
import pytest

from nndistill.evaluation.lesion_wise import lesion_wise_metrics
from nndistill.evaluation.protocols import protocol

SIZE = (48, 48, 48)
LONG = ((10, 20), (10, 20))


def cube(n, x, y, z):
    return (x, x + n), (y, y + n), (z, z + n)


def labels(*boxes, value=3):
    """A label map with boxes `(x, y, z)` of half-open ranges; a box may come with its own value."""
    array = np.zeros(SIZE, np.uint8)
    for box in boxes:
        box, of_box = box if isinstance(box[1], int) else (box, value)
        array[tuple(slice(*extent) for extent in box)] = of_box
    return array


def score(reference, prediction, rules="brats2024", region="ET", spacing=(1.0, 1.0, 1.0), tolerance=1.0):
    of_year = protocol(rules).lesion_rules
    return lesion_wise_metrics(reference, prediction, spacing, of_year, tolerance=tolerance)[region]


A, B, FAR = cube(10, 10, 10, 10), cube(10, 5, 5, 5), cube(10, 30, 30, 30)
LARGE = cube(5, 35, 35, 35)
SMALL = cube(2, 35, 35, 35)
RC = [((x, x + 8), (10, 18), (10, 18)) for x in (5, 21)]

# reference, prediction, then (found/missed/false, Dice, HD95) by the rules of 2024 and of 2025 (None: the same), and
# NSD at 0.5 and 1 mm; by hand where a case has one lesion, from a second program written from the rules otherwise
CASES = {
    "equal": ([A], [A], ("1/0/0", 1, 0), None, (1, 1)),
    "shifted": ([A], [cube(10, 12, 10, 10)], ("1/0/0", 0.8, 2), None, (0.590164, 0.721311)),
    "missed": ([B, FAR], [B], ("1/1/0", 0.5, 187), ("1/1/0", 0.5, 168.5), (0.5, 0.5)),
    "false": ([B], [B, LARGE], ("1/0/1", 0.5, 187), ("1/0/1", 0.5, 168.5), (0.5, 0.5)),
    "split": ([((5, 25), *LONG)], [((5, 13), *LONG), ((15, 25), *LONG)],
              ("1/0/0", 18 / 19, 2), None, (0.886751, 0.960177)),
    "merged": ([((5, 13), *LONG), ((25, 35), *LONG)], [((5, 35), *LONG)],
               ("2/0/0", (8 / 19 + 0.5) / 2, 21), None, (0.589348, 0.635419)),
    "both empty": ([], [], ("0/0/0", 1, 0), None, (1, 1)),
    "reference empty": ([], [A], ("0/0/1", 0, 374), ("0/0/1", 0, 337), (0, 0)),
    "prediction empty": ([A], [], ("0/1/0", 0, 374), ("0/1/0", 0, 337), (0, 0)),
    "small one missed": ([B, SMALL], [B], ("1/0/0", 1, 0), None, (1, 1)),
    "joined by growing": ([((5, 15), *LONG), ((19, 29), *LONG)], [((5, 15), *LONG)],
                          ("1/0/0", 2 / 3, 14), None, (0.75, 0.75)),
    "near without overlap": ([A], [((22, 32), *LONG)], ("1/0/0", 0, 12), None, (0, 0)),
    "corner": ([cube(5, 10, 10, 10), cube(5, 15, 15, 15)], [cube(5, 10, 10, 10), cube(5, 15, 15, 15)],
               ("1/0/0", 1, 0), None, (1, 1)),
    "only a small one missed": ([SMALL], [], ("0/0/0", 1, 0), None, (1, 1)),
    "small one and a false one": ([SMALL], [B], ("0/0/1", 0, 374), ("0/0/1", 0, 337), (0, 0)),
    "two shifted": ([cube(10, 0, 0, 0), cube(6, 20, 20, 20)], [cube(10, 1, 0, 0), cube(6, 22, 20, 20)],
                    ("2/0/0", 0.7833333, 1.5), None, (0.595125, 0.868421)),
    "one joined, one false": ([((5, 15), *LONG), ((17, 27), *LONG)], [((8, 18), *LONG), ((30, 35), *LONG)],
                              ("1/0/1", 1600 / 3000 / 2, 191.5), ("1/0/1", 1600 / 3000 / 2, 173), (0.270492, 0.347336)),
    "speck within reach": ([A], [A, ((22, 24), (10, 12), (10, 12))], ("1/0/0", 2000 / 2008, 0), None,
                           (0.991935, 0.991935)),
    "larger speck": ([A], [A, ((22, 25), (10, 13), (10, 13))], ("1/0/0", 2000 / 2027, 3), None, (0.974708, 0.974708)),
}  # fmt: skip


def check(found, expected):
    counts, dice, hd95 = expected
    assert [found[f"lesions_{what}"] for what in ("found", "missed", "false")] == [int(n) for n in counts.split("/")]
    assert [found["dice"], found["hd95_mm"]] == pytest.approx([dice, hd95], abs=1e-6)


@pytest.mark.parametrize(("reference", "prediction", "of_2024", "of_2025", "nsd"), CASES.values(), ids=CASES)
def test_worked_examples(reference, prediction, of_2024, of_2025, nsd):
    maps = labels(*reference), labels(*prediction)
    check(score(*maps), of_2024)
    check(score(*maps, "brats2025"), of_2025 or of_2024)
    for rules in ("brats2024", "brats2025"):
        found = [score(*maps, rules, tolerance=tolerance)["nsd"] for tolerance in (0.5, 1.0)]
        assert found == pytest.approx(nsd, abs=1e-6)


def test_a_speck_costs_a_whole_lesion_in_2024_and_nothing_in_2025():
    maps = labels(B), labels(B, SMALL)
    check(score(*maps), ("1/0/1", 0.5, 187))
    check(score(*maps, "brats2025"), ("1/0/0", 1, 0))


def test_distances_are_in_millimetres():
    found = score(labels(A), labels(cube(10, 10, 10, 11)), spacing=(1.0, 1.0, 3.0))
    check(found, ("1/0/0", 0.9, 3))
    assert found["nsd"] == pytest.approx(0.721311, abs=1e-6)


def test_lesions_that_touch_one_lesion_of_another_tissue_are_one():
    """Two pieces of enhancing tumour at both ends of a necrosis; only the first is predicted."""
    ends = [((5, 10), (10, 15), (10, 15)), ((25, 30), (10, 15), (10, 15))]
    core = (((10, 25), (10, 15), (10, 15)), 1)
    maps = labels(*ends, core), labels(ends[0], core)
    for rules in ("brats2024", "brats2025"):
        check(score(*maps, rules), ("1/0/0", 2 / 3, 20))
        check(score(*maps, rules, region="TC"), ("1/0/0", 8 / 9, 5))
    check(score(labels(*ends), labels(ends[0])), ("1/1/0", 0.5, 187))


@pytest.mark.parametrize(
    ("reference", "prediction", "of_2024", "of_2025"),
    [
        (RC, RC[:1], ("1/1/0", 0.5, 187), ("1/0/0", 2 / 3, 16)),  # five steps join what three do not
        ([((5, 10), (10, 13), (10, 11))], [], ("0/1/0", 0, 374), ("0/0/0", 1, 0)),  # 15 voxels: above 10, below 20
    ],
)
def test_cavities_have_rules_of_their_own(reference, prediction, of_2024, of_2025):
    maps = labels(*reference, value=4), labels(*prediction, value=4)
    check(score(*maps, region="RC"), of_2024)
    check(score(*maps, "brats2025", region="RC"), of_2025)


@pytest.mark.parametrize("rules", ["brats2024", "brats2025"])
def test_all_regions_at_once(rules):
    nested = [(cube(20, 5, 5, 5), 2), (cube(12, 9, 9, 9), 1), (cube(6, 12, 12, 12), 3), (cube(6, 35, 35, 35), 4)]
    moved = [(cube(20, 6, 5, 5), 2), (cube(12, 9, 9, 9), 1), (cube(6, 13, 12, 12), 3), (cube(6, 35, 36, 35), 4)]
    maps = labels(*nested), labels(*moved)
    dice = {"WT": 0.95, "TC": 1, "NETC": 0.9761904762, "SNFH": 0.9362244898, "ET": 0.8333333333, "RC": 0.8333333333}
    nsd = {"WT": 0.666052, "TC": 1, "NETC": 0.898305, "SNFH": 0.761214, "ET": 0.657895, "RC": 0.657895}
    for region, value in dice.items():
        found = score(*maps, rules, region=region, tolerance=0.5)
        check(found, ("1/0/0", value, 0 if region == "TC" else 1))
        assert found["nsd"] == pytest.approx(nsd[region], abs=1e-6)
        assert score(*maps, rules, region=region)["nsd"] == 1


def test_where_a_case_lies_in_the_volume_changes_nothing():
    maps = labels(A, LARGE), labels(cube(10, 12, 10, 10))
    moved = [np.pad(array, ((30, 5), (0, 17), (8, 0))) for array in maps]
    assert score(*maps) == score(*moved)
