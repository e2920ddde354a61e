"""ISLES 2022: both layouts, both grids, and what cannot be aligned is told instead of guessed."""

from __future__ import annotations

import gzip
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from nndistill.datasets import DamagedData, find_isles2022, prepare
from nndistill.errors import UserError
from nndistill.files import read_json


@pytest.fixture(scope="module")
def real_case(tmp_path_factory, request):
    """The real case on both grids: `(channels, mask, spacing, paths)` by grid."""
    source = request.getfixturevalue("real_data") / "ISLES-2022"

    def load(grid, number):
        report = prepare(find_isles2022(source, grid=grid), tmp_path_factory.mktemp("raw"), dataset_id=number)
        described = read_json(report.folder / "dataset.json")
        ((_, files),) = described["dataset"].items()
        assert list(described["channel_names"].values()) == ["FLAIR", "DWI", "ADC"]
        paths = [str(report.folder / path) for path in (*files["images"], files["label"])]
        images = [nib.load(path) for path in paths]
        for image in images:
            assert image.shape == images[0].shape
            np.testing.assert_allclose(image.affine, images[0].affine, atol=1e-3)
        *channels, mask = (np.asarray(image.dataobj) for image in images)
        return channels, mask > 0, np.linalg.norm(images[0].affine[:3, :3], axis=0), paths

    return {"flair": load("flair", 229), "dwi": load("dwi", 230)}


@pytest.fixture(scope="module")
def drawn(request):
    """The real mask as it was drawn."""
    path = next((request.getfixturevalue("real_data") / "ISLES-2022" / "derivatives").rglob("*_msk.nii.gz"))
    return nib.load(path)


def test_on_its_own_grid_the_real_mask_is_kept_voxel_by_voxel(real_case, drawn):
    _, mask, *_ = real_case["dwi"]
    np.testing.assert_array_equal(mask, np.asarray(drawn.dataobj) > 0)


def test_on_the_grid_of_flair_the_real_mask_keeps_its_volume(real_case, drawn):
    _, mask, spacing, _ = real_case["flair"]
    before = np.asarray(drawn.dataobj) > 0
    volume = before.sum() * abs(np.linalg.det(drawn.affine))
    assert mask.sum() * spacing.prod() == pytest.approx(volume, rel=0.02)


@pytest.mark.parametrize("grid", ["flair", "dwi"])
def test_nnunet_finds_nothing_wrong_with_the_real_case(real_case, capsys, grid):
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    *_, (*images, label) = real_case[grid]
    reader = verify.determine_reader_writer_from_dataset_json({"file_ending": ".nii.gz"}, verbose=False)
    assert verify.check_cases(images, label, 3, reader)
    assert verify.verify_labels(label, reader, [0, 1])
    assert "arning" not in capsys.readouterr().out


@pytest.mark.parametrize("grid", ["flair", "dwi"])
def test_the_real_lesion_is_bright_on_dwi_and_dark_on_adc(real_case, grid):
    (_, dwi, adc), mask, spacing, _ = real_case[grid]
    distance = distance_transform_edt(~mask, sampling=spacing)
    near = (distance > 2) & (distance < 8) & (dwi > 0)
    assert np.median(dwi[mask]) > 1.4 * np.median(dwi[near])
    assert np.median(adc[mask]) < 0.8 * np.median(adc[near])


@pytest.mark.parametrize("grid", ["flair", "dwi"])
def test_both_layouts_give_the_same_data_set(isles, tmp_path, grid):
    archive = prepare(find_isles2022(isles.root, grid=grid), tmp_path / "raw", dataset_id=229)
    sample = tmp_path / "sample"
    for path in sorted(isles.root.rglob("*.nii.gz")):
        derived = "derivatives" in path.parts
        name = path.name.replace("FLAIR", "flair")
        target = sample / ("derivatives" if derived else "rawdata") / name.split("_")[0] / "ses-0001" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        target.with_name(name.replace(".nii.gz", ".json")).write_text("{}")
    other = prepare(find_isles2022(sample, grid=grid), tmp_path / "raw", dataset_id=230)
    assert [case.name for case in other.source.cases] == [case.name for case in archive.source.cases]
    files = {path.relative_to(archive.folder): path.read_bytes() for path in archive.folder.rglob("*.nii.gz")}
    assert files == {path.relative_to(other.folder): path.read_bytes() for path in other.folder.rglob("*.nii.gz")}
    assert len(files) == {"flair": 15, "dwi": 5}[grid], "what is on the grid already is not copied"
    for source in (sample / "rawdata", sample):
        assert [c.label for c in find_isles2022(source).cases] == [c.label for c in other.source.cases]


def test_an_image_whose_place_differs_by_rounding_keeps_its_values(isles, tmp_path):
    place(isles(1, "adc"), shifted(0.01))
    before = np.asarray(nib.load(isles(1, "adc")).dataobj)
    folder = prepare(find_isles2022(isles.root, grid="dwi"), tmp_path / "raw", dataset_id=229).folder
    (files,) = (files for name, files in read_json(folder / "dataset.json")["dataset"].items() if "case0002" in name)
    dwi, adc = (nib.load(folder / path) for path in files["images"][1:])
    np.testing.assert_array_equal(adc.dataobj, before)
    np.testing.assert_array_equal(adc.affine, dwi.affine)


def test_a_patient_without_a_visible_lesion_is_no_damage(isles, tmp_path):
    image = nib.load(isles(1, "msk"))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * 0, image.affine, image.header), isles(1, "msk"))
    report = prepare(find_isles2022(isles.root), tmp_path / "raw", dataset_id=229)
    assert report.summary()["cases with label"] == {"lesion": 4}


