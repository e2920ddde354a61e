"""Does a student gain from images without labels? 20 labelled hippocampi, 140 without labels, 40 to validate on.

    python benchmarks/unlabelled_study.py TASK STUDY --workspace WORKSPACE
    nndistill study run STUDY/study.yaml --workspace WORKSPACE

TASK is `Task04_Hippocampus` of the Medical Segmentation Decathlon, of which at least 200 labelled cases are needed. The
first command draws the three groups of cases (always the same), makes a data set of the first and the last in nnU-Net's
raw format, in which fold 0 trains on the 20 and validates on the 40, puts the images of the 140 into STUDY/unlabelled,
and writes the study: a teacher that is trained on the 20, and with three seeds the student alone, distilled, and
distilled with the images without labels, all for the same number of steps.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nndistill.datasets import find_decathlon, prepare
from nndistill.files import write_file
from nndistill.nnunet.data.raw_format import image_name

LABELLED, UNLABELLED, VALIDATION = 20, 140, 40
DATASET_ID = 45
STUDY = """\
# Written by benchmarks/unlabelled_study.py, which says how the cases were drawn.
#
# Data: Task04_Hippocampus of the Medical Segmentation Decathlon (Antonelli et al., Nat. Commun. 13, 4128, 2022;
# CC BY-SA 4.0): 20 labelled cases to train on, 140 whose labels no training sees, 40 to validate on.
description: A student of 20 labelled and 140 unlabelled hippocampi
dataset: 45
folds: [0]
seeds: [0, 1, 2]
recipe: quick
changes:
  epochs: 16                 # × 50 = 800 steps, for every row
  iterations: 50
  validation_iterations: 4
  optimizer: {name: adamw, learning_rate: 4.0e-3, weight_decay: 1.0e-2}
  save_every: 5
teachers:
  teacher: {features: [16, 32, 64, 128], patch_size: [32, 48, 32], batch_size: 2, changes: {epochs: 24}}
students:
  student: {reduction: 4}
methods:
  none: {}
  dcd: {balance: 0.5}
  "dcd, unlabelled": {method: dcd, balance: 0.5, unlabelled: {images: unlabelled, share: 0.5}}
protocol: default
resources: {cpus: 1, memory_gb: 4, hours: 4}
"""


def drawn_groups(names: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Draw the labelled, the unlabelled and the validation cases, the same ones every time."""
    order = np.random.default_rng(0).permutation(sorted(names)).tolist()
    ends = np.cumsum([LABELLED, UNLABELLED, VALIDATION])
    labelled, unlabelled, validation = (
        sorted(order[end - number : end]) for end, number in zip(ends, (LABELLED, UNLABELLED, VALIDATION), strict=True)
    )
    return labelled, unlabelled, validation


def write_data(task: Path, study: Path, raw: Path) -> None:
    """Write the data set and, into the study's folder, the images without labels."""
    source = find_decathlon(task)
    cases = {case.name: case for case in source.cases if case.label}
    if len(cases) < LABELLED + UNLABELLED + VALIDATION:
        raise SystemExit(f"{task} has {len(cases)} labelled cases; {LABELLED + UNLABELLED + VALIDATION} are needed.")
    labelled, unlabelled, validation = drawn_groups(list(cases))
    split = study / "splits_final.json"
    write_file(split, json.dumps([{"train": labelled, "val": validation}], indent=2).encode())
    used = tuple(cases[name] for name in sorted([*labelled, *validation]))
    prepare(replace(source, cases=used), raw, dataset_id=DATASET_ID, split=str(split))
    for name in unlabelled:
        [image] = cases[name].images
        place = study / "unlabelled" / image_name(name, 0)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path, help="folder of Task04_Hippocampus")
    parser.add_argument("study", type=Path, help="folder for the study")
    parser.add_argument("--workspace", type=Path, required=True, help="folder that holds nnU-Net's three folders")
    arguments = parser.parse_args()
    write_data(arguments.task, arguments.study, arguments.workspace / "nnUNet_raw")
    write_file(arguments.study / "study.yaml", STUDY.encode())


if __name__ == "__main__":
    main()
