"""The trainings of a study, and what a change of its file redoes."""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nndistill.errors import UserError
from nndistill.study import Study, StudyRun, load_study, study_runs
from nndistill.study.init import write_study
from nndistill.study.results import is_done, result_file


def runs_of(**keys: Any) -> dict[str, StudyRun]:
    study = Study.model_validate({"dataset": 4, "methods": {"none": {}, "dcd": {}}, "seeds": [0, 1], **keys})
    return {run.name: run for run in study_runs(study, folder=Path())}


def redone(before: dict[str, StudyRun], after: dict[str, StudyRun]) -> set[str]:
    return {name for name, run in after.items() if name not in before or before[name].digest != run.digest}


@pytest.mark.parametrize(("name", "fold"), [("brats2024", 3), ("isles2022", 0)])
def test_the_studies_of_the_paper(tmp_path: Path, name: str, fold: int) -> None:
    """Table 1: seven students. Table 4: five rows, of which no distillation and band D are those of Table 1."""
    write_study(name, tmp_path / "study.yaml")
    study = load_study(tmp_path / "study.yaml")

    runs = study_runs(study, folder=tmp_path)

    students = [run for run in runs if run.method]
    tables = {method: row.tables for method, row in study.methods.items()}
    per_seed = Counter(run.seed for run in students)
    assert [run.name for run in runs if not run.method] == [f"teacher_f{fold}"]
    assert sum("overall" in row for row in tables.values()) == 7
    assert sum("ablations" in row for row in tables.values()) == 5
    assert {method for method, row in tables.items() if len(row) == 2} == {"none", "dcd"}
    assert set(per_seed.values()) == {7 + 5 - 2}
    assert all(run.needs == (f"teacher_f{fold}",) for run in students)


def test_a_run_comes_after_those_it_needs() -> None:
    runs = runs_of(pilot={}, methods={"none": {}, "dcd": {"weights": [0.1, 1.0]}}, folds=[0, 1])

    order = list(runs)

    assert all(order.index(need) < order.index(name) for name, run in runs.items() for need in run.needs)


def test_a_grid_is_tried_in_the_pilot_only() -> None:
    runs = runs_of(pilot={"seeds": [0, 1]}, methods={"none": {}, "dcd": {"weights": [0.1, 1.0]}}, folds=[0, 1])

    tried = {name: run.weight for name, run in runs.items() if run.weight is not None}

    assert tried == {
        "dcd_pilot_w0.1_s0": 0.1,
        "dcd_pilot_w0.1_s1": 0.1,
        "dcd_pilot_w1_s0": 1.0,
        "dcd_pilot_w1_s1": 1.0,
    }
    assert set(runs["dcd_f1_s0"].needs) == {"teacher_f1", *tried}
    assert runs["none_f0_s0"].needs == ("teacher_f0",)
    assert all(runs[name].needs == ("teacher_pilot",) for name in tried)


def test_shares_of_the_gradient_are_tried_as_weights_are() -> None:
    grids = {"none": {}, "dcd": {"weights": [0.1, 1.0]}, "feature": {"balances": [0.2, 1.0]}}
    runs = runs_of(pilot={}, methods=grids)

    recipes = {name: run.definition["recipe"] for name, run in runs.items()}

    assert recipes["feature_pilot_w0.2_s0"]["balance"]["share"] == 0.2
    assert recipes["feature_pilot_w0.2_s0"]["distillation_weight"] is None
    assert recipes["dcd_pilot_w0.1_s0"]["balance"] is None
    assert recipes["dcd_pilot_w0.1_s0"]["distillation_weight"] == 0.1
    assert runs["feature_pilot_w0.2_s0"].title.endswith("share 0.2, seed 0")
    assert runs["dcd_pilot_w0.1_s0"].title.endswith("μ = 0.1, seed 0")
    assert set(runs["feature_f0_s0"].needs) == {"teacher_f0", "feature_pilot_w0.2_s0", "feature_pilot_w1_s0"}


