"""What a user can get wrong, through the command line: one sentence, status 2, nothing lost."""

from __future__ import annotations

import errno
import gzip
import json
import os
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from nndistill.files import write_json
from nndistill.nnunet.data.preprocessing import plan_and_preprocess
from nndistill.nnunet.workspace import use_workspace
from tiny import TINY


def _edit(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def _configuration(plans: dict) -> dict:
    return plans["configurations"]["3d_fullres"]


@pytest.fixture
def distill(nndistill, world):
    """Call `nndistill distill` on the tiny teacher."""

    def call(*arguments: object):
        return nndistill("distill", world.teacher, "--workspace", world.workspace, *TINY, *arguments)

    return call


def test_no_checkpoint_for_the_fold_lists_the_folds_that_have_one(distill):
    result = distill("--fold", 3)
    assert result.status == 2
    assert "no finished checkpoint for fold 3" in result.err
    assert "folds with a checkpoint: 0" in result.err
    assert "See the option --fold." in result.err


@pytest.mark.parametrize("fold", ["01", "²"])
def test_a_number_of_a_fold_is_written_in_one_way(nndistill, world, fold):
    """The network of the fold 01 would be kept as that of fold 1, past its checkpoints and its lock."""
    teach = ["teach", world.dataset.name, "--workspace", world.workspace, "--recipe", "quick", "--fold", fold]
    result = nndistill(*teach, "--features", "4", "8", "--name", "padded")
    assert result.status == 2
    assert f"there is no fold {fold}: " in result.err


def test_folder_that_is_no_model_says_what_to_give(nndistill, world):
    result = nndistill("distill", world.workspace, "--workspace", world.workspace)
    assert result.status == 2
    assert "not a trained nnU-Net" in result.err


@pytest.mark.parametrize("teacher_fold", ["all", "1"])
def test_teacher_that_saw_validation_cases_is_a_warning_and_allowed(distill, world, teacher_fold):
    (world.teacher / "fold_0").rename(world.teacher / f"fold_{teacher_fold}")
    result = distill("--teacher-fold", teacher_fold, "--method", "logits", "--epochs", 1, "--no-validate")
    assert result.status == 0
    assert "figures will be too good" in result.err


def test_other_channels_name_both_lists(distill, world):
    _edit(world.teacher / "dataset.json", lambda d: d["channel_names"].pop("3"))
    result = distill()
    assert result.status == 2
    assert "the teacher was trained on 3 channels" in result.err
    assert "has 4 (" in result.err


def test_channels_in_another_order_are_refused(distill, world):
    _edit(world.teacher / "dataset.json", lambda d: d["channel_names"].update({"0": "T1C", "1": "T1N"}))
    assert "T1C, T1N" in distill().err


def test_other_labels_name_both(distill, world):
    _edit(world.teacher / "dataset.json", lambda d: d["labels"].pop("RC"))
    result = distill()
    assert result.status == 2
    assert "the teacher knows the labels" in result.err


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [("spacing", [1.0, 1.0, 1.0], "spacing"), ("normalization_schemes", ["CTNormalization"] * 4, "normalisation")],
)
def test_other_preprocessing_names_the_difference(distill, world, key, value, named):
    _edit(world.teacher / "plans.json", lambda p: _configuration(p).update({key: value}))
    result = distill()
    assert result.status == 2
    assert named in result.err
    assert str(value[0]) in result.err


def test_normalisation_within_another_mask_is_refused(distill, world):
    _edit(world.teacher / "plans.json", lambda p: _configuration(p).update({"use_mask_for_norm": [False] * 4}))
    result = distill()
    assert result.status == 2
    assert "within the mask of what is not zero, per channel, [False, False, False, False], but those in" in result.err


def test_data_that_are_not_preprocessed_say_how_to(distill, world):
    _edit(world.teacher / "plans.json", lambda p: _configuration(p).update({"data_identifier": "elsewhere"}))
    assert "nnUNetv2_preprocess -d 900" in distill().err


def test_patch_of_two_axes_for_a_network_of_three_is_refused(distill, world):
    def flatten(plans: dict) -> None:
        _configuration(plans)["patch_size"] = [32, 32]

    _edit(world.teacher / "plans.json", flatten)
    result = distill()
    assert result.status == 2
    assert (
        "has a patch size of 2 axes, a spacing of 3 and convolutions Conv3d, which do not belong together" in result.err
    )


def test_reduction_that_leaves_no_channel_says_the_largest(distill):
    result = distill("--reduction", 9)
    assert result.status == 2
    assert "leaves no channel" in result.err
    assert "Use at most 8" in result.err
    assert "See the options --reduction, --features." in result.err


