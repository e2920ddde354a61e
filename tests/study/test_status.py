"""What is said of jobs that ended without a result, and of those that end while they are asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from made_studies import made_result, write_study_file
from nndistill.files import read_json, write_json
from nndistill.study import StudyRun, load_study, status, study_runs
from nndistill.study.places import StudyPlaces
from nndistill.study.status import failures, study_status, this_process


@pytest.fixture
def places(tmp_path: Path) -> StudyPlaces:
    return write_study_file(tmp_path)


@pytest.fixture
def runs(places: StudyPlaces) -> list[StudyRun]:
    return study_runs(load_study(places.file), folder=places.folder)


def killed_process() -> dict[str, Any]:
    """What a job said that was killed since."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    said = this_process(process.pid)
    process.kill()
    process.wait()
    return said


def test_a_job_that_was_killed_is_named_with_what_it_printed(places: StudyPlaces, runs: list[StudyRun]) -> None:
    write_json(places.state("teacher_f0"), {"state": "running", **killed_process()})
    places.log("teacher_f0").parent.mkdir()
    places.log("teacher_f0").write_text("epoch 1/5\nepoch 2/5\n")

    [found] = failures(places, runs)

    assert found.name == "teacher_f0"
    assert found.why.startswith("was killed, perhaps for lack of memory or at a time limit")
    assert found.log == ["epoch 1/5", "epoch 2/5"]


def test_a_job_that_was_killed_on_another_machine_is_named_with_it(places: StudyPlaces, runs: list[StudyRun]) -> None:
    write_json(places.state("data"), {"state": "running", "pid": 1, "began": 0.0, "host": "node7.cluster"})

    [found] = failures(places, runs)

    assert found.name == "data"
    assert found.why.endswith("or still runs on node7.cluster")


def test_a_job_that_still_runs_has_not_failed(places: StudyPlaces, runs: list[StudyRun]) -> None:
    write_json(places.state("teacher_f0"), {"state": "running", **this_process()})
    write_json(places.state("none_f0_s0"), {"state": "failed", "why": "no data", **this_process()})

    assert [(each.name, each.why) for each in failures(places, runs)] == [("none_f0_s0", "no data")]


def test_a_job_may_end_while_it_is_asked(
    places: StudyPlaces, runs: list[StudyRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(file: Path) -> dict[str, Any]:
        made_result(places, runs[0])
        file.unlink()
        return read_json(file)

    write_json(places.state("teacher_f0"), {"state": "running", **this_process()})
    monkeypatch.setattr(status, "read_json", ended)

    assert study_status(places, runs).runs[0].state == "done"
