"""What is shown while a study runs: a line for every change, with the titles of the dry run."""

from __future__ import annotations

from pathlib import Path

import pytest

from made_studies import made_result, write_study_file
from nndistill.cli.commands.study import _show_resources
from nndistill.cli.study_watch import StudyWatch
from nndistill.files import write_json
from nndistill.study import load_study, study_runs
from nndistill.study.definition import Resources


def test_lines_of_a_study(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    places = write_study_file(tmp_path, folds=[2])
    teacher, none, dcd = study_runs(load_study(places.file), folder=tmp_path)
    made_result(places, none)

    def said() -> list[str]:
        return [line for line in capfd.readouterr().err.splitlines() if ":" in line or "runs" in line]

    with StudyWatch(places, [teacher, none, dcd]) as watch:
        assert said() == [], "nothing runs yet, and the study may be refused"
        watch()
        assert said() == ["1 of 3 runs are done; starting"]
        write_json(places.state("data"), {"state": "running"})
        watch()
        watch()
        assert said() == ["data: running"]
        places.state("data").unlink()
        write_json(places.state(teacher.name), {"state": "running"})
        watch()
        assert said() == ["teacher, fold 2: running"]
        made_result(places, teacher)
        places.state(teacher.name).unlink()
        write_json(places.state(dcd.name), {"state": "failed"})
        watch()
        assert said() == ["dcd, student, fold 2, seed 0: failed", "teacher, fold 2: done"]
        made_result(places, dcd)


def test_text_of_the_bar(tmp_path: Path) -> None:
    places = write_study_file(tmp_path)
    runs = study_runs(load_study(places.file), folder=tmp_path)

    with StudyWatch(places, runs) as watch:
        [task] = watch._bar.tasks

        def shown() -> tuple[str, float]:
            watch()
            return task.description, task.completed

        assert shown() == ("starting", 0)
        write_json(places.state(runs[0].name), {"state": "running"})
        write_json(places.state(runs[1].name), {"state": "running"})
        assert shown() == (f"{runs[1].title} and 1 more", 0)
        for run in runs[:2]:
            places.state(run.name).unlink()
            made_result(places, run)
        assert shown() == ("waiting for the next run", 2)
        made_result(places, runs[2])
    assert (task.description, task.completed, task.total) == ("all done", 3, 3)


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (Resources(cpus=1, hours=1, memory_gb=4), "1 core, 4 GB and 1 hour."),
        (Resources(cpus=2, hours=1.5, gpus=1), "2 cores, 1 GPU, 8 GB and 1.5 hours."),
        (Resources(cpus=2, gpus=2), "2 cores, 2 GPUs, 8 GB and 24 hours."),
    ],
)
def test_resources_have_their_plurals(resources: Resources, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    _show_resources(resources)
    assert capsys.readouterr().out == f"Each training may use {said}\n"
