"""A remark on volumes that are a small part of a window, and none on others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nndistill.runtime.preprocessing import small_volume

sizes = st.tuples(*[st.integers(1, 256)] * 3)


def test_sentence_tells_both_sizes():
    assert small_volume((3, 160, 112), (128, 160, 112)) == (
        "only 3×160×112 voxels, while the network sees 128×160×112 at a time: "
        "if that is a crop or a localiser, do not trust its label map."
    )


def test_a_quarter_of_the_window_is_enough():
    assert small_volume((32, 40, 28), (128, 160, 112)) is None
    assert small_volume((32, 39, 28), (128, 160, 112)) is not None


@given(shape=sizes, patch_size=sizes)
def test_one_short_axis_is_remarked_whatever_the_others_are(shape, patch_size):
    short = any(4 * size < patch for size, patch in zip(shape, patch_size, strict=True))
    assert (small_volume(shape, patch_size) is not None) == short
