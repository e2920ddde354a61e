"""Phantoms in the layouts of challenges: file by file as the challenge ships them, with the challenge's physics."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from nndistill.datasets import find_brats2024, find_isles2022, generate_phantom
from nndistill.datasets.phantom.layouts import LAYOUTS
from nndistill.errors import UserError

SMALL = {"shape": (32, 36, 32), "spacing": (4.5, 5.0, 4.5), "jobs": 1}


@pytest.fixture(scope="module")
def strokes(tmp_path_factory):
    return generate_phantom(tmp_path_factory.mktemp("out"), layout="isles2022", cases=2, seed=3, **SMALL)


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.nii.gz"))


def test_brats2024_has_a_folder_a_case_and_two_archives(tmp_path):
    folder = generate_phantom(tmp_path, layout="brats2024", cases=6, seed=3, **SMALL)
    assert folder == tmp_path / "BraTS2024-GLI"
    cases = [f"BraTS-GLI-{case}" for case in ("00000-100", "00000-101", "00001-100", "00002-100", "00003-100")]
    archives = ["training_data1_v2"] * 4 + ["training_data_additional"] * 2
    cases.append("BraTS-GLI-00003-101")
    assert names(folder) == sorted(
        f"{archive}/{case}/{case}-{part}.nii.gz"
        for archive, case in zip(archives, cases, strict=True)
        for part in ("t1n", "t1c", "t2w", "t2f", "seg")
    )
    found = find_brats2024([folder])
    assert [case.name for case in found.cases] == cases
    assert len({case.patient for case in found.cases}) == 4


def test_a_case_is_the_same_in_every_layout_with_the_same_labels(tmp_path):
    challenge = generate_phantom(tmp_path, layout="brats2024", cases=1, seed=3, **SMALL)
    raw = generate_phantom(tmp_path, cases=1, seed=3, **SMALL)
    assert next(challenge.rglob("*-t1c.nii.gz")).read_bytes() == next(raw.rglob("*_0001.nii.gz")).read_bytes()
    assert next(challenge.rglob("*-seg.nii.gz")).read_bytes() == next((raw / "labelsTr").iterdir()).read_bytes()


def test_isles2022_is_laid_out_as_its_archive(strokes):
    assert strokes.name == "ISLES-2022"
    assert names(strokes) == sorted(
        f"{place}/ses-0001/{inside}{case}_ses-0001_{part}.nii.gz"
        for case in ("sub-strokecase0001", "sub-strokecase0002")
        for place, inside, part in (
            (case, "anat/", "FLAIR"),
            (case, "dwi/", "dwi"),
            (case, "dwi/", "adc"),
            (f"derivatives/{case}", "", "msk"),
        )
    )
    assert all(path.exists() for case in find_isles2022(strokes).cases for path in case.files)


def test_the_lesion_is_bright_on_dwi_and_dark_on_adc_and_flair_has_a_grid_of_its_own(strokes):
    for case in find_isles2022(strokes).cases:
        flair, dwi, adc = map(nib.load, case.images)
        mask = nib.load(case.label)
        np.testing.assert_allclose(mask.affine, dwi.affine)
        np.testing.assert_allclose(adc.affine, dwi.affine)
        assert mask.shape == dwi.shape == adc.shape == SMALL["shape"]
        assert flair.shape[2] < dwi.shape[2] < flair.shape[0]
        lesion = np.asarray(mask.dataobj) > 0
        brain = (np.asarray(dwi.dataobj) > 0) & ~lesion
        assert set(np.unique(np.asarray(mask.dataobj))) == {0, 1}
        dwi, adc = np.asarray(dwi.dataobj), np.asarray(adc.dataobj)
        assert np.median(dwi[lesion]) > 1.5 * np.median(dwi[brain])
        assert np.median(adc[lesion]) < 0.8 * np.median(adc[brain])
        assert 0.3 < np.median(adc[lesion]) < 0.6 < np.median(adc[brain]) < 1.2  # 10⁻³ mm²/s, as in the literature


def test_flair_shows_the_same_head_at_the_same_place(strokes):
    """The centre of mass of the head agrees in mm, to a part of a slice."""

    def centre(path):
        image = nib.load(path)
        weight = np.asarray(image.dataobj) > 0
        place = np.array([np.average(axis, weights=weight) for axis in np.indices(weight.shape)])
        return image.affine[:3, :3] @ place + image.affine[:3, 3]

    for case in find_isles2022(strokes).cases:
        np.testing.assert_allclose(centre(case.images[0]), centre(case.images[1]), atol=3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_repeated_call_makes_only_what_is_missing_in_every_layout(tmp_path, layout):
    arguments = {"layout": layout, "cases": 2, "seed": 1, **SMALL}
    folder = generate_phantom(tmp_path, **arguments)
    before = {path: path.read_bytes() for path in folder.rglob("*.nii.gz")}
    next(path for path in sorted(before) if "2" in path.name).unlink()
    calls = []
    generate_phantom(tmp_path, progress=lambda *call: calls.append(call), **arguments)
    assert calls == [(1, 2), (2, 2)]
    assert {path: path.read_bytes() for path in folder.rglob("*.nii.gz")} == before


def test_another_layout_or_test_cases_in_a_challenge_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"there is no layout 'brats2023'\. Did you mean 'brats2024'"):
        generate_phantom(tmp_path, cases=1, layout="brats2023", **SMALL)
    with pytest.raises(UserError, match="the layout isles2022 has training cases only: leave out the test cases"):
        generate_phantom(tmp_path, cases=1, test_cases=1, layout="isles2022", **SMALL)


def test_the_command_says_what_is_next(nndistill, tmp_path, monkeypatch):
    from nndistill.datasets.phantom import dataset

    monkeypatch.setattr(dataset, "_make_all", lambda cases, jobs: iter(()))
    result = nndistill("phantom", tmp_path, "--layout", "brats2024", "--cases", 2)
    assert result.status == 0
    assert f"nndistill prepare brats2024 {tmp_path}/BraTS2024-GLI --dataset-id 226" in " ".join(result.out.split())
