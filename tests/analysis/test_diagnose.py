"""`nndistill diagnose`, on the tiny teacher and student."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from deep_teachers import write_deep_teacher
from nndistill.analysis import diagnosis as analysis
from nndistill.errors import UserError
from nndistill.nnunet.data.preprocessed_case import PreprocessedCase, split_of_fold
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.models.model_folder import ModelFolder
from nndistill.nnunet.models.trained_phi import trained_phi
from nndistill.nnunet.plans import build_network, derive_plans
from nndistill.nnunet.workspace import use_workspace

DATA = "nnUNetPlans_3d_fullres"


@pytest.fixture
def diagnose(nndistill, world, tmp_path):
    def call(*arguments, teacher=world.teacher):
        standard = ["--workspace", world.workspace, "--device", "cpu", "--out", tmp_path / "out", "--cases", 1]
        return nndistill("diagnose", teacher, *standard, *arguments)

    return call


@pytest.fixture
def student(world):
    return world.results / "nnUNetTrainerDistill__student__3d_fullres"


def test_teacher_alone(diagnose, tmp_path):
    result = diagnose()
    assert result.status == 0, result.err
    assert "SNR of every band in dB" in result.out
    assert "detail bands carry signal" in result.out
    assert "mismatch" not in result.out
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {"spectrum.json", "spectrum.csv", "bands.pdf"} | {
        f"{name}.{ending}" for name in ("spectrum", "reductions", "bands") for ending in ("png", "svg")
    }
    assert "derivative along x" in (tmp_path / "out" / "reductions.svg").read_text()
    assert "student" not in (tmp_path / "out" / "bands.svg").read_text()
    figure = (tmp_path / "out" / "spectrum.svg").read_text()
    assert all(text in figure for text in ("stage 3", "LLH", "share of the", "SNR below 1"))
    table = pd.read_csv(tmp_path / "out" / "spectrum.csv")
    assert set(table["stage"]) == {1, 2, 3}
    assert np.isfinite(table["energy"]).all()


def test_json_with_student_is_what_the_file_holds(diagnose, student, tmp_path):
    result = diagnose("--student", student, "--json", "--wavelet", "haar", "--level", 2)
    assert result.status == 0, result.err
    numbers = json.loads(result.out)
    files = numbers.pop("files")
    assert numbers == json.loads((tmp_path / "out" / "spectrum.json").read_text())
    assert str(tmp_path / "out" / "mismatch.svg") in files
    figure = (tmp_path / "out" / "mismatch.svg").read_text()
    assert "φ of the run" in figure
    assert "φ by least squares" in figure
    assert numbers["student"] == str(student)
    assert numbers["settings"] == {"wavelet": "haar", "level": 2, "mode": "symmetric", "fold": "0"}
    assert {row["phi"] for row in numbers["mismatch"]} == {"run", "least squares"}
    assert len(numbers["mismatch"]) == 2 * 3
    assert not set(numbers["phi_fitted_on"]) & set(numbers["cases"])
    assert any("Eq. 1 of the paper" in sentence for sentence in numbers["sentences"])
    assert "norm of the mismatch" in figure
    assert "relative mismatch" in figure


@pytest.mark.slow
def test_norms_and_relative_mismatch_stand_side_by_side(diagnose, student, tmp_path):
    text = " ".join(diagnose("--student", student).out.split())  # titles go on in a second line
    assert "Norm of the student's mismatch (Eq. 1 of the paper" in text
    assert "Relative mismatch of the student" in text
    table = pd.read_csv(tmp_path / "out" / "mismatch.csv")
    assert list(table) == ["stage", "phi", "case", "high_norm", "low_norm", "high", "low"]
    assert (table[["high_norm", "low_norm"]] > 0).all(axis=None)


@pytest.mark.slow
def test_a_stage_of_both_networks_is_drawn_in_its_bands(diagnose, student, tmp_path):
    result = diagnose("--student", student, "--stage", 2, "--downsampling", "averaging", "--derivative", "magnitude")
    assert result.status == 0, result.err
    figure = (tmp_path / "out" / "bands.svg").read_text()
    assert all(text in figure for text in ("stage 2", "teacher", "student, φ", "difference", "HHH, level 1"))
    numbers = json.loads((tmp_path / "out" / "spectrum.json").read_text())
    assert numbers["bands"]["stage"] == 2
    assert "φ (run)" in numbers["bands"]["caption"]
    reductions = (tmp_path / "out" / "reductions.svg").read_text()
    assert "means of 2×2×2 voxels" in reductions
    assert "gradient" in reductions


@pytest.mark.slow
def test_a_teacher_is_its_own_best_student(diagnose, world):
    rows = pd.DataFrame(json.loads(diagnose("--student", world.teacher, "--json").out)["mismatch"])
    assert set(rows["phi"]) == {"least squares"}
    assert rows[["high", "low"]].to_numpy().max() < 1e-4


def test_phi_of_a_run_is_that_of_its_checkpoint(student, world):
    checkpoint = read_checkpoint(student / "fold_0" / "checkpoint_final.pth")
    folder, teacher = ModelFolder.read(student), ModelFolder.read(world.teacher)
    phi = trained_phi(folder, checkpoint, teacher, [8, 16, 32], fold="0")
    assert phi is not None
    for stage, convolution in enumerate(phi):
        torch.testing.assert_close(convolution.weight, checkpoint["nndistill"]["method"][f"phi.{stage}.weight"])
    another = world.teacher.with_name("nnUNetTrainer__another__3d_fullres")
    shutil.copytree(world.teacher, another)
    assert trained_phi(folder, checkpoint, ModelFolder.read(another), [8, 16, 32], fold="0") is None
    assert trained_phi(folder, checkpoint, teacher, [8, 16], fold="0") is None
    assert trained_phi(teacher, checkpoint, teacher, [8, 16, 32], fold="0") is None

    def taught_by(**changes: object) -> ModelFolder:
        plans = deepcopy(folder.plans)
        plans["nndistill"]["distillation"]["teacher"].update(changes)
        return replace(folder, plans=plans)

    for other in ({"folds": {"0": "1"}}, {"folds": {"0": ["0", "1"]}}, {"checkpoint": "checkpoint_best.pth"}):
        assert trained_phi(taught_by(**other), checkpoint, teacher, [8, 16, 32], fold="0") is None
    assert trained_phi(taught_by(folds={"0": "0"}), checkpoint, teacher, [8, 16, 32], fold="0") is not None


def test_phi_of_a_part_of_a_combination_is_found_if_no_other_part_has_one(student, world):
    checkpoint = read_checkpoint(student / "fold_0" / "checkpoint_final.pth")
    folder, teacher = ModelFolder.read(student), ModelFolder.read(world.teacher)
    alone = trained_phi(folder, checkpoint, teacher, [8, 16, 32], fold="0")
    assert alone is not None

    def in_parts(*names: str) -> dict:
        weights = checkpoint["nndistill"]["method"]
        moved = {f"parts.{name}.{key}": value for name in names for key, value in weights.items()}
        return {**checkpoint, "nndistill": {"method": moved}}

    found = trained_phi(folder, in_parts("dcd"), teacher, [8, 16, 32], fold="0")
    assert found is not None
    assert all(torch.equal(ours.weight, theirs.weight) for ours, theirs in zip(found, alone, strict=True))
    assert trained_phi(folder, in_parts("dcd", "feature"), teacher, [8, 16, 32], fold="0") is None


def test_patch_is_around_the_foreground_and_padded_where_the_image_ends(world):
    name = split_of_fold(world.preprocessed, DATA, "0").validation[0]
    case = PreprocessedCase.read(world.preprocessed / DATA, name)
    shape = case.segmentation.shape
    patch = case.patch([8, 8, 8])
    start = [int(np.clip(c - 4, 0, n - 8)) for c, n in zip(case.centre, shape, strict=True)]
    d, h, w = (slice(s, s + 8) for s in start)
    np.testing.assert_array_equal(patch.image[0].numpy(), case.image[:, d, h, w])
    larger = case.patch([n + 5 for n in shape])
    assert larger.image.shape[2:] == tuple(n + 5 for n in shape)
    assert larger.inside.sum() == (case.segmentation != -1).sum()
    assert (larger.image[0, :, :2] == 0).all()


def test_split_is_nnunets(world):
    stored = json.loads((world.preprocessed / "splits_final.json").read_text())
    made_of_file = split_of_fold(world.preprocessed, DATA, "1")
    (world.preprocessed / "splits_final.json").unlink()
    assert split_of_fold(world.preprocessed, DATA, "1") == made_of_file
    assert made_of_file.validation == stored[1]["val"]
    everything = split_of_fold(world.preprocessed, DATA, "all")
    assert everything.train == everything.validation == sorted(stored[1]["train"] + stored[1]["val"])


@pytest.mark.parametrize(
    ("part", "cases", "sentence"),
    [
        ("val", [], "has no cases in `val`"),
        ("train", [], "has no cases in `train`"),
        ("val", ["nobody", "no_one"], "has 2 of 2 cases in `val`, such as no_one, that"),
    ],
)
def test_a_fold_without_cases_or_with_unknown_ones_is_a_sentence(world, part, cases, sentence):
    file = world.preprocessed / "splits_final.json"
    folds = json.loads(file.read_text())
    folds[1][part] = cases
    file.write_text(json.dumps(folds))
    with pytest.raises(UserError, match=f"fold 1 in {file} {sentence}"):
        split_of_fold(world.preprocessed, DATA, "1")
    assert split_of_fold(world.preprocessed, DATA, "0").validation


def test_a_mistake_is_explained_in_a_sentence(diagnose, student, world, tmp_path):
    for arguments, sentence in [
        (["--cases", 9], "9 cases are too many: fold 0 has 1 validation cases. See the option --cases."),
        (["--wavelet", "db44"], "there is no wavelet 'db44'. Did you mean"),
        (["--mode", "symetric"], "Did you mean 'symmetric'"),
        (["--stage", 4], "there is no stage 4: the teacher has 3. See the option --stage."),
        (["--fold", "3"], "no finished checkpoint for fold 3"),
        (["--student", tmp_path], "is not a trained nnU-Net"),
    ]:
        result = diagnose(*arguments)
        assert (result.status, sentence in result.err) == (2, True), result.err
    assert not (tmp_path / "out").exists()


def test_student_with_other_stages_is_refused(diagnose, world):
    deep = world.teacher.with_name("nnUNetTrainer__deep__3d_fullres")
    shutil.copytree(world.teacher, deep)
    planned = json.loads((world.preprocessed / "nnUNetResEncUNetPlans.json").read_text())
    plans = derive_plans(planned, "3d_fullres", features=[8, 16, 32, 64], name="deep")
    (deep / "plans.json").write_text(json.dumps(plans))
    file = deep / "fold_0" / "checkpoint_final.pth"
    network = build_network(plans, "3d_fullres", json.loads((deep / "dataset.json").read_text()))
    torch.save({**read_checkpoint(file), "network_weights": network.state_dict()}, file)
    result = diagnose("--student", deep)
    assert result.status == 2
    assert "the student has 4 stages and the teacher 3" in result.err


def test_student_of_fewer_stages_is_compared_at_those_it_has(diagnose, student, world):
    deep = write_deep_teacher(world)
    use_workspace(world.workspace)
    measured = analysis.diagnose(deep, student_folder=student, cases=1, level=1, stage=3, device="cpu")
    assert set(measured.spectrum["stage"]) == {1, 2, 3, 4}
    assert set(measured.mismatch["stage"]) == {1, 2, 3}
    assert np.isfinite(measured.mismatch[["high", "low"]].to_numpy()).all()
    assert measured.bands is not None
    result = diagnose("--student", student, "--stage", 4, teacher=deep)
    assert result.status == 2
    assert "stage 4 is the teacher's alone: the student has 3" in result.err


def test_missing_data_are_named(diagnose, world):
    for file in (world.preprocessed / DATA).iterdir():
        file.unlink()
    result = diagnose()
    assert result.status == 2
    assert "holds no preprocessed cases" in result.err
    (world.preprocessed / DATA).rmdir()
    result = diagnose()
    assert result.status == 2
    assert "nnUNetv2_preprocess" in result.err


def test_damaged_case_is_named(diagnose, world):
    name = split_of_fold(world.preprocessed, DATA, "0").validation[0]
    (world.preprocessed / DATA / f"{name}.b2nd").write_bytes(b"not an array")
    result = diagnose()
    assert result.status == 2
    assert name in result.err
