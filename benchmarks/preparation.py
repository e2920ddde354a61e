"""How fast a data set in the layout of BraTS 2024 is prepared: checked to the last voxel, grouped, split, not copied.

python benchmarks/preparation.py [--cases 1350] [--json FILE]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from nndistill.datasets import find_brats2024, prepare

SHAPE = (32, 40, 32)
TIME_POINTS = (1, 3, 2, 4, 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=1350)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, raw = Path(folder) / "training_data1_v2", Path(folder) / "raw"
        make_up(source, arguments.cases)
        seconds = {}
        for call in ("first", "second"):
            start = time.perf_counter()
            report = prepare(find_brats2024([source]), raw, dataset_id=226)
            seconds[call] = time.perf_counter() - start
        summary = report.summary()
    result = {
        "cases": arguments.cases,
        "files": 5 * arguments.cases,
        "voxels": SHAPE,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "seconds": seconds["first"],
        "cases_per_second": arguments.cases / seconds["first"],
        "seconds_of_a_second_call": seconds["second"],
        "folds": summary["folds"],
        "patients": summary["patients"],
        "patients_on_both_sides_of_a_fold": summary["patients on both sides of a fold"],
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


def make_up(root: Path, cases: int) -> None:
    """Cases of smooth shapes and noise, no two alike."""
    rng = np.random.default_rng(0)
    radius = np.linalg.norm(np.indices(SHAPE) - np.array(SHAPE).reshape(3, 1, 1, 1) / 2, axis=0)
    patient, times = 0, 0
    for _ in range(cases):
        name = f"BraTS-GLI-{patient:05d}-{100 + times}"
        folder = root / name
        folder.mkdir(parents=True)
        size = rng.uniform(4, 10)
        label = np.where(radius < size, 4 - np.clip(radius * 4 / size, 0, 3).astype(int), 0).astype(np.uint8)
        for part in ("t1n", "t1c", "t2w", "t2f"):
            image = (rng.normal(500, 30, SHAPE) + 40 * label) * (radius < 18)
            save(folder / f"{name}-{part}.nii.gz", image.astype(np.int16))
        save(folder / f"{name}-seg.nii.gz", label)
        times += 1
        if times == TIME_POINTS[patient % len(TIME_POINTS)]:
            patient, times = patient + 1, 0


def save(path: Path, array: np.ndarray) -> None:
    path.write_bytes(gzip.compress(nib.Nifti1Image(array, np.eye(4)).to_bytes(), compresslevel=1))


if __name__ == "__main__":
    main()
