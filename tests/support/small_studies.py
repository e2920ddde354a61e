"""A study of two tiny students on a teacher that is there, and how it is run in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from nndistill.files import read_json
from nndistill.nnunet.training.run import Run
from nndistill.study import job, load_study
from nndistill.study.places import StudyPlaces
from trained_world import World

CHANGES = {"epochs": 2, "iterations": 2, "validation_iterations": 1, "save_every": 1}


@pytest.fixture
def study_file(world: World, tmp_path: Path) -> Path:
    """The file of the study, in a folder of its own."""
    file = tmp_path / "study with spaces" / "study.yaml"
    file.parent.mkdir()
    content = {
        "dataset": 900,
        "recipe": "quick",
        "changes": CHANGES,
        "teachers": {"teacher": {"folder": str(world.teacher)}},
        "methods": {"none": {}, "dcd": {}},
        "test": "raw",
        "device": "cpu",
        "resources": {"cpus": 1, "memory_gb": 1},
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def run_study(file: Path, world: World, *options: str) -> subprocess.Popen[str]:
    """Start `nndistill study run`."""
    command = [sys.executable, "-m", "nndistill", "study", "run", str(file), "--workspace", str(world.workspace)]
    return subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def plans_of(file: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Prepare a training of a study, and return its plans instead of training."""
    prepared: list[Run] = []

    def begin(run: Run, **_: Any) -> None:
        prepared.append(run)
        raise _Begun

    with monkeypatch.context() as patch:
        patch.setattr(job, "train", begin)
        with pytest.raises(_Begun):
            job.carry_out(load_study(file), StudyPlaces(file), name)
    plans: dict[str, Any] = read_json(prepared[0].plans_file)
    return plans


class _Begun(Exception):
    """Raised in place of a training."""


def metrics_of(file: Path) -> dict[str, pd.DataFrame]:
    """The metrics of every run that has a result."""
    return {path.parent.name: pd.read_csv(path) for path in sorted(file.parent.glob("results/*/metrics.csv"))}
