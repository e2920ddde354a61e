"""Dice per model and label as a table for readers: mean ± standard error of the mean."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...errors import UserError

OVERALL = "mean"


def dice_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Summarise Dice over cases, per model and label.

    Undefined scores (NaN: reference and prediction both empty) are left out, so `n` may differ between cells.

    Args:
        scores: Columns `model`, `case`, `label` and `dice` (0 … 1 or NaN), one row per model, case and label.

    Returns:
        One row per model, one column per label, and the column `mean`: Dice averaged over the labels of a case, then
        over cases. Models and labels keep their order. Cells read `0.873 ± 0.012 (n=8)`, the standard error being the
        standard deviation (n − 1 in the denominator) over √n. With one case there is no error: `0.873 (n=1)`; without
        any: `– (n=0)`.

    Raises:
        UserError: A column is missing.

    Example:
        >>> scores = pd.DataFrame({"model": "Student", "case": ["a", "b"], "label": "tumour", "dice": [0.8, 0.9]})
        >>> dice_table(scores).loc["Student", "tumour"]
        '0.850 ± 0.050 (n=2)'
    """
    missing = {"model", "case", "label", "dice"} - set(scores.columns)
    if missing:
        raise UserError(f"the scores have no column {', '.join(sorted(missing))}.")
    overall = scores.groupby(["model", "case"], sort=False)["dice"].mean().reset_index().assign(label=OVERALL)
    cells = pd.concat([scores, overall]).groupby(["model", "label"], sort=False)["dice"].agg(_cell).unstack("label")
    cells = cells.reindex(index=scores["model"].unique(), columns=[*scores["label"].unique(), OVERALL])
    return cells.fillna("– (n=0)").rename_axis(columns=None)


def _cell(dice: pd.Series[float]) -> str:
    defined = dice.dropna().to_numpy(dtype=np.float64)
    n = len(defined)
    if n == 0:
        return "– (n=0)"
    error = f" ± {defined.std(ddof=1) / np.sqrt(n):.3f}" if n > 1 else ""
    return f"{defined.mean():.3f}{error} (n={n})"
