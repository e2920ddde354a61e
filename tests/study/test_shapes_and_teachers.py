"""Students of several shapes and rows that several folds teach: each training gets what the file says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from made_studies import write_study_file
from nndistill.errors import UserError
from nndistill.study import job, load_study
from nndistill.study.job import carry_out
from nndistill.study.needed_data import refuse_missing_teachers
from nndistill.study.places import DATA, StudyPlaces
from small_studies import metrics_of, plans_of, run_study
from trained_world import World


@pytest.fixture
def in_workspace(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(world.workspace / name))
    return world


def changed(file: Path, **keys: Any) -> Path:
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**content, **keys}, sort_keys=False))
    return file


def test_each_student_has_its_shape(in_workspace: World, study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    students = {"quarter": {}, "plain": {"reduction": 2, "blocks": [1], "architecture": "plain"}}
    file = changed(study_file, students=students)

    quarter, plain = (
        plans_of(file, f"dcd_{student}_f0_s0", monkeypatch)["configurations"]["3d_fullres"]["architecture"]
        for student in students
    )

    assert quarter["network_class_name"].endswith("ResidualEncoderUNet")
    assert plain["network_class_name"].endswith("PlainConvUNet")
    assert set(plain["arch_kwargs"]["n_conv_per_stage"]) == {1}


def test_the_folds_of_a_row_teach_it(in_workspace: World, study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(in_workspace.teacher / "fold_0", in_workspace.teacher / "fold_1")
    rows = {"dcd": {}, "turns": {"method": "dcd", "teacher_fold": [0, 1], "teachers": "rotate"}}
    file = changed(study_file, methods=rows)

    alone, in_turn = (
        plans_of(file, f"{name}_f0_s0", monkeypatch)["nndistill"]["distillation"]["teacher"] for name in rows
    )

    assert alone["folds"] == {"0": "0"}
    assert (in_turn["folds"], in_turn["together"]) == ({"0": ["0", "1"]}, "rotate")


def test_seeds_of_the_teacher_teach_a_row_together(
    in_workspace: World, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = {"teacher": {"features": [8, 16, 32], "patch_size": [32, 40, 32]}}
    rows = {"none": {}, "both": {"method": "dcd", "teacher_seeds": [0, 1], "teachers": "rotate"}}
    file = changed(study_file, teachers=teachers, methods=rows)
    asked: list[dict[str, Any]] = []

    def begin(teacher_folder: Path, **options: Any) -> None:
        asked.append({"folders": [teacher_folder, *options["also_teachers"]], "together": options["teachers"]})
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "prepare_student", begin)
    for name in rows:
        with pytest.raises(KeyboardInterrupt):
            carry_out(load_study(file), StudyPlaces(file), f"{name}_f0_s0")

    alone, both = asked
    assert (len(alone["folders"]), len(both["folders"])) == (1, 2)
    assert both["folders"][0] == alone["folders"][0]
    trainings = [folder.name.split("__")[1].rpartition("_")[0] for folder in both["folders"]]
    assert trainings == ["study_teacher_f0", "study_teacher_f0_s1"]
    assert both["together"] == "rotate"


@pytest.mark.slow
def test_seeds_of_the_teacher_are_trained_and_teach(world: World, study_file: Path) -> None:
    teachers = {"teacher": {"features": [8, 16, 32], "patch_size": [32, 40, 32], "batch_size": 2}}
    rows = {"none": {}, "both": {"method": "logits", "weight": 1, "teacher_seeds": [0, 1]}}
    file = changed(study_file, teachers=teachers, methods=rows, test=None)

    process = run_study(file, world)
    _, error = process.communicate(timeout=900)

    assert process.returncode == 0, error
    assert sorted(metrics_of(file)) == ["both_f0_s0", "none_f0_s0", "teacher_f0", "teacher_f0_s1"]
    overall = (file.parent / "report" / "tables" / "overall.md").read_text()
    [teacher] = [line for line in overall.splitlines() if line.startswith("| Teacher")]
    assert "±" in teacher
    log = next((world.results).glob("*study_both_f0_s0*/fold_0/training_log*.txt")).read_text()
    assert "teacher 2 of 2" in log


@pytest.mark.parametrize("named", [{"folds": [2]}, {"methods": {"dcd": {"teacher_fold": [0, 2]}}}])
def test_a_fold_without_a_teacher_is_a_sentence(tmp_path: Path, named: dict[str, Any]) -> None:
    for fold in (0, 1):
        (tmp_path / "model" / f"fold_{fold}").mkdir(parents=True)
        (tmp_path / "model" / f"fold_{fold}" / "checkpoint_final.pth").touch()
    (tmp_path / "model" / "plans.json").write_text("{}")
    places = write_study_file(tmp_path, teachers={"trusted": {"folder": "model"}}, test="raw", **named)

    with pytest.raises(UserError, match=r"trusted: .*model has no checkpoint of fold 2, .* \(it has 0, 1\)"):
        refuse_missing_teachers(load_study(places.file), folder=tmp_path)


@pytest.mark.parametrize("teacher", [None, {"features": [8, 16, 32], "patch_size": [32, 40, 32]}])
@pytest.mark.parametrize(
    ("student", "words"),
    [
        ({"stages": 2}, "a student of 2 stages is not possible"),
        ({"stages": 4}, "a student of 4 stages is not possible: the teacher has 3"),
        ({"blocks": [1, 2]}, "the blocks 1 2 do not fit a student of 3 stages"),
        ({"blocks": [0]}, "the blocks 0 do not fit"),
        ({"features": [8, 8]}, "the features 8 8 do not fit"),
        ({"init": "teacher", "architecture": "plain"}, "a student cannot start from this teacher"),
    ],
)
def test_a_student_that_no_teacher_can_have_is_a_sentence_before_any_training(
    in_workspace: World,
    study_file: Path,
    teacher: dict[str, Any] | None,
    student: dict[str, Any],
    words: str,
) -> None:
    given = yaml.safe_load(study_file.read_text())["teachers"]["teacher"]
    file = changed(study_file, teachers={"teacher": teacher or given}, students={"good": {}, "odd": student})

    with pytest.raises(UserError, match=f"student odd of teacher teacher: {words}"):
        carry_out(load_study(file), StudyPlaces(file), DATA)


def test_a_row_may_start_from_the_teacher(
    in_workspace: World, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"none": {}, "pruned": {"method": "none", "changes": {"init": "teacher"}}}
    file = changed(study_file, students={"plain": {"architecture": "plain"}, "same": {}}, methods=rows)

    with pytest.raises(UserError, match="student plain of teacher teacher: a student cannot start from this teacher"):
        carry_out(load_study(file), StudyPlaces(file), DATA)

    rows["pruned"]["students"] = ["same"]
    changed(file, methods=rows)
    carry_out(load_study(file), StudyPlaces(file), DATA)
    starts = {
        name: plans_of(file, f"{name}_same_f0_s0", monkeypatch)["nndistill"]["distillation"]["init"] for name in rows
    }
    assert starts == {"none": "random", "pruned": "teacher"}


def test_a_case_that_no_fold_can_teach_is_a_sentence_before_any_training(in_workspace: World, study_file: Path) -> None:
    file = changed(study_file, methods={"none": {}, "fair": {"method": "dcd", "teacher_fold": "out-of-fold"}})

    with pytest.raises(UserError, match=r"method fair: .* has no checkpoint of fold 1, 2, 3, 4, which alone can teach"):
        carry_out(load_study(file), StudyPlaces(file), DATA)
