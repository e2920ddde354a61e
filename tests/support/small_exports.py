"""A small network with what travels with it, and its exports, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from described import describe
from networks import residual_unet
from nndistill.cli import main
from nndistill.files import digest
from nndistill.runtime.description import FILE_NAME, ModelDescription

PATCH = (16, 24, 8)


@dataclass(frozen=True)
class Small:
    """A network of two channels and three labels, and the folders of its exports by format."""

    network: nn.Module
    folders: dict[str, Path]


def small_description(**changes: object) -> ModelDescription:
    """Of the small network."""
    usual = {
        "name": "small",
        "patch_size": PATCH,
        "mirroring_axes": (0, 1, 2),
        "labels": {"background": 0, "a": 1, "b": 2},
    }
    return describe("T1", "T2", **usual | changes)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    from nndistill.export.onnx import write_onnx
    from nndistill.export.openvino import write_openvino

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


@pytest.fixture(scope="session")
def exported(_made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export the trained student by the command line, each format and precision once: `exported("onnx", "int8")`."""
    [student] = _made_once.glob("nnUNet_results/*/nnUNetTrainerDistill__student__3d_fullres")
    [raw] = _made_once.glob("nnUNet_raw/*")
    place = tmp_path_factory.mktemp("exports")

    @cache
    def export(format: str, precision: str) -> Path:
        out = place / f"{format}-{precision}"
        arguments = ["export", student, "--format", format, "--precision", precision, "--out", out]
        if precision == "int8":  # of a network that hardly learnt anything, so any fall will do
            arguments += ["--calibration", raw / "imagesTr", "--labels", raw / "labelsTr", "--tolerance", 1]
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("nnUNet_raw", str(raw.parent))  # the training images, whose orientation is described
            with pytest.raises(SystemExit) as stop:
                main([str(argument) for argument in arguments])
        assert not stop.value.code
        return out

    return lambda format, precision="float32": export(format, precision)
