"""`nndistill evaluate` and `nndistill compare`, from label maps to statistics, and every way to fail."""

from __future__ import annotations

import json
import os

import nibabel as nib
import numpy as np
import pytest

from nndistill.errors import UserError
from nndistill.evaluation.metrics_file import read_metrics

LABELS = {"background": 0, "whole": [1, 2], "core": 2}


def save(folder, case, array):
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.uint8), np.diag([1, 1, 2, 1])), folder / f"{case}.nii.gz")


@pytest.fixture
def data(tmp_path):
    """References of seven cases, and predictions of two runs, the second one better."""
    random = np.random.default_rng(0)
    for k in range(7):
        reference = random.integers(0, 3, (12, 12, 12))
        save(tmp_path / "labels", f"case{k}", reference)
        for run, wrong in (("plain", 0.5), ("dcd", 0.2), ("teacher", 0.1)):
            other = random.integers(0, 3, reference.shape)
            save(tmp_path / run, f"case{k}", np.where(random.random(reference.shape) < wrong, other, reference))
    (tmp_path / "labels" / "dataset.json").write_text(json.dumps({"labels": LABELS}))
    return tmp_path


def test_from_label_maps_to_statistics(nndistill, data):
    for run in ("plain", "dcd", "teacher"):
        result = nndistill(
            "evaluate", data / run, data / "labels", "--regions", "--jobs", 1, "--out", data / f"{run}.csv"
        )
        assert result.status == 0, result.err
        assert "7 cases" in result.out
    metrics = read_metrics(data / "dcd.csv")
    assert set(metrics["label"]) == {"whole", "core"}
    assert json.loads((data / "dcd.summary.json").read_text())["values"] == {"whole": [1, 2], "core": [2]}

    result = nndistill("compare", data / "plain.csv", data / "dcd.csv", "--teacher", data / "teacher.csv")
    assert result.status == 0, result.err
    assert "against plain" in result.out
    assert "dcd: largest gains: case" in result.out
    assert "largest losses" not in result.out

    result = nndistill(
        "compare", data / "plain.csv", data / "dcd.csv", data / "teacher.csv", "--metric", "hd95_mm", "--label", "core",
        "--json",
    )  # fmt: skip
    found = json.loads(result.out)
    assert found["lower_is_better"]
    assert set(found["comparisons"]) == set(found["differences"]) == {"dcd", "teacher"}
    assert found["comparisons"]["dcd"]["gap_recovered"] is None
    assert len(found["differences"]["dcd"]) == 7


def test_options_reach_the_measurement_and_the_record(nndistill, data):
    result = nndistill(
        "evaluate", data / "dcd", data / "labels", "--out", data / "metrics.csv", "--tolerance", 2.5, "--definition",
        "boundary_voxels", "--empty", 374, "--lesions", "core", "--jobs", 2, "--json",
    )  # fmt: skip
    summary = json.loads(result.out)
    assert summary["metrics"] == str(data / "metrics.csv")
    assert (summary["tolerance_mm"], summary["definition"], summary["empty"]) == (2.5, "boundary_voxels", 374)
    assert list(summary["labels"]) == ["label 1", "core"]
    assert summary["labels"]["core"]["lesion_f1"]["n"] == 7
    assert summary == json.loads((data / "summary.json").read_text()) | {"metrics": str(data / "metrics.csv")}
    assert {"lesion_precision", "lesion_recall", "lesion_f1"} <= set(read_metrics(data / "metrics.csv").columns)


def test_empty_masks_missing_cases_and_strange_values_are_told(nndistill, data):
    save(data / "dcd", "case0", np.full((12, 12, 12), 7))
    for run in ("dcd", "labels"):
        save(data / run, "case1", np.zeros((12, 12, 12)))
    (data / "dcd" / "case2.nii.gz").unlink()
    result = nndistill(
        "evaluate", data / "dcd", data / "labels", "--regions", "--allow-missing", "--jobs", 1, "--out", data / "m.csv"
    )
    assert result.status == 0, result.err
    assert "whole: 1 case left out, empty in reference and prediction." in result.out
    assert "the reference is empty in 0, the prediction in 1" in result.out
    assert "Left out, since a prediction is missing: case2." in result.out
    assert "The predictions contain values that belong to no label: 7." in result.out


def test_both_empty_counts_as_one_if_it_is_asked_for(nndistill, data):
    for run in ("dcd", "labels"):
        save(data / run, "case1", np.zeros((12, 12, 12)))
    out = data / "m.csv"
    result = nndistill(
        "evaluate", data / "dcd", data / "labels", "--regions", "--both-empty", "one", "--jobs", 1, "--out", out
    )
    assert "whole: 1 case with Dice 1, NSD 1 and HD95 0, empty in reference and prediction." in result.out
    metrics = read_metrics(out).set_index("case").loc["case1"]
    assert list(metrics[["dice", "hd95_mm", "nsd"]].itertuples(index=False, name=None)) == [(1, 0, 1)] * 2
    assert json.loads((data / "m.summary.json").read_text())["both_empty"] == "one"


