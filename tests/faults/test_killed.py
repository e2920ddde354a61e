"""SIGKILL at random moments: of a training, of one of several processes that train together, and of a study."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import psutil
import pytest

from nndistill.nnunet.models.checkpoints import read_checkpoint
from processes import kill_with_children, wait_until
from small_studies import metrics_of, run_study
from started_trainings import StartedTraining
from trained_world import World

pytestmark = pytest.mark.slow

KILLS, RANK_KILLS, STUDY_KILLS = 20, 5, 5


def logs(training: StartedTraining) -> int:
    return len(list(training.folder.glob("training_log_*.txt")))


def test_a_training_that_is_killed_again_and_again(world: World) -> None:
    """It goes on from the last epoch, which is lost in part at most once per kill."""
    training, moments = StartedTraining(world, "killed", epochs=3 * KILLS), random.Random(1)
    done = killed = 0
    for attempt in range(KILLS):
        process, before = training.start(), logs(training)
        wait_until(lambda before=before: logs(training) > before, process)
        time.sleep(moments.uniform(0, 4))
        if process.poll() is not None:  # it was faster
            assert process.returncode == 0, (attempt, process.communicate()[1])
            break
        kill_with_children(process)
        killed += 1
        training.every_checkpoint_is_whole()
        epoch = read_checkpoint(training.latest)["current_epoch"] if training.latest.is_file() else 0
        assert epoch >= done
        done = epoch
    training.finish()
    assert training.trained_epochs <= training.epochs + killed
    assert not list(training.folder.glob("*.damaged"))


def test_one_of_two_processes_that_is_killed_ends_the_other_with_a_sentence(world: World) -> None:
    training, moments = StartedTraining(world, "rank_killed", epochs=40), random.Random(2)
    for _ in range(RANK_KILLS):
        process, before = training.start(processes=2), logs(training)
        assert wait_until(lambda before=before: logs(training) > before, process)
        time.sleep(moments.uniform(0, 3))
        ranks = [child for child in psutil.Process(process.pid).children() if "nndistill" in child.cmdline()]
        if not ranks:
            break
        moments.choice(ranks).kill()
        said = " ".join(process.communicate(timeout=120)[1].split())
        assert process.returncode != 0
        assert "Signal 9" in said
        assert "this is a bug" not in said
        training.every_checkpoint_is_whole()
    training.finish()  # as one process
    assert training.trained_epochs <= training.epochs + RANK_KILLS


def times_of(results: Path) -> dict[str, int]:
    """When each result was written."""
    return {file.parent.name: file.stat().st_mtime_ns for file in results.glob("*/run.json")}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake 9 needs Python 3.11")
def test_a_study_that_is_killed_redoes_no_finished_run(world: World, study_file) -> None:
    moments, results = random.Random(3), study_file.parent / "results"
    finished: dict[str, int] = {}
    for _ in range(STUDY_KILLS):
        process = run_study(study_file, world)
        wait_until(lambda: any(study_file.parent.glob("work/states/*_s0.json")), process)
        time.sleep(moments.uniform(0, 10))
        kill_with_children(process)
        assert times_of(results).items() >= finished.items()
        finished = times_of(results)
    assert run_study(study_file, world).wait(1200) == 0
    assert {
        file.parent.name: file.stat().st_mtime_ns for file in results.glob("*/run.json")
    }.items() >= finished.items()
    assert set(metrics_of(study_file)) == {"teacher_f0", "none_f0_s0", "dcd_f0_s0"}
