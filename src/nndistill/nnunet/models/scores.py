"""Dice per case and label, from nnU-Net's own evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from nnunetv2.evaluation.evaluate_predictions import key_to_label_or_region, load_summary_json

from ...errors import UserError
from .model_folder import ModelFolder


def validation_scores(model: Path, fold: str) -> pd.DataFrame:
    """Read the Dice of the validation cases, which nnU-Net predicts at the end of a training.

    Returns:
        Columns `case`, `label`, `dice`. Dice is in [0, 1], or NaN if reference and prediction are both empty.

    Raises:
        UserError: The fold has not been validated.
    """
    folder = ModelFolder.read(model)
    summary = model / f"fold_{fold}" / "validation" / "summary.json"
    if not summary.is_file():
        raise UserError(f"fold {fold} of {model} has not been validated: there is no {summary}.")
    return _frame(load_summary_json(str(summary))["metric_per_case"], folder.dataset_json)


def _frame(cases: Iterable[dict[str, Any]], dataset_json: dict[str, Any]) -> pd.DataFrame:
    names = {key_to_label_or_region(str(_hashable(value))): name for name, value in dataset_json["labels"].items()}
    return pd.DataFrame(
        [
            {"case": _case(case["reference_file"]), "label": names[_hashable(key)], "dice": metrics["Dice"]}
            for case in cases
            for key, metrics in case["metrics"].items()
        ]
    ).astype({"dice": float})


def _case(file: str) -> str:
    return Path(file).name.split(".")[0]


def _hashable(label: Any) -> Any:
    return tuple(label) if isinstance(label, (list, tuple)) else label
