"""Progress bars say what is done at the moment."""

from __future__ import annotations

import pytest

from nndistill.progress import TrainingProgress, TrainingState


def test_a_training_that_is_over_shows_that_it_is_validated(capfd: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress("student") as progress:
        progress.start(1)
        progress.advance(TrainingState(0, 1, None, None))
        progress.validate()
        assert [task.description for task in progress._bar.tasks] == ["epoch 1/1", "predicting the validation cases"]

    assert [task.description for task in progress._bar.tasks] == ["epoch 1/1"], "the last text is the training's"
    assert "student: predicting the validation cases" in capfd.readouterr().err
