"""Out-of-fold: no case is ever taught by a teacher that has seen it."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nndistill import prepare_student
from nndistill.errors import UserError
from nndistill.files import read_json, write_json
from nndistill.nnunet.data.out_of_fold import out_of_fold
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.run_setup import KEY
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from nndistill.nnunet.workspace import use_workspace
from several_folds import FINAL, add_folds
from tiny import TINY

CASES = list("abcdef")
some_cases = st.sets(st.sampled_from(CASES)).map(sorted)


@given(st.lists(st.fixed_dictionaries({"train": some_cases, "val": some_cases}), min_size=1, max_size=4), some_cases)
def test_a_case_gets_a_fold_that_validates_on_it_and_was_not_trained_on_it_or_is_refused(folds, cases):
    holds_out = {c: [k for k, fold in enumerate(folds) if c in fold["val"] and c not in fold["train"]] for c in cases}
    with TemporaryDirectory() as folder:
        (Path(folder) / "splits_final.json").write_text(json.dumps(folds))
        if all(holds_out.values()):
            assert out_of_fold(Path(folder), cases) == {case: str(found[0]) for case, found in holds_out.items()}
        else:
            with pytest.raises(UserError, match="held out by no fold"):
                out_of_fold(Path(folder), cases)


@pytest.fixture
def distill(nndistill, world):
    def call(*arguments: object):
        return nndistill(
            *("distill", world.teacher, "--workspace", world.workspace, *TINY, "--epochs", 2, "--name", "tried"),
            *("--no-validate", "--teacher-fold", "out-of-fold", *arguments),
        )

    return call


@pytest.fixture
def asked(world, monkeypatch) -> list[tuple[str, torch.Tensor]]:
    """Every image that any teacher's network is given, and the fold whose weights the network has."""
    key, inputs = "encoder.stem.convs.0.conv.weight", []
    load = nnUNetTrainerDistill._load_teachers

    def listened(trainer: nnUNetTrainerDistill) -> list[torch.nn.Module]:
        weights = {
            folder.name.removeprefix("fold_"): read_checkpoint(folder / FINAL)["network_weights"][key]
            for folder in world.teacher.glob("fold_*")
        }
        networks = load(trainer)
        for network in networks:
            (fold,) = (fold for fold, weight in weights.items() if torch.equal(weight, network.state_dict()[key]))
            network.register_forward_pre_hook(
                lambda module, given, fold=fold: inputs.extend((fold, sample.clone()) for sample in given[0])
            )
        return networks

    monkeypatch.setattr(nnUNetTrainerDistill, "_load_teachers", listened)
    return inputs


@pytest.fixture
def samples(monkeypatch) -> list[tuple[str, torch.Tensor]]:
    """Every training image with the name of its case."""
    drawn, on_device = [], nnUNetTrainerDistill.on_device

    def recorded(trainer, batch):
        drawn.extend((str(case), sample.clone()) for case, sample in zip(batch["keys"], batch["data"], strict=True))
        return on_device(trainer, batch)

    monkeypatch.setattr(nnUNetTrainerDistill, "on_device", recorded)
    return drawn


FREEKD = ["--method", "freekd+logits", "--option", "freekd.prompts=2", "--option", "freekd.prompt_iterations=2"]


@pytest.mark.parametrize(
    ("fold", "teachers", "parts"), [("all", "01234", 1), pytest.param("1", "0234", 2, marks=pytest.mark.slow)]
)
def test_no_case_is_ever_taught_by_a_teacher_that_has_seen_it(distill, world, asked, samples, fold, teachers, parts):
    """Neither in the training, also if batches have parts, nor while the method learns from the teachers."""
    add_folds(world.teacher, range(1, 5))
    folds = json.loads((world.preprocessed / "splits_final.json").read_text())
    result = distill("--fold", fold, "--accumulate", parts, *FREEKD)
    assert result.status == 0, result.err
    assert len(samples) >= 2 * 2 * 2  # epochs, iterations, batch
    taught = set()
    for teacher, image in asked:
        (case,) = {case for case, sample in samples if torch.equal(sample, image)}
        assert case not in folds[int(teacher)]["train"]
        assert case in folds[int(teacher)]["val"]
        taught.add((teacher, case))
    assert {case for case, _ in samples[-8:]} <= {case for _, case in taught}
    plans = read_json(world.results / "nnUNetTrainerDistill__tried__3d_fullres" / "plans.json")
    assert plans[KEY]["distillation"]["teacher"]["folds"] == {fold: list(teachers)}
    assert plans[KEY]["distillation"]["teacher"]["together"] == "out-of-fold"
    assert "taught by a network that has not seen it" in result.err


def test_without_stored_folds_it_is_refused(distill, world):
    add_folds(world.teacher, range(1, 5))
    (world.preprocessed / "splits_final.json").unlink()
    result = distill()
    assert result.status == 2
    assert "so nothing says which cases the teacher of each fold has seen" in result.err
    assert "See the option --teacher-fold." in result.err


def test_a_missing_fold_is_named_with_what_it_alone_can_teach(distill, world):
    add_folds(world.teacher, [2, 3])
    result = distill("--fold", 0)
    assert result.status == 2
    assert "has no checkpoint of fold 1, 4, which alone can teach 2 of the 4 training cases out-of-fold" in result.err


def test_the_students_own_fold_is_not_needed(distill, world):
    add_folds(world.teacher, [1, 2, 3])
    (world.teacher / "fold_0").rename(world.teacher / "fold_4")
    assert "checkpoint of fold" not in distill("--fold", 0, "--method", "unknown").err


def test_a_teacher_that_was_validated_on_other_cases_is_refused(distill, world):
    add_folds(world.teacher, range(1, 5))
    (world.teacher / "fold_2" / "validation").mkdir()
    record = {"metric_per_case": [{"reference_file": "labels/Phantom_0000.nii.gz"}]}
    write_json(world.teacher / "fold_2" / "validation" / "summary.json", record)
    result = distill()
    assert result.status == 2
    assert "fold 2 of" in result.err
    assert "was validated on other cases than the data set's splits_final.json says" in result.err


def test_a_fold_next_to_it_is_refused(world):
    with pytest.raises(UserError, match="chooses the folds by itself"):
        _prepare(world, teacher_fold=["out-of-fold", "0"])


def test_a_student_of_another_data_set_is_refused(world):
    other = world.preprocessed.with_name("Dataset901_Other")
    world.preprocessed.rename(other)
    with pytest.raises(UserError, match="goes by the folds of the teacher's own data set, Dataset900_Phantom"):
        _prepare(world, teacher_fold="out-of-fold", dataset="901")


def _prepare(world, **options):
    use_workspace(world.workspace)
    return prepare_student(world.teacher, fold="0", recipe="quick", **options)
