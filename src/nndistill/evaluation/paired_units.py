"""What a paired comparison draws and tests: cases, or patients with all of their cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Units:
    """What is drawn and tested: cases, or patients with all of their cases.

    Args:
        name: `case` or `patient`.
        of_case: The number of the unit of each case, from 0.
    """

    name: Literal["case", "patient"]
    of_case: NDArray[np.intp]

    @classmethod
    def of(cls, cases: pd.Index[str], patients: Mapping[str, str]) -> Units:
        """Patients if that of every case is known and some have several cases, else cases."""
        if not set(cases) <= patients.keys():
            return cls("case", np.arange(len(cases)))
        names, of_case = np.unique([patients[case] for case in cases], return_inverse=True)
        return cls("patient" if len(names) < len(cases) else "case", of_case)

    @property
    def number(self) -> int:
        """How many there are."""
        return int(self.of_case.max()) + 1

    @property
    def sizes(self) -> NDArray[np.float64]:
        """The number of cases of each unit."""
        return np.bincount(self.of_case).astype(np.float64)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of values `(…, cases)` over the cases of each unit: `(…, units)`."""
        rows = [np.bincount(self.of_case, row, self.number) for row in values.reshape(-1, values.shape[-1])]
        return np.array(rows, np.float64).reshape(*values.shape[:-1], self.number)

    def means(self, values: pd.Series[float]) -> NDArray[np.float64]:
        """Means over the cases of each unit."""
        numbers = np.asarray(values, np.float64)
        return numbers if self.name == "case" else self.sums(numbers) / self.sizes


def patients_in(frames: Sequence[pd.DataFrame]) -> dict[str, str]:
    """The patients that files of metrics name."""
    found: dict[str, str] = {}
    for frame in frames:
        if "patient" in frame:
            named = frame.dropna(subset="patient")
            found |= dict(zip(named["case"], named["patient"].astype(str), strict=True))
    return found