def test_a_lesion_that_falls_between_thick_slices_is_remarked(isles, tmp_path):
    image = nib.load(isles(1, "msk"))
    lesion = np.zeros(image.shape, np.uint8)
    lesion[4, 4, 3] = 1
    nib.save(nib.Nifti1Image(lesion, image.affine, image.header), isles(1, "msk"))
    report = prepare(find_isles2022(isles.root), tmp_path / "raw", dataset_id=229)
    (remark,) = report.remarks["sub-strokecase0002_ses-0001"]
    assert re.search(
        r"_msk\.nii\.gz is lost on the grid of .*_FLAIR\.nii\.gz: its 0\.\d+ ml fall between voxels", remark
    )


def place(path, change):
    """Save a file again with another affine, and codes if asked for."""
    image = nib.load(path)
    header = image.header.copy()
    qform, sform, codes = change(image.affine.copy())
    header.set_qform(qform, codes[0])
    header.set_sform(sform, codes[1])
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, header), path)


def shifted(millimetres):
    def change(affine):
        affine[2, 3] += millimetres
        return affine, affine, (1, 1)

    return change


UNALIGNED = {
    "elsewhere": (
        lambda isles: place(isles(1, "FLAIR"), shifted(900)),
        r"_dwi\.nii\.gz and .*_FLAIR\.nii\.gz cannot be aligned: by their headers they do not overlap in space\.",
    ),
    "partly elsewhere": (
        lambda isles: place(isles(1, "FLAIR"), shifted(9)),
        r"_dwi\.nii\.gz and .*_FLAIR\.nii\.gz cannot be aligned: by their headers only \d+% of the smaller overlap\.",
    ),
    "no orientation": (
        lambda isles: place(isles(1, "FLAIR"), lambda affine: (affine, affine, (0, 0))),
        r"_FLAIR\.nii\.gz says nothing about its orientation \(qform and sform codes are 0\): it cannot be aligned\.",
    ),
    "two orientations": (
        lambda isles: place(isles(1, "dwi"), lambda affine: (affine + 5 * np.eye(4, k=3), affine, (1, 1))),
        r"_dwi\.nii\.gz names two places in space, its qform and its sform, up to 5 mm apart",
    ),
    "mask elsewhere": (
        lambda isles: place(isles(1, "msk"), shifted(3)),
        r"_msk\.nii\.gz and .*_dwi\.nii\.gz are at different positions: up to 3 mm apart",
    ),
    "missing FLAIR": (
        lambda isles: isles(1, "FLAIR").unlink(),
        r"sub-strokecase0002/ses-0001/anat/sub-strokecase0002_ses-0001_FLAIR\.nii\.gz is missing\.",
    ),
    "missing mask": (
        lambda isles: isles(1, "msk").unlink(),
        r"derivatives/sub-strokecase0002/ses-0001/sub-strokecase0002_ses-0001_msk\.nii\.gz is missing\.",
    ),
    "two DWI": (
        lambda isles: shutil.copy(isles(1, "dwi"), isles(1, "dwi").with_name("second_dwi.nii.gz")),
        r"sub-strokecase0002/ses-0001 holds more than one DWI: second_dwi\.nii\.gz, sub-strokecase0002",
    ),
}


@pytest.mark.parametrize("damage", UNALIGNED)
def test_what_cannot_be_aligned_is_told_and_not_guessed(nndistill, isles, tmp_path, damage):
    harm, sentence = UNALIGNED[damage]
    harm(isles)
    command = ["prepare", "isles2022", isles.root, "--dataset-id", 229, "--workspace", tmp_path]
    result = nndistill(*command)
    assert result.status == 2
    assert re.search(r"error: 1 of 5 cases cannot be used\. The first: .*" + sentence, result.err), result.err
    assert nndistill(*command, "--on-error", "skip").status == 0
    described = read_json(tmp_path / "nnUNet_raw" / "Dataset229_ISLES2022" / "dataset.json")
    assert described["numTraining"] == 4


def test_a_lesion_outside_of_flair_is_told(isles, tmp_path):
    image = nib.load(isles(1, "FLAIR"))
    array, affine = np.asarray(image.dataobj), image.affine.copy()
    affine[:3, 3] += affine[:3, 0] * 6  # begins behind the lesion's first voxels
    header = image.header.copy()
    header.set_qform(affine, 1)
    header.set_sform(affine, 1)
    nib.save(nib.Nifti1Image(array, None, header), isles(1, "FLAIR"))
    with pytest.raises(DamagedData, match=r"\d\d% of the label in .*_msk\.nii\.gz are outside .*_FLAIR\.nii\.gz"):
        prepare(find_isles2022(isles.root), tmp_path / "raw", dataset_id=229)
    prepare(find_isles2022(isles.root, grid="dwi"), tmp_path / "raw", dataset_id=229)


def test_a_case_that_is_there_twice_is_told_and_one_that_is_linked_is_not(isles):
    (isles.root / "again").symlink_to(isles.root)
    assert not find_isles2022(isles.root).unusable
    shutil.copytree(isles.root / "sub-strokecase0002", isles.root / "copy" / "sub-strokecase0002")
    found = find_isles2022(isles.root)
    assert len(found.cases) == 5
    assert [sentence.split(":")[0] for sentence in found.unusable.values()] == [
        "sub-strokecase0002_ses-0001 was found twice"
    ]


def test_a_source_without_cases_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no folder sub-strokecase0000: is this the archive of ISLES 2022"):
        find_isles2022(tmp_path)


def test_files_without_compression_are_found(isles):
    for part in ("FLAIR", "msk"):
        packed = isles(1, part)
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    case = find_isles2022(isles.root).cases[1]
    assert case.images[0] == isles(1, "FLAIR").with_suffix("")
    assert case.label == isles(1, "msk").with_suffix("")
