"""A study carried out through Snakemake, on a tiny trained teacher: results, failures, time limits, kills."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from nndistill.files import write_json
from nndistill.study import load_study, workflow
from nndistill.study.init import write_study
from nndistill.study.places import StudyPlaces
from nndistill.study.runs import study_runs
from processes import kill_with_children, wait_until
from small_studies import metrics_of, run_study
from trained_world import World

needs_snakemake = pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake 9 needs Python 3.11")


def started(file: Path, world: World) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A `nndistill study run` and the workflow that it has started."""
    process, state = run_study(file, world), StudyPlaces(file).workflow
    assert wait_until(state.is_file, process)
    return process, psutil.Process(json.loads(state.read_text())["pid"])


@needs_snakemake
def test_a_study_from_its_file_to_its_report(world: World, study_file: Path) -> None:
    out, err = (process := run_study(study_file, world, "--json")).communicate(timeout=600)

    assert process.returncode == 0, err
    said = json.loads(out)
    assert {each["state"] for each in said["runs"]} == {"done"}
    assert Path(said["report"]).is_file()
    assert set(metrics_of(study_file)) == {"teacher_f0", "none_f0_s0", "dcd_f0_s0"}
    result = (study_file.parent / "results" / "dcd_f0_s0" / "run.json").read_text()
    assert str(study_file.parent) not in result
    facts = json.loads(result)
    assert facts["machine"]["versions"]["torch"]
    assert facts["history"]["Method"].startswith("dcd")
    size = sum(path.stat().st_size for path in study_file.parent.glob("results/dcd_f0_s0/*"))
    assert size < 1_000_000


@needs_snakemake
def test_one_run_is_carried_out_at_a_time(tmp_path: Path, monkeypatch) -> None:
    """Snakemake 9.10 to 9.16 starts one more after every job that was alone (its issue 3913)."""
    places, times = StudyPlaces(tmp_path / "study.yaml"), tmp_path / "times.txt"
    write_study("phantom", places.file)
    job = tmp_path / "job.py"
    job.write_text(
        "import sys, time\n"
        f"times = open({str(times)!r}, 'a', buffering=1)\n"
        "times.write('1\\n'); time.sleep(0.2); times.write('-1\\n')\n"
    )
    monkeypatch.setattr("nndistill.study.workflow._job_command", lambda *_: [sys.executable, str(job)])
    monkeypatch.setattr("nndistill.study.workflow.is_done", lambda *_: False)

    workflow.run_study(load_study(places.file), places, workspace=tmp_path, jobs=1)

    changes = [int(line) for line in times.read_text().split()]
    assert len(changes) == 2 * (1 + 7), "the data, a teacher and six students"
    assert max(accumulate(changes)) == 1


@needs_snakemake
def test_a_result_that_arrives_from_elsewhere_meanwhile_is_kept(tmp_path: Path, monkeypatch) -> None:
    """Snakemake deletes the outputs of a job before it starts, and if it fails."""
    places = StudyPlaces(tmp_path / "study.yaml")
    write_study("phantom", places.file)
    *_, last = study_runs(load_study(places.file), folder=tmp_path)
    copied = places.results / last.name / "run.json"
    job = tmp_path / "job.py"
    job.write_text(
        "import sys\nfrom pathlib import Path\n"
        f"copied = Path({str(copied)!r})\n"
        "if sys.argv[1] == 'data': copied.parent.mkdir(parents=True); copied.write_text('{}')\n"
        f"sys.exit(sys.argv[1] == {last.name!r})\n"
    )
    monkeypatch.setattr("nndistill.study.workflow._job_command", lambda *_: [sys.executable, str(job)])

    workflow.run_study(load_study(places.file), places, workspace=tmp_path, jobs=1)

    assert copied.read_text() == "{}"