def test_a_changed_method_redoes_its_own_runs_only() -> None:
    changed = redone(runs_of(), runs_of(methods={"none": {}, "dcd": {"options": {"bands": "A"}}}))

    assert changed == {"dcd_f0_s0", "dcd_f0_s1"}


def test_a_changed_teacher_redoes_its_students() -> None:
    assert redone(runs_of(), runs_of(teachers={"teacher": {"features": [8, 16]}})) == set(runs_of())


def test_a_further_seed_redoes_nothing() -> None:
    assert redone(runs_of(), runs_of(seeds=[0, 1, 2])) == {"none_f0_s2", "dcd_f0_s2"}


def test_results_from_before_batches_had_parts_are_still_those_of_their_runs() -> None:
    before = runs_of()
    assert all("accumulate" not in run.definition["recipe"] for run in before.values())
    assert redone(before, runs_of(changes={"accumulate": 1})) == set()
    assert redone(before, runs_of(changes={"accumulate": 2})) == set(before)


def test_another_protocol_measures_again_and_trains_nothing() -> None:
    before, after = runs_of(), runs_of(protocol="laboratory")

    assert redone(before, after) == set(before)
    assert all(before[name].training_digest == after[name].training_digest for name in before)


def test_other_test_cases_are_measured_and_nothing_is_trained() -> None:
    before = runs_of(test={"images": "images", "labels": "labels"})
    for test in ({"images": "others", "labels": "labels"}, {"images": "images", "labels": "others"}, "raw", None):
        after = runs_of(test=test)
        assert redone(before, after) == set(before)
        assert all(before[name].training_digest == after[name].training_digest for name in before)
        assert all(before[name].predictions_name != after[name].predictions_name for name in before)


def test_another_protocol_predicts_nothing_again() -> None:
    for test in ({"images": "images", "labels": "labels"}, "raw"):
        before, after = runs_of(test=test), runs_of(test=test, protocol="laboratory")
        assert all(before[name].predictions_name == after[name].predictions_name for name in before)


def test_results_from_before_a_setup_named_its_folders_of_test_cases_are_still_those_of_their_runs(tmp_path) -> None:
    run = runs_of(test={"images": "images", "labels": "labels"})["dcd_f0_s0"]
    definition = {**run.definition, "measured": {**run.definition["measured"], "test": "folders"}}
    digest = sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()
    file = result_file(tmp_path, run.name)
    file.parent.mkdir()
    file.write_text(json.dumps({"digest": digest}))
    assert is_done([tmp_path], run)
    assert not is_done([tmp_path], runs_of(test="raw")["dcd_f0_s0"])


def test_another_grid_chooses_again() -> None:
    keys = {"pilot": {}, "seeds": [0]}
    before = runs_of(methods={"none": {}, "dcd": {"weights": [0.1, 1.0]}}, **keys)
    after = runs_of(methods={"none": {}, "dcd": {"weights": [0.1, 1.0, 10.0]}}, **keys)

    assert redone(before, after) == {"dcd_pilot_w10_s0", "dcd_f0_s0"}


def test_images_without_labels_are_part_of_a_row_and_change_no_other() -> None:
    before = runs_of()
    assert all("unlabelled" not in run.definition for run in before.values())
    rows = {"none": {}, "dcd": {}, "more": {"method": "dcd", "unlabelled": {"images": "scans"}}}

    with_images = runs_of(methods=rows)

    assert redone(before, with_images) == {"more_f0_s0", "more_f0_s1"}
    assert with_images["more_f0_s0"].definition["unlabelled"] == {"images": "scans", "share": 0.5}
    rows["more"]["unlabelled"]["share"] = 0.75
    assert redone(with_images, runs_of(methods=rows)) == {"more_f0_s0", "more_f0_s1"}


