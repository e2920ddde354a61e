"""Lesion-wise metrics of BraTS by hand: split, merged, missed, false, small and touching lesions."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_cases import CASES, LARGE, RC, SMALL, A, B, cube, label_map
from nndistill.evaluation.lesion_wise import lesion_wise_metrics
from nndistill.evaluation.protocols import protocol


def score(reference, prediction, rules="brats2024", region="ET", spacing=(1.0, 1.0, 1.0), tolerance=1.0):
    of_year = protocol(rules).lesion_rules
    return lesion_wise_metrics(reference, prediction, spacing, of_year, tolerance=tolerance)[region]


def check(found, expected):
    counts, dice, hd95 = expected
    assert [found[f"lesions_{what}"] for what in ("found", "missed", "false")] == [int(n) for n in counts.split("/")]
    assert [found["dice"], found["hd95_mm"]] == pytest.approx([dice, hd95], abs=1e-6)


@pytest.mark.parametrize(("reference", "prediction", "of_2024", "of_2025", "nsd"), CASES.values(), ids=CASES)
def test_worked_examples(reference, prediction, of_2024, of_2025, nsd):
    maps = label_map(*reference), label_map(*prediction)
    check(score(*maps), of_2024)
    check(score(*maps, "brats2025"), of_2025 or of_2024)
    for rules in ("brats2024", "brats2025"):
        found = [score(*maps, rules, tolerance=tolerance)["nsd"] for tolerance in (0.5, 1.0)]
        assert found == pytest.approx(nsd, abs=1e-6)


def test_a_speck_costs_a_whole_lesion_in_2024_and_nothing_in_2025():
    maps = label_map(B), label_map(B, SMALL)
    check(score(*maps), ("1/0/1", 0.5, 187))
    check(score(*maps, "brats2025"), ("1/0/0", 1, 0))


def test_distances_are_in_millimetres():
    found = score(label_map(A), label_map(cube(10, 10, 10, 11)), spacing=(1.0, 1.0, 3.0))
    check(found, ("1/0/0", 0.9, 3))
    assert found["nsd"] == pytest.approx(0.721311, abs=1e-6)


def test_lesions_that_touch_one_lesion_of_another_tissue_are_one():
    """Two pieces of enhancing tumour at both ends of a necrosis; only the first is predicted."""
    ends = [((5, 10), (10, 15), (10, 15)), ((25, 30), (10, 15), (10, 15))]
    core = (((10, 25), (10, 15), (10, 15)), 1)
    maps = label_map(*ends, core), label_map(ends[0], core)
    for rules in ("brats2024", "brats2025"):
        check(score(*maps, rules), ("1/0/0", 2 / 3, 20))
        check(score(*maps, rules, region="TC"), ("1/0/0", 8 / 9, 5))
    check(score(label_map(*ends), label_map(ends[0])), ("1/1/0", 0.5, 187))


@pytest.mark.parametrize(
    ("reference", "prediction", "of_2024", "of_2025"),
    [
        (RC, RC[:1], ("1/1/0", 0.5, 187), ("1/0/0", 2 / 3, 16)),  # five steps join what three do not
        ([((5, 10), (10, 13), (10, 11))], [], ("0/1/0", 0, 374), ("0/0/0", 1, 0)),  # 15 voxels: above 10, below 20
    ],
)
def test_cavities_have_rules_of_their_own(reference, prediction, of_2024, of_2025):
    maps = label_map(*reference, value=4), label_map(*prediction, value=4)
    check(score(*maps, region="RC"), of_2024)
    check(score(*maps, "brats2025", region="RC"), of_2025)


@pytest.mark.parametrize("rules", ["brats2024", "brats2025"])
def test_all_regions_at_once(rules):
    nested = [(cube(20, 5, 5, 5), 2), (cube(12, 9, 9, 9), 1), (cube(6, 12, 12, 12), 3), (cube(6, 35, 35, 35), 4)]
    moved = [(cube(20, 6, 5, 5), 2), (cube(12, 9, 9, 9), 1), (cube(6, 13, 12, 12), 3), (cube(6, 35, 36, 35), 4)]
    maps = label_map(*nested), label_map(*moved)
    dice = {"WT": 0.95, "TC": 1, "NETC": 0.9761904762, "SNFH": 0.9362244898, "ET": 0.8333333333, "RC": 0.8333333333}
    nsd = {"WT": 0.666052, "TC": 1, "NETC": 0.898305, "SNFH": 0.761214, "ET": 0.657895, "RC": 0.657895}
    for region, value in dice.items():
        found = score(*maps, rules, region=region, tolerance=0.5)
        check(found, ("1/0/0", value, 0 if region == "TC" else 1))
        assert found["nsd"] == pytest.approx(nsd[region], abs=1e-6)
        assert score(*maps, rules, region=region)["nsd"] == 1


def test_where_a_case_lies_in_the_volume_changes_nothing():
    maps = label_map(A, LARGE), label_map(cube(10, 12, 10, 10))
    moved = [np.pad(array, ((30, 5), (0, 17), (8, 0))) for array in maps]
    assert score(*maps) == score(*moved)


# the program brats-evaluation 0.0.10 on the same cases: matched/missed/false, then means over the matched pairs
MATCHED = {
    "equal": ("1/0/0", 1, 1, 0),
    "shifted": ("1/0/0", 0.8, 0.7213114754, 2),
    "missed": ("1/1/0", 1, 1, 0),
    "false": ("1/0/1", 1, 1, 0),
    "split": ("1/0/1", 0.6666666667, 0.7343411692, 10),
    "merged": ("1/1/0", 0.5, 0.6535121051, 20),
    "both empty": ("0/0/0", np.nan, np.nan, np.nan),
    "reference empty": ("0/0/1", 0, 0, 373),
    "prediction empty": ("0/1/0", 0, 0, 373),
    "small one missed": ("1/1/0", 1, 1, 0),
    "joined by growing": ("1/1/0", 1, 1, 0),
    "near without overlap": ("0/1/1", 0, 0, 373),
    "corner": ("1/0/0", 1, 1, 0),
    "two shifted": ("2/0/0", 0.7833333333, 0.8684210526, 1.5),
    "one joined, one false": ("1/1/1", 0.7, 0.6475409836, 3),
    "larger speck": ("1/0/1", 1, 1, 0),
}


@pytest.mark.parametrize("name", MATCHED)
def test_matched_lesions_are_those_of_the_program(name):
    counts, dice, nsd, hd95 = MATCHED[name]
    reference, prediction = (label_map(*boxes) for boxes in CASES[name][:2])
    found = protocol("brats2026").lesion_rules.measure(reference, prediction, (1.0, 1.0, 1.0), tolerance=1.0)["ET"]
    assert [found[f"lesions_{what}"] for what in ("found", "missed", "false")] == [int(n) for n in counts.split("/")]
    assert [found["dice"], found["nsd"], found["hd95_mm"]] == pytest.approx([dice, nsd, hd95], abs=1e-9, nan_ok=True)
