"""Laws of a phantom data set on disk."""

from __future__ import annotations

import hashlib
import json

import nibabel as nib
import numpy as np
import pytest

from nndistill.datasets import generate_phantom, phantom_case
from nndistill.datasets.phantom import LABELS
from nndistill.datasets.phantom.case_files import PhantomCase
from nndistill.errors import UserError

SMALL = {"shape": (32, 36, 32), "spacing": (4.5, 5.0, 4.5)}


def contents(folder):
    images = sorted(folder.rglob("*.nii.gz"))
    assert images
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in images}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return generate_phantom(tmp_path_factory.mktemp("raw"), cases=3, test_cases=1, seed=5, jobs=1, **SMALL)


def test_the_layout_is_nnunets(phantom):
    assert phantom.name == "Dataset900_Phantom"
    assert sorted(contents(phantom)) == sorted(
        [f"imagesTr/Phantom_{n:04d}_{c:04d}.nii.gz" for n in range(3) for c in range(4)]
        + [f"labelsTr/Phantom_{n:04d}.nii.gz" for n in range(3)]
        + [f"imagesTs/Phantom_test_0000_{c:04d}.nii.gz" for c in range(4)]
        + ["labelsTs/Phantom_test_0000.nii.gz"]
    )
    described = json.loads((phantom / "dataset.json").read_text())
    assert described["channel_names"] == {"0": "T1N", "1": "T1C", "2": "T2W", "3": "T2F"}
    assert described["labels"] == {"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}
    assert described["numTraining"] == 3
    assert described["phantom"]["seed"] == 5


def test_nnunet_finds_nothing_wrong(phantom, capsys):
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    verify.verify_dataset_integrity(str(phantom), num_processes=1)
    printed = capsys.readouterr().out
    assert "most likely OK" in printed
    assert "Warning" not in printed


def test_channels_and_labels_lie_at_the_same_place(phantom):
    images = list(phantom.rglob("*.nii.gz"))
    assert len(images) == 4 * (4 + 1)  # three training cases and a test case, four channels and a label map each
    for path in images:
        image = nib.load(path)
        assert image.shape == SMALL["shape"]
        np.testing.assert_allclose(image.header.get_zooms(), SMALL["spacing"])
        np.testing.assert_allclose(image.affine[:3, 3], -np.multiply(SMALL["spacing"], (31, 35, 31)) / 2)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.header["qform_code"] == image.header["sform_code"] == 1
        assert image.get_data_dtype() == (np.uint8 if "labels" in str(path) else np.int16)


def test_files_hold_what_the_case_in_memory_does(phantom):
    case = PhantomCase(phantom, "Phantom", 1, False, 5, **SMALL)
    images, labels = phantom_case(case.sequence(0, 1), lacks=case.lacks, **SMALL)
    np.testing.assert_array_equal(nib.load(case.label).dataobj, labels)
    for path, image in zip(case.images, images, strict=True):
        np.testing.assert_array_equal(nib.load(path).dataobj, image)


def test_a_case_depends_on_neither_the_number_of_cases_nor_of_processes(phantom, tmp_path):
    more = contents(generate_phantom(tmp_path, cases=4, test_cases=2, seed=5, jobs=2, **SMALL))
    for name, digest in contents(phantom).items():
        assert more[name] == digest, name


def test_another_seed_gives_other_cases(phantom, tmp_path):
    other = contents(generate_phantom(tmp_path, cases=1, seed=6, jobs=1, **SMALL))
    assert not set(other.values()) & set(contents(phantom).values())


def test_every_label_is_in_most_cases_and_missing_in_some(tmp_path):
    lacking = [
        PhantomCase(tmp_path, "Phantom", n, held_out, seed, **SMALL).lacks
        for seed in range(5)
        for held_out in (False, True)
        for n in range(12)
    ]
    for label in ("NETC", "ET", "RC"):
        assert 0 < sum(label in lacks for lacks in lacking) <= len(lacking) / 2
    cases = [PhantomCase(tmp_path, "Phantom", n, False, 0, (48, 58, 48), (3.0, 3.0, 3.0)) for n in range(12)]
    found = [
        np.unique(
            phantom_case(case.sequence(0, case.number), shape=case.shape, spacing=case.spacing, lacks=case.lacks)[1]
        )
        for case in cases
    ]
    for value in LABELS.values():
        assert sum(value in labels for labels in found) >= 6


def test_a_repeated_call_makes_only_what_is_missing(tmp_path):
    arguments = {"cases": 3, "seed": 1, "jobs": 1, **SMALL}
    folder = generate_phantom(tmp_path, **arguments)
    before, times = contents(folder), {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    calls = []
    generate_phantom(tmp_path, progress=lambda *call: calls.append(call), **arguments)
    assert calls == [(3, 3)]
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == times

    (folder / "labelsTr" / "Phantom_0001.nii.gz").unlink()  # as after a kill
    (folder / "imagesTr" / ".Phantom_0001_0000.nii.gz.123.tmp").touch()
    (folder / "dataset.json").unlink()
    calls.clear()
    generate_phantom(tmp_path, progress=lambda *call: calls.append(call), **arguments)
    assert calls == [(2, 3), (3, 3)]
    assert contents(folder) == before
    assert not list(folder.rglob("*.tmp"))
    kept = folder / "imagesTr" / "Phantom_0000_0000.nii.gz"
    assert kept.stat().st_mtime_ns == times[kept]


def test_fewer_cases_and_other_parameters_leave_nothing_of_the_old(tmp_path):
    folder = generate_phantom(tmp_path, cases=3, test_cases=1, seed=1, jobs=1, **SMALL)
    before = contents(folder)
    generate_phantom(tmp_path, cases=2, seed=1, jobs=1, **SMALL)
    assert contents(folder) == {
        name: digest for name, digest in before.items() if "Tr/" in name and "Tr/Phantom_0002" not in name
    }
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 2
    generate_phantom(tmp_path, cases=2, seed=2, jobs=1, **SMALL)
    assert len(contents(folder)) == 10
    assert not set(contents(folder).values()) & set(before.values())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cases": 0}, "needs 1 case or more"),
        ({"test_cases": -1}, "0 test cases or more"),
        ({"seed": -1}, "a seed of 0 or more"),
        ({"jobs": 0}, "by 1 process or more, not 0"),
        ({"shape": (16, 32, 32)}, "at least 32 voxels"),
        ({"dataset_id": 1000}, "from 1 to 999, not 1000"),
        ({"name": "my phantom"}, "'my phantom' may only hold letters"),
    ],
)
def test_a_data_set_that_cannot_be_is_refused_before_anything_is_written(tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        generate_phantom(tmp_path, **{"cases": 1, **SMALL, **options})
    assert not list(tmp_path.iterdir())


def test_somebody_elses_folder_is_left_alone(tmp_path):
    mine = tmp_path / "Dataset900_Phantom" / "imagesTr" / "mine_0000.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"precious")
    with pytest.raises(UserError, match="Dataset900_Phantom holds something that nndistill did not make"):
        generate_phantom(tmp_path, cases=1, **SMALL)
    assert mine.read_bytes() == b"precious"
