"""What a precision costs is measured on cases that it was not calibrated on, and told as the Dice that falls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from nndistill.errors import UserError
from nndistill.export.accuracy import measure_accuracy, refuse_fall
from nndistill.export.sample_cases import SampleCases
from nndistill.runtime.cases import find_cases
from small_exports import PATCH, small_description


class Fixed:
    """A network that knows its answer."""

    name = device = "fixed"

    def __init__(self, labels: np.ndarray, heads: int) -> None:
        self._logits = np.stack([labels == value for value in range(heads)]).astype(np.float32)

    def logits(self, window, mirrorings=((),)):
        assert mirrorings == [()]
        return self._logits.copy()


def write_image(file: Path, array: np.ndarray, *, oriented: str = "LPS", origin=(0, 0, 0)) -> None:
    """Write an image that is `array` in the orientation LPS."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetOrigin(origin)
    SimpleITK.WriteImage(SimpleITK.DICOMOrient(image, oriented), str(file))


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for channel in range(2):
        write_image(folder / f"case_000{channel}.nii.gz", random.uniform(1, 2, PATCH).astype(np.float32))
    return folder


def boxes(*bounds: tuple[int, int, int]) -> np.ndarray:
    """Label maps of slabs: value from start to stop along the first axis."""
    labels = np.zeros(PATCH, np.uint8)
    for value, start, stop in bounds:
        labels[start:stop] = value
    return labels


REFERENCE = boxes((1, 0, 4), (2, 8, 12))
FLOAT32 = boxes((1, 0, 4), (2, 8, 10))  # Dice 1 and 2·2/(2+4)
REDUCED = boxes((1, 1, 4), (2, 8, 10))  # Dice 2·3/(3+4) and as before


def measured(
    images: Path, references: Path | None, *, before: np.ndarray = FLOAT32, after: np.ndarray = REDUCED, **changes
):
    description = small_description(**changes)
    reduced, float32 = Fixed(after, description.heads), Fixed(before, description.heads)
    return measure_accuracy(reduced, float32, find_cases(images, description), description, labels=references)


def with_reference(tmp_path: Path, reference: np.ndarray, **place) -> Path:
    (tmp_path / "labels").mkdir()
    write_image(tmp_path / "labels" / "case.nii.gz", reference, **place)
    return tmp_path / "labels"


def test_dice_before_and_after_is_against_the_users_labels(images, tmp_path):
    accuracy = measured(images, with_reference(tmp_path, REFERENCE))
    assert accuracy.before == pytest.approx({"a": 1.0, "b": 2 / 3})
    assert accuracy.after == pytest.approx({"a": 6 / 7, "b": 2 / 3})
    assert accuracy.fall == pytest.approx((1 - 6 / 7) / 2)
    assert accuracy.differing_voxels == 1 / PATCH[0]


def test_without_labels_the_float32_network_is_the_reference(images):
    accuracy = measured(images, None)
    assert accuracy.before == {"a": 1.0, "b": 1.0}
    assert accuracy.after == pytest.approx({"a": 6 / 7, "b": 1.0})


def test_ignored_voxels_do_not_count(images, tmp_path):
    ignored = REFERENCE.copy()
    ignored[0] = 3
    labels = {"background": 0, "a": 1, "b": 2, "ignore": 3}
    accuracy = measured(images, with_reference(tmp_path, ignored), labels=labels)
    assert accuracy.before == accuracy.after


def test_label_that_is_nowhere_is_left_out(images, tmp_path):
    labels = {"background": 0, "a": 1, "b": 2, "none": 3}
    assert set(measured(images, with_reference(tmp_path, REFERENCE), labels=labels).before) == {"a", "b"}


def test_label_is_measured_in_cases_that_have_it(images, tmp_path):
    reference, wrong = boxes((1, 0, 4)), boxes((1, 0, 4), (2, 8, 12))
    accuracy = measured(images, with_reference(tmp_path, reference), before=reference, after=wrong)
    assert (accuracy.before, accuracy.after) == ({"a": 1.0}, {"a": 1.0})
    assert accuracy.differing_voxels == 4 / PATCH[0]