@needs_snakemake
@pytest.mark.slow
def test_a_study_that_is_killed_ends_with_the_same_numbers(world: World, study_file: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole" / "study.yaml"
    whole.parent.mkdir()
    whole.write_text(study_file.read_text())
    assert run_study(whole, world).wait(1200) == 0
    for folder in world.results.glob("nnUNetTrainerDistill__study_*"):
        folder.rename(tmp_path / folder.name)  # so that the other study trains, too

    for when in ("nnUNetTrainerDistill__study_none*/fold_0/training_log*", "*/fold_0/checkpoint_latest.pth"):
        process = run_study(study_file, world)
        assert wait_until(lambda when=when: any(world.results.glob(when)), process)
        kill_with_children(process)
    process = run_study(study_file, world)
    assert wait_until((study_file.parent / "results" / "none_f0_s0" / "run.json").is_file, process)
    kill_with_children(process)
    assert run_study(study_file, world).wait(1200) == 0

    for name, frame in metrics_of(whole).items():
        pd.testing.assert_frame_equal(metrics_of(study_file)[name], frame, check_exact=True)


@needs_snakemake
@pytest.mark.slow
def test_a_run_that_fails_does_not_stop_the_others(world: World, study_file: Path) -> None:
    content = yaml.safe_load(study_file.read_text())
    content["methods"] = {"none": {}, "dcd": {"options": {"wavelet": "db4", "level": 1}, "changes": {}}}
    content["students"] = {"good": {"reduction": 4}, "bad": {"reduction": 2}}
    study_file.write_text(yaml.safe_dump(content, sort_keys=False))
    for run in study_runs(load_study(study_file), folder=study_file.parent):
        if run.student == "bad":  # another program's plans have the name of its training
            write_json(world.preprocessed / f"study_{run.name}_{run.training_digest[:8]}.json", {"plans_name": "other"})

    out, err = (process := run_study(study_file, world)).communicate(timeout=600)

    assert process.returncode == 2
    assert "none_good_f0_s0" in metrics_of(study_file)
    assert "none_bad_f0_s0: " in err
    assert "holds nnU-Net's own plans" in " ".join(err.split())
    assert "dcd_bad_f0_s0: " in err
    assert "runs have no result" in err
    assert "Next:" in out


@needs_snakemake
@pytest.mark.slow
def test_a_study_stops_when_its_time_is_up_and_continues(world: World, study_file: Path) -> None:
    out, err = (process := run_study(study_file, world, "--stop-after", "5s")).communicate(timeout=120)

    assert process.returncode == 0, err
    assert "stopped as asked" in out
    assert run_study(study_file, world).wait(1200) == 0


@needs_snakemake
@pytest.mark.slow
def test_a_study_that_is_terminated_stops_its_workflow(world: World, study_file: Path) -> None:
    process, workflow = started(study_file, world)
    process.terminate()

    _, err = process.communicate(timeout=120)

    assert process.returncode == 130
    assert "stopped" in err
    assert not workflow.is_running()
    assert not StudyPlaces(study_file).workflow.exists()


@needs_snakemake
@pytest.mark.slow
def test_a_workflow_that_outlives_its_command_is_not_started_twice(world: World, study_file: Path) -> None:
    process, workflow = started(study_file, world)
    process.kill()
    process.wait()

    _, err = (process := run_study(study_file, world)).communicate(timeout=120)

    assert process.returncode == 2
    assert f"process {workflow.pid}" in " ".join(err.split())
    for child in [workflow, *workflow.children(recursive=True)]:
        child.kill()
    psutil.wait_procs([workflow], timeout=30)
    assert run_study(study_file, world).wait(1200) == 0


def test_a_time_that_is_none(nndistill, study_file: Path) -> None:
    assert "is no time; write it as 2h" in nndistill("study", "run", study_file, "--stop-after", "soon").err


@needs_snakemake
def test_an_executor_that_is_not_installed(nndistill, study_file: Path) -> None:
    finished = nndistill("study", "run", study_file, "--executor", "kubernetes")

    assert finished.status == 2
    assert "pip install snakemake-executor-plugin-kubernetes" in finished.err


def test_snakemake_that_is_not_installed(nndistill, study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nndistill.study.workflow.find_spec", lambda name: None)

    finished = nndistill("study", "run", study_file)

    assert finished.status == 2
    assert "pip install '.[study]'" in finished.err
