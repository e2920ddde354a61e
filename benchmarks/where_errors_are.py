"""Where wrong voxels of label maps are: in structures that were missed, next to a boundary, or further away.

    python benchmarks/where_errors_are.py REFERENCES none=PREDICTIONS feature=PREDICTIONS

prints a table as CSV. Every folder holds label maps as `.nii.gz`; of the references, those are read that a prediction
has the name of. A structure is missed if its mean Dice over the cases in which a map has it is below 0.2, as
in the report of a study.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import SimpleITK
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, generate_binary_structure, maximum_filter, minimum_filter

from nndistill.study.missed_labels import MISSED_BELOW

NEAR_MM = 2.0


class Case(NamedTuple):
    """Two label maps of one image."""

    reference: SimpleITK.Image
    prediction: SimpleITK.Image

    def overlaps(self) -> dict[int, float]:
        """Dice of every label that one of them has."""
        measures = SimpleITK.LabelOverlapMeasuresImageFilter()
        measures.Execute(self.reference, self.prediction)
        labels = {int(label) for image in self for label in np.unique(SimpleITK.GetArrayViewFromImage(image))} - {0}
        return {label: float(measures.GetDiceCoefficient(label)) for label in labels}


def cases(references: Path, predictions: Path) -> Iterator[Case]:
    """Every prediction with its reference."""
    for file in sorted(predictions.glob("*.nii.gz")):
        reference, prediction = (
            SimpleITK.ReadImage(str(each), SimpleITK.sitkInt32) for each in (references / file.name, file)
        )
        yield Case(reference, prediction)


def missed_labels(found: list[Case]) -> list[int]:
    """Labels whose mean Dice over the cases that have them is below the limit."""
    means = pd.DataFrame([case.overlaps() for case in found]).mean()
    return list(means.index[means < MISSED_BELOW])


def distance_to_boundary(labels: NDArray[np.int32], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Distance in mm to the nearest voxel whose label differs from a neighbour's; zero in it."""
    faces = generate_binary_structure(labels.ndim, 1)
    boundary = maximum_filter(labels, footprint=faces) != minimum_filter(labels, footprint=faces)
    distance: NDArray[np.float64] = distance_transform_edt(~boundary, sampling=spacing)
    return distance


def millilitres(found: list[Case]) -> dict[str, float]:
    """Wrong voxels per case by where they are, in ml."""
    missed = missed_labels(found)
    sums = dict.fromkeys(("missed structures", "at a boundary", "near it", "further away"), 0.0)
    for case in found:
        reference, prediction = (SimpleITK.GetArrayFromImage(each) for each in case)
        spacing = case.reference.GetSpacing()[::-1]
        wrong = reference != prediction
        of_missed = wrong & np.isin(reference, missed)
        rest, distance = wrong & ~of_missed, distance_to_boundary(reference, spacing)
        places = {
            "missed structures": of_missed,
            "at a boundary": rest & (distance == 0),
            "near it": rest & (distance > 0) & (distance <= NEAR_MM),
            "further away": rest & (distance > NEAR_MM),
        }
        voxel = float(np.prod(spacing)) / 1000
        for name, where in places.items():
            sums[name] += float(where.sum()) * voxel / len(found)
    return sums


def mistake_in(argument: str, references: Path) -> str | None:
    """Why a folder of predictions cannot be compared, if it cannot."""
    name, _, folder = argument.partition("=")
    if not (name and folder):
        return f"{argument} is not of the form NAME=FOLDER."
    files = sorted(Path(folder).glob("*.nii.gz"))
    if not files:
        return f"{folder} has no label map (*.nii.gz)."
    alone = [file.name for file in files if not (references / file.name).is_file()]
    return f"{references} has no {alone[0]}, which {folder} has." if alone else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("references", type=Path)
    parser.add_argument("predictions", nargs="+", metavar="NAME=FOLDER")
    arguments = parser.parse_args()
    for argument in arguments.predictions:
        if mistake := mistake_in(argument, arguments.references):
            parser.error(mistake)
    out = csv.writer(sys.stdout, lineterminator="\n")
    for number, argument in enumerate(arguments.predictions):
        name, _, folder = argument.partition("=")
        found = millilitres(list(cases(arguments.references, Path(folder))))
        if number == 0:
            out.writerow(["row", *(f"{place} (ml)" for place in found), "wrong in all (ml)"])
        out.writerow([name, *(f"{volume:.2f}" for volume in found.values()), f"{sum(found.values()):.2f}"])


if __name__ == "__main__":
    main()
