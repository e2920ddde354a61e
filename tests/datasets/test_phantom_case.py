"""Laws of one phantom case, on arrays in memory."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, distance_transform_edt, label

from nndistill.datasets import phantom_case
from nndistill.datasets.phantom import CHANNELS, LABELS
from nndistill.datasets.phantom.acquisition import acquire
from nndistill.datasets.phantom.lattice import Lattice
from nndistill.errors import UserError

SHAPE, SPACING = (72, 88, 72), (2.0, 2.0, 2.0)
SEEDS = (0, 1, 2, 3)
T1N, T1C, T2W, T2F = range(4)


@pytest.fixture(scope="module")
def cases():
    return [phantom_case(seed, shape=SHAPE, spacing=SPACING) for seed in SEEDS]


def test_equal_seeds_give_equal_bits_and_other_seeds_another_head():
    grid = {"shape": (32, 36, 34), "spacing": (4.4, 4.8, 4.3)}
    first, again, other = (phantom_case(seed, **grid) for seed in (5, np.random.SeedSequence(5), 6))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first[1] != other[1]).any()
    assert np.corrcoef(first[0].ravel(), other[0].ravel())[0, 1] < 0.99


def test_a_seed_sequence_is_not_used_up():
    sequence = np.random.SeedSequence(3)
    first, second = (phantom_case(sequence, shape=(32, 32, 32), spacing=(5, 5, 5))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((32, 32, 32), (1.0, 1.0, 1.0)), ((48, 56, 33), (3.0, 3.0, 5.0)), ((40, 33, 51), (4, 6, 3))]
)
def test_types_and_shapes_hold_on_any_grid(shape, spacing):
    images, labels = phantom_case(0, shape=shape, spacing=spacing)
    assert images.shape == (len(CHANNELS), *shape)
    assert images.dtype == np.float32
    assert labels.shape == shape
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= set(LABELS.values())
    assert 0.1 < (images[0] > 0).mean() < 0.6


def test_images_hold_whole_numbers_that_fit_sixteen_bits(cases):
    for images, _ in cases:
        np.testing.assert_array_equal(images, images.astype(np.int16))


def test_background_is_exactly_zero_and_the_brain_one_piece_without_negative_values(cases):
    for images, labels in cases:
        brain = (images > 0).any(axis=0)
        pieces, count = label(brain)
        assert count == 1 or np.bincount(pieces.ravel())[1:].max() > 0.999 * brain.sum()
        assert (images >= 0).all()
        assert not labels[~brain].any()
        for border in (brain[0], brain[-1], brain[:, 0], brain[:, -1]):
            assert border.mean() < 0.02  # the head lies in the field of view


def test_contrasts_are_ordered_as_in_mri(cases):
    for images, labels in cases:
        mean = {name: images[:, labels == value].mean(axis=1) for name, value in LABELS.items() if value}
        healthy = binary_erosion(images[T1N] > 0, iterations=3) & (labels == 0)
        bright = images[T1N] > np.percentile(images[T1N][healthy], 70)  # white matter in T1
        white = images[:, healthy & bright].mean(axis=1)
        assert mean["ET"][T1C] > 1.2 * max(mean[other][T1C] for other in ("NETC", "SNFH", "RC"))
        assert mean["ET"][T1C] > white[T1C]
        assert mean["SNFH"][T2F] > 1.3 * white[T2F]
        assert mean["SNFH"][T1N] < white[T1N]
        assert mean["RC"][T2F] < mean["SNFH"][T2F]
        assert mean["RC"][T2W] > mean["SNFH"][T2W] > white[T2W]
        fluid = healthy & (images[T2W] > np.percentile(images[T2W][healthy], 98))
        assert images[T2F][fluid].mean() < white[T2F]
        assert images[T1N][fluid].mean() < white[T1N]


def test_the_enhancing_rim_is_thin(cases):
    for _, labels in cases:
        enhancing = labels == LABELS["ET"]
        half = distance_transform_edt(np.pad(enhancing, 1))[1:-1, 1:-1, 1:-1]
        assert np.median(half[enhancing]) <= 1.5  # a slab of three voxels reaches 2 in its middle sheet only
        assert half.max() <= 6


def test_a_finer_grid_shows_the_same_head():
    coarse, fine = (phantom_case(4, shape=(40 * n, 48 * n, 40 * n), spacing=(3.6 / n,) * 3) for n in (1, 2))
    for seen, finer in ((coarse[0][T1N] > 0, fine[0][T1N] > 0), (coarse[1] > 0, fine[1] > 0)):
        reduced = finer.reshape(40, 2, 48, 2, 40, 2).mean(axis=(1, 3, 5)) >= 0.5
        assert 2 * (reduced & seen).sum() / (reduced.sum() + seen.sum()) > 0.85


@pytest.mark.parametrize("missing", ["NETC", "SNFH", "ET", "RC"])
def test_a_tumour_lacks_what_it_is_told_to_and_nothing_else(missing):
    _, labels = phantom_case(0, shape=(48, 58, 48), spacing=(3, 3, 3), lacks=(missing,))
    assert set(np.unique(labels)) == set(LABELS.values()) - {LABELS[missing]}


def test_noise_is_rician():
    """Without any signal, magnitudes follow Rayleigh's distribution."""
    rng = np.random.default_rng(0)
    silence = np.zeros((4, 40, 40, 40), np.float32)
    images = acquire(rng, silence, np.ones((40, 40, 40), bool), noise=lambda length: np.zeros((40, 40, 40), np.float32))
    for image in images:
        assert image.mean() / image.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shape": (31, 40, 40)}, r"at least 32 voxels along each of three axes, not \(31, 40, 40\)"),
        ({"shape": (40, 40)}, "three axes"),
        ({"spacing": (1.0, 0.0, 1.0)}, "three positive numbers in mm"),
        ({"spacing": (1.0, float("nan"), 1.0)}, "three positive numbers in mm"),
        ({"lacks": ["WT"]}, "the phantom has no label WT; its labels are background, NETC, SNFH, ET, RC"),
    ],
)
def test_a_phantom_that_cannot_be_is_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        phantom_case(0, **options)


