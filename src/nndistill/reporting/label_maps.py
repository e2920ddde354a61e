"""The label maps of a case that a report shows: its reference and every model's prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .figures.view_selection import Volume
from .model_results import ReportedCases, ReportedModel
from .volume import read_labels


def label_maps_of(case: str, models: Sequence[ReportedModel], cases: ReportedCases) -> tuple[Volume, dict[str, Volume]]:
    """Read the reference of a case and the predictions by model; what is not annotated is background in all of them.

    Args:
        case: Name of the case.
        models: Models with a prediction of it.
        cases: The cases, with a reference of this one.

    Raises:
        UserError: A file is missing or damaged.
    """
    reference = read_labels(cases.references[case])
    predictions = {model.name: read_labels(model.predictions[case]) for model in models}
    if cases.ignore is None:
        return reference, predictions
    counted = reference != cases.ignore
    shown = {name: np.where(counted, labels, 0) for name, labels in predictions.items()}
    return np.where(counted, reference, 0), shown
