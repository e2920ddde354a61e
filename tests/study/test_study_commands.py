"""What `nndistill study` shows of studies that are done in part."""

from __future__ import annotations

from pathlib import Path

import pytest

from made_studies import made_result, made_study, write_study_file
from nndistill.study import load_study, study_runs, workflow


def test_a_run_after_which_only_students_of_the_pilot_are_done_writes_no_report(
    nndistill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = write_study_file(tmp_path, methods={"none": {}, "dcd": {"weights": [0.1, 1.0]}}, pilot={})
    for run in study_runs(load_study(places.file), folder=tmp_path):
        if run.is_pilot:
            made_result(places, run, weight=run.weight)
    stopped = workflow.Outcome(["dcd_pilot_w1_s0"], ["dcd_f0_s0"], stopped=True)
    monkeypatch.setattr(workflow, "run_study", lambda *_, **__: stopped)

    finished = nndistill("study", "run", places.file)

    assert finished.status == 0, finished.err
    assert "stopped as asked" in finished.out
    assert "Report:" not in finished.out


@pytest.mark.parametrize(("table", "other"), [("overall", "ablations"), ("ablations", "overall")])
def test_a_report_shows_the_table_that_there_is(nndistill, tmp_path: Path, table: str, other: str) -> None:
    _, places, _ = made_study(tmp_path, methods={"none": {"tables": [table]}, "dcd": {"tables": [table]}})

    finished = nndistill("study", "report", places.file)

    assert finished.status == 0, finished.err
    assert "Mean of labels ± SD between seeds" in finished.out
    assert "dcd" in finished.out
    assert {file.stem for file in places.report.glob("tables/*.md")} & {table, other} == {table}


def test_status_has_a_line_for_each_of_several_teachers(nndistill, tmp_path: Path) -> None:
    places = write_study_file(tmp_path, teachers={"large": {}, "small": {"features": [8, 16]}})

    said = nndistill("study", "status", places.file).out

    assert said.count(" missing ") == 6
    assert "dcd, student, of small, fold 0, seed 0" in said
