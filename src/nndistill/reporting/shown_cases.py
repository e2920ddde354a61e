"""Which cases a report shows as pictures: those on which the students differ most."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..errors import UnknownName, UserError
from .metrics import DICE, case_means
from .model_results import ReportedCases, ReportedModel, students_of


def rank_cases(models: Sequence[ReportedModel], cases: ReportedCases) -> list[str]:
    """Sort the cases that can be shown by how much the students differ in Dice, the largest difference first.

    With a single model, its worst case comes first. A case can be shown if it has an image, a reference and a
    prediction of every model.
    """
    compared = _compared(models)
    dice = pd.DataFrame({model.name: case_means(model.metrics)[DICE.column] for model in compared})
    spread = dice.max(axis=1) - dice.min(axis=1) if len(compared) > 1 else 1 - dice.iloc[:, 0]
    order = [str(case) for case in spread.fillna(0).sort_values(ascending=False, kind="stable").index]
    return [
        case
        for case in order
        if case in cases.images and case in cases.references and all(case in model.predictions for model in models)
    ]


def reason_for_first(models: Sequence[ReportedModel]) -> str:
    """Why `rank_cases` puts a case first, as a part of a sentence."""
    compared = _compared(models)
    if len(compared) == 1:
        return "the case with the lowest Dice"
    return f"the case on which the {'students' if len(compared) < len(models) else 'models'} differ most"


def _compared(models: Sequence[ReportedModel]) -> list[ReportedModel]:
    students = students_of(models)
    return students if len(students) > 1 else list(models)


def choose_case(ranked: Sequence[str], *, case: str | None = None) -> str | None:
    """The case of the comparison figure: the first one, or the one that is asked for; `None` if none can be shown.

    Args:
        ranked: The cases that can be shown, from `rank_cases`.
        case: The case that is asked for.

    Raises:
        UserError: The case that is asked for cannot be shown.
    """
    if case is None:
        return ranked[0] if ranked else None
    if not ranked:
        raise UserError(
            f"{case} cannot be shown: no case has an image, a reference and a prediction of every model; give images.",
            option=("case", "images"),
        )
    if case not in ranked:
        raise UnknownName("case with an image and predictions", case, ranked, option="case")
    return case
