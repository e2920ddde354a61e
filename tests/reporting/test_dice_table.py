"""The Dice table states mean, standard error and number of cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem

from nndistill.errors import UserError
from nndistill.reporting import dice_table

NAN = float("nan")


def frame(values: dict[str, dict[str, list[float]]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model": model, "case": f"case_{i}", "label": label, "dice": dice}
            for model, labels in values.items()
            for label, scores in labels.items()
            for i, dice in enumerate(scores)
        ]
    )


def test_cells_are_mean_and_standard_error() -> None:
    rim = [0.8, 0.9, 0.7, 0.65]
    core = [0.5, 0.6, 0.8, 0.95]
    table = dice_table(frame({"teacher": {"rim": rim, "core": core}}))
    assert table.loc["teacher", "rim"] == f"{np.mean(rim):.3f} ± {sem(rim):.3f} (n=4)"
    of_cases = (np.array(rim) + np.array(core)) / 2
    assert table.loc["teacher", "mean"] == f"{of_cases.mean():.3f} ± {sem(of_cases):.3f} (n=4)"


def test_order_is_kept() -> None:
    table = dice_table(frame({"teacher": {"z": [1.0], "a": [0.0]}, "student": {"z": [1.0], "a": [0.0]}}))
    assert list(table.index) == ["teacher", "student"]
    assert list(table.columns) == ["z", "a", "mean"]


def test_undefined_scores_are_left_out_and_counted() -> None:
    table = dice_table(frame({"teacher": {"rim": [0.8, NAN, 0.6], "core": [NAN, NAN, NAN], "cyst": [NAN, 0.5, NAN]}}))
    assert table.loc["teacher", "rim"] == f"0.700 ± {sem([0.8, 0.6]):.3f} (n=2)"
    assert table.loc["teacher", "core"] == "– (n=0)"
    assert table.loc["teacher", "cyst"] == "0.500 (n=1)"
    assert table.loc["teacher", "mean"] == f"{np.mean([0.8, 0.5, 0.6]):.3f} ± {sem([0.8, 0.5, 0.6]):.3f} (n=3)"


def test_a_label_one_model_lacks_is_an_empty_cell() -> None:
    table = dice_table(frame({"teacher": {"rim": [0.5], "core": [0.4]}, "student": {"rim": [0.5]}}))
    assert table.loc["student", "core"] == "– (n=0)"


def test_a_missing_column_is_named() -> None:
    with pytest.raises(UserError, match="case"):
        dice_table(pd.DataFrame({"model": ["a"], "label": ["b"], "dice": [1.0]}))
