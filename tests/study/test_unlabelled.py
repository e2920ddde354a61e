"""Images without labels in a study: a row's trainings get them, and a folder that is not there is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nndistill.errors import UserError
from nndistill.study import load_study
from nndistill.study.data import prepare_data
from small_studies import plans_of
from trained_world import World


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
    of_row, of_other = (
        plans_of(with_images, name, monkeypatch)["nndistill"]["distillation"]["unlabelled"]
        for name in ("more_f0_s0", "dcd_f0_s0")
    )
    assert of_other is None
    assert (of_row["images"], of_row["share"], of_row["folder"]) == (1, 0.25, str(with_images.parent / "scans"))


def test_a_folder_that_is_not_there_is_a_sentence_before_any_training(with_images: Path) -> None:
    (with_images.parent / "scans").rename(with_images.parent / "moved")

    with pytest.raises(UserError, match=r"method more: there is no folder .*scans of unlabelled images"):
        prepare_data(load_study(with_images), folder=with_images.parent)
