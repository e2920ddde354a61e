"""Masks where surfaces are hard: thin, tiny, ragged, at the border."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

SPACINGS = [(1.0, 1.0, 1.0), (0.5, 1.25, 3.0), (0.7, 0.7, 5.0), (2.3, 0.9, 0.4)]


@st.composite
def mask_pairs(draw):
    """Two masks on one grid, of the same or of different kinds; neither is empty."""
    shape = draw(st.tuples(*[st.integers(1, 11)] * 3))
    return _mask(draw, shape), _mask(draw, shape)


def _mask(draw, shape):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["blobs", "noise", "shell", "voxel", "full"]))
    if kind == "blobs":
        field = ndimage.gaussian_filter(random.standard_normal(shape), 1.5)
        mask = field > np.quantile(field, 0.6)
    elif kind == "noise":
        mask = random.random(shape) < 0.2
    elif kind == "shell":
        places = np.indices(shape) - (np.array(shape) / 2).reshape(3, 1, 1, 1)
        mask = np.abs(np.linalg.norm(places, axis=0) - random.uniform(0, max(shape) / 2)) < 0.7
    else:
        mask = np.full(shape, kind == "full")
    mask[tuple(random.integers(0, size) for size in shape)] = True
    return mask


def ball(shape, centre, radius, spacing=(1.0, 1.0, 1.0)):
    """Voxels within `radius` mm of a place given in voxels."""
    places = (np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))) * np.reshape(spacing, (3, 1, 1, 1))
    return np.linalg.norm(places, axis=0) <= radius
