"""Studies whose results were made rather than trained, for tests of what is computed from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from nndistill.study import Study, StudyRun, load_study, study_runs
from nndistill.study.places import StudyPlaces
from nndistill.study.results import keep_result

FACTS = {
    "weight": None,
    "seconds": 60.0,
    "costs": {"parameters": 1_000_000, "flops_patch": 2_000_000_000, "flops_case": 4_000_000_000},
    "history": {},
    "checkpoint_sha256": "0" * 64,
    "machine": {"host": "h", "processor": "p", "cpus": 2, "gpus": [], "python": "3", "versions": {"torch": "2"}},
    "finished": "2026-01-01 00:00",
}


def write_study_file(folder: Path, **keys: Any) -> StudyPlaces:
    """A study's file with these keys."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({"dataset": 4, "methods": {"none": {}, "dcd": {}}, **keys}, sort_keys=False))
    return StudyPlaces(file)


def made_result(places: StudyPlaces, run: StudyRun, *, dice: float | None = None, weight: float | None = None) -> None:
    """Keep a result of four cases of three patients, different for each run and the same every time."""
    random = np.random.default_rng([ord(letter) for letter in run.name])
    cases = {f"p{number}_{scan}": f"p{number}" for number, scan in ((0, 0), (0, 1), (1, 0), (2, 0))}
    rows = [
        {
            "case": f"{case}_f{run.fold}",
            "label": label,
            "dice": random.uniform(0.5, 0.9) if dice is None else dice,
            "hd95_mm": random.uniform(1, 5),
            "nsd": random.uniform(0.5, 0.9),
            "reference_voxels": 10,
            "predicted_voxels": 10,
            "patient": f"{patient}_f{run.fold}",
        }
        for case, patient in cases.items()
        for label in ("core", "rim")
    ]
    curves = pd.DataFrame(
        {
            "segmentation_loss": [1.0, 0.5],
            "distillation_loss": [0.0, 0.0],
            "gradient_share": 0.0,
            "distillation_weight": 0.0,
            "dice": [0.3, 0.6],
            "seconds": [30.0, 30.0],
        }
    )
    facts = {**FACTS, "title": run.title, "method": run.method, "seed": run.seed, "fold": run.fold, "weight": weight}
    keep_result(places.results, run, facts=facts, metrics=pd.DataFrame(rows), curves=curves)


def made_study(folder: Path, **keys: Any) -> tuple[Study, StudyPlaces, list[StudyRun]]:
    """A study with made results of all its runs."""
    places = write_study_file(folder, **keys)
    study = load_study(places.file)
    runs = study_runs(study, folder=folder)
    for run in runs:
        made_result(places, run)
    return study, places, runs
