"""Runs and their setups: each has a name of its own, its setup is written once, and each fold has its own teacher."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from nndistill import load_recipe, prepare_student, train
from nndistill.errors import UserError
from nndistill.files import read_json, write_json
from nndistill.nnunet.run_setup import RunSetup, Teacher
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from nndistill.nnunet.training.run_name import default_name
from nndistill.nnunet.training.same_setup import differ_in_seed_alone
from nndistill.nnunet.workspace import use_workspace
from tiny import TINY

FINAL = "checkpoint_final.pth"


@pytest.fixture
def prepare(world):
    """Make the plans of a student without training it."""
    use_workspace(world.workspace)

    def call(recipe="quick", *, fold="0", **options):
        changes = {key: options.pop(key) for key in ("epochs", "seed", "method_options", "method") if key in options}
        return prepare_student(world.teacher, fold=fold, recipe=load_recipe(recipe).adjusted(**changes), **options)

    return call


@pytest.fixture
def two_folds(world):
    """The teacher with a second fold; its weights are as good as those of a fold of its own."""
    shutil.copytree(world.teacher / "fold_0", world.teacher / "fold_1")


def _setup(plans: Path) -> dict:
    return read_json(plans)["nndistill"]["distillation"]


def _trainer(run, fold: int) -> nnUNetTrainerDistill:
    """As stock `nnUNetv2_train` makes it."""
    plans = {**read_json(run.plans_file), "continue_training": False}
    dataset = read_json(run.plans_file.parent / "dataset.json")
    return nnUNetTrainerDistill(plans, run.configuration, fold, dataset, torch.device("cpu"))


def test_default_names_tell_runs_apart_and_each_keeps_its_setup(prepare):
    runs = [
        prepare("paper"),
        prepare("paper", method_options={"bands": "S"}),
        prepare("paper", seed=7),
        prepare("paper", batch_size=1),
        prepare("paper", init="teacher"),
        prepare("paper", teacher_checkpoint="checkpoint_best.pth"),
        prepare("quick"),
        prepare("quick", epochs=3),
        prepare("quick", reduction=2),
        prepare("quick", method="none"),
    ]
    names = [run.plans_name.removeprefix("nnUNetResEncUNetPlans_") for run in runs]
    assert names == [
        "dcd_r4",
        "dcd_r4_bands-S",
        "dcd_r4_seed7",
        "dcd_r4_batch1",
        "dcd_r4_init-teacher",
        "dcd_r4_teacher-best",
        "dcd_r4_quick",
        "dcd_r4_quick_epochs3",
        "dcd_r2_quick",
        "none_r4_quick",
    ]
    assert len({json.dumps(read_json(run.plans_file), sort_keys=True) for run in runs}) == len(runs)


def test_a_long_name_is_cut_and_still_unique():
    recipe = load_recipe("quick").adjusted(
        method="dcd+cwd+ifvd+logits", method_options={"weights": [0.123456, 0.234567, 0.345678, 0.456789]}, seed=1
    )
    names = {default_name("nnUNetResEncUNetPlans", recipe.adjusted(seed=seed), size="r4") for seed in range(5)}
    assert len(names) == 5
    assert max(map(len, names)) <= 120


@pytest.mark.parametrize(
    ("changes", "difference"),
    [({"epochs": 3}, "epochs 24, now 3"), ({"reduction": 2}, "features_per_stage [8, 8, 8], now [8, 8, 16]")],
)
def test_a_setup_is_written_once_even_before_the_first_checkpoint(prepare, changes, difference):
    first = prepare(name="mine")
    written = first.plans_file.read_bytes()
    with pytest.raises(UserError, match="another setup") as refused:
        prepare(name="mine", **changes)
    assert difference in str(refused.value)
    assert refused.value.flags == ["--name"]
    assert first.plans_file.read_bytes() == written


def test_the_same_setup_is_no_other_if_a_default_is_spelt_out_or_another_version_wrote_it(prepare):
    first = prepare(name="mine")
    plans = read_json(first.plans_file)
    plans["nndistill"]["nndistill_version"] = "0.0.1"
    write_json(first.plans_file, plans)
    written = first.plans_file.read_bytes()
    prepare(name="mine", method_options={"bands": "D", "level": 3})
    assert first.plans_file.read_bytes() == written


@pytest.mark.usefixtures("two_folds")
def test_plans_that_differ_in_the_seed_alone(prepare):
    first, again, other, both, taught = (
        read_json(prepare(**options).plans_file)
        for options in (
            {"seed": 0},
            {"seed": 1},
            {"seed": 0, "epochs": 7},
            {"seed": 1, "epochs": 7},
            {"seed": 2, "teacher_fold": "1"},
        )
    )
    alone = partial(differ_in_seed_alone, fold="0")
    assert alone(first, again)
    assert alone(other, both)
    assert not any(alone(first, plans) for plans in (first, other, both, taught))


def test_a_fold_that_another_process_trains_is_left_alone(prepare):
    run = prepare()
    run.fold_folder.mkdir(parents=True)
    with FileLock(run.fold_folder / ".lock"), pytest.raises(UserError, match="another process trains in"):
        train(run, device="cpu")
    assert not list(run.fold_folder.glob("*.txt"))


@pytest.mark.usefixtures("two_folds")
def test_a_student_trained_fold_by_fold_is_one_model_and_each_fold_has_its_own_teacher(nndistill, world):
    for fold in ("0", "1"):
        result = nndistill(
            *("distill", world.teacher, "--fold", fold, "--workspace", world.workspace, *TINY, "--epochs", 1),
            "--no-validate",
        )
        assert result.status == 0, result.err
        assert "too good" not in result.err
        assert f"-f {'0' if fold == '0' else '0 1'} " in result.out, "of all folds that are trained"
    (student,) = world.results.glob("nnUNetTrainerDistill__*_dcd_r4_quick_*")
    assert {folder.name for folder in student.glob("fold_*") if (folder / FINAL).is_file()} == {"fold_0", "fold_1"}
    assert _setup(student / "plans.json")["teacher"]["folds"] == {"0": "0", "1": "1"}
    for fold in ("fold_0", "fold_1"):
        log = next((student / fold).glob("training_log*.txt")).read_text()
        assert f"the teacher: {world.teacher / fold / FINAL}" in log


@pytest.mark.usefixtures("two_folds")
def test_stock_nnunet_takes_the_teacher_of_the_fold_that_it_trains(prepare, world):
    run = prepare()  # for fold 0
    assert _trainer(run, 0)._teacher_file() == world.teacher / "fold_0" / FINAL
    assert _trainer(run, 1)._teacher_file() == world.teacher / "fold_1" / FINAL
    with pytest.raises(UserError, match=r"for fold 3 .*folds with checkpoint_final.pth: 0, 1"):
        _trainer(run, 3)._teacher_file()


@pytest.mark.usefixtures("two_folds")
def test_the_teacher_of_a_fold_may_be_chosen_and_does_not_change_afterwards(prepare):
    run = prepare(name="mine", fold="0", teacher_fold="1")
    prepare(name="mine", fold="1")
    assert _setup(run.plans_file)["teacher"]["folds"] == {"0": "1", "1": "1"}
    with pytest.raises(UserError, match="fold 0 taught by the teacher's fold 1, now by 0"):
        prepare(name="mine", fold="0")


def test_a_setup_of_version_0_2_goes_on_with_its_teacher_and_takes_further_folds(prepare, world, two_folds):
    run = prepare(name="mine")
    plans = read_json(run.plans_file)
    teacher = plans["nndistill"]["distillation"]["teacher"]
    del teacher["folds"]
    teacher["fold"] = "0"
    write_json(run.plans_file, plans)
    run.fold_folder.mkdir(parents=True)
    (run.fold_folder / "checkpoint_latest.pth").touch()
    assert prepare(name="mine", resume=True) == run
    prepare(name="mine", fold="1")
    setup = RunSetup.of(read_json(run.plans_file)).distillation
    assert [setup.teacher.fold_for(fold) for fold in (0, "1")] == ["0", "1"]
    with pytest.raises(UserError, match="taught by the teacher's fold 0, now by 1"):
        prepare(name="mine", teacher_fold="1", resume=True)


@pytest.mark.parametrize(("fold", "taught_by"), [("0", "all"), (0, "all"), ("1", "1"), ("all", "all")])
def test_a_fold_that_is_not_named_is_taught_by_its_namesake(fold, taught_by):
    teacher = Teacher(folder="x", checkpoint=FINAL, channels=[8], folds={"0": "all"})
    assert teacher.fold_for(fold) == taught_by


def test_resume_finds_the_run_that_version_0_2_began_under_a_shorter_name(prepare):
    older = prepare(name="nnUNetResEncUNetPlans_dcd_r4")
    older.fold_folder.mkdir(parents=True)
    (older.fold_folder / "checkpoint_latest.pth").touch()
    assert prepare(resume=True) == older
    other = replace(older, plans_name="nnUNetResEncUNetPlans_dcd_r4_quick_seed5")
    assert prepare(seed=5, resume=True) == other
