"""A case's memory is known before it is read."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from described import describe
from nndistill.errors import UserError
from nndistill.runtime import memory
from nndistill.runtime.description import ModelDescription
from nndistill.runtime.image import Geometry, Image
from nndistill.runtime.memory import available_bytes, case_bytes, check_memory
from nndistill.runtime.postprocessing import labels_and_probabilities_of, labels_of
from nndistill.runtime.preprocessing import preprocess
from nndistill.runtime.sliding_window import gaussian, predict_logits

SHAPE = (60, 70, 50)


class Echo:
    """A network whose output is always the same memory."""

    name = device = "none"

    def __init__(self, description: ModelDescription) -> None:
        self.output = np.empty((description.heads, *description.patch_size), np.float32)

    def logits(self, window, mirrorings=((),)):
        self.output[:] = 1
        return self.output


def peak_of_a_case(description: ModelDescription, make_labels=labels_of) -> int:
    """Most bytes of numpy's at a time from the image in memory to the label map."""
    tracemalloc.start()
    array = np.random.default_rng(0).uniform(1, 2, (len(description.channels), *SHAPE)).astype(np.float32)
    array[:, :3] = 0
    tracemalloc.reset_peak()
    geometry = Geometry(SHAPE[::-1], (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    files = tuple(map(Path, "abcdefgh"))
    image = Image(array, (1.0, 1.0, 1.0), geometry, files)
    preprocessed = preprocess(image, description)
    del array, image
    made = make_labels(predict_logits(preprocessed, Echo(description), description), preprocessed, description)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del made
    return peak


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.2, 0.9), (2.0, 1.0, 1.5)])
@pytest.mark.parametrize("patch_size", [(24, 32, 24), (64, 80, 64)])
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("heads", [2, 6])
def test_a_case_takes_as_much_as_was_said_and_no_more(spacing, patch_size, channels, heads):
    labels = {"background": 0} | {f"label {value}": value for value in range(1, heads)}
    description = describe(*map(str, range(channels)), labels=labels, spacing=spacing, patch_size=patch_size)
    gaussian.cache_clear()
    said, found = case_bytes(SHAPE, (1, 1, 1), description), peak_of_a_case(description)
    assert 0.5 * said < found < 1.05 * said


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.5)])
def test_probabilities_take_as_much_more_as_was_said(spacing):
    labels = {"background": 0} | {f"label {value}": value for value in range(1, 6)}
    description = describe("T1", labels=labels, spacing=spacing, patch_size=(24, 32, 24))
    said = case_bytes(SHAPE, (1, 1, 1), description, probability_copies=1)
    found = peak_of_a_case(description, labels_and_probabilities_of)
    assert 0.5 * said < found < 1.05 * said
    assert case_bytes(SHAPE, (1, 1, 1), description, probability_copies=3) > 1.5 * said


def test_memory_grows_with_the_volume_and_not_with_the_number_of_windows():
    small, large = (case_bytes((100, 100, 100), (1, 1, 1), describe(overlap=overlap)) for overlap in (0.1, 0.9))
    assert small == large
    assert case_bytes((200, 100, 100), (1, 1, 1), describe()) == pytest.approx(2 * small, rel=0.01)


def test_a_volume_that_does_not_fit_is_a_sentence(monkeypatch):
    shape, spacing = (800, 900, 1000), (1, 1, 1)
    needed = case_bytes(shape, spacing, describe())
    monkeypatch.setattr(memory, "available_bytes", lambda: needed)
    check_memory(Path("ct.nii.gz"), shape, spacing, describe())
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - 1)
    with pytest.raises(
        UserError, match=r"ct\.nii\.gz is too large .*: 1000×900×800 voxels.* need 15\.\d GiB of memory"
    ):
        check_memory(Path("ct.nii.gz"), shape, spacing, describe())


def test_what_is_available_is_less_than_the_machine_has():
    available = available_bytes()
    assert available is not None
    assert 2**20 < available < 2**50