def test_lattice_splines_reproduce_straight_lines():
    axes = [np.linspace(-5, 7, n, dtype=np.float32) for n in (23, 17, 30)]
    lattice = Lattice.covering(axes, (2.0, 1.5, 3.0))
    x, y, z = np.meshgrid(*lattice.axes(), indexing="ij")
    whole = lattice.evaluate(1 + 2 * x - y + 0.5 * z, axes)
    x, y, z = np.meshgrid(*axes, indexing="ij")
    np.testing.assert_allclose(whole, 1 + 2 * x - y + 0.5 * z, atol=1e-4)


def test_lattice_gives_equal_bits_in_slabs_and_at_once():
    axes = [np.linspace(-5, 7, n, dtype=np.float32) for n in (23, 17, 30)]
    lattice = Lattice.covering(axes, (2.0, 1.5, 3.0))
    coefficients = np.random.default_rng(0).standard_normal(lattice.shape, np.float32)
    slabs = [lattice.evaluate(coefficients, [axes[0][k : k + 5], *axes[1:]]) for k in range(0, 23, 5)]
    np.testing.assert_array_equal(np.concatenate(slabs), lattice.evaluate(coefficients, axes))


def test_lattice_noise_has_unit_variance():
    axes = [np.linspace(0, 100, 80, dtype=np.float32)] * 3
    noise = Lattice.covering(axes, (4.0, 4.0, 4.0)).noise(np.random.default_rng(0), axes)
    assert noise.mean() == pytest.approx(0, abs=0.05)
    assert noise.std() == pytest.approx(1, abs=0.05)
