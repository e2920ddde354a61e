"""Any files, whole and damaged, through prepare, predict and evaluate: right values, or a sentence; never a fault.

The same laws hold for 25 random inputs per command here, and for 500 if the slow tests run. How many of them were done
and how many refused is printed by `pytest -m slow -rP tests/test_any_files.py`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from any_nifti import LAYOUTS, NAMES, SCALES, SHAPES, Layout, any_file, place_by_itk, voxels_by_itk, voxels_by_nibabel
from nndistill.cli import main
from nndistill.files import digest, read_json

MOSTLY = st.sampled_from([True, True, True, False])
ENDINGS = st.sampled_from([".nii.gz", ".nii.gz", ".nii"])
LEVEL = 300.0
"""The network's label is 1 where the image is above this."""


def run(*arguments: object) -> tuple[int, str]:
    """Exit status, and what the command printed on both streams."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0), out.getvalue()


@pytest.fixture
def endings(number) -> Iterator[Counter]:
    """How often each exit status came; of 500 inputs, each of the two that a law allows more than a few times."""
    endings = Counter()
    yield endings
    print({f"exit {status}": times for status, times in sorted(endings.items())})
    assert all(endings[status] >= number // 50 for status in (0, 2)), endings


def ended_well(status: int, printed: str, endings: Counter) -> bool:
    """Whether the command is done; a mistake is a sentence, and nothing is ever a fault."""
    endings[status] += 1
    assert status in (0, 2), printed
    assert "Traceback" not in printed
    assert "fault of nnDistill" not in printed
    if status:
        assert "error: " in printed
        assert len(printed.split("error: ")[-1].strip()) > 20
    return status == 0


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@st.composite
def layouts(draw: st.DrawFn, **changes: object) -> Layout:
    slope, intercept = draw(SCALES)
    return replace(draw(LAYOUTS), slope=slope, intercept=intercept, **changes)


def at_the_place_of(layout: Layout, other: Layout) -> Layout:
    """The other layout, with the voxels where those of the first are."""
    place = ("units", "qform_code", "sform_code", "shift", "turn", "spacing")
    return replace(other, **{key: getattr(layout, key) for key in place})


def labels_up_to(largest: int, shape: tuple[int, ...]) -> np.ndarray:
    """Label values from 0 to the largest, all of them if there are as many voxels."""
    return np.arange(np.prod(shape)).reshape(shape) % (largest + 1)


def usable(layout: Layout, array: np.ndarray) -> bool:
    """Whether the type holds the values as they are to be stored."""
    if layout.slope == 0:
        return False
    stored = array if np.isnan(layout.slope) else (array - layout.intercept) / layout.slope
    if "f" in layout.dtype:
        return True
    limits = np.iinfo(layout.dtype)
    return bool(limits.min <= stored.min() and stored.max() <= limits.max)


def examples(number: int) -> Callable:
    return settings(
        max_examples=number,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
    )


both_sizes = pytest.mark.parametrize("number", [25, pytest.param(500, marks=pytest.mark.slow)])


@both_sizes
def test_prepare_keeps_every_value_or_says_why_not(number, endings):
    @examples(number)
    @given(data=st.data(), name=NAMES, ending=ENDINGS, largest=st.sampled_from([1, 2, 255, 256, 300]))
    def law(data, name, ending, largest):
        shape = data.draw(st.sampled_from(SHAPES))
        of_image, of_label = data.draw(layouts()), data.draw(layouts())
        if data.draw(MOSTLY):
            of_label = at_the_place_of(of_image, of_label)
        labels = labels_up_to(largest, shape)
        image = np.random.default_rng(0).integers(0, 100, shape).astype(np.float64)
        assume(usable(of_image, image) and usable(of_label, labels))
        contents = {
            "imagesTr": data.draw(any_file(of_image, image)),
            "labelsTr": data.draw(any_file(of_label, labels)),
        }
        with empty_folder() as folder:
            for part, content in contents.items():
                (folder / "task" / part).mkdir(parents=True)
                (folder / "task" / part / f"{name}{ending}").write_bytes(content)
            pair = {"image": f"imagesTr/{name}{ending}", "label": f"labelsTr/{name}{ending}"}
            known = {str(value): f"v{value}" if value else "background" for value in range(301)}
            description = {"name": "Any", "modality": {"0": "MRI"}, "labels": known, "training": [pair]}
            (folder / "task" / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
            status, printed = run(
                "prepare", "decathlon", folder / "task", "--dataset-id", 7, "--workspace", folder / "work", "--jobs", 1
            )
            if not ended_well(status, printed, endings):
                assert name in printed
                return
            raw = folder / "work" / "nnUNet_raw" / "Dataset007_Any"
            made = read_json(raw / "dataset.json")
            assert list(made.get("dataset", {name: 0})) == [name]
            files = made.get("dataset", {}).get(name) or {
                "images": [f"imagesTr/{name}_0000.nii.gz"],
                "label": f"labelsTr/{name}.nii.gz",
            }
            image_file, label_file = raw / files["images"][0], raw / files["label"]
            np.testing.assert_allclose(
                voxels_by_itk(image_file), voxels_by_nibabel(contents["imagesTr"]), rtol=1e-5, atol=1e-4
            )
            read, meant = voxels_by_itk(label_file), voxels_by_nibabel(contents["labelsTr"])
            np.testing.assert_array_equal(read.astype(np.float32), np.rint(meant))
            assert np.abs(meant - np.rint(meant)).max() < 1e-3
            for file, content in ((image_file, contents["imagesTr"]), (label_file, contents["labelsTr"])):
                spacing, affine = place_by_itk(content, folder)
                found_spacing, found = place_by_itk(file.read_bytes(), folder)
                np.testing.assert_allclose(found_spacing, spacing, rtol=1e-5)
                np.testing.assert_allclose(found, affine, rtol=1e-5, atol=1e-3 * min(spacing))

    law()


@pytest.fixture(scope="module")
def thresholding(tmp_path_factory) -> Path:
    """An exported model of two channels that labels what is above a level in the first: values can be foretold."""
    folder = tmp_path_factory.mktemp("thresholding")
    weight = onnx.numpy_helper.from_array(np.array([[0, 0], [1, 0]], np.float32).reshape(2, 2, 1, 1, 1), "weight")
    bias = onnx.numpy_helper.from_array(np.array([0, -LEVEL], np.float32), "bias")
    node = onnx.helper.make_node("Conv", ["image", "weight", "bias"], ["logits"])
    patch = (1, 2, 8, 8, 8)
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, patch) for name in ("image", "logits")]
    graph = onnx.helper.make_graph([node], "thresholding", ends[:1], ends[1:], [weight, bias])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    plain = {"scheme": "NoNormalization"}
    description = {
        "name": "thresholding",
        "format": "onnx",
        "files": {"model.onnx": digest(folder / "model.onnx")},
        "channels": [{"name": "T1", "normalization": plain}, {"name": "T2", "normalization": plain}],
        "file_ending": ".nii.gz",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "spacing": [1, 1, 1],
        "patch_size": [8, 8, 8],
        "labels": {"background": 0, "bright": 1},
        "resample_data": {"order": 3, "order_z": 0},
        "resample_probabilities": {"order": 1, "order_z": 0},
    }
    (folder / "nndistill.json").write_text(json.dumps(description))
    return folder


@both_sizes
def test_predict_labels_what_the_files_hold_or_says_why_not(number, thresholding, endings):
    @examples(number)
    @given(data=st.data(), name=NAMES)
    def law(data, name):
        shape = data.draw(st.sampled_from(SHAPES))
        first = data.draw(layouts(spacing=(1.0, 1.0, 1.0), units=2))
        second = data.draw(layouts())
        if data.draw(MOSTLY):
            second = at_the_place_of(first, second)
        image = np.random.default_rng(0).integers(1, 120, shape).astype(np.float64)
        image[0] *= 5
        empty = not data.draw(MOSTLY)
        arrays = [image, image * 0 if empty else image]
        assume(usable(first, arrays[0]) and usable(second, arrays[1]))
        contents = [data.draw(any_file(each, array)) for each, array in zip((first, second), arrays, strict=True)]
        allowed = data.draw(st.booleans())
        with empty_folder() as folder:
            (folder / "images").mkdir()
            for channel, content in enumerate(contents):
                (folder / "images" / f"{name}_{channel:04d}.nii.gz").write_bytes(content)
            options = ["--allow-empty-channel"] if allowed else []
            status, printed = run("predict", thresholding, folder / "images", folder / "out", *options)
            record = read_json(folder / "out" / "nndistill_prediction.json")["cases"][name]
            label_map = folder / "out" / f"{name}.nii.gz"
            assert ended_well(status, printed, endings) == ("failed" not in record) == label_map.exists()
            if status:
                assert name in record["failed"]
                return
            (folder / "first.nii.gz").write_bytes(contents[0])
            spacing, affine = place_by_itk(contents[0], folder)
            found_spacing, found = place_by_itk(label_map.read_bytes(), folder)
            np.testing.assert_allclose(found_spacing, spacing, rtol=1e-5)
            np.testing.assert_allclose(found, affine, rtol=1e-5, atol=1e-3 * min(spacing))
            read = voxels_by_itk(folder / "first.nii.gz").astype(np.float32)
            meant = np.nan_to_num(voxels_by_nibabel(contents[0]), posinf=0, neginf=0)  # as ITK reads what is no number
            np.testing.assert_allclose(read, meant, rtol=1e-5, atol=1e-4)
            assert voxels_by_itk(label_map).shape == read.shape
            if np.allclose(spacing, 1, rtol=1e-6):
                np.testing.assert_array_equal(voxels_by_itk(label_map), read > LEVEL)
            if not voxels_by_nibabel(contents[1]).any():
                assert allowed
                assert "the channel T2 is empty" in record["remark"]

    law()


@both_sizes
def test_evaluate_measures_what_the_files_hold_or_says_why_not(number, endings):
    @examples(number)
    @given(data=st.data(), name=NAMES, ending=ENDINGS)
    def law(data, name, ending):
        shape = data.draw(st.sampled_from(SHAPES))
        of_reference, other = data.draw(layouts()), data.draw(layouts())
        of_prediction = at_the_place_of(of_reference, other)
        reference = labels_up_to(2, shape)
        prediction = np.roll(reference, 1, axis=-1)
        assume(usable(of_reference, reference) and usable(of_prediction, prediction))
        contents = [
            data.draw(any_file(of_reference, reference)),
            data.draw(any_file(of_prediction, prediction)),
        ]
        with empty_folder() as folder:
            for part, content in zip(("references", "predictions"), contents, strict=True):
                (folder / part).mkdir()
                (folder / part / f"{name}{ending}").write_bytes(content)
            labels = {"labels": {"background": 0, "a": 1, "b": 2}}
            (folder / "references" / "dataset.json").write_text(json.dumps(labels))
            status, printed = run(
                *("evaluate", folder / "predictions", folder / "references"),
                *("--out", folder / "metrics.csv", "--jobs", 1),
            )
            if not ended_well(status, printed, endings):
                assert name in printed
                return
            rows = list(csv.DictReader((folder / "metrics.csv").open(encoding="utf-8")))
            spacing, _ = place_by_itk(contents[0], folder)
            meant = [np.rint(voxels_by_nibabel(content)) for content in contents]
            assert [row["case"] for row in rows] == [name, name]
            for value, row in enumerate(rows, start=1):
                masks = [array == value for array in meant]
                total = masks[0].sum() + masks[1].sum()
                assert (int(row["reference_voxels"]), int(row["predicted_voxels"])) == tuple(m.sum() for m in masks)
                assert float(row["reference_ml"]) == pytest.approx(masks[0].sum() * np.prod(spacing) / 1000, rel=1e-4)
                if total:
                    assert float(row["dice"]) == pytest.approx(2 * (masks[0] & masks[1]).sum() / total)
                diagonal = float(np.linalg.norm(np.multiply(meant[0].shape, spacing)))
                assert not row["hd95_mm"] or float(row["hd95_mm"]) <= diagonal * 1.001
            json.loads((folder / "summary.json").read_text(), parse_constant=lambda word: pytest.fail(word))

    law()


# What is not used, and contrasts that are missing


@pytest.fixture
def images(tmp_path) -> Path:
    """One case of two channels at 1 mm."""
    (tmp_path / "images").mkdir()
    image = np.random.default_rng(0).integers(1, 600, (8, 8, 8))
    for channel in range(2):
        (tmp_path / "images" / f"a_{channel:04d}.nii.gz").write_bytes(Layout().content(image))
    return tmp_path / "images"


def test_predict_names_every_image_that_it_does_not_use(thresholding, images, nndistill):
    reasons = {
        "b_0000.nii": "has another ending than the images that the model reads (.nii.gz)",
        "c.nii.gz": "is not named CASE_0000.nii.gz, with the number of a channel",
        "d_0000.NII.GZ": "ends in capital letters, not in .nii.gz",
        "e.0000.nii.gz": "is not named CASE_0000.nii.gz, with the number of a channel",
    }
    for name in reasons:
        shutil.copy(images / "a_0000.nii.gz", images / name)
    (images / "notes.txt").touch()
    result = nndistill("predict", thresholding, images, images.parent / "out", "--json")
    assert result.status == 0
    assert json.loads(result.out)["not_used"] == reasons
    for name, reason in reasons.items():
        assert f"not predicted: {images / name} {reason}." in result.err
    assert "notes.txt" not in result.err


def test_a_folder_of_capital_endings_is_told_by_its_ending(thresholding, images, nndistill):
    for file in list(images.iterdir()):
        file.rename(file.with_name(file.name.upper()))
    result = nndistill("predict", thresholding, images, images.parent / "out")
    assert result.status == 2
    assert "A_0000.NII.GZ has another ending than the images that the model reads (CASE_0000.nii.gz)" in result.err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (nib.Nifti2Image(np.ones((8, 8, 8), np.float32), np.eye(4)).to_bytes(), "is a NIfTI-2 file, which ITK"),
        (b"", "is cut short or damaged: it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "fetch the image with git lfs pull"),
    ],
)
def test_predict_says_why_a_file_is_no_image(thresholding, images, nndistill, content, reason):
    (images / "a_0001.nii.gz").write_bytes(content)
    result = nndistill("predict", thresholding, images, images.parent / "out")
    assert result.status == 2
    assert reason in result.err
    assert "ImageIO" not in result.err


def test_an_empty_channel_is_predicted_if_it_is_allowed_and_the_record_says_so(thresholding, images, nndistill):
    out = images.parent / "out"
    (images / "a_0001.nii.gz").write_bytes(Layout().content(np.zeros((8, 8, 8))))
    refused = nndistill("predict", thresholding, images, out)
    assert refused.status == 2
    assert "a_0001.nii.gz is empty: all its voxels are 0." in refused.err
    assert "See the option --allow-empty-channel." in refused.err
    result = nndistill("predict", thresholding, images, out, "--allow-empty-channel")
    assert result.status == 0, result.err
    record = read_json(out / "nndistill_prediction.json")
    assert record["made_with"]["allow_empty_channel"] is True
    assert "the channel T2 is empty: all voxels of " in record["cases"]["a"]["remark"]
    np.testing.assert_array_equal(voxels_by_itk(out / "a.nii.gz"), voxels_by_itk(images / "a_0000.nii.gz") > LEVEL)


def test_a_case_of_empty_channels_only_is_refused_all_the_same(thresholding, images, nndistill):
    for channel in range(2):
        (images / f"a_{channel:04d}.nii.gz").write_bytes(Layout().content(np.zeros((8, 8, 8))))
    result = nndistill("predict", thresholding, images, images.parent / "out", "--allow-empty-channel")
    assert result.status == 2
    assert "is empty: all voxels of all channels are 0" in result.err


@pytest.mark.parametrize("moved", [{"shift": 0.01}, {"turn": 1e-5}])
def test_channels_that_rounding_moved_are_one_grid_for_predict(thresholding, images, nndistill, moved):
    content = Layout(qform_code=0, **moved).content(np.ones((8, 8, 8)))
    (images / "a_0001.nii.gz").write_bytes(content)
    assert nndistill("predict", thresholding, images, images.parent / "out").status == 0


def test_channels_that_agree_in_one_form_only_are_told_by_the_names_of_both(thresholding, images, nndistill):
    (images / "a_0001.nii.gz").write_bytes(Layout(sform_code=2, shift=-12.0, turn=0.1).content(np.ones((8, 8, 8))))
    two_forms = nndistill("predict", thresholding, images, images.parent / "out", "--json")
    assert two_forms.status == 0
    record = read_json(images.parent / "out" / "nndistill_prediction.json")
    assert "states two places in space, in its qform and its sform" in record["cases"]["a"]["remark"]
    (images / "a_0001.nii.gz").write_bytes(Layout(sform_code=1, shift=12.0).content(np.ones((8, 8, 8))))
    apart = nndistill("predict", thresholding, images, images.parent / "other")
    assert apart.status == 2
    assert "are not on one grid: origin" in apart.err
    assert "in its qform and its sform, up to 12 mm apart; the sform is taken" in apart.err


@pytest.mark.parametrize("codes", [(1, 2), (1, 1), (0, 2)])
def test_a_prediction_is_on_the_grid_of_the_label_map_with_the_images_header(thresholding, images, nndistill, codes):
    layout = Layout(qform_code=codes[0], sform_code=codes[1], shift=12.0, turn=0.2)
    image = np.random.default_rng(0).integers(1, 600, (8, 8, 8))
    for channel in range(2):
        (images / f"a_{channel:04d}.nii.gz").write_bytes(layout.content(image))
    (images.parent / "labels").mkdir()
    (images.parent / "labels" / "a.nii.gz").write_bytes(replace(layout, dtype="<u1").content(image > LEVEL))
    assert nndistill("predict", thresholding, images, images.parent / "out").status == 0
    metrics = images.parent / "metrics.csv"
    result = nndistill("evaluate", images.parent / "out", images.parent / "labels", "--out", metrics, "--jobs", 1)
    assert result.status == 0, result.err
    [row] = csv.DictReader(metrics.open())
    assert (row["dice"], row["hd95_mm"]) == ("1.0", "0.0")


def test_distances_and_volumes_are_in_mm_whatever_the_unit(tmp_path, nndistill):
    cube = np.zeros((12, 12, 12))
    cube[3:8, 3:8, 3:8] = 1
    rows = []
    for unit, spacing in ((3, 100.0), (2, 0.1), (1, 1e-4)):
        place = tmp_path / str(unit)
        for part, array in (("labels", cube), ("predictions", np.roll(cube, 2, axis=0))):
            (place / part).mkdir(parents=True)
            (place / part / "a.nii.gz").write_bytes(Layout(units=unit, spacing=(spacing,) * 3).content(array))
        (place / "labels" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "cube": 1}}))
        arguments = (place / "predictions", place / "labels", "--out", place / "m.csv", "--jobs", 1)
        assert nndistill("evaluate", *arguments).status == 0
        rows += csv.DictReader((place / "m.csv").open())
    for row in rows:
        assert float(row["hd95_mm"]) == pytest.approx(0.2, rel=1e-5)
        assert float(row["reference_ml"]) == pytest.approx(125 * 0.1**3 / 1000, rel=1e-5)


def test_evaluate_names_label_maps_that_it_does_not_use(tmp_path, nndistill):
    for part in ("labels", "predictions"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.nii.gz").write_bytes(Layout(trailing=1).content(np.eye(8)[..., None]))
    (tmp_path / "labels" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "one": 1}}))
    shutil.copy(tmp_path / "labels" / "a.nii.gz", tmp_path / "labels" / "b.NII.GZ")
    arguments = (tmp_path / "predictions", tmp_path / "labels", "--out", tmp_path / "m.csv", "--jobs", 1)
    result = nndistill("evaluate", *arguments)
    assert result.status == 0, result.err
    assert "b.NII.GZ is not used, since its name does not end in .nii.gz or .nii" in " ".join(result.out.split())
    (tmp_path / "labels" / "a.nii.gz").unlink()
    none = nndistill("evaluate", *arguments)
    assert none.status == 2
    assert "contains no NIfTI file (.nii.gz or .nii)." in none.err
    assert "b.NII.GZ is not used" in none.err


def test_prepare_names_images_that_belong_to_no_case(brats, tmp_path, nndistill):
    shutil.copy(brats(1, "t1n"), brats(1) / "old.nii.gz")
    result = nndistill("prepare", "brats2024", brats.root, "--dataset-id", 226, "--workspace", tmp_path / "work")
    assert result.status == 0, result.err
    assert f"not used: {brats(1) / 'old.nii.gz'} belongs to no case." in result.err
    report = read_json(tmp_path / "work" / "nnUNet_raw" / "Dataset226_BraTS2024" / "report.json")
    assert report["not_used"] == [str(brats(1) / "old.nii.gz")]


@pytest.mark.parametrize(("sform_code", "status"), [(1, 2), (2, 0)])
def test_channels_have_to_agree_in_the_form_that_counts(brats, tmp_path, nndistill, sform_code, status):
    for seed, part in enumerate(("t1n", "t1c", "t2w", "t2f", "seg")):
        layout = Layout(dtype="<u1", sform_code=sform_code, shift=10.0 if part == "t2f" else 0.0)
        array = np.random.default_rng(seed).integers(0, 5, (6, 7, 5))
        brats(0, part).write_bytes(layout.content(array))
    result = nndistill("prepare", "brats2024", brats.root, "--dataset-id", 226, "--workspace", tmp_path / "work")
    assert result.status == status, result.err
    report = read_json(tmp_path / "work" / "nnUNet_raw" / "Dataset226_BraTS2024" / "report.json")
    [(case, [sentence])] = report["damage" if status else "remarks"].items()
    assert case == brats.names[0]
    assert "in its qform and its sform, up to 10 mm apart" in sentence
    assert ("are at different positions: up to 10 mm apart" in sentence) == bool(status)
