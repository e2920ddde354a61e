"""What Snakemake is given, and in which order a study is refused, changed and started."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from made_studies import made_study, write_study_file
from nndistill.errors import UserError
from nndistill.study import load_study, study_runs, workflow
from nndistill.study.places import StudyPlaces

needs_snakemake = pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake 9 needs Python 3.11")
PHANTOM = {"dataset": None, "phantom": {"cases": 5}}


def changed_study(folder: Path, **keys: Any) -> StudyPlaces:
    """A study all of whose results are of another setup."""
    made_study(folder, **keys)
    return write_study_file(folder, changes={"epochs": 3}, **keys)


def replaced(places: StudyPlaces, **options: Any) -> workflow.Outcome:
    return workflow.run_study(load_study(places.file), places, replace=True, **options)


@needs_snakemake
def test_replaced_results_stay_if_the_data_are_missing(tmp_path: Path) -> None:
    places = changed_study(tmp_path)

    with pytest.raises(UserError, match="no data set 4"):
        replaced(places, workspace=tmp_path / "empty")

    assert len(list(places.results.iterdir())) == 3


def test_replaced_results_stay_if_snakemake_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = changed_study(tmp_path, **PHANTOM)
    monkeypatch.setattr(workflow, "find_spec", lambda name: None)

    with pytest.raises(UserError, match="needs Snakemake"):
        replaced(places, workspace=tmp_path)

    assert len(list(places.results.iterdir())) == 3


@needs_snakemake
def test_replaced_results_stay_while_another_process_has_the_study(tmp_path: Path) -> None:
    places = changed_study(tmp_path, **PHANTOM)
    places.work.mkdir()

    with FileLock(places.work / "study.lock"), pytest.raises(UserError, match="carried out by another process"):
        replaced(places, workspace=tmp_path)

    assert len(list(places.results.iterdir())) == 3


@needs_snakemake
def test_replaced_results_are_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = changed_study(tmp_path, **PHANTOM)
    monkeypatch.setattr(workflow, "_run", lambda *_: False)

    assert len(replaced(places, workspace=tmp_path).left) == 3

    assert not list(places.results.iterdir())
    assert len(list(places.replaced.iterdir())) == 3


@pytest.mark.parametrize(
    "keys",
    [
        {"methods": {"none": {}, "a.b": {"method": "dcd"}, "a-b": {"method": "dcd"}}},
        {"methods": {"none": {}, "dcd": {}, "dcd x": {"method": "dcd"}}, "students": {"x y": {}, "y": {}}},
        {"methods": {"none": {}, "dcd": {"weights": [1.0e-7, 1.0e7]}}, "pilot": {}},
    ],
)
def test_rules_have_names_of_their_own(tmp_path: Path, keys: dict[str, Any]) -> None:
    places = write_study_file(tmp_path, **keys)
    study = load_study(places.file)
    runs = study_runs(study, folder=tmp_path)

    jobs = workflow.jobs_of(study, places, runs, command=["nndistill"])["runs"]

    rules = {f"run_{job['rule']}" for job in jobs.values()}
    assert len(rules) == len(runs)
    assert all(rule.isidentifier() for rule in rules)


def test_a_workflow_that_cannot_be_recorded_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def interrupted(number: int) -> dict[str, Any]:
        started.append(psutil.Process(number))
        raise KeyboardInterrupt

    places = write_study_file(tmp_path)
    monkeypatch.setattr(workflow, "this_process", interrupted)

    with pytest.raises(KeyboardInterrupt):
        workflow._run([sys.executable, "-c", "import time; time.sleep(30)"], places, None, lambda: None)

    assert not started[0].is_running()
