"""The user's own cases: windows of them calibrate an INT8 network, and whole cases show what a precision costs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..runtime.backends.base import Array
from ..runtime.cases import InputCase, channel_files, find_cases
from ..runtime.description import ModelDescription
from ..runtime.image import read_image
from ..runtime.preprocessing import Preprocessed, preprocess
from ..runtime.sliding_window import sample_windows

MOST_WINDOWS = 24
"""For calibration; more of them hardly change the ranges of the activations, and cost memory and minutes."""

_EVERY = 4


@dataclass(frozen=True)
class SampleCases:
    """Which cases calibrate and which are measured.

    Attributes:
        calibrating: Cases whose windows calibrate an INT8 network; none for other precisions.
        measured: Cases on which accuracy is measured.
    """

    calibrating: list[InputCase]
    measured: list[InputCase]

    @classmethod
    def of(cls, folder: Path, description: ModelDescription) -> SampleCases:
        """All cases are measured; for INT8 every fourth one calibrates instead, and a single case does both.

        Raises:
            UserError: There is no case.
        """
        cases = find_cases(folder, description)
        calibrating = cases[::_EVERY] if description.precision == "int8" else []
        return cls(calibrating, [case for case in cases if case not in calibrating] or cases)

    @property
    def shown(self) -> list[InputCase]:
        """The cases from which windows are taken."""
        return self.calibrating or self.measured

    def windows(self, description: ModelDescription, *, most: int = MOST_WINDOWS) -> list[Array]:
        """Windows of the images: of every case the middle one and then its corners.

        Args:
            description: The model's.
            most: Number of windows, shared out evenly; if there are more cases than that, the first ones.
        """
        each = max(1, most // len(self.shown))
        images = (read_case(case, description).array for case in self.shown[:most])
        patch_size = description.patch_size
        return [window for image in images for window in islice(sample_windows(image, patch_size), each)]


def read_case(case: InputCase, description: ModelDescription) -> Preprocessed:
    """Read and preprocess a case as prediction does.

    Raises:
        UserError: A file is missing, damaged, or not what the model wants.
    """
    return preprocess(read_image(channel_files(case, description), description), description)
