"""A feature in its bands, against PyWavelets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nndistill.analysis.bands import stage_bands
from plain_wavelets import project


@pytest.mark.parametrize(("mode", "shape", "levels"), [("symmetric", (9, 12, 7), 2), ("periodization", (16, 8, 16), 3)])
def test_parts_are_those_of_pywavelets(mode, shape, levels):
    teacher, student = torch.randn(1, 3, *shape), torch.randn(1, 3, *shape)
    bands = stage_bands(teacher, student, level=3, mode=mode)
    assert bands.levels == levels
    for features, parts in ((teacher, bands.teacher), (student, bands.student)):
        channel = features[:, bands.channel : bands.channel + 1].numpy().astype(np.float64)
        expected = [channel, *(project(channel, group, "db4", mode, 1) for group in "ADS")]
        expected.append(project(channel, "D", "db4", mode, levels))
        for part, values in zip(parts, expected, strict=True):
            np.testing.assert_allclose(part, values[0, 0], atol=1e-5)


def test_low_directional_and_diagonal_add_up_to_the_feature():
    parts = stage_bands(torch.randn(1, 2, 11, 16, 9)).teacher
    np.testing.assert_allclose(parts.low + parts.directional + parts.diagonal, parts.feature, atol=1e-5)


def test_channel_and_slice_are_those_with_the_most_directional_detail():
    features = 0.01 * torch.randn(1, 4, 16, 16, 16)
    features[0, 0] += 100  # a constant is no detail
    features[0, 2, 5] += (-1.0) ** torch.arange(16)
    bands = stage_bands(features)
    assert (bands.channel, bands.slice_index, bands.student) == (2, 5, None)


def test_a_stage_that_cannot_be_split_has_no_bands():
    assert stage_bands(torch.randn(1, 2, 5, 5, 5), mode="periodization") is None
