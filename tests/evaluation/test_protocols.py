"""Protocols: what each makes of empty masks and false positives, and nnU-Net's own numbers."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO

from nndistill.errors import UserError
from nndistill.evaluation.case import case_metrics
from nndistill.evaluation.comparison import compare
from nndistill.evaluation.folder import evaluate_folder
from nndistill.evaluation.protocols import PROTOCOLS, protocol

BRATS = {"labels": {"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}}
NAN = float("nan")


def volume(*boxes):
    """A label map of 48³ with cubes `(size, x, y, z, value)`."""
    array = np.zeros((48, 48, 48), np.uint8)
    for size, x, y, z, value in boxes:
        array[x : x + size, y : y + size, z : z + size] = value
    return array


def measured(name, reference, prediction, label):
    chosen = protocol(name)
    return case_metrics(reference, prediction, (1.0, 1.0, 1.0), chosen.measures(chosen.labels(BRATS)))[label]


def save(folder, case, array):
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{case}.nii.gz")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_false_positive_on_an_absent_label_counts_against_the_run_in_every_protocol(name, tmp_path):
    """Six cases with SNFH alone; one run finds just that, the other predicts a cavity in all of them as well."""
    for k in range(6):
        lesion = (10 + k, 2, 2, 2, 2)
        save(tmp_path / "labels", f"c{k}", volume(lesion))
        save(tmp_path / "clean", f"c{k}", volume(lesion))
        save(tmp_path / "false", f"c{k}", volume(lesion, (5, 30, 30, 30, 4)))
    chosen = protocol(name)
    clean, false = (
        evaluate_folder(tmp_path / run, tmp_path / "labels", labels=chosen.labels(BRATS), protocol=name).metrics
        for run in ("clean", "false")
    )
    cavity = false[false["label"] == "RC"]
    assert (cavity["dice"] == 0).all()
    row = compare(clean, {"false": false}).table.loc["false"]
    if chosen.both_empty == "one":  # of WT, TC, NETC, SNFH, ET and RC, only RC falls from 1 to 0
        assert (row["base"], row["other"]) == (1, pytest.approx(5 / 6))
        assert (row["only_base"], row["only_other"]) == (0, 0)
    else:  # SNFH, and WT where it is a region, are defined in one, and RC as well in the other
        defined = 2 if chosen.lesion_rules else 1
        assert (row["base"], row["other"]) == (1, pytest.approx(defined / (defined + 1)))
        assert (row["only_base"], row["only_other"]) == (0, 6)


@pytest.mark.parametrize(
    ("name", "both", "one"),
    [
        ("default", (NAN, NAN, NAN), (0, 48 * 3**0.5, 0)),
        ("laboratory", (NAN, NAN, 1), (0, NAN, 0)),
        ("nnunet", (NAN, NAN, NAN), (0, NAN, NAN)),
        ("brats2024", (1, 0, 1), (0, 374, 0)),
        ("brats2025", (1, 0, 1), (0, 337, 0)),
        ("brats2026", (NAN, NAN, NAN), (0, 373, 0)),
    ],
)
def test_empty_masks(name, both, one):
    empty, full = volume(), volume((10, 5, 5, 5, 3))
    for maps, expected in (((empty, empty), both), ((empty, full), one), ((full, empty), one)):
        found = measured(name, *maps, "ET")
        assert [found["dice"], found["hd95_mm"], found["nsd"]] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(("both_empty", "dice"), [("leave_out", NAN), ("one", 1), ("nsd_one", NAN)])
def test_a_protocol_without_surfaces_has_none_of_empty_masks_either(both_empty, dice):
    chosen = protocol("nnunet").changed(both_empty=both_empty)
    found = case_metrics(volume(), volume(), (1.0, 1.0, 1.0), chosen.measures({"ET": (3,)}))["ET"]
    assert [found["dice"], found["hd95_mm"], found["nsd"]] == pytest.approx([dice, NAN, NAN], nan_ok=True)
    assert ("if both are, Dice is 1" in chosen.description) == (both_empty == "one")
    assert not {"HD95", "NSD"} & set(chosen.description.replace(",", " ").split())


@pytest.mark.parametrize(
    ("reference", "prediction", "hd95", "nsd"),
    [
        ([(10, 10, 10, 10, 3)], [(10, 12, 10, 10, 3)], 2, 1),
        ([(10, 5, 5, 5, 3), (10, 30, 30, 30, 3)], [(10, 5, 5, 5, 3)], 40.043690, 0.666667),
        ([(10, 5, 5, 5, 3)], [(10, 5, 5, 5, 3), (5, 35, 35, 35, 3)], 41.024383, 0.908752),
    ],
)
def test_laboratory_measures_boundary_voxels_at_2_mm(reference, prediction, hd95, nsd):
    found = measured("laboratory", volume(*reference), volume(*prediction), "ET")
    assert [found["hd95_mm"], found["nsd"]] == pytest.approx([hd95, nsd], abs=1e-6)


@pytest.mark.parametrize("regions", [False, True])
def test_nnunet_has_the_numbers_of_nnunet(tmp_path, regions):
    labels = {"background": 0, "whole": [1, 2], "core": 2} if regions else {"background": 0, "a": 1, "b": 2}
    for k in range(4):
        for role, seed in (("labels", k), ("predictions", 10 + k)):
            array = np.random.default_rng(seed).integers(0, 3, (9, 8, 7)).astype(np.uint8)
            save(tmp_path / role, f"c{k}", np.minimum(array, 1) if k == 0 else array)
    values = protocol("nnunet").labels({"labels": labels})
    found = evaluate_folder(tmp_path / "predictions", tmp_path / "labels", labels=values, protocol="nnunet")
    keys = {name: tuple(value) if regions and len(value) > 1 else value[0] for name, value in values.items()}
    theirs = compute_metrics_on_folder(
        *(str(tmp_path / role) for role in ("labels", "predictions")),
        str(tmp_path / "theirs.json"), NibabelIO(), ".nii.gz", list(keys.values()), num_processes=1,
    )  # fmt: skip
    for name, key in keys.items():
        assert found.summary["labels"][name]["dice"]["mean"] == pytest.approx(theirs["mean"][key]["Dice"])
    assert found.summary["mean_of_labels"]["dice"]["mean"] == pytest.approx(theirs["foreground_mean"]["Dice"])
    assert found.summary["mean_of_labels"]["nsd"]["mean"] is None


def test_whole_masks_are_measured_beside_lesions():
    found = measured("brats2024", volume((10, 5, 5, 5, 3)), volume((10, 5, 5, 5, 3), (5, 35, 35, 35, 3)), "ET")
    assert (found["dice"], found["whole_dice"]) == (0.5, pytest.approx(2000 / 2125))


@pytest.mark.parametrize(
    ("labels", "given"),
    [
        ({"background": 0, "NETC": 1, "SNFH": 2, "ET": 3}, "1 NETC, 2 SNFH, 3 ET"),
        ({"background": 0, "ET": 1, "SNFH": 2, "NETC": 3, "RC": 4}, "1 ET, 2 SNFH"),
        ({"background": 0, "tumour": 1}, "1 tumour"),
    ],
)
def test_other_labels_than_those_of_brats_are_refused(labels, given):
    with pytest.raises(UserError, match=f"about 1 NETC, 2 SNFH, 3 ET and 4 RC; this data set has {given}"):
        protocol("brats2024").labels({"labels": labels})
    with pytest.raises(UserError, match="measures WT, TC, NETC, SNFH, ET, RC, not tumour"):
        protocol("brats2024").measures({"tumour": (1,)})


def test_labels_of_a_brats_data_set_trained_on_regions_are_known_by_their_values():
    dataset_json = {"labels": {"background": 0, "whole tumour": [1, 2, 3], "tumour core": [1, 3], "ET": [3], "RC": [4]}}
    assert protocol("brats2024").labels(dataset_json)["SNFH"] == (2,)


def test_unknown_protocol_gets_the_nearest_name():
    with pytest.raises(UserError, match="Did you mean 'brats2024'"):
        protocol("brats24")


@pytest.mark.parametrize(
    ("name", "changes"),
    [("brats2024", {"both_empty": "leave_out"}), ("brats2025", {"empty": 5.0}), ("nnunet", {"tolerance": 2.0})],
)
def test_what_a_protocol_fixes_cannot_be_changed(name, changes):
    with pytest.raises(UserError, match=f"the protocol {name} fixes"):
        protocol(name).changed(**changes)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocol_and_settings_are_in_the_summary_and_its_json_is_strict(name, tmp_path):
    for role in ("labels", "predictions"):
        save(tmp_path / role, "c", volume((4, 2, 2, 2, 2)))
    labels = protocol(name).labels(BRATS)
    summary = evaluate_folder(tmp_path / "predictions", tmp_path / "labels", labels=labels, protocol=name).summary
    assert summary["protocol"] == name
    assert summary["tolerance_mm"] == protocol(name).tolerance
    json.dumps(summary, allow_nan=False)


def test_descriptions_say_what_counts():
    assert "within 2 mm" in protocol("laboratory").description
    assert "NSD is 1" in protocol("laboratory").description
    assert "averaged over lesions" in protocol("brats2024").description
    assert "374 mm" in protocol("brats2024").description
    assert "HD95" not in protocol("nnunet").description
    assert "diagonal" in protocol("default").description
