"""The examples in the docstrings of what a user calls run, on a small export and a trained student."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from nndistill.export.export import export_model
from nndistill.runtime.cases import find_cases
from nndistill.runtime.loading import load_model
from nndistill.runtime.predictor import predict_cases


def run_example(function, **names) -> None:
    [example] = doctest.DocTestFinder(recurse=False).find(function, globs={function.__name__: function, **names})
    result = doctest.DocTestRunner().run(example)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for case, shape in {"large": (20, 30, 12), "small": (14, 20, 7)}.items():
        for channel in range(2):
            noise = SimpleITK.GetImageFromArray(random.standard_normal(shape).astype(np.float32))
            SimpleITK.WriteImage(noise, str(folder / f"{case}_{channel:04d}.nii.gz"))
    return folder


def test_load_model(small):
    run_example(load_model, export=small.folders["openvino"])


def test_predict_cases(small, images, tmp_path):
    names = {"load_model": load_model, "find_cases": find_cases}
    run_example(predict_cases, **names, export=small.folders["openvino"], images=images, output=tmp_path / "out")


def test_export_model(world, tmp_path):
    student = world.results / "nnUNetTrainerDistill__student__3d_fullres"
    run_example(export_model, student=student, output=tmp_path / "out")
