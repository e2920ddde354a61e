"""Training cases are those that nnU-Net finds, in both forms of its raw format."""

from __future__ import annotations

import pytest

from nndistill.dataset_json import channel_names
from nndistill.datasets import find_brats2024, find_isles2022, prepare
from nndistill.files import read_json
from nndistill.nnunet.data.raw_cases import raw_cases


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("challenge", ["brats", "isles"])
def test_cases_and_files_are_those_that_nnunet_finds(request, tmp_path, challenge, copy):
    utils = pytest.importorskip("nnunetv2.utilities.utils")
    find = find_isles2022 if challenge == "isles" else lambda root: find_brats2024([root])
    source = find(request.getfixturevalue(challenge).root)
    folder = prepare(source, tmp_path / "raw", dataset_id=1, copy=copy).folder
    expected = utils.get_filenames_of_train_images_and_targets(str(folder))
    assert ("dataset" in read_json(folder / "dataset.json")) != copy
    found = {case.name: {"images": [*map(str, case.images)], "label": str(case.label)} for case in raw_cases(folder)}
    assert found == expected


def test_channels_are_in_the_order_of_their_numbers_in_old_descriptions_too():
    assert channel_names({"modality": {"10": "K", "2": "C", "0": "A"}}) == ["A", "C", "K"]


def test_environment_variables_in_paths_are_filled_in(brats, tmp_path, monkeypatch):
    folder = prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=1).folder
    path = folder / "dataset.json"
    path.write_text(path.read_text().replace(str(brats.root), "$DOWNLOAD"))
    monkeypatch.setenv("DOWNLOAD", str(brats.root))
    assert raw_cases(folder)[0].label == brats(0, "seg")
