"""The environment of a workstation: the runtimes and what they need, without PyTorch and nnU-Net, really built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("command", [[], ["distill"]], ids=" ".join)
def test_help_works_on_the_workstation(workstation, command):
    result = _run(workstation / "nndistill", *command, "--help")
    assert result.returncode == 0, result.stderr
    assert "Usage: nndistill" in " ".join(result.stdout.split())


def test_training_on_the_workstation_ends_in_the_sentence_that_names_the_extra(workstation):
    result = _run(workstation / "nndistill", "distill", "teacher")
    assert result.returncode == 2
    assert result.stderr == (
        'error: this command needs PyTorch and nnU-Net, which are not installed: pip install "nndistill[train]"\n'
    )
