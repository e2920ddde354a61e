"""A leak is said of every combination of teachers and student, with the cases that it affects."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndistill.nnunet.data.preprocessed_case import Split
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from nndistill.nnunet.training.leak import leak_of

CASES = [f"case{number}" for number in range(10)]


def _five_folds() -> dict[str, Split]:
    """Two validation cases per fold."""
    folds = {
        str(k): Split([c for c in CASES if c not in CASES[2 * k : 2 * k + 2]], CASES[2 * k : 2 * k + 2])
        for k in range(5)
    }
    return {**folds, "all": Split(CASES, CASES)}


@pytest.mark.parametrize(
    ("teachers", "fold", "words"),
    [
        (["0"], "0", None),
        (
            ["1"],
            "0",
            "The teacher was trained on the training cases of fold 1, among them all 2 validation cases",
        ),
        (
            ["all"],
            "0",
            "The teacher was trained on all cases, among them all 2 validation cases of fold 0 (case0, case1)",
        ),
        (
            list("01234"),
            "0",
            "Of the 5 teachers, those of folds 1, 2, 3, 4 were trained on all 2 validation cases of fold 0",
        ),
        (["0", "3"], "0", "Of the 2 teachers, that of fold 3 was trained on all 2 validation cases"),
        (["0", "all"], "0", "Of the 2 teachers, that of fold all was trained on all 2 validation cases"),
        (["0", "0"], "0", None),  # of two models
        (["0"], "all", "The student is trained on all cases"),
        (["9"], "0", "The teacher was trained on the training cases of fold 9, among them all 2 validation cases"),
    ],
)
def test_sentence_for_every_combination(teachers, fold, words):
    leak = leak_of(teacher_folds=teachers, fold=fold, splits=_five_folds())
    assert leak == words if words is None else leak.startswith(words)


def test_out_of_fold_says_what_is_affected_and_what_is_not():
    leak = leak_of(teacher_folds=list("1234"), fold="0", splits=_five_folds(), out_of_fold=True)
    assert leak.startswith("Each training case is taught by a network that has not seen it.")
    assert "folds 1, 2, 3, 4 were trained on all 2 validation cases of fold 0 (case0, case1)" in leak
    assert "what is taught is not affected" in leak
    everything = leak_of(teacher_folds=list("01234"), fold="all", splits=_five_folds(), out_of_fold=True)
    assert "Each case is taught by a network that has not seen it" in everything


def test_cases_of_a_split_that_overlaps_are_counted_and_the_first_are_named():
    splits = {"0": Split(["x"], CASES), "1": Split(CASES[:5], ["x"])}
    leak = leak_of(teacher_folds=["1"], fold="0", splits=splits)
    assert "5 of the 10 validation cases of fold 0 (case0, case1, case2, …)" in leak


some_cases = st.sets(st.sampled_from(CASES), min_size=1).map(sorted)


@given(st.lists(st.builds(Split, some_cases, some_cases), min_size=2, max_size=4), st.data())
def test_silence_means_that_no_teacher_has_seen_a_validation_case(folds, data):
    splits = {str(number): split for number, split in enumerate(folds)}
    teachers = data.draw(st.lists(st.sampled_from(sorted(splits)), min_size=1, max_size=3))
    seen = {case for teacher in teachers for case in splits[teacher].train} & set(splits["0"].validation)
    for out_of_fold in (False, True):
        leak = leak_of(teacher_folds=teachers, fold="0", splits=splits, out_of_fold=out_of_fold)
        assert (leak is None) == (not seen)


def test_no_teacher_is_read_or_warned_of_where_none_teaches():
    alone = SimpleNamespace(
        method=SimpleNamespace(needs=()),
        _starts_from_teacher=False,
        teacher_networks=[SimpleNamespace(model=SimpleNamespace(folder="no/such/folder"), fold="all")],
    )
    nnUNetTrainerDistill._warn_of_leak(alone)
    assert nnUNetTrainerDistill._load_teachers(alone) == []
