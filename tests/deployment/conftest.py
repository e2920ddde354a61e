"""A small network with what travels with it, and its exports, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from networks import residual_unet
from nndistill.deployment.description import (
    FILE_NAME,
    Channel,
    ModelDescription,
    Normalization,
    Resampling,
    digest,
)

PATCH = (16, 24, 8)


@dataclass(frozen=True)
class Small:
    """A network of two channels and three labels, and the folders of its exports by format."""

    network: nn.Module
    folders: dict[str, Path]


def small_description(**changes: object) -> ModelDescription:
    """Of the small network."""
    scheme = Normalization(scheme="ZScoreNormalization")
    values = {
        "name": "small",
        "format": "onnx",
        "channels": (Channel(name="T1", normalization=scheme), Channel(name="T2", normalization=scheme)),
        "file_ending": ".nii.gz",
        "transpose_forward": (0, 1, 2),
        "transpose_backward": (0, 1, 2),
        "spacing": (1.0, 1.0, 1.0),
        "patch_size": PATCH,
        "mirroring_axes": (0, 1, 2),
        "labels": {"background": 0, "a": 1, "b": 2},
        "resample_data": Resampling(order=3, order_z=0),
        "resample_probabilities": Resampling(order=1, order_z=0),
    }
    return ModelDescription(**{**values, **changes})


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    from nndistill.deployment.export.onnx import write_onnx
    from nndistill.deployment.export.openvino import write_openvino

    torch.manual_seed(0)
    network = residual_unet((4, 8, 8), channels=2, classes=3).eval()
    place = tmp_path_factory.mktemp("small")
    folders = {name: place / name for name in ("onnx", "openvino")}
    for folder in folders.values():
        folder.mkdir()
    files = {"onnx": write_onnx(network, folders["onnx"], (2, *PATCH))}
    files["openvino"] = write_openvino(folders["onnx"] / "model.onnx", folders["openvino"])
    for name, folder in folders.items():
        digests = {file: digest(folder / file) for file in files[name]}
        small_description(format=name, files=digests).write(folder)
        assert (folder / FILE_NAME).is_file()
    return Small(network, folders)
