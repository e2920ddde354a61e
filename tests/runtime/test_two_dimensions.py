"""A network of two dimensions goes over the slices as in stock nnU-Net, in every runtime and on every command."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from described import describe
from nndistill.errors import UserError
from nndistill.files import read_json
from nndistill.nnunet.models.prediction import predict_folder
from nndistill.runtime.description import FILE_NAME, ModelDescription
from nndistill.runtime.sliding_window import sample_windows
from stock_models import configuration, dataset, network_of, plans, write_model

LABELS = {"background": 0, "a": 1, "b": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Random weights; its slices are the second axis of an image."""
    flat = configuration(patch=(16, 24), channels=2)
    flat |= {"spacing": [1.5, 0.8], "median_image_size_in_voxels": [30.0, 40.0]}
    made = plans({"2d": flat, "3d_fullres": configuration(channels=2)}, channels=2)
    made |= {"transpose_forward": [1, 0, 2], "transpose_backward": [1, 0, 2]}
    torch.manual_seed(0)
    network = network_of(flat, channels=2, classes=3)
    with torch.no_grad():  # so that every label is predicted
        network.decoder.seg_layers[-1].bias -= network(torch.randn(4, 2, 16, 24)).mean((0, 2, 3))
    weights = network.state_dict()
    return write_model(tmp_path_factory.mktemp("flat") / "model", made, dataset(2, LABELS), weights, name="2d")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for channel in range(2):
        coarse = random.normal(100, 20, (9, 4, 8))
        smooth = np.kron(coarse, np.ones((4, 2, 4))) + random.normal(0, 5, (36, 8, 32))
        affine = np.diag([1.0, 4.0, 1.0, 1.0])
        nib.save(nib.Nifti1Image(smooth.astype(np.float32), affine), folder / f"case_{channel:04d}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def expected(model, images, tmp_path_factory) -> np.ndarray:
    """By stock nnU-Net."""
    [file] = predict_folder(model, images, tmp_path_factory.mktemp("stock"), fold="0", device="cpu")
    labels = np.asarray(nib.load(file).dataobj)
    assert len(np.unique(labels)) == 3
    return labels


def predicted(nndistill, model: Path, images: Path, output: Path, *options: object) -> np.ndarray:
    result = nndistill("predict", model, images, output, "--device", "cpu", *options)
    assert result.status == 0, result.err
    return np.asarray(nib.load(output / "case.nii.gz").dataobj)


def differing(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float((ours != theirs).mean())


def test_label_map_of_pytorch_is_stock_nnunets(nndistill, model, images, expected, tmp_path):
    ours = predicted(nndistill, model, images, tmp_path)
    assert differing(ours, expected) <= 1e-3
    record = read_json(tmp_path / "nndistill_prediction.json")
    assert record["cases"]["case"]["windows"] % 8 == 0  # as many in each of the eight slices


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_export_says_its_dimensions_and_predicts_as_stock_nnunet(nndistill, model, images, expected, format, tmp_path):
    export = tmp_path / format
    made = nndistill("export", model, "--format", format, "--out", export)
    assert made.status == 0, made.err
    description = read_json(export / FILE_NAME)
    assert (description["patch_size"], description["spacing"], description["mirroring_axes"]) == (
        [16, 24],
        [1.5, 0.8],
        [0, 1],
    )
    assert differing(predicted(nndistill, export, images, tmp_path / "labels"), expected) <= 1e-3


def test_costs_count_the_windows_of_every_slice(nndistill, model):
    costs = nndistill("complexity", model, "--json")
    assert costs.status == 0, costs.err
    network = json.loads(costs.out)["network"]
    assert network["patch"] == [16, 24]
    assert network["patches_case"] == 24 * 3 * 3  # 24 slices of 30 × 40 pixels


def test_windows_to_show_are_slices():
    image = np.arange(2 * 3 * 6 * 5, dtype=np.float32).reshape(2, 3, 6, 5)
    windows = list(sample_windows(image, (4, 8)))
    assert {window.shape for window in windows} == {(2, 4, 8)}
    np.testing.assert_array_equal(windows[0][:, :, 1:6], image[:, 1, 1:5])
    assert len(windows) == 1 + 2 * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"patch_size": (8, 8)},
        {"spacing": (1.0, 1.0)},
        {"patch_size": (8, 8), "spacing": (1.0, 1.0), "mirroring_axes": (0, 1, 2)},
    ],
)
def test_description_whose_axes_do_not_belong_together_is_refused(changes, tmp_path):
    fine = describe().model_dump(mode="json")
    (tmp_path / FILE_NAME).write_text(json.dumps({**fine, **changes}))
    with pytest.raises(UserError, match="which do not belong together"):
        ModelDescription.read(tmp_path)
