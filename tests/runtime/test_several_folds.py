"""Several folds predict what stock nnU-Net's `-f 0 1 …` does, label maps and probabilities, on every runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from five_folds import add_folds
from nndistill.files import read_json
from nndistill.runtime.record import RECORD

pytestmark = pytest.mark.usefixtures("nnunet_sums_in_single")

ROUNDING = 1e-4
"""Of probabilities."""


@pytest.fixture
def student(world) -> Path:
    return world.results / "nnUNetTrainerDistill__student__3d_fullres"


def by_stock(model: Path, images: Path, output: Path, folds: tuple[int, ...]) -> None:
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), folds, "checkpoint_final.pth")
    output.mkdir()
    predictor.predict_from_files_sequential(str(images), str(output), save_probabilities=True)


def check_equal(ours: Path, stock: Path) -> None:
    files = sorted(stock.glob("*.nii.gz"))
    assert files
    for file in files:
        labels, expected = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(f / file.name))) for f in (ours, stock))
        assert len(np.unique(expected)) > 1
        assert np.mean(labels != expected) <= 0.001
        name = file.name.replace(".nii.gz", ".npz")
        found, wanted = (np.load(folder / name)["probabilities"] for folder in (ours, stock))
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, atol=ROUNDING)


def test_two_folds_predict_as_stock_nnunet_does(nndistill, student, world, tmp_path):
    images, out = world.dataset / "imagesTs", tmp_path / "out"
    by_stock(add_folds(student, [1]), images, tmp_path / "stock", (0, 1))
    result = nndistill("predict", student, images, out, "--fold", 0, 1, "--probabilities")
    assert result.status == 0, result.err
    check_equal(out, tmp_path / "stock")
    one = tmp_path / "one"
    assert nndistill("predict", student, images, one, "--fold", 0, "--probabilities").status == 0
    with pytest.raises(AssertionError):
        check_equal(one, tmp_path / "stock")
    assert read_json(out / RECORD)["made_with"]["model"]["name"].endswith("fold_0, fold_1")


@pytest.mark.slow
def test_five_folds_predict_as_stock_nnunet_does_on_every_runtime(nndistill, student, world, tmp_path):
    images, folds = world.dataset / "imagesTs", (0, 1, 2, 3, 4)
    by_stock(add_folds(student, folds[1:]), images, tmp_path / "stock", folds)
    export = tmp_path / "export"
    exported = nndistill("export", student, "--format", "onnx", "--fold", *folds, "--out", export)
    assert exported.status == 0, exported.err
    for backend, model, options in (
        ("torch", student, ("--fold", *folds)),
        ("onnxruntime", export, ()),
        ("openvino", export, ()),
    ):
        out = tmp_path / backend
        result = nndistill("predict", model, images, out, "--backend", backend, "--probabilities", *options)
        assert result.status == 0, result.err
        check_equal(out, tmp_path / "stock")
