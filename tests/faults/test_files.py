"""Files that are damaged, missing or cannot be written while a training runs: it goes on, or stops with a sentence."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import kill_with_children, wait_until
from started_trainings import StartedTraining
from trained_world import World

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes, in memory."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("only root may make a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=False)


def mistake(training: StartedTraining, process: subprocess.Popen[str] | None = None) -> str:
    """Train until it stops with a mistake, and return its sentence."""
    process = process or training.start()
    said = " ".join(process.communicate(timeout=600)[1].split())
    assert process.returncode == 2, said
    assert "Traceback" not in said
    return said


def begun(training: StartedTraining) -> subprocess.Popen[str]:
    process = training.start()
    assert wait_until(training.latest.is_file, process)
    return process


def test_a_full_disk_stops_the_training_and_loses_no_epoch_that_was_kept(world: World, small_disk: Path) -> None:
    training = StartedTraining(world, "full", epochs=6)
    training.folder.parent.parent.mkdir(parents=True, exist_ok=True)
    training.folder.parent.symlink_to(small_disk, target_is_directory=True)
    process = begun(training)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while process.poll() is None:
                file.write(bytes(1 << 16))
        except OSError:
            pass
    said = mistake(training, process)
    assert "the disk is full" in said or "No space left" in said
    training.every_checkpoint_is_whole()
    filler.unlink()
    training.finish()


def test_results_that_cannot_be_written_are_a_sentence(world: World, small_disk: Path) -> None:
    training = StartedTraining(world, "readonly", epochs=2)
    training.folder.parent.symlink_to(small_disk, target_is_directory=True)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "Read-only file system" in mistake(training)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    training.finish()


def test_a_damaged_newest_checkpoint_is_passed_over(world: World) -> None:
    training = StartedTraining(world, "damaged", epochs=6)
    process = training.start()
    assert wait_until((training.folder / "checkpoint_previous.pth").is_file, process)
    kill_with_children(process)
    content = bytearray(training.latest.read_bytes())
    content[len(content) // 3] ^= 255
    training.latest.write_bytes(content)

    said = training.finish()

    assert "checkpoint_latest.pth is damaged" in said
    assert "The training goes on from checkpoint_" in said
    assert training.trained_epochs <= training.epochs + 3  # one that was killed, and two that were damaged at most


def test_a_teacher_that_disappears(world: World) -> None:
    """The running training has it in memory; one that is resumed has not."""
    going_on, resumed = (StartedTraining(world, name, epochs=4) for name in ("going_on", "resumed"))
    kill_with_children(begun(resumed))
    process = begun(going_on)
    shutil.rmtree(world.teacher)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 0, said
    assert str(world.teacher) in mistake(resumed)


def test_a_data_file_that_is_cut_off_is_named(world: World) -> None:
    training = StartedTraining(world, "cut", epochs=8)
    process = begun(training)
    images = [file for file in world.preprocessed.glob("*/*.b2nd") if not file.stem.endswith("_seg")]
    assert images
    for file in images:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    said = mistake(training, process)
    assert "cannot be read" in said
    assert any(file.stem in said for file in images)
    training.every_checkpoint_is_whole()
