"""Folds: every case is held out once, no patient is on both sides, sizes are those of the paper."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndistill.datasets.preparation.splits import check_split, make_split, patient_split, patients_on_both_sides
from nndistill.errors import UserError


def brats(cases, time_points=(1, 3, 2, 4, 1)):
    """Patients with several time points each."""
    patients = {}
    while len(patients) < cases:
        number = len(set(patients.values()))
        for time in range(time_points[number % len(time_points)]):
            patients[f"BraTS-GLI-{number:05d}-{100 + time}"] = f"BraTS-GLI-{number:05d}"
    return dict(list(patients.items())[:cases])


@given(st.lists(st.integers(1, 9), min_size=5, max_size=60))
def test_by_patient_each_case_is_held_out_once_and_no_patient_is_on_both_sides(counts):
    patients = {f"p{p}-{t}": f"p{p}" for p, count in enumerate(counts) for t in range(count)}
    folds = patient_split(patients)
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(patients)
    for fold in folds:
        assert sorted([*fold["train"], *fold["val"]]) == sorted(patients)
        assert not {patients[c] for c in fold["train"]} & {patients[c] for c in fold["val"]}
    sizes = [len(fold["val"]) for fold in folds]
    assert max(sizes) - min(sizes) <= max(counts), "no fold is larger by more than a patient"


def test_the_papers_counts_follow():
    for kind in ("nnunet", "patient"):
        sizes = [(len(f["train"]), len(f["val"])) for f in make_split(kind, brats(1350))]
        assert sizes == [(1080, 270)] * 5, kind
        sizes = [(len(f["train"]), len(f["val"])) for f in make_split(kind, brats(250, (1,)))]
        assert sizes == [(200, 50)] * 5, kind


def test_the_stock_split_has_patients_on_both_sides_and_ours_none():
    patients = brats(1350)
    assert patients_on_both_sides(make_split("nnunet", patients), patients) > 100
    assert patients_on_both_sides(make_split("patient", patients), patients) == 0


def test_the_stock_split_is_the_one_that_nnunet_makes():
    crossval = pytest.importorskip("nnunetv2.utilities.crossval_split")
    patients = brats(23)
    expected = crossval.generate_crossval_split(sorted(patients), seed=12345, n_splits=5)
    found = make_split("nnunet", dict(reversed(patients.items())))
    assert [(f["train"], f["val"]) for f in found] == [(list(f["train"]), list(f["val"])) for f in expected]
    json.dumps(found)


def test_a_split_does_not_depend_on_the_order_in_which_cases_are_found():
    patients = brats(50)
    assert patient_split(patients) == patient_split(dict(reversed(patients.items())))


@pytest.mark.parametrize("kind", ["nnunet", "patient"])
def test_fewer_cases_than_folds_are_not_divided(kind):
    assert make_split(kind, {f"c{k}": f"c{k}" for k in range(4)}) == []


def test_a_file_is_taken_without_the_damaged_cases(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{"train": ["a", "b", "broken"], "val": ["c"]}]))
    assert make_split(str(path), {c: c for c in "abc"}, left_out=["broken"]) == [{"train": ["a", "b"], "val": ["c"]}]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([{"train": ["a", "b"], "val": ["b"]}], "fold 0 has b both in training and in validation"),
        (
            [{"train": ["a"], "val": ["b"]}, {"train": ["a"], "val": ["x"]}],
            "fold 1 names x, which is not a training case",
        ),
        ([], "holds no fold"),
        ([{"train": ["a"], "val": []}], "fold 0 has no validation cases"),
        ([{"train": ["a", "c", "a"], "val": ["b"]}], "fold 0 names a twice in `train`"),
        ([{"train": ["a"]}], "is not a list of folds"),
        ({"train": ["a"], "val": ["b"]}, "is not a list of folds"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, content, sentence):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=sentence):
        make_split(str(path), {c: c for c in "abc"})


def test_a_split_that_is_neither_name_nor_file_lists_what_there_is():
    with pytest.raises(UserError, match=r"there is no split 'patients': give patient, nnunet, or a file"):
        check_split("patients")
    for kind in ("patient", "nnunet", __file__):
        check_split(kind)
