"""Synthetic models for reports: metrics with known means, and label maps on disk."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from nndistill.reporting import Cost, ReportedCases, ReportedModel

LABELS = ("core", "rim")
OPTIONS = {"wavelet": "db4", "level": 3, "bands": "D", "mode": "symmetric", "domain": "spatial"}


def metrics(values: dict[str, list[float]], *, hd95: float = 10.0) -> pd.DataFrame:
    """Metrics whose Dice are given by label; NSD is Dice to the power 0.5, and HD95 falls with Dice."""
    return pd.DataFrame(
        [
            {
                "case": f"case_{number}",
                "label": label,
                "dice": dice,
                "hd95_mm": hd95 * (1 - dice),
                "nsd": dice**0.5,
                "reference_voxels": 100,
                "predicted_voxels": 90,
            }
            for label, scores in values.items()
            for number, dice in enumerate(scores)
        ]
    )


def spread(mean: float, *, cases: int = 8, seed: int = 0) -> pd.DataFrame:
    """Metrics of two labels around a mean Dice."""
    random = np.random.default_rng(seed)
    return metrics({label: list(np.clip(random.normal(mean, 0.03, cases), 0, 1)) for label in LABELS})


def three_models() -> list[ReportedModel]:
    """A teacher, a student alone and a better one."""
    big, small = Cost(101_945_000, 10**12, 10**13), Cost(6_381_000, 10**11, 10**12)
    log = pd.DataFrame({"segmentation_loss": [1.0, 0.2], "distillation_loss": [0.0, 0.0], "dice": [0.1, 0.7]})
    made = {"Data set": "Made up"}
    return [
        ReportedModel("Teacher", spread(0.9), role="teacher", cost=big, curves=log, provenance=made),
        ReportedModel("Alone", spread(0.7, seed=1), method="none", cost=small, provenance={**made, "μ": "0"}),
        ReportedModel("DCD <b>", spread(0.8, seed=2), method="dcd", options=OPTIONS, cost=small),
    ]


def with_pictures(folder: Path, *, cases: int = 2) -> tuple[list[ReportedModel], ReportedCases]:
    """The three models with label maps: the teacher is right, the others are shifted by one and two voxels."""
    x, y, z = np.meshgrid(*(np.arange(n) - n / 2 for n in (24, 30, 12)), indexing="ij")
    references, images = {}, {}
    predictions: list[dict[str, Path]] = [{}, {}, {}]
    for number in range(cases):
        case = f"case_{number}"
        radius = np.sqrt((x - number) ** 2 + y**2 + (2 * z) ** 2)
        labels = np.where(radius < 4, 1, np.where(radius < 6, 2, 0)).astype(np.uint8)
        references[case] = save(folder / "labels" / f"{case}.nii.gz", labels)
        images[case] = {
            name: save(folder / "images" / f"{case}_{channel:04d}.nii.gz", np.where(radius < 11, gain + labels, 0.0))
            for channel, (name, gain) in enumerate({"T1": 3.0, "T2": 5.0}.items())
        }
        for shift, found in enumerate(predictions):
            found[case] = save(folder / f"predictions_{shift}" / f"{case}.nii.gz", np.roll(labels, shift, axis=0))
    models = [
        ReportedModel(**{**model.__dict__, "predictions": found})
        for model, found in zip(three_models(), predictions, strict=True)
    ]
    return models, ReportedCases(references, {1: "core", 2: "rim"}, images, measured="How it was measured.")


def save(path: Path, voxels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return path
