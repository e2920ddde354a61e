"""On real MRI, every step from file to label map is nnU-Net's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from torch import nn

from described import as_plans, describe
from fake_backend import FakeBackend, small_network
from nndistill.runtime.description import ModelDescription, Normalization
from nndistill.runtime.image import Image, read_image
from nndistill.runtime.postprocessing import labels_of
from nndistill.runtime.preprocessing import preprocess
from nndistill.runtime.sliding_window import predict_logits

MASKED = Normalization(scheme="ZScoreNormalization", use_mask=True)
LABELS = {"background": 0, "a": 1, "b": 2}


@pytest.fixture
def nnunet_sums_in_single(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision, in which nnU-Net sums windows, decides between logits of an untrained network by chance."""
    monkeypatch.setattr(torch, "half", torch.float32)


def check_preprocessing(files: list[Path], description: ModelDescription, *, exactly: bool) -> Image:
    image = read_image(files, description)
    array, properties = SimpleITKIO().read_images([str(file) for file in files])
    np.testing.assert_array_equal(image.array, array)
    plans, configuration, dataset = as_plans(description)
    expected, _, _ = DefaultPreprocessor(verbose=False).run_case_npy(
        array, None, properties, plans, configuration, dataset
    )
    found = preprocess(image, description).array
    if exactly:
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    return image


def share_of_other_labels(image: Image, description: ModelDescription, network: nn.Module) -> float:
    preprocessed = preprocess(image, description)
    logits = predict_logits(preprocessed, FakeBackend(network), description)
    labels = labels_of(logits, preprocessed, description)
    plans, configuration, dataset = as_plans(description)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    weights, axes = [network.state_dict()], description.mirroring_axes or None
    predictor.manual_initialization(network, plans, configuration, weights, dataset, "nnUNetTrainer", axes)
    expected = predictor.predict_single_npy_array(image.array, {"spacing": list(image.spacing)})
    assert labels.dtype == expected.dtype
    assert len(np.unique(expected)) == len(LABELS)
    return float((labels != expected).mean())


def test_four_contrasts_of_a_whole_head_are_preprocessed_to_the_last_bit(real_data):
    files = [real_data / "open_ms" / "patient07" / f"{name}.nii.gz" for name in ("T1", "T1POST", "T2", "FLAIR")]
    description = describe(*[MASKED] * 4)
    check_preprocessing(files, description, exactly=True)


def test_a_flair_of_thick_slices_gets_nnunets_label_map(real_data, nnunet_sums_in_single):
    (file,) = (real_data / "ISLES-2022").rglob("*_flair.nii.gz")
    description = describe(MASKED, labels=LABELS, spacing=(4.0, 1.8, 1.8), patch_size=(24, 96, 96))
    image = check_preprocessing([file], description, exactly=False)
    assert image.array.shape == (1, 29, 512, 512)
    assert share_of_other_labels(image, description, small_network(1, 3)) < 1e-5


@pytest.mark.parametrize("axes", [(0, 1, 2), ()])
def test_hippocampi_get_nnunets_label_maps(real_data, axes, nnunet_sums_in_single):
    file = sorted((real_data / "Task04_Hippocampus" / "imagesTr").glob("hippocampus*.nii.gz"))[0]
    description = describe("MRI", labels=LABELS, patch_size=(40, 56, 40), mirroring_axes=axes)
    image = check_preprocessing([file], description, exactly=True)
    assert share_of_other_labels(image, description, small_network(1, 3)) < 1e-5