def test_a_shape_and_its_teachers_are_part_of_a_run_and_change_no_other() -> None:
    before = runs_of(students={"student": {}})
    assert before["dcd_f0_s0"].definition["network"] == {"reduction": 4, "features": None, "init": "random"}
    assert redone(before, runs_of(students={"student": {"stages": 4}})) == {
        name for name in before if "teacher" not in name
    }
    rows = {"none": {}, "dcd": {}, "turns": {"method": "dcd", "teacher_fold": [0, 1], "teachers": "rotate"}}

    in_turns = runs_of(methods=rows)

    assert redone(before, in_turns) == {"turns_f0_s0", "turns_f0_s1"}
    del rows["turns"]["teachers"]
    assert redone(in_turns, runs_of(methods=rows)) == {"turns_f0_s0", "turns_f0_s1"}


def test_what_a_row_starts_from_is_part_of_it_and_changes_no_other() -> None:
    before = runs_of(methods={"none": {}, "pruned": {"method": "none"}, "dcd": {}})

    after = runs_of(methods={"none": {}, "pruned": {"method": "none", "changes": {"init": "teacher"}}, "dcd": {}})

    assert redone(before, after) == {"pruned_f0_s0", "pruned_f0_s1"}
    assert after["pruned_f0_s0"].definition["network"]["init"] == "teacher"
    every_row = runs_of(students={"student": {"init": "teacher"}}, methods={"none": {}, "pruned": {"method": "none"}})
    assert every_row["none_f0_s0"].digest == every_row["pruned_f0_s0"].digest == after["pruned_f0_s0"].digest


def test_seeds_of_the_teacher_are_part_of_a_row_and_change_no_other() -> None:
    rows = {"none": {}, "dcd": {}, "both": {"method": "dcd", "teacher_seeds": [0, 7], "weights": [0.1, 1.0]}}
    before = runs_of(methods={"none": {}, "dcd": {}}, pilot={})

    with_both = runs_of(methods=rows, pilot={})

    assert redone(before, with_both) == {
        *("teacher_f0_s7", "teacher_pilot", "teacher_pilot_s7"),
        *("both_pilot_w0.1_s0", "both_pilot_w1_s0", "both_f0_s0", "both_f0_s1"),
    }
    assert with_both["both_f0_s1"].needs[:2] == ("teacher_f0", "teacher_f0_s7")
    assert with_both["both_pilot_w1_s0"].needs == ("teacher_pilot", "teacher_pilot_s7")
    assert with_both["teacher_f0_s7"].title == "teacher, fold 0, seed 7"
    assert with_both["teacher_f0_s7"].definition["recipe"]["seed"] == 7
    rows["both"]["teachers"] = "rotate"
    assert redone(with_both, runs_of(methods=rows, pilot={})) == {name for name in with_both if "both" in name}


def test_two_trainings_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"'teacher, fold 0, seed 1' and 'Teacher, student, .*' would both be called"):
        runs_of(methods={"none": {}, "Teacher": {"method": "dcd", "teacher_seeds": [0, 1]}})


def test_a_row_may_have_a_part_of_the_students_and_seeds_and_changes_no_other() -> None:
    students = {"small": {"reduction": 8}, "tiny": {"reduction": 16}}
    whole = runs_of(students=students)

    part = runs_of(students=students, methods={"none": {}, "dcd": {"students": ["tiny"], "seeds": [1]}})

    left_out = {"dcd_small_f0_s0", "dcd_small_f0_s1", "dcd_tiny_f0_s0"}
    assert set(part) == set(whole) - left_out
    assert redone(whole, part) == set()


def test_table_and_description_are_no_setup() -> None:
    after = runs_of(description="other", methods={"none": {}, "dcd": {"tables": ["ablations"]}})

    assert redone(runs_of(), after) == set()


def test_a_title_names_the_teacher_if_there_are_several() -> None:
    alone = runs_of()
    several = runs_of(teachers={"teacher": {}, "small": {"features": [8, 16]}}, pilot={})

    assert alone["dcd_f0_s0"].title == "dcd, student, fold 0, seed 0"
    assert several["dcd_small_f0_s0"].title == "dcd, student, of small, fold 0, seed 0"
    assert several["small_f0"].title == "small, fold 0"
    assert len({run.title for run in several.values()}) == len(several)
    assert several["dcd_teacher_f0_s0"].digest == alone["dcd_f0_s0"].digest
