"""Trainings and predictions on CUDA through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK

from nndistill.nnunet.models.checkpoints import read_checkpoint
from short_trainings import distillation, fold_folder

pytestmark = pytest.mark.usefixtures("not_compiled")


def test_distillation_ends_with_a_student_that_stock_plans_describe(world, nndistill, device):
    result = nndistill(*distillation(world, "short", device, "--epochs", 2, "--validate"))
    assert result.status == 0, result.err
    folder = fold_folder(world, "short")
    checkpoint = read_checkpoint(folder / "checkpoint_final.pth")
    assert checkpoint["current_epoch"] == 2
    log = checkpoint["logging"]
    assert np.isfinite([*log["train_losses"], *log["distillation_losses"]]).all()
    assert json.loads((folder / "validation" / "summary.json").read_text())["metric_per_case"]


FREEKD = ["freekd", "--option", "prompts=2", "--option", "prompt_iterations=2"]


@pytest.mark.parametrize("method", [["none"], ["feature"], ["cirkd"], FREEKD, ["dcd+logits"]], ids=lambda m: m[0])
def test_other_methods_train(method, world, nndistill, device):
    result = nndistill(*distillation(world, "other", device, "--epochs", 1, "--no-validate", "--method", *method))
    assert result.status == 0, result.err
    log = read_checkpoint(fold_folder(world, "other") / "checkpoint_final.pth")["logging"]
    assert np.isfinite(log["train_losses"]).all()


def test_prediction_gives_the_labels_of_a_processor(world, nndistill, device, tmp_path):
    model, images = fold_folder(world, "student").parent, world.dataset / "imagesTs"
    for place in ("cpu", device.type):
        result = nndistill("predict", model, images, tmp_path / f"on-{place}", "--device", place)
        assert result.status == 0, result.err
    files = sorted((tmp_path / "on-cpu").glob("*.nii.gz"))
    assert files
    for file in files:
        expected, found = (
            SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / f"on-{place}" / file.name)))
            for place in ("cpu", device.type)
        )
        assert (found == expected).mean() > 0.99  # half precision decides near ties
