"""Where errors are: a label that most scans lack is not taken for a missed one, and mistakes are sentences."""

from __future__ import annotations

import csv
import io
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from documented import REPOSITORY

STRUCTURES = {1: slice(0, 4), 2: slice(6, 10)}


def save(folder: Path, case: str, *, missing: tuple[int, ...] = (), short: tuple[int, ...] = ()) -> None:
    """A label map of two cubes of 4³ voxels, of which some are missing or lack one of four layers."""
    labels = np.zeros((8, 8, 12), np.uint8)
    for label, place in STRUCTURES.items():
        if label not in missing:
            labels[2:6, 2:6, place] = label
            labels[5, :, place] *= label not in short
    folder.mkdir(exist_ok=True)
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing((10, 10, 10))  # 1 ml per voxel
    SimpleITK.WriteImage(image, str(folder / f"{case}.nii.gz"))


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    script = REPOSITORY / "benchmarks" / "where_errors_are.py"
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, words)])
    runpy.run_path(str(script), run_name="__main__")


def test_a_structure_is_missed_by_the_cases_that_have_it(tmp_path, monkeypatch, capsys) -> None:
    references, rare, missed = (tmp_path / name for name in ("references", "rare", "missed"))
    for case in "abcdefgh":
        has_it = case == "a"
        save(references, case, missing=() if has_it else (2,))
        save(rare, case, missing=() if has_it else (2,), short=(2,))
        save(missed, case, missing=(2,))

    run(monkeypatch, references, f"rare={rare}", f"missed={missed}")

    rows = {row["row"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    places = ("missed structures (ml)", "wrong in all (ml)")
    assert [float(rows["rare"][place]) for place in places] == [0, 4 * 4 / 8]
    assert [float(rows["missed"][place]) for place in places] == [4 * 4 * 4 / 8, 4 * 4 * 4 / 8]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("predictions", "predictions is not of the form NAME=FOLDER."),
        ("=predictions", "=predictions is not of the form NAME=FOLDER."),
        ("none=", "none= is not of the form NAME=FOLDER."),
        ("none=empty", "empty has no label map (*.nii.gz)."),
        ("none=absent", "absent has no label map (*.nii.gz)."),
        ("none=predictions", "references has no b.nii.gz, which predictions has."),
    ],
)
def test_a_mistake_in_the_folders_is_a_sentence(argument, said, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("references"), "a")
    for case in "ab":
        save(Path("predictions"), case)
    Path("empty").mkdir()

    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "references", "good=references", argument)

    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