@pytest.mark.parametrize("reduction", [0, -1])
def test_reduction_below_one_is_refused(distill, reduction):
    assert distill("--reduction", reduction).status == 2


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["--method", "dcdd"], "Did you mean 'dcd'"),
        (["--option", "wavelet=db44"], "Did you mean 'db4"),
        (["--option", "wavelett=db4"], "Did you mean 'wavelet'"),
        (["--option", "mode=symetric"], "Did you mean 'symmetric'"),
        (["--recipe", "pape"], "Did you mean 'paper'"),
        (["--option", "loss_every=0"], "loss_every must be a whole number of at least 1, not 0"),
        (["--option", "db4"], "NAME=VALUE"),
        (["--option", "bands=[LLH"], "a list is written [1, 2]"),
        (["--option", "bands={A: 1, D: 0}"], "the weight of subband D has to be a number above 0, not 0"),
        (["--method", "dcd-release", "--option", "bands={A: 1}"], "subbands cannot have weights here"),
        (["--option", "bands="], "option bands of method 'dcd': Input should be a valid string (given: None)"),
        (["--method", "cwd", "--option", "match=encodr"], "Did you mean 'encoder'? Known: encoder, logits"),
        (["--method", "logits", "--option", "temperature=-1"], "give a number above 0"),
        (["--method", "dcd+logit"], "Did you mean 'logits'"),
        (["--method", "dcd+logits", "--option", "weights=[1]"], "give 2 numbers of at least 0"),
        (["--method", "dcd+logits", "--option", "level=2"], "Did you mean 'dcd.level'"),
        (["--device", "gpu"], "not available"),
        (["--dataset-id", "7"], "no data set 7"),
        (["--features", "4", "8", "8", "8"], "student has 4 stages and the teacher 3"),
    ],
)
def test_unknown_or_unfit_option_says_what_is_near(distill, arguments, suggestion):
    result = distill(*arguments)
    assert result.status == 2
    assert suggestion in result.err
    assert "Traceback" not in result.err


def test_damaged_checkpoint_is_named(distill, world):
    checkpoint = world.teacher / "fold_0" / "checkpoint_final.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    result = distill()
    assert result.status == 2
    assert "checkpoint_final.pth is damaged" in result.err


class _Innocent:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


def test_checkpoint_with_code_is_refused_and_the_code_does_not_run(distill, world):
    checkpoint = world.teacher / "fold_0" / "checkpoint_final.pth"
    content = torch.load(checkpoint, weights_only=False)
    torch.save({**content, "extra": _Innocent()}, checkpoint)
    result = distill()
    assert result.status == 2
    assert "could run code" in result.err
    assert "code from a checkpoint ran" not in result.out


def test_unset_folders_name_the_variable_and_the_option(nndistill, world):
    result = nndistill("distill", world.teacher)
    assert result.status == 2
    assert "nnUNet_preprocessed is not set" in result.err
    assert "See the option --workspace." in result.err


def test_features_of_unequal_size_name_the_stage(distill, world):
    """A teacher whose plans were edited after training, so that the student is built with other strides."""
    assert distill("--epochs", 1, "--no-validate", "--name", "edited").status == 0
    plans = world.preprocessed / "edited.json"
    _edit(plans, lambda p: _configuration(p)["architecture"]["arch_kwargs"].update(strides=[[1] * 3, [2] * 3, [1] * 3]))
    for file in (world.results / "nnUNetTrainerDistill__edited__3d_fullres" / "fold_0").glob("checkpoint_*"):
        file.unlink()
    from nndistill.errors import StageMismatch
    from nndistill.nnunet.training.run import Run, train

    with pytest.raises(StageMismatch, match="stage 2"):
        train(Run(world.dataset.name, "3d_fullres", "0", "nnUNetTrainerDistill", "edited"), device="cpu")


@pytest.mark.slow
def test_loss_that_is_no_number_stops_with_the_last_checkpoint_kept(distill, world, tmp_path):
    assert distill("--epochs", 2, "--no-validate", "--name", "diverging").status == 0
    folder = world.results / "nnUNetTrainerDistill__diverging__3d_fullres" / "fold_0"
    final = folder / "checkpoint_final.pth"
    best = (folder / "checkpoint_best.pth").read_bytes()
    checkpoint = torch.load(final, weights_only=False)
    next(iter(checkpoint["network_weights"].values()))[:] = float("nan")
    torch.save({**checkpoint, "current_epoch": 1}, folder / "checkpoint_latest.pth")
    final.unlink()
    result = distill("--epochs", 2, "--no-validate", "--name", "diverging", "--resume")
    assert result.status == 2
    assert "no longer a finite number in epoch 1" in result.err
    assert "checkpoint_best.pth" in result.err
    assert (folder / "checkpoint_best.pth").read_bytes() == best


@pytest.mark.slow
def test_full_disk_keeps_the_previous_checkpoint(distill, world, monkeypatch):
    assert distill("--epochs", 2, "--no-validate", "--name", "full").status == 0
    folder = world.results / "nnUNetTrainerDistill__full__3d_fullres" / "fold_0"
    (folder / "checkpoint_final.pth").rename(folder / "checkpoint_latest.pth")
    checkpoint = torch.load(folder / "checkpoint_latest.pth", weights_only=False)
    torch.save({**checkpoint, "current_epoch": 1}, folder / "checkpoint_latest.pth")
    kept = (folder / "checkpoint_latest.pth").read_bytes()

    def no_space(path: Path, data: bytes) -> int:
        path.open("wb").write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    result = distill("--epochs", 2, "--no-validate", "--name", "full", "--resume")
    assert result.status == 2
    assert "the disk is full" in result.err
    assert (folder / "checkpoint_latest.pth").read_bytes() == kept
    assert not list(folder.glob("*.tmp"))


