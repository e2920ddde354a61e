"""`nndistill report` on trained models: what it reads from their folders, what it keeps, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nndistill.errors import UserError
from nndistill.evaluation.folder import evaluate_folder
from nndistill.gather import EvaluationSettings, gather_results, kept_metrics
from nndistill.gather.case_files import label_names
from nndistill.nnunet.models.history import read_history
from nndistill.nnunet.workspace import use_workspace


@pytest.fixture
def student(world) -> Path:
    return next(world.results.glob("nnUNetTrainerDistill__student__*"))


@pytest.fixture
def predictions(world, tmp_path) -> tuple[Path, Path]:
    """Two folders of predictions of the held-out case: the reference itself, and one of background only."""
    right, empty = tmp_path / "right", tmp_path / "empty"
    shutil.copytree(world.dataset / "labelsTs", right)
    empty.mkdir()
    files = list(right.glob("*.nii.gz"))
    assert files
    for file in files:
        image = nib.load(file)
        nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), empty / file.name)
    return right, empty


def test_held_out_cases_from_the_command_line(world, student, predictions, nndistill, tmp_path):
    out = tmp_path / "out"
    result = nndistill(
        *("report", world.teacher, student, "--out", out, "--names", "Big one", "Small", "--predictions", *predictions),
        *("--labels", world.dataset / "labelsTs", "--workspace", world.workspace, "--jobs", 1, "--json"),
    )
    assert result.status == 0, result.err
    numbers = json.loads(result.out)
    assert Path(numbers["page"]).is_file()
    rows = {row["Model"]: row for row in numbers["tables"]["overall"]}
    assert rows["Big one"]["Dice"] == 1.0
    assert rows["Big one"]["HD95 (mm)"] == 0.0
    assert rows["Small"]["Dice"] == 0.0
    shape, spacing = (32, 40, 32), 4.0
    assert rows["Small"]["HD95 (mm)"] == pytest.approx(np.linalg.norm(np.multiply(shape, spacing)))
    costs = {row["Model"]: row["Parameters"] for row in numbers["tables"]["costs"]}
    assert costs["Big one"] > 4 * costs["Small"]
    assert numbers["baseline"] == "Big one"
    assert numbers["case"] is not None, "images beside the labels are found"
    assert (out / "figures" / "comparison.pdf").is_file()
    html = Path(numbers["page"]).read_text()
    for words in ("adamw, learning rate 0.001, weight decay 0.01", "fold_0/checkpoint_final.pth", "1234", "dcd"):
        assert words in html


def test_validation_cases_of_the_fold_are_the_default(world, student, nndistill, tmp_path):
    result = nndistill("report", student, "--out", tmp_path / "out", "--workspace", world.workspace, "--jobs", 1)
    assert result.status == 0, result.err
    assert "DCD" in result.out
    assert str(tmp_path / "out" / "report.html") in result.out
    kept = student / "fold_0" / "validation" / "validation_metrics.csv"
    dice = pd.read_csv(kept).set_index(["case", "label"])["dice"]
    summary = json.loads((student / "fold_0" / "validation" / "summary.json").read_text())
    names = {
        str(value): name for name, value in json.loads((world.dataset / "dataset.json").read_text())["labels"].items()
    }
    for case in summary["metric_per_case"]:
        for label, measured in case["metrics"].items():
            here = dice[Path(case["prediction_file"]).name.removesuffix(".nii.gz"), names[label]]
            assert here == pytest.approx(measured["Dice"], nan_ok=True)


def test_images_are_found_where_the_data_set_says_they_are(world, student, tmp_path):
    use_workspace(world.workspace)
    _, before = gather_results([student])
    assert before.images
    cases = [path.name.removesuffix(".nii.gz") for path in sorted((world.dataset / "labelsTr").iterdir())]
    for part in ("imagesTr", "labelsTr"):
        (world.dataset / part).rename(tmp_path / part)
    description = json.loads((world.dataset / "dataset.json").read_text())
    description["dataset"] = {
        case: {
            "images": [str(tmp_path / "imagesTr" / f"{case}_{channel:04d}.nii.gz") for channel in range(4)],
            "label": str(tmp_path / "labelsTr" / f"{case}.nii.gz"),
        }
        for case in cases
    }
    (world.dataset / "dataset.json").write_text(json.dumps(description))
    _, after = gather_results([student])
    moved = {c: {name: tmp_path / "imagesTr" / path.name for name, path in f.items()} for c, f in before.images.items()}
    assert after.images == moved


def test_validation_cases_of_another_split_are_refused(world, student):
    """A network may have been trained on the further ones."""
    use_workspace(world.workspace)
    place = student / "fold_0" / "validation"
    [case, *_] = sorted(place.glob("*.nii.gz"))
    shutil.copy(case, place / "Phantom_0099.nii.gz")

    with pytest.raises(UserError, match="cases that fold 0 does not validate on, such as Phantom_0099: they are of an"):
        gather_results([student])


def test_a_student_that_differs_in_the_seed_alone_repeats_another(world, student):
    use_workspace(world.workspace)
    again = student.with_name(student.name.replace("__student__", "__again__"))
    shutil.copytree(student, again)
    plans = json.loads((again / "plans.json").read_text())
    plans["plans_name"] = "again"
    plans["nndistill"]["recipe"]["seed"] += 1
    (again / "plans.json").write_text(json.dumps(plans))

    models, _ = gather_results([student, again])

    assert [(model.name, model.repeats) for model in models] == [("student", None), ("again", "student")]


@pytest.fixture
def measured(world, monkeypatch) -> list[Path]:
    """The folders of predictions that are measured while the test runs."""
    use_workspace(world.workspace)
    folders: list[Path] = []

    def evaluate(predictions: Path, *arguments, **options):
        folders.append(predictions)
        return evaluate_folder(predictions, *arguments, **options)

    monkeypatch.setattr(kept_metrics, "evaluate_folder", evaluate)
    return folders


def test_metrics_are_measured_again_only_with_other_settings(student, measured):
    first = gather_results([student])[0][0].metrics
    again = gather_results([student])[0][0].metrics
    assert len(measured) == 1
    pd.testing.assert_frame_equal(first, again, check_dtype=False)
    gather_results([student], measured=EvaluationSettings(tolerance=2.0))
    assert len(measured) == 2
    gather_results([student], measured=EvaluationSettings(tolerance=2.0, jobs=2))
    assert len(measured) == 2


def test_metrics_are_measured_again_by_another_protocol(student, measured):
    gather_results([student])
    models, cases = gather_results([student], measured=EvaluationSettings(protocol="nnunet"))
    assert len(measured) == 2
    assert models[0].metrics["hd95_mm"].isna().all()
    assert "nnU-Net's summary" in cases.measured
    kept = student / "fold_0" / "validation" / "validation_metrics.summary.json"
    assert json.loads(kept.read_text())["protocol"] == "nnunet"
    gather_results([student], measured=EvaluationSettings(protocol="nnunet"))
    assert len(measured) == 2


def test_patients_come_from_the_data_set_s_report_or_a_table(world, student):
    use_workspace(world.workspace)
    cases = sorted({path.name.removesuffix(".nii.gz") for path in (world.dataset / "labelsTr").iterdir()})
    (world.dataset / "report.json").write_text(json.dumps({"cases": {case: {"patient": "p1"} for case in cases}}))
    metrics = gather_results([student])[0][0].metrics
    assert (metrics["patient"] == "p1").all()
    metrics = gather_results([student], patients=dict.fromkeys(cases, "p2"))[0][0].metrics
    assert (metrics["patient"] == "p2").all()
    with pytest.raises(UserError, match="the table of patients lacks"):
        gather_results([student], patients={"other": "p1"})


def test_a_newer_time_alone_does_not_measure_again_but_other_content_with_an_old_time_does(world, student, measured):
    gather_results([student])
    kept = student / "fold_0" / "validation" / "validation_metrics.csv"
    prediction = next(kept.parent.glob("*.nii.gz"))
    reference = world.preprocessed / "gt_segmentations" / prediction.name
    for file in (prediction, reference):
        os.utime(file, (kept.stat().st_mtime + 10,) * 2)
        gather_results([student])
    assert len(measured) == 1

    case = prediction.name.removesuffix(".nii.gz")
    for number, file in enumerate((prediction, reference), start=2):
        image = nib.load(file)
        nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), file)
        os.utime(file, (kept.stat().st_mtime - 1000,) * 2)
        metrics = gather_results([student])[0][0].metrics.set_index("case").loc[[case]]
        assert len(measured) == number
        column = "predicted_voxels" if file == prediction else "reference_voxels"
        assert (metrics[column] == 0).all()


def test_metrics_that_were_kept_without_digests_are_measured_again(student, measured):
    gather_results([student])
    summary = student / "fold_0" / "validation" / "validation_metrics.summary.json"
    content = json.loads(summary.read_text())
    digests = content.pop("digests")
    summary.write_text(json.dumps(content))
    gather_results([student])
    assert len(measured) == 2
    assert json.loads(summary.read_text())["digests"] == digests


def test_metrics_of_nndistill_evaluate_are_taken_over(world, student, predictions, nndistill, measured):
    right, labels = predictions[0], world.dataset / "labelsTs"
    dataset_json = student / "dataset.json"
    result = nndistill(
        "evaluate", right, labels, "--out", right / "metrics.csv", "--dataset-json", dataset_json, "--jobs", 1
    )
    assert result.status == 0, result.err
    gather_results([student], predictions=[right], references=labels)
    assert measured == []


def test_history_tells_how_a_run_was_made(world, student):
    history = read_history(student, "0")
    assert history.method == "dcd"
    pyramid = {"wavelet": "db4", "level": 3, "bands": "D", "mode": "symmetric"}
    others = {"domain": "spatial", "train_phi": True, "loss_every": 1, "kernels": "torch", "match": "encoder"}
    assert history.options == {**pyramid, **others}
    assert len(history.log) == 2
    assert (history.log["distillation_loss"] > 0).all()
    assert history.facts["Channels"] == "8, 8, 8"
    assert history.facts["Teacher's channels"] == "8, 16, 32"
    assert history.facts["Device"] == "cpu"
    assert history.facts["μ"].startswith("0.05")
    assert str(world.workspace) not in str(history.facts)


def test_stock_model_has_a_history_too(world):
    for file in (world.teacher / "plans.json", world.preprocessed / "nnUNetResEncUNetPlans_teacher.json"):
        plans = json.loads(file.read_text())
        plans.pop("nndistill")
        file.write_text(json.dumps(plans))
    (world.teacher / "fold_0" / "debug.json").unlink()
    history = read_history(world.teacher, "0")
    assert history.method is None
    assert history.options == {}
    assert "nnDistill" not in history.facts
    assert history.log["segmentation_loss"].notna().all()


def test_regions_are_drawn_by_the_value_that_nnunet_writes():
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ET": [3]}
    dataset = {"labels": regions, "regions_class_order": [1, 2, 3]}
    assert label_names(dataset) == {1: "whole", 2: "core", 3: "ET"}
    assert label_names({"labels": {"background": 0, "a": 1, "ignore": 2}}) == {1: "a"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{teacher}"], "has no validation predictions. Resume its training"),
        (["{student}", "--fold", "3"], "no finished checkpoint for fold 3"),
        (["{workspace}"], "is not a trained nnU-Net"),
        (
            ["{student}", "--names", "a", "b"],
            "the number of names (2) is not the number of models (1)",
        ),
        (["{student}", "--predictions", "{workspace}"], "predictions were given without references"),
        (["{student}", "--labels", "{workspace}"], "references were given without predictions"),
        (
            ["{student}", "--predictions", "a", "b", "--labels", "{workspace}"],
            "the number of folders of predictions (2) is not the number of models (1)",
        ),
        (["{student}", "--names", "a", "b"], "See the option --names."),
        (["{student}", "--predictions", "{workspace}"], "See the option --labels."),
        (["{student}", "{student}"], "two models are named"),
        (["{student}", "--baseline", "DCC"], "Did you mean 'DCD'?"),
        (["{student}", "--benchmark", "nowhere.json"], "nowhere.json is missing"),
        (["{student}", "--channel", "T9"], "no channel 'T9'"),
        (["{student}", "--protocol", "labratory"], "Did you mean 'laboratory'?"),
        (["{student}", "--protocol", "nnunet", "--tolerance", "2"], "the protocol nnunet fixes"),
        (["{student}", "--patients", "nowhere.csv"], "nowhere.csv is missing"),
    ],
)
def test_a_mistake_is_explained_in_a_sentence(world, student, nndistill, tmp_path, arguments, sentence):
    places = {"teacher": world.teacher, "student": student, "workspace": world.workspace}
    given = [argument.format(**places) for argument in arguments]
    result = nndistill("report", *given, "--out", tmp_path / "out", "--workspace", world.workspace, "--jobs", 1)
    assert result.status == 2
    assert sentence in result.err
    assert "Traceback" not in result.err


def test_incomplete_validation_is_refused(world, student):
    use_workspace(world.workspace)
    next((student / "fold_0" / "validation").glob("*.nii.gz")).unlink()
    with pytest.raises(UserError, match="validation"):
        gather_results([student])


def test_other_labels_cannot_be_in_one_report(world, student):
    use_workspace(world.workspace)
    content = json.loads((world.teacher / "dataset.json").read_text())
    content["labels"] = {"background": 0, "other": 1}
    (world.teacher / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="segments other labels"):
        gather_results([student, world.teacher])
