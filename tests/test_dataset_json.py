"""`dataset.json`: what is accepted nnU-Net can use, and what is not is a sentence that names the entry."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nndistill.dataset_json import channel_names, check_dataset_json, check_raw_dataset_json, named_labels
from nndistill.errors import UserError
from nndistill.files import read_json

RIGHT = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "oedema": 1, "core": 2},
    "numTraining": 5,
    "file_ending": ".nii.gz",
}
REGIONS = {"background": 0, "whole": [1, 2], "core": 2}


@pytest.mark.parametrize(
    ("entry", "value", "sentence"),
    [
        (
            "labels",
            {"0": "background", "1": "core"},
            'the other way round: write "labels": {"background": 0, "core": 1}.',
        ),
        ("labels", {"background": "0", "core": "1"}, 'without quotation marks: "background": 0.'),
        ("labels", ["background", "core"], 'is a list of names.*write "labels": {"background": 0, "core": 1}.'),
        ("labels", {"core": 1}, 'lack the background.*add "background": 0'),
        ("labels", {"Background": 0, "core": 1}, "'Background' has to be written \"background\": 0"),
        ("labels", {"air": 0, "core": 1}, "'air' has to be written \"background\": 0"),
        ("labels", {"background": 1, "core": 0}, '"background": 0'),
        ("labels", {"background": 0}, "no label but the background"),
        ("labels", {"background": 0, "core": 2}, r"1 is missing before 2 \('core'\)"),
        ("labels", {"background": 0, "oedema": 1, "core": 1}, "'oedema' and 'core' both stand for 1"),
        ("labels", {"background": 0, "core": 1.5}, "'core' has the value 1.5"),
        ("labels", {"background": 0, "core": True}, "'core' has the value true"),
        ("labels", {"background": 0, " ": 1}, "the label with the value 1 has no name"),
        ("labels", {"background": 0, "core": []}, r"'core' has the value \[\]"),
        ("labels", {"background": 0, "core": -1}, "'core' has a negative value"),
        ("labels", {"background": 0, "core": 1, "ignore": 1}, "both stand for 1"),
        ("labels", {"background": 0, "core": 1, "ignore": 3}, 'the others: "ignore": 2.'),
        ("labels", REGIONS, r"defines regions \('whole'\).*whole, core.*\"regions_class_order\": \[1, 2\]"),
        ("labels", None, "has no labels"),
        ("labels", 3, "labels is 3"),
        ("channel_names", {"T1": 0, "T2": 1}, 'the other way round: write "channel_names": {"0": "T1", "1": "T2"}.'),
        ("channel_names", {"T2": "1", "T1": "0"}, 'write "channel_names": {"0": "T1", "1": "T2"}.'),
        ("channel_names", ["T1", "T2"], 'is a list of names.*write "channel_names": {"0": "T1", "1": "T2"}.'),
        ("channel_names", {"0": "T1", "2": "T2"}, "has the numbers 0, 2; they have to be those from 0 to 1"),
        ("channel_names", {"0": "T1", "00": "T2"}, "has the numbers 0, 0"),
        ("channel_names", {"0": "T1", "one": "T2"}, 'has the entry "one": "T2"'),
        ("channel_names", {"1": "T2", "0": "T1"}, "lists the numbers 1, 0 in this order"),
        ("channel_names", {}, "channel_names is {}"),
        ("channel_names", "MRI", 'channel_names is "MRI"'),
        ("numTraining", "5", 'numTraining is "5"'),
        ("numTraining", 0, "numTraining is 0"),
        ("file_ending", "nii.gz", 'file_ending is "nii.gz"'),
        ("modality", {"0": "CT"}, "has other channels in the old entry modality"),
    ],
)
def test_what_nnunet_cannot_train_on_is_a_sentence_with_the_right_form(entry, value, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        check_raw_dataset_json({**RIGHT, entry: value}, source="here/dataset.json")
    assert str(error.value).startswith("here/dataset.json")


@pytest.mark.parametrize("entry", RIGHT)
def test_entry_that_is_missing_is_named(entry):
    with pytest.raises(UserError, match=entry):
        check_raw_dataset_json({key: value for key, value in RIGHT.items() if key != entry})


@pytest.mark.parametrize("order", [[1], [1, 2, 3], "12", [1, 3], [1, 0], {"whole": 1, "core": 2}])
def test_order_of_regions_that_does_not_fit_them_is_refused(order):
    with pytest.raises(UserError, match="regions_class_order"):
        check_raw_dataset_json({**RIGHT, "labels": REGIONS, "regions_class_order": order})
    check_raw_dataset_json({**RIGHT, "labels": REGIONS, "regions_class_order": [1, 2]})


def test_numbers_of_four_digits_are_numbers_and_old_descriptions_have_modalities():
    check_raw_dataset_json({**RIGHT, "channel_names": {"0000": "T1", "0001": "T2"}})
    old = {key: value for key, value in RIGHT.items() if key != "channel_names"} | {"modality": {"0": "CT"}}
    check_dataset_json(old)  # as a model of nnU-Net 2.0 has it
    assert channel_names(old) == ["CT"]
    with pytest.raises(UserError, match='call the entry "channel_names"'):
        check_raw_dataset_json(old)


def test_key_that_stands_twice_is_refused_and_none_is_lost(tmp_path):
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "core": 1, "core": 2}}')
    with pytest.raises(UserError, match="has the key 'core' twice"):
        read_json(tmp_path / "dataset.json")


names = st.sampled_from(["background", "Background", "ignore", "a", "b", "c", "0", "1", ""])
values = st.one_of(st.integers(-1, 4), st.lists(st.integers(0, 3), max_size=3), st.sampled_from(["0", "x", 1.5, None]))
orders = st.one_of(st.none(), st.lists(st.integers(0, 4), max_size=4))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names, values, max_size=5), orders)
def test_what_is_accepted_nnunet_accepts(labels: dict[str, Any], order: list[int] | None):
    manager = pytest.importorskip("nnunetv2.utilities.label_handling.label_handling").LabelManager
    try:
        check_raw_dataset_json({**RIGHT, "labels": labels, "regions_class_order": order})
    except UserError:
        return
    theirs = manager(labels, order)
    expected = [*theirs.all_labels, *([theirs.ignore_label] if theirs.has_ignore_label else [])]
    assert (np.ediff1d(expected) == 1).all()  # which nnU-Net's own check of a data set demands
    assert theirs.num_segmentation_heads >= 1
    assert named_labels({"labels": labels}) == labels


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.booleans(), st.integers(1, 5), st.randoms())
def test_every_description_in_nnunets_form_is_accepted(labels: int, ignore: bool, channels: int, random: Any):
    entries = [("background", 0), *((f"label {value}", value) for value in range(1, labels + 1))]
    entries += [("ignore", labels + 1)] if ignore else []
    random.shuffle(entries)
    described = {"labels": dict(entries), "channel_names": {str(number): "MRI" for number in range(channels)}}
    check_raw_dataset_json({**RIGHT, **described})
    assert channel_names(described) == ["MRI"] * channels


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 3), st.floats(), st.sampled_from(["0", "1", "T1", "background"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4)),
    max_leaves=8,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entry=st.sampled_from([*RIGHT, "dataset", "regions_class_order"]), value=anything)
def test_teach_and_evaluate_refuse_any_description_in_a_sentence(nndistill, tmp_path, entry, value):
    folder = tmp_path / "nnUNet_raw" / "Dataset950_Made"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({**RIGHT, entry: value}))
    taught = nndistill("teach", "950", "--workspace", tmp_path)
    evaluated = nndistill("evaluate", folder, folder, "--out", tmp_path / "metrics.csv")
    for result in (taught, evaluated):  # there are no cases, so no description is right
        assert result.status == 2, result.err
        assert "error: " in result.err
