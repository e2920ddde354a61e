"""A student from one end to the other, through the command line, and then without nnDistill."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from nndistill.nnunet.models.prediction import predict_folder
from tiny import TINY


@pytest.fixture
def student(world) -> Path:
    return world.results / "nnUNetTrainerDistill__student__3d_fullres"


def test_stock_nnunet_predicts_the_same_label_maps_without_nndistill(
    world, student, python_without_nndistill, environment, tmp_path
):
    images = world.dataset / "imagesTs"
    inside = predict_folder(student, images, tmp_path / "inside", fold="0", device="cpu")
    entry = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as predict"
    subprocess.run(
        [python_without_nndistill, "-c", f"{entry}\nif __name__ == '__main__': predict()"]
        + [
            "-i",
            images,
            "-o",
            tmp_path / "stock",
            "-m",
            student,
            "-f",
            "0",
            "-device",
            "cpu",
            "-npp",
            "1",
            "-nps",
            "1",
        ],
        check=True,
        env={k: v for k, v in environment.items() if k not in {"nnUNet_extTrainer", "PYTHONPATH"}},
        capture_output=True,
    )
    assert len(inside) == 1
    for file in inside:
        ours, stock = nib.load(file), nib.load(tmp_path / "stock" / file.name)
        np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(stock.dataobj))
        np.testing.assert_array_equal(ours.affine, stock.affine)


def test_checkpoint_names_the_stock_trainer_and_holds_no_phi_in_the_network(student):
    checkpoint = torch.load(student / "fold_0" / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert not [key for key in checkpoint["network_weights"] if "phi" in key]


def test_plans_in_the_model_folder_tell_how_it_was_made(student, world):
    setup = json.loads((student / "plans.json").read_text())["nndistill"]
    assert setup["distillation"]["method"] == "dcd"
    assert setup["distillation"]["teacher"]["folder"] == str(world.teacher)
    assert setup["distillation"]["teacher"]["channels"] == [8, 16, 32]
    assert setup["recipe"]["distillation_weight"] == 0.05
    assert setup["recipe"]["epochs"] == 2


def test_distillation_loss_is_in_the_log_and_the_figure(student):
    log = next((student / "fold_0").glob("training_log*.txt")).read_text()
    assert log.count(" distillation_loss ") == 2
    logged = torch.load(student / "fold_0" / "checkpoint_final.pth", weights_only=False)["logging"]
    assert all(value > 0 for value in logged["distillation_losses"])
    sums = np.add(logged["segmentation_losses"], logged["distillation_losses"])
    np.testing.assert_allclose(sums, logged["train_losses"], rtol=1e-5)
    assert (student / "fold_0" / "progress.png").stat().st_size > 10_000


def test_resuming_a_finished_run_changes_nothing(nndistill, world, student):
    before = (student / "fold_0" / "checkpoint_final.pth").read_bytes()
    result = nndistill(
        "distill", world.teacher, "--workspace", world.workspace, *TINY, "--epochs", 2, "--name", "student", "--resume"
    )
    assert result.status == 0
    assert (student / "fold_0" / "checkpoint_final.pth").read_bytes() == before


def test_student_of_a_student(nndistill, world, student):
    result = nndistill(
        "distill", student, "--workspace", world.workspace, *TINY, "--epochs", 1, "--reduction", 1, "--no-validate"
    )
    assert result.status == 0, result.err


def test_json_is_all_there_is_on_standard_output(nndistill, world):
    result = nndistill(
        "distill", world.teacher, "--workspace", world.workspace, *TINY, "--epochs", 1, "--method", "none", "--json"
    )
    numbers = json.loads(result.out)
    assert set(numbers["dice"]) == {"NETC", "SNFH", "ET", "RC"}
    assert Path(numbers["model"]).is_dir()


def test_complexity_in_numbers_equals_the_networks(nndistill, student, world):
    numbers = json.loads(nndistill("complexity", world.teacher, "--json").out)
    weights = torch.load(student / "fold_0" / "checkpoint_final.pth", weights_only=False)["network_weights"]
    unique = {value.data_ptr(): value.numel() for value in weights.values()}
    assert numbers["student"]["parameters"] == sum(unique.values())
    assert numbers["student"]["features"] == [8, 8, 8]
    assert numbers["network"]["flops_case"] == numbers["network"]["flops_patch"] * numbers["network"]["patches_case"]


def test_complexity_of_plans_for_people(nndistill, world):
    result = nndistill("complexity", world.preprocessed / "nnUNetResEncUNetPlans.json")
    assert result.status == 0
    assert "two per multiply-add" in result.out
    assert "12.3 to 12.5 times these" in result.out
    assert "as the paper counts" in result.out
