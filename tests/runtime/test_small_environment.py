"""The environment of a workstation: the runtimes and what they need, without PyTorch and nnU-Net, really built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workstation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of a new environment with `nndistill[openvino,onnxruntime]`, from a wheel."""
    place = tmp_path_factory.mktemp("workstation")
    source = place / "source"  # so that building the wheel leaves nothing in the tree
    shutil.copytree(REPOSITORY / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(REPOSITORY / file, source)
    subprocess.run([sys.executable, "-m", "venv", place / "environment"], check=True)
    commands = place / "environment" / "bin"
    subprocess.run(
        [commands / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-compile"]
        + ["--constraint", source / "constraints.txt", f"{source}[openvino,onnxruntime]"],
        check=True,
    )
    return commands


def _run(command: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command that sees nothing of this environment or of the tree."""
    environment = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run(
        [command, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=command.parent,
    )


@pytest.mark.parametrize("module", ["torch", "nnunetv2", "pandas", "matplotlib"])
def test_workstation_has_no_training_packages(workstation, module):
    assert f"No module named '{module}'" in _run(workstation / "python", "-c", f"import {module}").stderr


@pytest.mark.parametrize("command", [[], ["predict"], ["benchmark"], ["distill"]], ids=" ".join)
def test_help_works_on_the_workstation(workstation, command):
    result = _run(workstation / "nndistill", *command, "--help")
    assert result.returncode == 0, result.stderr
    assert "Usage: nndistill" in " ".join(result.stdout.split())


def test_training_on_the_workstation_ends_in_the_sentence_that_names_the_extra(workstation):
    result = _run(workstation / "nndistill", "distill", "teacher")
    assert result.returncode == 2
    assert result.stderr == (
        "error: this command needs PyTorch and nnU-Net, which are not installed: pip install '.[train]' in nnDistill's "
        "repository\n"
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases of two channels, one larger and one smaller than a window."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for case, shape in {"large": (20, 30, 12), "small": (14, 20, 7)}.items():
        for channel in range(2):
            noise = SimpleITK.GetImageFromArray(random.standard_normal(shape).astype(np.float32) + 4)
            noise.SetSpacing((1.0, 1.2, 0.9))
            SimpleITK.WriteImage(noise, folder / f"{case}_{channel:04d}.nii.gz")
    return folder


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_workstation_predicts_the_label_maps_of_the_full_environment(
    workstation, nndistill, small, images, tmp_path, backend
):
    model = small.folders["onnx" if backend == "onnxruntime" else "openvino"]
    assert nndistill("predict", model, images, tmp_path / "here").status == 0
    result = _run(workstation / "nndistill", "predict", model, images, tmp_path / "there")
    assert result.returncode == 0, result.stderr
    for case in ("large", "small"):
        here, there = (SimpleITK.ReadImage(tmp_path / place / f"{case}.nii.gz") for place in ("here", "there"))
        np.testing.assert_array_equal(*map(SimpleITK.GetArrayFromImage, (here, there)))
        assert here.GetSpacing() == there.GetSpacing()
        assert len(np.unique(SimpleITK.GetArrayFromImage(there))) > 1


def test_workstation_measures_its_models(workstation, small, images, tmp_path):
    """Without tables for papers and figures, whose packages are not there."""
    models = [f"{name}={folder}" for name, folder in small.folders.items()]
    arguments = [*models, "--input", images / "large_0000.nii.gz", "--rounds", 1, "--out", tmp_path]
    result = _run(workstation / "nndistill", "benchmark", *arguments)
    assert result.returncode == 0, result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["benchmark.json"]
    assert all(name in result.stdout for name in small.folders)
