"""The table of areas: geometry, and DeepMind's table."""

from __future__ import annotations

import numpy as np
import pytest
from surface_distance import lookup_tables

from masks import SPACINGS
from nndistill.evaluation.surface_areas import CORNERS, surface_areas


@pytest.mark.parametrize("spacing", [*SPACINGS, (0.31, 4.7, 1.9)])
def test_every_code_has_the_area_of_deepmind(spacing):
    bits = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
    theirs = [sum(int(bits[c]) for k, c in enumerate(CORNERS) if code >> k & 1) for code in range(256)]
    expected = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)[theirs]
    np.testing.assert_allclose(surface_areas(spacing), expected, rtol=1e-12, atol=1e-12)


def test_flat_faces_and_single_corners_have_the_area_of_plane_geometry():
    spacing = (2.0, 3.0, 5.0)
    areas = surface_areas(spacing)
    face = sum(1 << k for k, corner in enumerate(CORNERS) if corner[0] == 0)
    assert areas[face] == pytest.approx(3.0 * 5.0)
    corner = np.linalg.norm(np.cross([-1, 1.5, 0], [-1, 0, 2.5])) / 2  # a triangle through three edges' middles
    assert areas[1] == pytest.approx(corner)
    assert areas[0] == areas[255] == 0