def test_fall_is_tolerated_up_to_the_tolerance(images, tmp_path):
    accuracy = measured(images, with_reference(tmp_path, REFERENCE))
    refuse_fall(accuracy, "int8", accuracy.fall)
    with pytest.raises(UserError, match=r"int8 costs 0\.0714 of mean Dice on 1 cases \(a 1\.0000 → 0\.8571"):
        refuse_fall(accuracy, "int8", accuracy.fall - 1e-9)


def test_reference_of_another_size_is_a_sentence(images, tmp_path):
    with pytest.raises(UserError, match="voxels, but the image of case case has"):
        measured(images, with_reference(tmp_path, REFERENCE[1:]))


@pytest.mark.parametrize("oriented", ["LPS", "RAS", "LPI", "PIR"])
def test_reference_is_turned_as_the_image_is(images, tmp_path, oriented):
    """The network's answer is oriented as it sees the image: LPI, whose first axis is LPS's reversed."""
    references = with_reference(tmp_path, REFERENCE, oriented=oriented)
    accuracy = measured(images, references, before=REFERENCE[::-1], after=REDUCED[::-1], reorient_to="LPI")
    assert accuracy.before == {"a": 1.0, "b": 1.0}
    assert accuracy.after == pytest.approx({"a": 6 / 7, "b": 2 / 3})


@pytest.mark.parametrize("place", [{"oriented": "RPS"}, {"origin": (0, 0, 1)}], ids=str)
def test_reference_on_another_grid_is_a_sentence(images, tmp_path, place):
    with pytest.raises(UserError, match=r"case\.nii\.gz and .*case_0000\.nii\.gz are at different positions"):
        measured(images, with_reference(tmp_path, REFERENCE, **place))


@pytest.mark.parametrize("given", ["reference", "prediction of the float32 network"])
def test_cases_without_any_label_measure_no_precision(images, tmp_path, given):
    references = with_reference(tmp_path, boxes()) if given == "reference" else None
    accuracy = measured(images, references, before=boxes(), after=FLOAT32)
    with pytest.raises(UserError, match=rf"no {given} of the measured cases \(case\) contains a label") as error:
        refuse_fall(accuracy, "int8", 1)
    assert error.value.flags == ["--calibration", "--labels"]


@given(count=st.integers(1, 30))
def test_no_case_is_measured_that_calibrates_but_a_single_one(tmp_path_factory, count):
    folder = tmp_path_factory.mktemp("cases")
    for number in range(count):
        (folder / f"case{number:02d}_0000.nii.gz").touch()
    samples = SampleCases.of(folder, small_description(precision="int8"))
    names = {role: {case.name for case in getattr(samples, role)} for role in ("calibrating", "measured")}
    assert names["calibrating"]
    assert len(names["calibrating"] | names["measured"]) == count
    assert count == 1 or not names["calibrating"] & names["measured"]
    everything = SampleCases.of(folder, small_description(precision="bfloat16"))
    assert len(everything.measured) == count
    assert everything.calibrating == []


def test_windows_hold_the_image_and_are_padded_where_it_is_smaller(tmp_path):
    small = np.random.default_rng(0).uniform(1, 2, (10, 30, 8)).astype(np.float32)
    for channel in range(2):
        write_image(tmp_path / f"case_000{channel}.nii.gz", small)
    description = small_description(precision="int8")
    windows = SampleCases.of(tmp_path, description).windows(description)
    assert [window.shape for window in windows] == [(2, *PATCH)] * 3  # the middle and both ends of the long axis
    assert all((window[:, 3:13] != 0).all() for window in windows)
    assert all((window[:, :3] == 0).all() and (window[:, 13:] == 0).all() for window in windows)
