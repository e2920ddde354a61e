"""Images without labels in a study: a row's trainings get them, and a folder that is not there is a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nndistill.errors import UserError
from nndistill.files import read_json
from nndistill.nnunet.training.run import Run
from nndistill.study import job, load_study
from nndistill.study.data import prepare_data
from nndistill.study.places import StudyPlaces
from trained_world import World


class _Begun(Exception):
    """Raised in place of a training."""


@pytest.fixture
def with_images(world: World, study_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study with a row of images without labels, next to its file."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(world.workspace / name))
    content = yaml.safe_load(study_file.read_text())
    content["methods"]["more"] = {"method": "dcd", "unlabelled": {"images": "scans", "share": 0.25}}
    study_file.write_text(yaml.safe_dump(content, sort_keys=False))
    (world.dataset / "imagesTs").rename(study_file.parent / "scans")
    return study_file


def test_the_trainings_of_a_row_have_its_images(with_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Run] = []

    def begin(run: Run, **_: Any) -> None:
        begun.append(run)
        raise _Begun

    monkeypatch.setattr(job, "train", begin)
    for name in ("more_f0_s0", "dcd_f0_s0"):
        with pytest.raises(_Begun):
            job.carry_out(load_study(with_images), StudyPlaces(with_images), name)

    of_row, of_other = (read_json(run.plans_file)["nndistill"]["distillation"]["unlabelled"] for run in begun)
    assert of_other is None
    assert (of_row["images"], of_row["share"], of_row["folder"]) == (1, 0.25, str(with_images.parent / "scans"))


def test_a_folder_that_is_not_there_is_a_sentence_before_any_training(with_images: Path) -> None:
    (with_images.parent / "scans").rename(with_images.parent / "moved")

    with pytest.raises(UserError, match=r"method more: there is no folder .*scans of unlabelled images"):
        prepare_data(load_study(with_images), folder=with_images.parent)
