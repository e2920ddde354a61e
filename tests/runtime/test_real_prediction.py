"""On real MRI, through the command line, every runtime gives the label maps of stock nnU-Net."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from nndistill.nnunet.models.prediction import predict_folder
from nndistill.nnunet.plans import build_network

pytestmark = pytest.mark.usefixtures("nnunet_sums_in_single")

CONTRASTS = ("T1", "T1POST", "T2", "FLAIR")


def untrained_model(
    student: Path, folder: Path, *, channels: tuple[str, ...], labels: int, patch_size: list[int], mirroring: list[int]
) -> Path:
    """A model folder as a student's, of a network with random weights for images of 1 mm."""
    plans = json.loads((student / "plans.json").read_text())
    plans["configurations"]["3d_fullres"] |= {
        "spacing": [1.0, 1.0, 1.0],
        "patch_size": patch_size,
        "normalization_schemes": ["ZScoreNormalization"] * len(channels),
        "use_mask_for_norm": [len(channels) > 1] * len(channels),
    }
    dataset = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": {"background": 0} | {f"label{value}": value for value in range(1, labels)},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = torch.load(student / "fold_0" / "checkpoint_final.pth", weights_only=False)
    checkpoint["network_weights"] = build_network(plans, "3d_fullres", dataset).state_dict()
    checkpoint["inference_allowed_mirroring_axes"] = mirroring
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def check_label_maps(nndistill, model: Path, images: Path, place: Path) -> None:
    """Predict with stock nnU-Net and with every runtime, and compare."""
    expected = {
        file.name: SimpleITK.ReadImage(str(file))
        for file in predict_folder(model, images, place / "stock", fold="0", device="cpu")
    }
    for format, backend in (("onnx", "onnxruntime"), ("openvino", "openvino"), (None, "torch")):
        computed = model
        if format:
            computed = place / f"{format} export"
            exported = nndistill("export", model, "--format", format, "--out", computed)
            assert exported.status == 0, exported.err
        result = nndistill("predict", computed, images, place / backend, "--backend", backend, "--any-orientation")
        assert result.status == 0, result.err
        for name, stock in expected.items():
            ours = SimpleITK.ReadImage(str(place / backend / name))
            assert ours.GetSpacing() == stock.GetSpacing()
            assert ours.GetDirection() == stock.GetDirection()
            labels, others = SimpleITK.GetArrayFromImage(stock), SimpleITK.GetArrayFromImage(ours)
            assert len(np.unique(labels)) > 1
            assert np.mean(labels != others) <= 0.001, (backend, name)


@pytest.fixture
def student(_made_once) -> Path:
    [folder] = _made_once.glob("nnUNet_results/*/nnUNetTrainerDistill__student__3d_fullres")
    return Path(folder)


@pytest.mark.slow
def test_hippocampi(nndistill, real_data, student, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for file in sorted((real_data / "Task04_Hippocampus" / "imagesTr").glob("hippocampus*.nii.gz"))[:5]:
        shutil.copy(file, images / file.name.replace(".nii.gz", "_0000.nii.gz"))
    model = untrained_model(
        student, tmp_path / "model", channels=("MRI",), labels=3, patch_size=[40, 56, 40], mirroring=[0, 1, 2]
    )
    check_label_maps(nndistill, model, images, tmp_path)


@pytest.mark.slow
def test_whole_head_of_four_contrasts(nndistill, real_data, student, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for channel, contrast in enumerate(CONTRASTS):
        file = real_data / "open_ms" / "patient07" / f"{contrast}.nii.gz"
        (images / f"patient07_{channel:04d}.nii.gz").symlink_to(file)
    model = untrained_model(
        student, tmp_path / "model", channels=CONTRASTS, labels=5, patch_size=[128, 160, 112], mirroring=[0]
    )
    check_label_maps(nndistill, model, images, tmp_path)