def test_protocol_is_shown_and_recorded(nndistill, data):
    out = data / "m.csv"
    result = nndistill("evaluate", data / "dcd", data / "labels", "--protocol", "nnunet", "--jobs", 1, "--out", out)
    assert result.status == 0, result.err
    assert "protocol nnunet" in result.out
    assert "NSD at" not in result.out
    summary = json.loads((data / "m.summary.json").read_text())
    assert summary["protocol"] == "nnunet"
    assert set(summary["labels"]) == {"whole", "core"}


def test_of_many_missing_cases_the_first_are_named_and_all_are_in_the_summary(nndistill, data):
    for k in range(12):
        save(data / "labels", f"more{k:02d}", np.ones((12, 12, 12)))
    out = data / "m.csv"
    result = nndistill("evaluate", data / "dcd", data / "labels", "--allow-missing", "--jobs", 1, "--out", out)
    assert "more09 and 2 more (see the summary)." in result.out
    assert "more10" not in result.out
    assert json.loads((data / "m.summary.json").read_text())["without_prediction"] == [
        f"more{k:02d}" for k in range(12)
    ]


def test_what_was_computed_is_kept_when_a_case_fails(nndistill, data):
    nib.save(nib.Nifti1Image(np.full((12, 12, 12), 0.5, np.float32), np.diag([1, 1, 2, 1])), data / "dcd/case3.nii.gz")
    out = data / "metrics.csv"
    result = nndistill("evaluate", data / "dcd", data / "labels", "--jobs", 1, "--out", out)
    assert result.status == 2
    assert "case3.nii.gz holds other values than whole numbers" in result.err
    assert f"The metrics of the other cases are in {out}" in result.err
    assert read_metrics(out)["case"].nunique() == 6


MISTAKES = {
    "missing case": (lambda d: (d / "dcd/case5.nii.gz").unlink(), [], "lacks 1 case: case5."),
    "other grid": (lambda d: save(d / "dcd", "case5", np.zeros((12, 12, 11))), [], "is (12, 12, 11), that of"),
    "no dataset.json": (lambda d: (d / "labels/dataset.json").unlink(), [], "See the option --dataset-json."),
    "dataset.json elsewhere": (lambda d: None, ["--dataset-json", "nowhere.json"], "nowhere.json is missing"),
    "no such folder": (lambda d: (d / "dcd").rename(d / "gone"), [], "is not a folder"),
    "out is a folder": (lambda d: None, ["--out", "."], "is a folder: name a file in it"),
    "definition": (lambda d: None, ["--definition", "monai"], "there is no definition of surfaces 'monai'"),
    "policy": (lambda d: None, ["--empty", "leave-out"], "Did you mean 'leave_out'"),
    "penalty": (lambda d: None, ["--empty", "-5"], "has to be a number of mm that is not negative"),
    "tolerance": (lambda d: None, ["--tolerance", "-1"], "tolerance"),
    "lesions": (lambda d: None, ["--lesions", "cor"], "Did you mean 'core'"),
    "protocol": (lambda d: None, ["--protocol", "brats24"], "Did you mean 'brats2024'"),
    "labels of a protocol": (lambda d: None, ["--protocol", "brats2024"], "is about 1 NETC, 2 SNFH, 3 ET and 4 RC"),
    "two empty masks": (lambda d: None, ["--both-empty", "zero"], "there is no policy for two empty masks 'zero'"),
    "jobs": (lambda d: None, ["--jobs", "0"], "--jobs"),
    "other summary": (lambda d: (d / "summary.json").write_text("{}"), [], "was not made by nndistill evaluate"),
}


@pytest.mark.parametrize(("spoil", "options", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_one_sentence_and_writes_nothing(nndistill, data, spoil, options, sentence):
    spoil(data)
    result = nndistill("evaluate", data / "dcd", data / "labels", "--out", data / "metrics.csv", *options)
    assert result.status == 2
    assert sentence in result.err
    assert "Traceback" not in result.err
    assert not (data / "metrics.csv").exists()


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(nndistill, data, monkeypatch):
    monkeypatch.setattr("nndistill.evaluation.folder.evaluate_folder", lambda *args, **kwargs: pytest.fail("measured"))
    result = nndistill("evaluate", data / "dcd", data / "labels", "--out", "/dev/null/metrics.csv")
    assert result.status == 2
    assert result.err == "error: cannot write /dev/null/metrics.csv: Not a directory. See the option --out."


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_by_default_there_is_a_process_per_core_that_may_be_used(nndistill, data, monkeypatch, command):
    def measure(*args, jobs=None, measured=None, **kwargs):
        raise UserError(f"{measured.jobs if measured else jobs} processes.")

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7}, raising=False)
    monkeypatch.setattr("nndistill.evaluation.folder.evaluate_folder", measure)
    monkeypatch.setattr("nndistill.gather.gather_results", measure)
    given = [data / "dcd", data / "labels"] if command == "evaluate" else [data, "--fold", 0]
    assert nndistill(command, *given, "--out", data / "out").err.endswith("error: 3 processes.")


