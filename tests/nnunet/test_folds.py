"""Several folds predict as one network: the mean of their logits, if they are folds of one model."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from five_folds import add_folds
from nndistill.errors import UserError
from nndistill.nnunet.models.folds import MeanOfNetworks, checkpoints_of_folds, describe_folds, network_of_folds
from nndistill.nnunet.models.model_folder import ModelFolder
from nndistill.runtime.loading import load_model


@pytest.fixture
def student(world):
    return world.results / "nnUNetTrainerDistill__student__3d_fullres"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_mean_is_taken_in_single_precision(count, dtype):
    networks = [nn.Conv3d(2, 3, 1).to(dtype) for _ in range(count)]
    image = torch.randn(1, 2, 4, 5, 6).to(dtype)
    mean = MeanOfNetworks(networks)(image)
    assert mean.dtype == torch.float32
    expected = np.mean([network(image).detach().float().numpy() for network in networks], axis=0)
    np.testing.assert_allclose(mean.detach().numpy(), expected, atol=1e-6)


def test_folds_that_are_named_predict_together_and_their_names_are_kept(student):
    folder = ModelFolder.read(add_folds(student, [1, 3]))
    files = checkpoints_of_folds(folder, ["1", "3"])
    assert [file.parent.name for file in files] == ["fold_1", "fold_3"]
    assert describe_folds(folder, files).name.endswith("student, 3d_fullres, fold_1, fold_3")
    image = torch.randn(1, 4, *describe_folds(folder, files).patch_size)
    with torch.inference_mode():
        expected = sum(folder.network(file).eval()(image) for file in files) / 2
        torch.testing.assert_close(network_of_folds(folder, files).eval()(image), expected)
    both, one = (load_model(student, fold=fold).backend.logits(image[0].numpy()) for fold in (["1", "3"], "1"))
    np.testing.assert_allclose(both, expected[0], atol=1e-4)
    assert np.abs(both - one).max() > 0.01


def other_trainer(checkpoint):
    checkpoint["trainer_name"] = "nnUNetTrainerRecipe"


def other_mirroring(checkpoint):
    checkpoint["inference_allowed_mirroring_axes"] = (0, 1, 2)


def other_spacing(checkpoint):
    plans = checkpoint["init_args"]["plans"] = deepcopy(checkpoint["init_args"]["plans"])
    plans["configurations"]["3d_fullres"]["spacing"] = [2.0, 2.0, 2.0]


def other_labels(checkpoint):
    checkpoint["init_args"]["dataset_json"] = {"labels": {"background": 0, "ET": 1}}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (other_trainer, "trainers"),
        (other_mirroring, "mirroring axes"),
        (other_spacing, "plans"),
        (other_labels, "labels"),
    ],
)
def test_folds_of_different_models_are_a_sentence(nndistill, student, change, what):
    add_folds(student, [1], change=change)
    result = nndistill("export", student, "--format", "onnx", "--fold", 0, 1)
    assert result.status == 2
    assert f"fold_0/checkpoint_final.pth are not folds of one model: they were trained with different {what}" in (
        result.err
    )
    assert result.err.endswith("See the option --fold.")
    assert not (student / "exports").exists()


def test_what_only_training_reads_may_differ(student):
    def other_batch(checkpoint):
        plans = checkpoint["init_args"]["plans"] = deepcopy(checkpoint["init_args"]["plans"])
        plans["configurations"]["3d_fullres"]["batch_size"] = 7
        plans["nndistill"] = {}

    folder = ModelFolder.read(add_folds(student, [1], change=other_batch))
    assert len(checkpoints_of_folds(folder, ["0", "1"])) == 2


def test_fold_without_the_others_checkpoint_is_a_sentence(nndistill, student, world, tmp_path):
    add_folds(student, [1, 2])
    (student / "fold_2" / "checkpoint_final.pth").rename(student / "fold_2" / "checkpoint_best.pth")
    for folds, lacking, name in (([0, 1, 2], 2, "checkpoint_final.pth"), ([4, 0], 4, "finished checkpoint")):
        result = nndistill("predict", student, world.dataset / "imagesTs", tmp_path / "out", "--fold", *folds)
        assert result.status == 2
        assert f"there is no {name} for fold {lacking}" in result.err
        assert not (tmp_path / "out").exists()
    assert "(folds with checkpoint_final.pth: 0, 1)" in (
        nndistill("export", student, "--format", "onnx", "--fold", 0, 1, 2).err
    )


def test_fold_that_is_named_twice_would_count_twice(student):
    with pytest.raises(UserError, match="fold 0 is named twice"):
        load_model(student, fold=["0", "0"])
