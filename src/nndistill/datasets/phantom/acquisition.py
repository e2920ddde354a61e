"""From tissues to four MR images: contrast, bias field, texture, blur, gain and Rician noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .anatomy import Tissue
from .lattice import Field

CHANNELS = ("T1N", "T1C", "T2W", "T2F")

SIGNAL = {  # in each channel; white matter in T1 is near one
    Tissue.AIR: (0.28, 0.30, 1.15, 0.16),  # only in voxels at the edge of the brain, which contain fluid
    Tissue.CSF: (0.28, 0.30, 1.15, 0.16),
    Tissue.GREY: (0.64, 0.68, 0.60, 0.64),
    Tissue.WHITE: (0.92, 0.95, 0.42, 0.50),
    Tissue.DEEP_GREY: (0.74, 0.78, 0.50, 0.58),
    Tissue.VESSEL: (0.50, 1.15, 0.50, 0.35),
    Tissue.NECROSIS: (0.38, 0.40, 0.95, 0.78),
    Tissue.OEDEMA: (0.68, 0.70, 0.82, 1.00),
    Tissue.ENHANCING: (0.58, 1.55, 0.68, 0.80),
    Tissue.CAVITY: (0.32, 0.34, 1.20, 0.34),
}


def draw_contrast(rng: np.random.Generator) -> Field:
    """Draw the signal of each tissue in one examination, `(4, tissues)`."""
    signal = np.array([SIGNAL[tissue] for tissue in Tissue]).T
    return (signal * np.exp(0.04 * rng.standard_normal(signal.shape))).astype(np.float32)


def acquire(
    rng: np.random.Generator,
    signal: Field,
    brain: NDArray[np.bool_],
    *,
    noise: Callable[[float], Field],
) -> Field:
    """Turn signals into images as after a scan and skull stripping.

    Args:
        rng: Source of gains, blur and noise.
        signal: Mean signal per voxel, `(4, X, Y, Z)`.
        brain: Voxels of the brain, which are kept, `(X, Y, Z)`.
        noise: Takes a correlation length in mm; returns a random field of unit variance on the voxels.

    Returns:
        `(4, X, Y, Z)`, float32, whole numbers from 0 to 32767, zero outside the brain.
    """
    level = rng.uniform(0.018, 0.035)  # standard deviation of the noise; white matter in T1 is near one
    images = np.zeros_like(signal)
    for image, channel in zip(images, signal, strict=True):
        bias = np.exp(0.12 * noise(70) + 0.02 * noise(6))
        sharp = gaussian_filter(channel, rng.uniform(0.2, 0.45), mode="nearest", truncate=3) * bias
        real, imaginary = level * rng.standard_normal((2, *sharp.shape), np.float32)
        gain = rng.uniform(300, 1200)
        image[brain] = np.rint(gain * np.hypot(sharp + real, imaginary)[brain])
    return images
