"""The cases on which a fold of a model was validated, as nnU-Net's own record says."""

from __future__ import annotations

from pathlib import Path

from ...files import read_json
from .model_folder import ModelFolder


def validated_cases(model: ModelFolder, fold: str) -> set[str] | None:
    """Return the names of a fold's validation cases.

    Args:
        model: A trained nnU-Net.
        fold: A number, or `all`.

    Returns:
        `None` if the fold was not validated after its training.
    """
    summary = model.path / f"fold_{fold}" / "validation" / "summary.json"
    if not summary.is_file():
        return None
    ending = model.dataset_json["file_ending"]
    measured = read_json(summary).get("metric_per_case", [])
    return {Path(case["reference_file"]).name.removesuffix(ending) for case in measured}
