"""A format that another package adds in one file is exported, loaded and offered like the built-in ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

import torchscript_format
from nndistill.files import read_json
from nndistill.runtime.description import FILE_NAME
from nndistill.runtime.formats import FORMATS
from torchscript_format import TORCHSCRIPT


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS._own, TORCHSCRIPT.name, TORCHSCRIPT)


def label_map(folder: Path) -> np.ndarray:
    [file] = folder.glob("*.nii.gz")
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))


def test_a_new_format_is_exported_and_predicts_as_the_trained_network_does(added, nndistill, world, tmp_path):
    student, images = world.results / "nnUNetTrainerDistill__student__3d_fullres", world.dataset / "imagesTs"
    exported = nndistill("export", student, "--format", "torchscript")
    assert exported.status == 0, exported.err
    folder = student / "exports" / "torchscript-float32-fold_0"
    assert {file.name for file in folder.iterdir()} == {"model.pt", FILE_NAME}
    description = read_json(folder / FILE_NAME)
    assert description["format"] == "torchscript"
    assert description["check"]["max_difference"] < 1e-4
    assert "torch" in description["versions"]
    for model, output in ((student, "trained"), (folder, "exported")):
        predicted = nndistill("predict", model, images, tmp_path / output)
        assert predicted.status == 0, predicted.err
    expected = label_map(tmp_path / "trained")
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(label_map(tmp_path / "exported"), expected)

    wrong = nndistill("predict", folder, images, tmp_path / "wrong", "--backend", "openvino")
    assert wrong.status == 2
    assert f"{folder} is a model for torch, not for openvino; export it as openvino" in wrong.err


def test_a_new_format_is_in_the_lists_of_error_messages(added, nndistill, tmp_path):
    unknown = nndistill("export", tmp_path, "--format", "torchscrip")
    assert "Did you mean 'torchscript'? Known: nnunet, onnx, openvino, safetensors, torchscript." in unknown.err
    precision = nndistill("export", tmp_path, "--format", "torchscript", "--precision", "int8")
    assert "the format torchscript has no int8 (it has float32); for int8 use openvino or onnx." in precision.err


def help_with_installed(tmp_path: Path, entry: str) -> subprocess.CompletedProcess[str]:
    """`nndistill export --help` in an environment with a package that adds a format."""
    installed = tmp_path / "torchscript_format-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: torchscript-format\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[nndistill.formats]\ntorchscript = {entry}\n")
    path = [tmp_path, Path(torchscript_format.__file__).parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-m", "nndistill", "export", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "COLUMNS": "1000"},
    )


def test_a_new_format_of_an_installed_package_is_in_the_help(tmp_path):
    text = help_with_installed(tmp_path, "torchscript_format:TORCHSCRIPT").stdout
    assert f"torchscript: {TORCHSCRIPT.purpose}." in text
    assert "float32: openvino, onnx, safetensors, nnunet, torchscript;" in text


def test_a_broken_package_costs_its_own_format_only(tmp_path):
    done = help_with_installed(tmp_path, "torchscript_format:GONE")
    assert "torchscript" not in done.stdout
    assert "openvino: the fastest" in done.stdout
    assert "torchscript_format:GONE, which another package adds to nndistill.formats, is left out" in done.stderr