BRATS = {"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}


@pytest.mark.parametrize(
    ("options", "one", "both"),
    [
        ([], "with Dice and NSD 0 and HD95 the diagonal of the image", "left out"),
        (["--empty", 99.5], "with Dice and NSD 0 and HD95 99.5 mm", "left out"),
        (
            ["--protocol", "laboratory"],
            "with Dice and NSD 0 and left out of HD95",
            "with NSD 1 and left out of Dice and HD95",
        ),
        (["--protocol", "nnunet"], "with Dice 0", "left out"),
        (["--protocol", "nnunet", "--both-empty", "one"], "with Dice 0", "with Dice 1"),
        (
            ["--protocol", "brats2025"],
            "with Dice and NSD 0 and HD95 337 mm, or Dice and NSD 1 and HD95 0 if no lesion is large enough to count",
            "with Dice 1, NSD 1 and HD95 0",
        ),
        (["--protocol", "brats2026"], "with Dice and NSD 0 and HD95 373 mm", "left out"),
    ],
)
def test_what_is_said_of_empty_masks_is_what_the_protocol_does(nndistill, tmp_path, options, one, both):
    """Of three cases, the first two have ET in one map, a large lesion and a single voxel, and the third in none."""
    for case, size in (("large", 6), ("small", 1), ("none", 0)):
        array = np.zeros((12, 12, 12))
        save(tmp_path / "predictions", case, array)
        array[:size, :size, :size] = 3
        save(tmp_path / "labels", case, array)
    (tmp_path / "labels" / "dataset.json").write_text(json.dumps({"labels": BRATS}))
    out = tmp_path / "metrics.csv"
    given = ("evaluate", tmp_path / "predictions", tmp_path / "labels", "--jobs", 1, "--out", out)
    result = nndistill(*given, *options)
    assert result.status == 0, result.err
    lines = [line for line in result.out.splitlines() if line.startswith("ET: ")]
    assert lines == [
        f"ET: 1 case {both}, empty in reference and prediction.",
        f"ET: 2 cases {one}: the reference is empty in 0, the prediction in 2.",
    ]
    measured = read_metrics(out).set_index(["label", "case"]).loc["ET"]
    assert measured.loc["large", "dice"] == 0
    assert measured.loc["small", "dice"] == (1 if "large enough" in one else 0)
    distance = {"diagonal": np.linalg.norm([12, 12, 24]), "99.5": 99.5, "337": 337, "373": 373}
    expected = next((value for word, value in distance.items() if word in one), np.nan)
    assert measured.loc["large", "hd95_mm"] == pytest.approx(expected, nan_ok=True)
    assert measured.loc["none", "dice"] == pytest.approx(1 if "Dice 1" in both else np.nan, nan_ok=True)


def test_runs_by_region_and_by_single_value_are_not_compared(nndistill, data):
    for run, options in (("plain", []), ("dcd", ["--regions"])):
        given = ("evaluate", data / run, data / "labels", "--jobs", 1, "--out", data / f"{run}.csv")
        assert nndistill(*given, *options).status == 0
    result = nndistill("compare", data / "plain.csv", data / "dcd.csv")
    assert result.status == 2
    assert "the base and dcd have different labels: only the base has label 1 and only dcd has whole." in result.err
    assert nndistill("compare", data / "plain.csv", data / "dcd.csv", "--label", "core").status == 0


CSV = "case,label,dice,hd95_mm,nsd,reference_voxels,predicted_voxels\n"


@pytest.fixture
def csvs(tmp_path):
    """Two runs in folders of their own, as `evaluate` leaves them."""
    paths = []
    for run, lead in (("plain", 0.0), ("dcd", 0.1)):
        paths.append(tmp_path / run / "metrics.csv")
        paths[-1].parent.mkdir()
        rows = [f"c{k},core,{0.5 + lead + 0.01 * k * lead},{9 - lead},0.5,10,10\n" for k in range(6)]
        paths[-1].write_text(CSV + "".join(rows))
        summary = {"maker": "nndistill evaluate", "tolerance_mm": 1.0 + lead, "definition": "surface_elements"}
        (tmp_path / run / "summary.json").write_text(json.dumps(summary))
    return paths


def test_files_of_one_name_are_told_apart_by_their_folders(nndistill, csvs):
    result = nndistill("compare", *csvs, "--json")
    assert list(json.loads(result.out)["comparisons"]) == ["dcd"]


def test_other_settings_are_told(nndistill, csvs):
    assert "measured differently: tolerance_mm is 1.0 in" in " ".join(nndistill("compare", *csvs).out.split())


def test_the_last_line_says_that_seeds_are_not_in_the_statistics(nndistill, csvs):
    last = nndistill("compare", *csvs).out.splitlines()[-1]
    assert last.startswith("Intervals and p-values are about cases")
    assert last.endswith("another seed of the same method may differ as much.")


@pytest.mark.parametrize("place", ["beside the labels", "raw data"])
def test_patients_are_taken_from_the_report_of_the_data_set(nndistill, data, place, monkeypatch, tmp_path_factory):
    raw = tmp_path_factory.mktemp("raw")
    monkeypatch.setenv("nnUNet_raw", str(raw))
    folder = data if place == "beside the labels" else raw / data.name
    folder.mkdir(exist_ok=True)
    cases = {f"case{k}": {"patient": f"p{k // 2}"} for k in range(7)}
    (folder / "report.json").write_text(json.dumps({"cases": cases}))
    for run in ("plain", "dcd"):
        result = nndistill("evaluate", data / run, data / "labels", "--jobs", 1, "--out", data / f"{run}.csv")
        assert result.status == 0, result.err
    assert list(read_metrics(data / "dcd.csv")["patient"].unique()) == ["p0", "p1", "p2", "p3"]
    result = nndistill("compare", data / "plain.csv", data / "dcd.csv")
    assert "4 patients, 7 cases" in " ".join(result.out.split())


def test_patients_are_taken_from_a_table(nndistill, csvs, tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("case,patient\n" + "".join(f"c{k},p{k % 3}\n" for k in range(6)))
    found = json.loads(nndistill("compare", *csvs, "--patients", table, "--json").out)
    assert found["comparisons"]["dcd"]["patients"] == 3
    assert any(note.startswith("3 patients, 6 cases") for note in found["notes"])
    printed = " ".join(nndistill("compare", *csvs, "--patients", table).out.split())
    assert "Tests and effects compare patients, each the mean of its cases; intervals draw patients." in printed

    table.write_text("case,patient\nc0,p0\n")
    result = nndistill("compare", *csvs, "--patients", table)
    assert result.status == 2
    assert "lacks 5 of the cases: c1, c2, c3, c4, c5. See the option --patients." in " ".join(result.err.split())


def test_files_of_different_protocols_are_refused(nndistill, csvs):
    for path, protocol in zip(csvs, ("laboratory", "nnunet"), strict=True):
        (path.parent / "summary.json").write_text(json.dumps({"maker": "nndistill evaluate", "protocol": protocol}))
    result = nndistill("compare", *csvs)
    assert result.status == 2
    assert "measured by different protocols, laboratory in" in result.err
    (csvs[1].parent / "summary.json").write_text((csvs[0].parent / "summary.json").read_text())
    assert json.loads(nndistill("compare", *csvs, "--json").out)["protocol"] == "laboratory"
    assert nndistill("compare", *csvs, "--protocol", "laboratory").status == 0
    for asked, sentence in [
        ("default", "was measured by the protocol laboratory, not default"),
        ("labratory", "Did you mean 'laboratory'"),
    ]:
        result = nndistill("compare", *csvs, "--protocol", asked)
        assert result.status == 2
        assert sentence in result.err
    (csvs[0].parent / "summary.json").unlink()
    assert "has no summary, so its protocol" in nndistill("compare", *csvs, "--protocol", "laboratory").err


def test_nothing_to_test_is_valid_json_and_a_sentence(nndistill, csvs):
    result = nndistill("compare", *csvs, "--metric", "nsd", "--json")
    found = json.loads(result.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["comparisons"]["dcd"]["wilcoxon_p"] is None
    assert any("every case has exactly the value of the base" in note for note in found["notes"])
    assert nndistill("compare", *csvs, "--metric", "nsd").status == 0


def test_mistakes_of_a_comparison_are_sentences(nndistill, csvs, tmp_path):
    for arguments, sentence in [
        ([*csvs, "--metric", "dic"], "Did you mean 'dice'"),
        ([*csvs, "--label", "cor"], "Did you mean 'core'"),
        ([csvs[0], csvs[0]], "given twice"),
        ([csvs[0], tmp_path / "none.csv"], "none.csv is missing"),
        ([csvs[0]], "others"),
        ([*csvs, "--teacher", tmp_path / "none.csv"], "none.csv is missing"),
    ]:
        result = nndistill("compare", *arguments)
        assert result.status == 2
        assert sentence.casefold() in result.err.casefold()
        assert "Traceback" not in result.err
