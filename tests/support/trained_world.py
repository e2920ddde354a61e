"""One tiny workspace for all tests that need a trained network: phantom, teacher and student, made once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from nndistill.cli import main
from nndistill.datasets import generate_phantom
from tiny import TINY

DATASET = "Dataset900_Phantom"

INTENSITIES = "nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor.DatasetFingerprintExtractor"
INTENSITIES += ".num_foreground_voxels_for_intensitystats"


@dataclass(frozen=True)
class World:
    """A workspace, its data set, and a trained teacher."""

    workspace: Path
    teacher: Path

    @property
    def dataset(self) -> Path:
        return self.workspace / "nnUNet_raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        return self.workspace / "nnUNet_preprocessed" / DATASET

    @property
    def results(self) -> Path:
        return self.workspace / "nnUNet_results" / DATASET


@pytest.fixture(scope="session")
def _made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace; whoever runs single tests again and again keeps it in the folder NNDISTILL_TEST_WORKSPACE."""
    kept = os.environ.get("NNDISTILL_TEST_WORKSPACE")
    if not kept:
        return _make(tmp_path_factory.mktemp("workspace"))
    if not Path(kept).exists():
        _make(tmp_path_factory.mktemp("workspace")).rename(kept)
    return Path(kept)


def _make(workspace: Path) -> Path:
    generate_phantom(
        workspace / "nnUNet_raw", cases=5, test_cases=1, shape=(32, 40, 32), spacing=(4.0, 4.0, 4.0), jobs=1
    )
    # However small the images are, nnU-Net draws 100 million of their intensities: half a minute and three gigabytes.
    few = property(lambda _: 1e5, lambda _self, _number: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(INTENSITIES, few, raising=False)
        with pytest.raises(SystemExit) as stop:
            main(
                ["teach", "900", "--workspace", str(workspace), "--features", "8", "16", "32", "--batch-size", "2"]
                + [*TINY, "--epochs", "1", "--no-validate"]
            )
    assert not stop.value.code
    teacher = next((workspace / "nnUNet_results" / DATASET).glob("nnUNetTrainerRecipe__*"))
    with pytest.raises(SystemExit) as stop:
        main(
            ["distill", str(teacher), "--workspace", str(workspace), "--name", "student"]
            + [*TINY, "--epochs", "2", "--validate"]
        )
    assert not stop.value.code
    return workspace


def _point_to(workspace: Path, place: str | Path) -> None:
    """Write into the student's plans where its teacher is."""
    for plans in [*workspace.rglob("student.json"), *workspace.rglob("nnUNetTrainerDistill__student__*/plans.json")]:
        content = json.loads(plans.read_text())
        folder = Path(content["nndistill"]["distillation"]["teacher"]["folder"])
        content["nndistill"]["distillation"]["teacher"]["folder"] = str(Path(place) / folder.name)
        plans.write_text(json.dumps(content))


@pytest.fixture
def world(_made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A copy of the workspace that a test may damage; nnU-Net's variables are unset again after the test."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    workspace = tmp_path / "workspace"
    shutil.copytree(_made_once, workspace)
    teacher = next((workspace / "nnUNet_results" / DATASET).glob("nnUNetTrainerRecipe__*"))
    _point_to(workspace, teacher.parent)
    return World(workspace, teacher)


@pytest.fixture
def environment(world: World) -> dict[str, str]:
    """The environment of a process that works in this workspace."""
    folders = {name: str(world.workspace / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    return {**os.environ, **folders, "nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}


@pytest.fixture(scope="session")
def python_without_nndistill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that sees the installed packages, nnU-Net among them, but not nnDistill.

    A `.pth` file adds the folder of packages; `.pth` files inside that folder, of which an editable nnDistill is one,
    are not followed.
    """
    folder = tmp_path_factory.mktemp("stock")
    venv.create(folder, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    (site / "installed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "bin" / "python"
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    assert subprocess.run([python, "-c", "import nnunetv2"], check=False, env=alone).returncode == 0
    missing = subprocess.run([python, "-c", "import nndistill"], capture_output=True, text=True, check=False, env=alone)
    assert "ModuleNotFoundError" in missing.stderr
    return python
