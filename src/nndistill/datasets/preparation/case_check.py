"""Check one case: its files exist, can be read, are aligned, and hold what the data set allows.

Reading takes time, so a check notes all that it reads, and what a data set allows is judged by these notes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import UserError
from ...nnunet.data.raw_format import FILE_ENDING
from ...volumes.grid import Grid, check_right_angles, check_same_grid, is_equal_grid, is_same_grid, times
from ...volumes.label_values import TO_MEND, Labels, is_whole, whole_numbers
from ...volumes.nifti import Volume, read_volume
from ..source import Case, LabelValues, Source
from .alignment import check_alignable, check_overlap, resample_onto

T = TypeVar("T")

LARGEST_LABEL = 32767
"""nnU-Net preprocesses label maps in 16 bits with a sign."""

MANY = 10
"""How many values of a label map to note that cannot be labels."""

OUTSIDE = 0.05
"""Share of a label that may be outside the image onto which it is resampled."""


@dataclass(frozen=True)
class Rules:
    """What a check depends on besides the files; the arguments are those of `Source`."""

    channels: tuple[str, ...]
    onto: int | None = None
    drawn_on: int = 0

    @classmethod
    def of(cls, source: Source) -> Rules:
        """Take the rules from a data set."""
        return cls(channels=source.channels, onto=source.onto, drawn_on=source.drawn_on)


@dataclass
class Finding:
    """The result of checking a case, in values that JSON can hold.

    Args:
        files: Path, size in bytes and modification time of every file; size and time are None if it is missing.
        damage: One sentence per defect.
        remarks: One sentence per thing worth knowing.
        digests: Digests of the voxels of each readable image file, by path.
        as_is: Whether nnU-Net can use the file as it is, one value per file.
        shape: Shape of the finished case in voxels.
        spacing: Size of its voxels in mm.
        labels: Values in the label map, whole numbers or not.
        exact_labels: Whether the values in the label map are whole numbers to the last bit, as nnU-Net reads them.
        empty: Images in which all voxels are equal.
        label_ml: Volume of all labels before and after resampling.
    """

    files: list[list[Any]]
    damage: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    as_is: list[bool] = field(default_factory=list)
    shape: list[int] = field(default_factory=list)
    spacing: list[float] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    exact_labels: bool = True
    empty: list[str] = field(default_factory=list)
    label_ml: list[float] = field(default_factory=list)


def check_case(case: Case, rules: Rules) -> Finding:
    """Read every file of a case, and note all that is wrong with it."""
    found = Finding(files=fingerprint(case))
    images = [_attempt(found, _image, path, case, rules, found) for path in case.images]
    found.digests = {str(image.path): image.digest for image in images if image}
    label = _attempt(found, _label, case.label, found) if case.label else None
    reference = images[rules.onto or 0]
    if reference is None:
        return found

    found.remarks += [volume.place.remark for volume in (*images, label) if volume and volume.place.remark]
    grid = reference.grid
    found.shape, found.spacing = list(grid.shape), np.round(grid.spacing, 4).tolist()
    others = [volume for volume in (*images, label) if volume and volume is not reference]
    if rules.onto is None:
        for volume in others:
            _attempt(found, _check_same_place, volume, reference)
    else:
        for volume in (reference, *others):
            _attempt(found, check_alignable, volume)
            _attempt(found, check_overlap, volume.grid, grid)
        drawn_on = images[rules.drawn_on]
        if label and drawn_on:
            _attempt(found, _check_same_place, label, drawn_on)
        if label and not found.damage:
            _attempt(found, _compare_label, label, grid, found)
    same = is_same_grid if rules.onto is None else is_equal_grid
    files = [*images, label] if case.label else images
    found.as_is = [volume is not None and _usable(volume) and same(volume.grid, grid) for volume in files]
    if label:
        found.as_is[-1] &= found.exact_labels and label.scale == (1, 0)
    return found


def unfit_content(case: Case, found: Finding, values: Mapping[int, str], *, empty_labels: bool) -> list[str]:
    """List what a case holds that its data set does not allow, one sentence each.

    Args:
        case: The case.
        found: The result of its check.
        values: Names of the labels by value.
        empty_labels: Whether a label map may hold only background.
    """
    unfit = [f"{path} is empty: all voxels are equal." for path in found.empty]
    unknown = [value for value in found.labels if value not in values]
    if unknown and case.label:
        unfit.append(_unknown_label(case.label, unknown[0], values))
    elif found.labels == [0] and not empty_labels:
        unfit.append(f"{case.label} holds nothing but background.")
    return unfit


def _unknown_label(path: Path, value: float, values: Mapping[int, str]) -> str:
    if value != int(value):
        return f"{path} holds the label {value!r}, which is not a whole number. {TO_MEND}"
    listed = [f"{value} {name}" for value, name in values.items()]
    known = ", ".join(listed if len(listed) <= MANY + 1 else [*listed[:MANY], f"… {listed[-1]}"])
    return f"{path} holds the label {int(value)}, which is not known (known are {known})."


def fingerprint(case: Case) -> list[list[Any]]:
    """Path, size and modification time of every file: if they are equal, the case is not checked again."""
    return [[str(path.absolute()), *_status(path)] for path in case.files]


def check_label_values(values: Mapping[int, str]) -> None:
    """Refuse labels that nnU-Net cannot hold.

    Raises:
        UserError: One is negative or too large.
    """
    if beyond := [value for value in values if not 0 <= value <= LARGEST_LABEL]:
        raise UserError(
            f"the label {values[beyond[-1]]} has the value {beyond[-1]}: "
            f"nnU-Net holds values from 0 to {LARGEST_LABEL}."
        )


def names_by_value(labels: LabelValues) -> dict[int, str]:
    """Map values to names of labels; a value of several regions has all their names."""
    names: dict[int, str] = {}
    for name, values in labels.items():
        for value in values if isinstance(values, list | tuple) else [values]:
            names[int(value)] = f"{names[value]}/{name}" if value in names else name
    return dict(sorted(names.items()))


def _status(path: Path) -> tuple[int | None, int | None]:
    try:
        status = path.stat()
    except OSError:
        return None, None
    return status.st_size, status.st_mtime_ns


def _attempt(found: Finding, step: Callable[..., T], *arguments: Any) -> T | None:
    """What a step returns; if it refuses, None, and a sentence in the finding."""
    try:
        return step(*arguments)
    except UserError as error:
        found.damage.append(str(error))
        return None


def _check_same_place(volume: Volume, expected: Volume) -> None:
    """Refuse two files on different grids, and name qform and sform if one of them states two places."""
    try:
        check_same_grid(volume.grid, expected.grid)
    except UserError as error:
        forms = [each.place.remark for each in (volume, expected) if each.place.remark]
        raise UserError(" ".join([str(error), *forms])) from None


def _image(path: Path, case: Case, rules: Rules, found: Finding) -> Volume:
    volume = read_volume(path)
    shape, channels = volume.stored.shape, len(rules.channels) if len(case.images) == 1 else 1
    if not ((len(shape) == 4 and shape[3] == channels) or (len(shape) == 3 and channels == 1)):
        named = ", ".join(rules.channels) if len(case.images) == 1 else "one"
        raise UserError(f"{path} has shape {times(shape)}: not three dimensions with {channels} channel(s) ({named}).")
    _check_values(volume)
    if volume.stored.ndim == 4:
        _check_channels(path, volume.stored, rules.channels, found)
    elif volume.stored.min() == volume.stored.max():
        found.empty.append(str(path))
    return volume


def _check_channels(path: Path, stored: NDArray[Any], names: Sequence[str], found: Finding) -> None:
    """Look for empty and equal channels within a file, as they are looked for among files."""
    channels = {name: stored[..., number] for number, name in enumerate(names)}
    empty = [name for name, channel in channels.items() if channel.min() == channel.max()]
    found.empty += [f"{path}, channel {name}," for name in empty]
    for one, other in combinations([name for name in channels if name not in empty], 2):
        if np.array_equal(channels[one], channels[other]):
            raise UserError(f"{path}: channel {other} holds the same voxels as channel {one}.")


def _label(path: Path, found: Finding) -> Volume:
    volume = read_volume(path)
    if volume.stored.ndim != 3:
        raise UserError(f"{path} has shape {times(volume.stored.shape)}: a label map has three dimensions.")
    _check_values(volume)
    slope, intercept = volume.scale
    stored = np.sort(pd.unique(volume.stored.ravel(order="K")))
    present = stored * slope + intercept
    labels = np.rint(present)
    in_single = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    found.exact_labels = bool((present == labels).all() and (in_single == labels).all())
    fitting = is_whole(present) & (labels >= 0) & (labels <= LARGEST_LABEL)
    found.labels = [int(value) for value in labels[fitting]]
    found.labels += [float(value) for value in present[~fitting][:MANY]]
    return volume


def _check_values(volume: Volume) -> None:
    if volume.stored.dtype.kind == "f" and not np.isfinite(volume.stored).all():
        raise UserError(f"{volume.path} holds NaN or infinite values; fix or leave out this case.")
    largest = max(abs(float(value) * volume.scale[0] + volume.scale[1]) for value in _range(volume))
    if largest > np.finfo(np.float32).max:
        raise UserError(f"{volume.path} holds the value {largest!r}, too large for single precision: fix this case.")
    check_right_angles(volume.grid)


def _range(volume: Volume) -> tuple[Any, Any]:
    return volume.stored.min(), volume.stored.max()


def _compare_label(label: Volume, onto: Grid, found: Finding) -> None:
    """Note the label's volume before and after resampling, and refuse a label that is cut off."""
    labels = whole_numbers(label.array, label.path)
    inside = np.argwhere(labels != 0)
    points = np.linalg.inv(onto.affine) @ label.affine @ np.c_[inside, np.ones(len(inside))].T
    outside = ((points[:3] < -0.5) | (points[:3] > np.array(onto.shape)[:, None] - 0.5)).any(axis=0)
    if len(inside) and outside.mean() > OUTSIDE:
        raise UserError(f"{outside.mean():.0%} of the label in {label.path} are outside {onto.path}.")
    moved = labels if is_same_grid(label.grid, onto) else resample_onto(labels, label.affine, onto, nearest=True)
    found.label_ml = [round(_millilitres(labels, label.grid), 4), round(_millilitres(moved, onto), 4)]
    before, after = found.label_ml
    if before and not after:
        found.remarks.append(f"{label.path} is lost on the grid of {onto.path}: its {before:g} ml fall between voxels.")


def _millilitres(label: Labels, grid: Grid) -> float:
    return float(np.count_nonzero(label) * grid.spacing.prod() / 1000)


def _usable(volume: Volume) -> bool:
    """Whether nnU-Net can read the file itself."""
    named = volume.path.name.endswith(FILE_ENDING)
    return named and volume.is_compressed and volume.place.axes == 3 and not volume.place.is_vector