def test_run_that_exists_is_not_overwritten(distill):
    run = ["--method", "none", "--name", "mine", "--no-validate"]
    assert distill(*run, "--epochs", 1).status == 0
    again = distill(*run, "--epochs", 1)
    assert again.status == 2
    assert "--resume" in again.err
    other = distill(*run, "--epochs", 2, "--resume")
    assert other.status == 2
    assert "another setup" in other.err


def test_name_of_stock_plans_is_not_taken(distill):
    result = distill("--name", "nnUNetResEncUNetPlans")
    assert result.status == 2
    assert "holds nnU-Net's own plans; choose another name. See the option --name." in result.err


@pytest.fixture
def teach(nndistill, world):
    """Call `nndistill teach` on the tiny data set."""
    return lambda *arguments: nndistill("teach", 900, "--workspace", world.workspace, *TINY, *arguments)


def _some_image(world) -> Path:
    return sorted((world.dataset / "imagesTr").glob("*_0002.nii.gz"))[1]


def test_truncated_image_is_named(teach, world):
    image = _some_image(world)
    image.write_bytes(image.read_bytes()[:2000])
    result = teach()
    assert result.status == 2
    assert image.name in result.err


def test_file_that_is_no_image_is_named(teach, world):
    image = _some_image(world)
    image.write_bytes(gzip.compress(b"not an image"))
    assert image.name in teach().err


def test_wrong_shape_names_both_shapes(teach, world):
    path = _some_image(world)
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:-1], image.affine), path)
    result = teach()
    assert result.status == 2
    assert path.name in result.err
    assert "31×40×32" in result.err
    assert "32×40×32" in result.err


def test_nan_is_named(teach, world):
    path = _some_image(world)
    image = nib.load(path)
    values = np.asarray(image.dataobj, dtype=np.float32).copy()
    values[3, 4, 5] = np.nan
    nib.save(nib.Nifti1Image(values, image.affine), path)
    assert "NaN" in teach().err


def test_missing_channel_is_named(teach, world):
    path = _some_image(world)
    path.unlink()
    assert path.name in teach().err


def test_labels_that_changed_since_the_data_were_preprocessed_are_refused(teach, world):
    """A training reads those that were copied then."""
    file = world.dataset / "dataset.json"
    description = json.loads(file.read_text())
    *kept, (_, value) = description["labels"].items()
    file.write_text(json.dumps({**description, "labels": {**dict(kept), "another": value}}))
    result = teach()
    assert result.status == 2
    assert f"other `labels` than {world.preprocessed / 'dataset.json'}" in " ".join(result.err.split())


def test_cases_that_are_newer_than_what_was_preprocessed_of_them_are_named(world, caplog):
    use_workspace(world.workspace)
    image = _some_image(world)
    os.utime(image, (time.time() + 60, time.time() + 60))
    label = next((world.dataset / "labelsTr").glob("*.nii.gz"))
    label.with_name("further.nii.gz").write_bytes(label.read_bytes())  # without images, which nnU-Net accepts
    plan_and_preprocess(world.dataset.name, planner="ResEncUNetPlanner")
    [record] = caplog.records
    case = image.name.removesuffix("_0002.nii.gz")
    assert f"1 of the raw cases are newer than what was preprocessed of them, such as {case}." in record.getMessage()


def test_folds_by_case_are_not_made_of_patients_with_several(teach, world):
    labels = sorted((world.dataset / "labelsTr").glob("*.nii.gz"))
    cases = {label.name.removesuffix(".nii.gz"): {"patient": f"p{number // 2}"} for number, label in enumerate(labels)}
    write_json(world.dataset / "report.json", {"cases": cases})
    for folder in (world.dataset, world.preprocessed):
        (folder / "splits_final.json").unlink(missing_ok=True)
    result = teach()
    assert result.status == 2
    assert "nnU-Net would make folds by case" in " ".join(result.err.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--planner", "NoSuchPlanner"], "no experiment planner"),
        (["--patch-size", "33", "32", "32"], "multiple of"),
        (["--features", "8", "16"], "between 3 and"),
    ],
)
def test_plans_that_cannot_be_made_name_the_option(teach, arguments, sentence):
    result = teach(*arguments)
    assert result.status == 2
    assert sentence in result.err
    assert f"See the option {arguments[0]}." in result.err


def test_complexity_of_something_else(nndistill, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "dataset.json").write_text("{}")
    result = nndistill("complexity", tmp_path / "a.json")
    assert result.status == 2
    assert "not a plans file" in result.err
