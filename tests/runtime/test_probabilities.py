"""Probabilities next to label maps: as nnU-Net writes them, whole or not there, and never of another run."""

from __future__ import annotations

import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from nnunetv2.ensembling.ensemble import merge_files
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from scipy.special import softmax

from described import as_plans
from nndistill.errors import UnknownName, UserError
from nndistill.files import read_json
from nndistill.runtime import batch, probabilities
from nndistill.runtime.cases import find_cases
from nndistill.runtime.loading import LoadedModel
from nndistill.runtime.predictor import predict_cases
from nndistill.runtime.record import RECORD
from small_exports import PATCH, small_description


class Thresholds:
    """A network of three labels without any weights."""

    name = device = "fake"
    precision = "float32"

    def logits(self, window, mirrorings=((),)):
        return np.stack([0 * window[0] + 0.5, window[0], 2 * window[1] - 1])


def model(**changes) -> LoadedModel:
    return LoadedModel(small_description(**changes), Thresholds())


class Undecided:
    """A network whose outputs are all likely wherever it computes."""

    name = device = "fake"
    precision = "float32"

    def logits(self, window, mirrorings=((),)):
        return np.stack([0 * window[0] + 3] * 3)


@pytest.fixture
def images(tmp_path) -> Path:
    """Two cases of one window each, oriented LIP at an odd place."""
    folder = tmp_path / "images"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for case in "ab":
        for channel in range(2):
            image = SimpleITK.GetImageFromArray(draw.normal(size=PATCH).astype(np.float32))
            image.SetOrigin((3, -4, 5))
            image = SimpleITK.DICOMOrient(image, "LIP")
            SimpleITK.WriteImage(image, str(folder / f"{case}_{channel:04d}.nii.gz"))
    return folder


def predict(images, output, formats=("npz",), described=None, **options):
    predicting = model(**described or {})
    cases = find_cases(images, predicting.description)
    return predict_cases(predicting, cases, output, probabilities=formats, mirror=False, **options)


def voxels(file: Path) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))


@pytest.mark.parametrize("described", [{}, {"reorient_to": "RAS"}], ids=["as it is", "reoriented"])
def test_every_file_holds_the_probabilities_of_the_label_map(images, tmp_path, described):
    plain, out = tmp_path / "plain", tmp_path / "out"
    predict(images, plain, (), described)
    predict(images, out, ("npz", "nifti"), described)
    for case in "ab":
        labels = out / f"{case}.nii.gz"
        assert labels.read_bytes() == (plain / f"{case}.nii.gz").read_bytes()
        written = nib.load(out / "probabilities" / f"{case}.nii.gz")
        np.testing.assert_allclose(written.affine, nib.load(labels).affine, atol=1e-6)
        in_nifti = np.moveaxis(written.get_fdata(), 3, 0).transpose(0, 3, 2, 1)
        np.testing.assert_array_equal(in_nifti.argmax(0), voxels(labels))
        t1, t2 = (voxels(images / f"{case}_000{channel}.nii.gz") for channel in range(2))
        t1, t2 = ((image - image.mean()) / image.std() for image in (t1, t2))
        np.testing.assert_allclose(in_nifti, softmax(np.stack([0 * t1 + 0.5, t1, 2 * t2 - 1]), axis=0), atol=1e-5)
        with np.load(out / f"{case}.npz") as content:
            assert content["probabilities"].dtype == np.float32
            if not described:
                np.testing.assert_array_equal(content["probabilities"], in_nifti.astype(np.float32))


