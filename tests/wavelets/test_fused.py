"""What Triton's kernels are given, an axis with its dual rows and matrices in blocks; Triton is not needed."""

from __future__ import annotations

from functools import reduce
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndistill.wavelets.fused.axis import axis
from nndistill.wavelets.fused.separable import separable
from nndistill.wavelets.fused.windows import windows
from plain_wavelets import projection_matrix


def cubed(*along: np.ndarray) -> np.ndarray:
    return reduce(np.kron, along)


@pytest.mark.parametrize("mode", ["symmetric", "periodization"])
@pytest.mark.parametrize(
    ("shape", "wavelet", "level"),
    [((2, 1, 3), "db4", 3), ((8, 8, 4), "haar", 2), ((9, 4, 8), "db2", 2), ((5, 4, 3), "bior2.2", 1)],
)
def test_there_form_and_back_are_the_projection_and_its_transpose(shape, wavelet, level, mode) -> None:
    projection = projection_matrix(shape, "D", wavelet, mode, level).numpy()
    axes = [axis(wavelet, mode, size, level) for size in shape]
    there = {}
    for band in axes[0].synthesis:
        steps = []
        for one in axes:
            rows = np.eye(one.levels[0].low.shape[1])
            for number, step in enumerate(one.levels[: band[1]], start=1):
                rows = (step.high if band == ("H", number) else step.low) @ rows
            steps.append(rows)
        there[band] = cubed(*steps)

    form = {(a, b): np.zeros((len(there[a]), len(there[b]))) for a, b in product(there, repeat=2)}
    for a, b in form:
        if a == b:
            form[a, a] += sum(sign * cubed(*(one.form(a)[i] for one in axes)) for i, sign in enumerate((1, 1, -1)))
        else:
            grams = []
            for one in axes:
                gram = np.zeros((one.rows(a).count, one.rows(b).count))
                gram[np.ix_(one.rows(a).primal, one.rows(b).primal)] = one.gram(a, b)
                grams.append(gram)
            form[a, b] -= cubed(*grams)
    removed = sum(there[a].T @ part @ there[b] for (a, b), part in form.items())
    assert np.abs(np.eye(len(projection)) - removed - projection.T @ projection).max() < 1e-8
    if all(one.is_orthogonal for one in axes):
        assert all(np.abs(part - (np.eye(len(part)) if a == b else 0)).max() < 1e-6 for (a, b), part in form.items())


def test_only_near_a_border_that_is_not_periodic_is_anything_needed_twice() -> None:
    rows = [level.rows for level in axis("db4", "symmetric", 128, 3).levels]
    assert [level.count - len(level.primal) for level in rows] == [6, 10, 12]
    assert axis("db4", "periodization", 128, 3).is_orthogonal
    assert not axis("db4", "periodization", 20, 3).is_orthogonal  # 20, 10, 5


@given(
    size=st.integers(1, 150),
    wavelet=st.sampled_from(["haar", "db4", "sym6", "bior4.4"]),
    mode=st.sampled_from(["symmetric", "periodization"]),
    rows=st.integers(1, 40),
    columns=st.one_of(st.none(), st.integers(1, 80)),
    transposed=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_blocks_hold_the_whole_matrix_once(size, wavelet, mode, rows, columns, transposed) -> None:
    level = axis(wavelet, mode, size, 1).levels[0]
    matrices = np.stack([level.low.T, level.high.T] if transposed else [level.low, level.high])
    cut = windows(matrices, rows=rows, columns=columns)
    found = np.zeros_like(matrices)
    for block, (start, length) in enumerate(zip(cut.starts, cut.lengths, strict=True)):
        own = slice(block * cut.rows, (block + 1) * cut.rows)
        places = (start + np.arange(length)) % matrices.shape[2]
        assert len(set(places)) == length
        found[:, own, places] += cut.table[:, block, : len(range(*own.indices(matrices.shape[1]))), :length]
    assert np.array_equal(found, matrices)
    assert cut.rows <= rows
    assert list(cut.starts) == sorted(cut.starts)
    if columns is not None and cut.rows > 1:
        assert max(cut.lengths) <= max(columns, 1)


def test_a_march_loads_every_plane_of_a_volume_about_once() -> None:
    level = axis("db4", "periodization", 128, 1).levels[0]
    analysis = separable((np.stack([level.low, level.high]),) * 3, outputs=2)
    assert analysis.marches
    planes, _ = analysis._planes(analysis.z.blocks)
    assert planes == 128 + 6
