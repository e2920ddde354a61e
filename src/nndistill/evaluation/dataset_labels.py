"""What is to be segmented, according to nnU-Net's `dataset.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..dataset_json import named_labels
from ..errors import UserError
from ..moved import names_from


def label_values(dataset_json: Mapping[str, Any], *, regions: bool = False) -> dict[str, tuple[int, ...]]:
    """The values in label maps that make up each class or region, by name, without the background.

    Args:
        dataset_json: Content of nnU-Net's `dataset.json`.
        regions: Whether to return its regions, such as a whole tumour of several values; otherwise each value is a
            class of its own, called for example `label 1` if it has no name of its own.

    Raises:
        UserError: There are no labels, or regions are asked for and there are none.

    Example:
        >>> dataset_json = {"labels": {"background": 0, "whole tumour": [1, 2], "core": 2}}
        >>> label_values(dataset_json, regions=True)
        {'whole tumour': (1, 2), 'core': (2,)}
        >>> label_values(dataset_json)
        {'label 1': (1,), 'core': (2,)}
    """
    named = {name: _values(value) for name, value in named_labels(dataset_json).items() if name != "ignore"}
    named = {name: values for name, values in named.items() if values != (0,)}
    if not named:
        raise UserError("dataset.json names no label but the background.")
    if regions and not defines_regions(dataset_json):
        raise UserError("dataset.json defines no regions: every label is one value.", option="regions")
    if regions or not defines_regions(dataset_json):
        return named
    own = {values[0]: name for name, values in named.items() if len(values) == 1}
    present = sorted({value for values in named.values() for value in values if value != 0})
    return {own.get(value, f"label {value}"): (value,) for value in present}


def defines_regions(dataset_json: Mapping[str, Any]) -> bool:
    """Whether some label stands for several values."""
    return any(len(_values(value)) > 1 for value in named_labels(dataset_json).values())


def find_dataset_json(predictions: Path, references: Path) -> Path:
    """The `dataset.json` next to the references, in the folder above them, or with the predictions.

    Raises:
        UserError: There is none.
    """
    places = [folder / "dataset.json" for folder in (references, references.resolve().parent, predictions)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(
            f"there is no dataset.json in {references}, above it or in {predictions}: give its path.",
            option="dataset_json",
        )
    return found


def ignored_value(dataset_json: Mapping[str, Any]) -> int | None:
    """The value of nnU-Net's ignore label, whose voxels are not annotated; `None` if there is none."""
    value = named_labels(dataset_json).get("ignore")
    return None if value is None else _values(value)[0]


def _values(value: int | list[int]) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


__getattr__ = names_from({"labels_of": f"{__name__}:label_values"}, old=__name__)
