"""What `dataset.json` says is to be segmented, and where it is found."""

from __future__ import annotations

import pytest

from nndistill.errors import UserError
from nndistill.evaluation.dataset_labels import find_dataset_json, ignored_value, label_values

REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "three": [3], "ignore": 4}
CLASSES = {"background": 0, "edema": 1, "necrosis": 2}


def test_values_of_classes_and_regions_are_those_of_dataset_json():
    assert label_values({"labels": CLASSES}) == {"edema": (1,), "necrosis": (2,)}
    assert label_values({"labels": REGIONS}, regions=True) == {"whole": (1, 2, 3), "core": (2, 3), "three": (3,)}
    assert label_values({"labels": REGIONS}) == {"label 1": (1,), "label 2": (2,), "three": (3,)}
    assert ignored_value({"labels": REGIONS}) == 4
    assert ignored_value({"labels": CLASSES}) is None


@pytest.mark.parametrize(
    ("content", "regions", "sentence"),
    [
        ({}, False, "has no labels"),
        ({"labels": {"background": 0}}, False, "no label but the background"),
        ({"labels": CLASSES}, True, "defines no regions"),
        ({"labels": {"background": 0, "edema": "one"}}, False, "neither a whole number"),
    ],
)
def test_dataset_json_that_names_nothing_to_evaluate(content, regions, sentence):
    with pytest.raises(UserError, match=sentence):
        label_values(content, regions=regions)


def test_dataset_json_is_found_beside_the_labels_above_them_or_with_the_predictions(tmp_path):
    predictions, references = tmp_path / "model" / "predictions", tmp_path / "data" / "labels"
    for folder in (predictions, references):
        folder.mkdir(parents=True)
    with pytest.raises(UserError, match="give its path") as error:
        find_dataset_json(predictions, references)
    assert error.value.flags == ["--dataset-json"]
    for folder in (predictions, references.parent, references):  # the later one wins
        (folder / "dataset.json").write_text("{}")
        assert find_dataset_json(predictions, references) == folder / "dataset.json"
