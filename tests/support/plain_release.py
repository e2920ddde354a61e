"""The release's loss as it is written there: dense outer products of the filters in three-dimensional convolutions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import pywt
import torch
from torch import Tensor
from torch.nn.functional import conv3d, conv_transpose3d, mse_loss

BANDS = ["".join(letters) for letters in product("LH", repeat=3)]


def kernels(wavelet: str, low: str, high: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """A band's filter: the outer product of one filter an axis, `(1, 1, K, K, K)`."""
    filters = {name: torch.tensor(getattr(pywt.Wavelet(wavelet), name), dtype=dtype) for name in (low, high)}
    taps = {"L": filters[low], "H": filters[high]}
    return {b: torch.einsum("i,j,k->ijk", *(taps[letter] for letter in b))[None, None] for b in BANDS}


def analyse(x: Tensor, wavelet: str) -> dict[str, Tensor]:
    """One level of `(N, D, H, W)`."""
    filters = kernels(wavelet, "dec_lo", "dec_hi", x.dtype)
    padding = pywt.Wavelet(wavelet).dec_len - 1
    return {band: conv3d(x[:, None], filters[band], stride=2, padding=padding)[:, 0] for band in BANDS}


def synthesise(
    coefficients: dict[str, Tensor], shape: tuple[int, ...], wavelet: str, low: str = "rec_lo", high: str = "rec_hi"
) -> Tensor:
    """One level back, cropped to `shape`."""
    first = coefficients["LLL"]
    filters = kernels(wavelet, low, high, first.dtype)
    padding = pywt.Wavelet(wavelet).dec_len - 1
    parts = [conv_transpose3d(c[:, None], filters[b], stride=2, padding=padding) for b, c in coefficients.items()]
    depth, height, width = shape
    return sum(parts)[:, 0, :depth, :height, :width]


def training_loss(
    students: Iterable[Tensor], teachers: Iterable[Tensor], bands: list[str], wavelet: str, level: int
) -> Tensor:
    """What the release adds to the segmentation loss, before its weight: stage after stage, no factor per stage."""
    total = torch.zeros(())
    for student, teacher in zip(students, teachers, strict=True):
        total = total + release_loss(student, teacher, bands, wavelet, level)
    return total


def release_loss(student: Tensor, teacher: Tensor, bands: list[str], wavelet: str, level: int) -> Tensor:
    """Of one stage, both `(B, C, D, H, W)`."""
    losses = []
    student, teacher = student.flatten(0, 1), teacher.flatten(0, 1)
    for _ in range(level):
        shape = tuple(student.shape[1:])
        of_student, of_teacher = analyse(student, wavelet), analyse(teacher, wavelet)
        masked = [
            {band: c if band in bands else torch.zeros_like(c) for band, c in of_one.items()}
            for of_one in (of_student, of_teacher)
        ]
        losses.append(mse_loss(*(synthesise(one, shape, wavelet) for one in masked)))
        student, teacher = of_student["LLL"], of_teacher["LLL"]
    return sum(losses) / level


def loss_of_coefficients(student: Tensor, teacher: Tensor, bands: list[str], wavelet: str, level: int) -> Tensor:
    """Of one stage without the synthesis: per level, the mean square over all coefficients of the chosen bands."""
    losses = []
    student, teacher = student.flatten(0, 1), teacher.flatten(0, 1)
    for _ in range(level):
        of_student, of_teacher = analyse(student, wavelet), analyse(teacher, wavelet)
        losses.append(mse_loss(*(torch.stack([one[band] for band in bands]) for one in (of_student, of_teacher))))
        student, teacher = of_student["LLL"], of_teacher["LLL"]
    return sum(losses) / level
