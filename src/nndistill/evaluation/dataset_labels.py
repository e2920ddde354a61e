"""What is to be segmented, as nnU-Net's `dataset.json` says it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError


def labels_of(dataset_json: Mapping[str, Any], *, regions: bool = False) -> dict[str, tuple[int, ...]]:
    """What nnU-Net's `dataset.json` says is to be segmented: values by name, without background.

    Args:
        dataset_json: Its content.
        regions: The regions, such as a whole tumour of several values; otherwise each value is a class of its own,
            and one that has no name of its own is called `label 1`.

    Raises:
        UserError: It has no labels, or no regions.
    """
    named = {name: _values(value) for name, value in _labels(dataset_json).items() if name != "ignore"}
    named = {name: values for name, values in named.items() if values != (0,)}
    if not named:
        raise UserError("dataset.json names no label but the background.")
    if regions and not has_regions(dataset_json):
        raise UserError("dataset.json defines no regions: every label is one value. Leave out --regions.")
    if regions or not has_regions(dataset_json):
        return named
    own = {values[0]: name for name, values in named.items() if len(values) == 1}
    present = sorted({value for values in named.values() for value in values if value != 0})
    return {own.get(value, f"label {value}"): (value,) for value in present}


def has_regions(dataset_json: Mapping[str, Any]) -> bool:
    """Whether some label stands for several values."""
    return any(len(_values(value)) > 1 for value in _labels(dataset_json).values())


def find_dataset_json(predictions: Path, references: Path) -> Path:
    """The `dataset.json` beside the references, in the folder above them, or with the predictions.

    Raises:
        UserError: There is none.
    """
    places = [folder / "dataset.json" for folder in (references, references.resolve().parent, predictions)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(f"there is no dataset.json in {references}, above it or in {predictions}: give --dataset-json.")
    return found


def ignored_value(dataset_json: Mapping[str, Any]) -> int | None:
    """The value of nnU-Net's ignore label, whose voxels are not annotated; None where there is none."""
    value = _labels(dataset_json).get("ignore")
    return None if value is None else _values(value)[0]


def _labels(dataset_json: Mapping[str, Any]) -> Mapping[str, Any]:
    labels = dataset_json.get("labels")
    if not isinstance(labels, Mapping) or not labels:
        raise UserError("dataset.json has no labels.")
    return labels


def _values(value: Any) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not values or not all(isinstance(v, int) for v in values):
        raise UserError(f"dataset.json has a label that is no whole number, nor a list of such: {value}.")
    return values
