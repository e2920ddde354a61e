"""One examination of a data set: its images and its label map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LabelValues = Mapping[str, int | list[int]]
"""nnU-Net's labels by name: a value, or the values of which a region consists; `background` is 0."""


@dataclass(frozen=True)
class Case:
    """One examination.

    Args:
        name: Its name in nnU-Net.
        patient: Shared by all examinations of a patient.
        images: One file per channel, or one 4D file; may include files that should exist and do not.
        label: The label map; None for a test case.
    """

    name: str
    patient: str
    images: tuple[Path, ...]
    label: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """Images, then the label."""
        return (*self.images, self.label) if self.label else self.images
