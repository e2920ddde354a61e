"""Where weights are chosen: cases that are split off a fold's training cases, and the choice itself."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_studies import made_result, write_study_file
from nndistill.errors import UserError
from nndistill.nnunet.data.stored_folds import stored_folds
from nndistill.study import load_study, study_runs
from nndistill.study.data import prepare_data, split_again
from nndistill.study.definition import Pilot
from nndistill.study.job import carry_out, chosen_weight
from nndistill.study.places import DATA, StudyPlaces
from nndistill.study.results import RunResult, read_results


@given(
    scans=st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(1, 3), min_size=2, max_size=12),
    share=st.floats(0.01, 0.6),
)
def test_the_split_is_a_partition_by_patient(scans: dict[str, int], share: float) -> None:
    patients = {f"{patient}_{scan}": patient for patient, number in scans.items() for scan in range(number)}

    split = split_again(list(patients), Pilot(share=share), patients)

    assert sorted(split["train"] + split["val"]) == sorted(patients)
    assert not {patients[case] for case in split["train"]} & {patients[case] for case in split["val"]}
    assert split["train"]
    assert split["val"]


def test_the_split_does_not_depend_on_the_order() -> None:
    cases = [f"case_{number}" for number in range(9)]

    assert split_again(cases, Pilot(), {}) == split_again(cases[::-1], Pilot(), {})


def test_one_patient_cannot_be_split() -> None:
    with pytest.raises(UserError, match="too few to split"):
        split_again(["a", "b"], Pilot(), {"a": "p", "b": "p"})


def results_with(tmp_path: Path, dice: dict[tuple[float, int], float]) -> list[RunResult]:
    places = write_study_file(
        tmp_path, methods={"none": {}, "dcd": {"weights": [0.1, 1.0, 10.0]}}, pilot={"seeds": [0, 1]}
    )
    runs = [run for run in study_runs(load_study(places.file), folder=tmp_path) if run.weight is not None]
    for run in runs:
        assert run.weight is not None
        made_result(places, run, dice=dice[run.weight, run.seed])
    return list(read_results([places.results], runs).values())


def test_the_best_mean_over_seeds_is_chosen(tmp_path: Path) -> None:
    dice = {(0.1, 0): 0.6, (0.1, 1): 0.6, (1.0, 0): 0.9, (1.0, 1): 0.2, (10.0, 0): 0.7, (10.0, 1): 0.6}

    assert chosen_weight(results_with(tmp_path, dice), "dice") == 10.0


def test_the_smaller_of_two_equal_weights_is_chosen(tmp_path: Path) -> None:
    dice = dict.fromkeys(((weight, seed) for weight in (0.1, 1.0, 10.0) for seed in (0, 1)), 0.5)

    assert chosen_weight(results_with(tmp_path, dice), "dice") == 0.1


def test_no_weight_is_chosen_by_a_metric_that_a_run_lacks(tmp_path: Path) -> None:
    dice = dict.fromkeys(((weight, seed) for weight in (0.1, 1.0, 10.0) for seed in (0, 1)), 0.5)
    dice[0.1, 1] = float("nan")

    with pytest.raises(UserError, match=r"no weight can be chosen: dcd_pilot_w0\.1_s1, which tries one, has no dice"):
        chosen_weight(results_with(tmp_path, dice), "dice")


def test_a_metric_that_the_protocol_does_not_measure_is_refused(tmp_path: Path) -> None:
    places = write_study_file(tmp_path, pilot={"metric": "nsd"}, protocol="nnunet")

    with pytest.raises(UserError, match="the pilot chooses by nsd, which the protocol nnunet does not measure"):
        load_study(places.file)


def test_another_metric_of_the_pilot_is_another_setup_of_what_it_chooses_for(tmp_path: Path) -> None:
    def digests(metric: str) -> dict[str, str]:
        methods = {"none": {}, "dcd": {"weights": [0.1, 1.0]}}
        file = write_study_file(tmp_path, methods=methods, pilot={"metric": metric}).file
        return {run.name: run.digest for run in study_runs(load_study(file), folder=tmp_path)}

    by_dice, by_nsd = digests("dice"), digests("nsd")

    assert {name for name in by_dice if by_dice[name] != by_nsd[name]} == {"dcd_f0_s0"}


def test_a_pilot_is_in_no_table(tmp_path: Path) -> None:
    from nndistill.study import write_study_report

    places = write_study_file(tmp_path, methods={"none": {}, "dcd": {"weights": [0.1, 1.0]}}, pilot={})
    study = load_study(places.file)
    for run in study_runs(study, folder=tmp_path):
        made_result(places, run, dice=0.1 if run.is_pilot else 0.8, weight=0.1)

    overall = pd.DataFrame(write_study_report(study, places).tables["overall"].records)

    assert overall["Dice"].tolist() == pytest.approx([0.8, 0.8, 0.8])


def test_the_row_of_a_table_says_what_was_chosen(tmp_path: Path) -> None:
    from nndistill.study import write_study_report

    grids = {"none": {}, "dcd": {"weights": [0.1, 1.0]}, "feature": {"balances": [0.2, 1.0]}}
    places = write_study_file(tmp_path, methods=grids, pilot={}, seeds=[0])
    study = load_study(places.file)
    for run in study_runs(study, folder=tmp_path):
        made_result(places, run, dice=0.8, weight={"dcd": 1.0, "feature": 0.2}.get(str(run.method)))

    overall = pd.DataFrame(write_study_report(study, places).tables["overall"].records)

    assert overall["Chosen"].tolist() == ["–", "–", "μ = 1", "share 0.2"]


def test_no_weight_is_chosen_before_all_are_tried(tmp_path: Path) -> None:
    places = write_study_file(tmp_path, methods={"none": {}, "dcd": {"weights": [0.1, 1.0]}}, pilot={})
    study = load_study(places.file)
    for run in study_runs(study, folder=tmp_path):
        if run.name not in {"dcd_pilot_w1_s0", "dcd_f0_s0"}:
            made_result(places, run, weight=run.weight)

    with pytest.raises(UserError, match=r"dcd_f0_s0 needs the results of dcd_pilot_w1_s0, which .*results lacks"):
        carry_out(study, places, "dcd_f0_s0")


def test_the_split_of_the_pilot_is_no_fold_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of_five_folds(tmp_path, monkeypatch)
    places = write_study_file(tmp_path, folds=[5], pilot={})

    for _ in range(2):  # the second time, the split is stored already
        with pytest.raises(UserError, match="Dataset004_Hippocampus has 5 folds, from 0 on; the study names fold 5"):
            prepare_data(load_study(places.file), folder=tmp_path)

    assert len(stored_folds(data) or []) == 6
    places = write_study_file(tmp_path, folds=[4], pilot={})
    assert prepare_data(load_study(places.file), folder=tmp_path) == data / "plans.json"


def test_another_phantom_is_not_trained_on_the_images_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr("nndistill.study.data.generate_phantom", lambda *_, **phantom: made.append(phantom["seed"]))
    data_of_five_folds(tmp_path, monkeypatch, name="Dataset900_Phantom")

    def prepare(**phantom: int) -> None:
        places = write_study_file(tmp_path, dataset=None, phantom={"cases": 10, **phantom})
        prepare_data(load_study(places.file), folder=tmp_path)

    prepare()
    prepare(test_cases=4)  # these are not preprocessed
    with pytest.raises(UserError, match=r"images of another phantom \(cases 10, now 12; seed 0, now 1\)\. Delete this"):
        prepare(cases=12, seed=1)
    assert made == [0, 0], "the raw images of the first are not replaced either"


def test_a_fold_that_validates_on_patients_of_its_training_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_of_five_folds(tmp_path, monkeypatch)
    rows = "".join(f"c{case},p{case % 9}\n" for case in range(10))  # c0 and c9 are of one patient
    (tmp_path / "patients.csv").write_text(f"case,patient\n{rows}")
    keys: dict[str, Any] = {"patients": "patients.csv"}

    prepare_data(load_study(write_study_file(tmp_path, folds=[2], **keys).file), folder=tmp_path)
    study = load_study(write_study_file(tmp_path, folds=[2, 1], **keys).file)
    with pytest.raises(UserError, match="fold 1 of Dataset004_Hippocampus trains and validates on cases of one"):
        prepare_data(study, folder=tmp_path)
    prepare_data(load_study(write_study_file(tmp_path, folds=[1], test="raw", **keys).file), folder=tmp_path)


@pytest.mark.parametrize("patients", [5, 4])
def test_folds_that_are_not_there_are_made_by_patient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patients: int
) -> None:
    data = data_of_five_folds(tmp_path, monkeypatch)
    (data / "splits_final.json").unlink()
    monkeypatch.setattr(
        "nndistill.study.data.raw_cases", lambda _: [SimpleNamespace(name=f"c{case}") for case in range(10)]
    )
    rows = "".join(f"c{case},p{case % patients}\n" for case in range(10))
    (tmp_path / "patients.csv").write_text(f"case,patient\n{rows}")
    study = load_study(write_study_file(tmp_path, patients="patients.csv").file)

    refused = pytest.raises(UserError, match="the 10 training cases are of 4 patients, too few for five folds")
    with nullcontext() if patients == 5 else refused:
        prepare_data(study, folder=tmp_path)
        held_out = [fold["val"] for fold in stored_folds(data) or []]
        assert sorted(held_out) == [[f"c{case}", f"c{case + 5}"] for case in range(5)]


@pytest.mark.parametrize(
    ("keys", "lacks"),
    [
        ({"folds": [0, 2]}, ""),
        ({"folds": [0, 1]}, "c9"),
        ({"folds": [0, 1], "test": "raw"}, "t1"),
        ({"folds": [0], "test": "raw", "pilot": {"fold": 0, "share": 0.9}}, "c9, t1"),
    ],
)
def test_patients_of_all_measured_cases_are_known_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], lacks: str
) -> None:
    data = data_of_five_folds(tmp_path, monkeypatch)
    (data / "dataset.json").write_text('{"file_ending": ".nii.gz"}')
    (tmp_path / "nnUNet_raw" / data.name / "labelsTs").mkdir()
    (tmp_path / "nnUNet_raw" / data.name / "labelsTs" / "t1.nii.gz").touch()
    for step in ("refuse_untaught_cases", "refuse_impossible_students"):
        monkeypatch.setattr(f"nndistill.study.job.{step}", lambda *_, **__: None)
    rows = "".join(f"c{case},p{case}\n" for case in range(10) if case != 9)
    (tmp_path / "patients.csv").write_text(f"case,patient\n{rows}")
    study = load_study(write_study_file(tmp_path, patients="patients.csv", **keys).file)

    with pytest.raises(UserError, match=f"patients.csv: .* of the cases: {lacks}.") if lacks else nullcontext():
        carry_out(study, StudyPlaces(tmp_path / "study.yaml"), DATA)


def data_of_five_folds(folder: Path, monkeypatch: pytest.MonkeyPatch, *, name: str = "Dataset004_Hippocampus") -> Path:
    """A preprocessed data set of ten cases, of which fold 0 validates c0 and c5, and fold 1 the cases c1 and c9."""
    pairs = [("c0", "c5"), ("c1", "c9"), ("c2", "c6"), ("c3", "c7"), ("c4", "c8")]
    cases = [case for pair in pairs for case in pair]
    for place in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(place, str(folder / place))
    (folder / "nnUNet_raw" / name).mkdir(parents=True)
    data = folder / "nnUNet_preprocessed" / name
    data.mkdir(parents=True)
    folds = [{"train": [case for case in cases if case not in pair], "val": list(pair)} for pair in pairs]
    (data / "splits_final.json").write_text(json.dumps(folds))
    monkeypatch.setattr("nndistill.study.data.plan_and_preprocess", lambda *_, **__: data / "plans.json")
    return data
