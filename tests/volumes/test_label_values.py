"""Label maps keep their values: whole numbers up to rounding are read, all are written, others are shown in full."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndistill.errors import UserError
from nndistill.volumes.label_values import in_smallest_type, whole_numbers
from nndistill.volumes.nifti import write_labels_like

PATH = Path("labels.nii.gz")


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1), st.sampled_from(["i8", "f8"]))
def test_the_smallest_type_holds_every_value(values, dtype):
    labels = whole_numbers(np.array(values, dtype), PATH)
    assert in_smallest_type(labels).tolist() == values
    size = in_smallest_type(labels).dtype.itemsize
    assert size == 1 or not any(
        np.iinfo(kind).min <= min(values) and max(values) <= np.iinfo(kind).max
        for kind in ("i1", "u1", "i2", "u2", "i4", "u4")
        if np.dtype(kind).itemsize < size
    )


@pytest.mark.parametrize("largest", [1, 255, 256, 300, 32767, 65535, 70000])
def test_every_label_arrives_in_the_file(tmp_path, largest):
    labels = np.linspace(0, largest, 60).astype(np.int64).reshape(3, 4, 5)
    header = nib.Nifti1Image(np.zeros(labels.shape), np.eye(4)).header
    write_labels_like(tmp_path / "a.nii.gz", labels, header)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj), labels)


@settings(max_examples=30)
@given(st.integers(1, 300), st.sampled_from([np.uint8, np.int16, np.uint16, np.float32]))
def test_labels_that_nibabel_stored_scaled_are_read(largest, dtype):
    values = np.array([0, 1, largest], np.float64).reshape(3, 1, 1)
    image = nib.Nifti1Image(values, np.eye(4))
    image.set_data_dtype(dtype)
    read = np.asarray(nib.Nifti1Image.from_bytes(image.to_bytes()).dataobj)
    if np.abs(read - values).max() < 5e-7:  # in other cases nibabel is off by 1e-5 and more
        assert whole_numbers(read, PATH).ravel().tolist() == [0, 1, largest]


@pytest.mark.parametrize("value", [2.00007, 0.5, 2.9999, 1e-3, float("nan"), float("inf"), 1e300])
def test_a_value_that_is_no_label_is_shown_in_full(value):
    with pytest.raises(UserError) as error:
        whole_numbers(np.array([0, 1, value]), PATH)
    assert (
        f"labels.nii.gz holds other values than whole numbers: it is not a label map. The first is {value!r}."
        in str(error.value)
    )


def test_a_label_map_that_changed_on_its_way_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("nndistill.volumes.nifti.in_smallest_type", lambda labels: labels.astype(np.uint8))
    header = nib.Nifti1Image(np.zeros((2, 1, 1)), np.eye(4)).header
    with pytest.raises(RuntimeError, match="the values after writing are not those before"):
        write_labels_like(tmp_path / "a.nii.gz", np.array([256, 0]).reshape(2, 1, 1), header)
    assert not (tmp_path / "a.nii.gz").exists()