@pytest.mark.parametrize(
    ("reader", "described"), [(SimpleITKIO, {}), (SimpleITKIOWithReorient, {"reorient_to": "RAS"})]
)
def test_nnunet_itself_makes_our_label_map_of_them(images, tmp_path, reader, described):
    """`nnUNetv2_ensemble` reads both files; so a case of ours can be averaged with one of another network."""
    out = tmp_path / "out"
    predict(images, out, ("npz",), described)
    plans, _, dataset = as_plans(small_description())
    for case in "ab":
        merge_files(
            [str(out / f"{case}.npz")] * 2, str(tmp_path / case), ".nii.gz", reader(), plans.get_label_manager(dataset)
        )
        ours, theirs = (SimpleITK.ReadImage(str(folder / f"{case}.nii.gz")) for folder in (out, tmp_path))
        for place in ("GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(ours, place)(), getattr(theirs, place)(), atol=1e-6)
        np.testing.assert_array_equal(*map(SimpleITK.GetArrayFromImage, (ours, theirs)))


@pytest.mark.parametrize(
    ("described", "background"),
    [
        ({}, [1, 0, 0]),
        ({"labels": {"background": 0, "all": [1, 2], "a": 1, "b": 2}, "regions_class_order": (1, 2, 1)}, [0, 0, 0]),
    ],
    ids=["labels", "regions"],
)
def test_air_that_no_window_covers_is_background_in_every_file(tmp_path, described, background):
    air = np.zeros((PATCH[0] * 4, *PATCH[1:]), np.float32)
    air[: PATCH[0] // 2] = 1 + np.random.default_rng(0).random((PATCH[0] // 2, *PATCH[1:]))
    air[-1, 0, 0] = 1
    (tmp_path / "images").mkdir()
    for channel in range(2):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(air), str(tmp_path / "images" / f"a_{channel:04d}.nii.gz"))
    predicting = LoadedModel(small_description(**described), Undecided())
    cases = find_cases(tmp_path / "images", predicting.description)
    folders = {name: tmp_path / name for name in ("skipped", "everywhere", "plain")}
    for name, folder in folders.items():
        formats = () if name == "plain" else ("npz", "nifti")
        predict_cases(predicting, cases, folder, probabilities=formats, skip_air=name != "everywhere")
    assert read_json(folders["skipped"] / RECORD)["cases"]["a"]["windows_of_air"] > 0
    assert (folders["skipped"] / "a.nii.gz").read_bytes() == (folders["plain"] / "a.nii.gz").read_bytes()
    found, everywhere = (np.load(folders[name] / "a.npz")["probabilities"] for name in ("skipped", "everywhere"))
    nifti = np.moveaxis(nib.load(folders["skipped"] / "probabilities" / "a.nii.gz").get_fdata(), 3, 0)
    np.testing.assert_array_equal(nifti.transpose(0, 3, 2, 1).astype(np.float32), found)
    middle = slice(PATCH[0] * 2, PATCH[0] * 5 // 2)
    assert not voxels(folders["skipped"] / "a.nii.gz")[middle].any()
    assert (found[:, middle] == np.reshape(background, (3, 1, 1, 1))).all()
    np.testing.assert_array_equal(found[:, : PATCH[0]], everywhere[:, : PATCH[0]])


def test_properties_are_those_of_nnunets_reader_and_preprocessing_in_plain_types(images, tmp_path):
    predict(images, tmp_path / "out")
    found = pickle.loads((tmp_path / "out" / "a.pkl").read_bytes())
    _, expected = SimpleITKIO().read_images([str(images / f"a_000{channel}.nii.gz") for channel in range(2)])
    shape = voxels(images / "a_0000.nii.gz").shape
    expected |= {
        "shape_before_cropping": shape,
        "bbox_used_for_cropping": [[0, size] for size in shape],
        "shape_after_cropping_and_before_resampling": shape,
    }
    assert found == expected


def test_restart_keeps_cases_that_have_all_their_files_only(images, tmp_path):
    out = tmp_path / "out"
    assert predict(images, out, ("npz", "nifti")).done == ["a", "b"]
    assert predict(images, out, ("npz", "nifti")).kept == ["a", "b"]
    for lacking in ("a.npz", "a.pkl", "probabilities/a.nii.gz"):
        (out / lacking).unlink()
        again = predict(images, out, ("npz", "nifti"))
        assert (again.done, again.kept) == (["a"], ["b"])
        assert (out / lacking).exists()


def test_what_a_killed_run_left_is_written_anew(images, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch, "write_labels", stop)
        with pytest.raises(KeyboardInterrupt):
            predict(images, out)
    assert (out / "a.npz").exists()
    assert not (out / "a.nii.gz").exists()
    (out / "a.npz").write_bytes(b"half")
    assert predict(images, out).done == ["a", "b"]
    assert np.load(out / "a.npz")["probabilities"].shape == (3, *voxels(out / "a.nii.gz").shape)


def test_run_with_probabilities_and_one_without_do_not_mix(images, tmp_path):
    out = tmp_path / "out"
    predict(images, out)
    with pytest.raises(UserError, match=r"made otherwise \(probabilities npz, now None\)"):
        predict(images, out, ())
    predict(images, out, (), overwrite=True)
    assert sorted(file.name for file in out.iterdir() if file.suffix in (".npz", ".pkl")) == []
    assert read_json(out / RECORD)["made_with"].get("probabilities") is None
    with pytest.raises(UserError, match=r"made otherwise \(probabilities None, now npz\)"):
        predict(images, out)


def test_overwriting_that_is_killed_forgets_no_file_of_the_earlier_run(images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    predict(images, out, ("npz", "nifti"))

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch, "write_labels", stop)
        with pytest.raises(KeyboardInterrupt):
            predict(images, out, (), overlap=0.25, overwrite=True)
    old = ["a.nii.gz", "a.npz", "a.pkl", "probabilities/a.nii.gz"]
    assert all((out / name).exists() for name in old)
    assert read_json(out / RECORD)["cases"]["a"]["outdated"] == old
    assert predict(images, out, (), overlap=0.25).done == ["a", "b"]
    assert sorted(file.name for file in out.rglob("*") if file.is_file() and not file.name.startswith(".")) == [
        *("a.nii.gz", "b.nii.gz", "dataset.json"),
        RECORD,
    ]


def test_probabilities_of_another_program_are_left_alone(images, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.npz").write_bytes(b"theirs")
    with pytest.raises(UserError, match=r"a\.npz exists already, and no nndistill_prediction\.json says how"):
        predict(images, out)
    assert predict(images, out, ()).done == ["a", "b"]
    assert (out / "a.npz").read_bytes() == b"theirs"


def test_probabilities_too_large_for_the_disk_are_a_sentence_before_the_first_case(images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    of_a_case = 4 * 3 * int(np.prod(PATCH))
    monkeypatch.setattr(probabilities, "free_bytes", lambda folder: 4 * of_a_case - 1)
    with pytest.raises(UserError, match=r"too large for the disk: 2 cases with 3 outputs need up to .* GiB") as error:
        predict(images, out, ("npz", "nifti"))
    assert error.value.flags == ["--probabilities", "--probabilities-nifti"]
    assert not list(out.rglob("*.npz")) + list(out.glob("*.nii.gz"))
    assert len(predict(images, out, ("npz",)).done) == 2
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match="too large for the disk"):
        predict(images, out, ("npz", "nifti"), overwrite=True, overlap=0.25)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    monkeypatch.setattr(probabilities, "free_bytes", lambda folder: 0)
    assert len(predict(images, out, ("npz",)).kept) == 2  # what is there needs no space


def test_unknown_format_is_answered_with_the_nearest(images, tmp_path):
    with pytest.raises(UnknownName, match="Did you mean 'npz'"):
        predict(images, tmp_path / "out", ("npy",))
