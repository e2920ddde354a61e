"""A teacher that is given is not missing: nothing trains it."""

from __future__ import annotations

from pathlib import Path

import pytest

from made_studies import made_result, write_study_file
from nndistill.errors import UserError
from nndistill.study import load_study, study_runs
from nndistill.study.status import study_status


def test_a_given_teacher_is_not_missing(nndistill, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "plans.json").write_text("{}")
    places = write_study_file(tmp_path, teachers={"t": {"folder": "model"}})
    given = {run.name for run in study_runs(load_study(places.file), folder=tmp_path) if run.is_given}

    said = nndistill("study", "status", places.file).out

    assert given == {"t_f0"}
    assert "3 runs: 2 missing, 1 given." in said
    assert "given" in next(line for line in said.splitlines() if "t, fold 0" in line)


def test_a_teacher_that_the_study_trains_is_missing(nndistill, tmp_path: Path) -> None:
    places = write_study_file(tmp_path)

    assert "3 runs: 3 missing." in nndistill("study", "status", places.file).out


@pytest.mark.parametrize("tried", [{"weights": [0.1, 1.0]}, {"balances": [0.1, 1.0]}])
def test_no_pilot_chooses_with_a_teacher_that_has_seen_the_cases(tmp_path: Path, tried: dict[str, list[float]]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "plans.json").write_text("{}")
    rows = {"none": {}, "dcd": tried}
    places = write_study_file(tmp_path, teachers={"t": {"folder": "model"}}, methods=rows, pilot={"fold": 0})

    with pytest.raises(UserError, match=r"method dcd has several weights, .* but teacher t is trained already"):
        load_study(places.file)


def test_a_given_teacher_takes_no_time_of_the_study(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "plans.json").write_text("{}")
    places = write_study_file(tmp_path, teachers={"t": {"folder": "model"}}, folds=[0, 1])
    runs = {run.name: run for run in study_runs(load_study(places.file), folder=tmp_path)}

    assert study_status(places, list(runs.values())).remaining is None
    for name in ("t_f0", "none_f0_s0", "dcd_f0_s0"):
        made_result(places, runs[name])
    status = study_status(places, list(runs.values()))

    assert (status.spent, status.remaining) == (2 * 60, 2 * 60)
