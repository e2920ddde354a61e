"""From NIfTI to NIfTI by the command line: equal to stock nnU-Net on every runtime, and steady whatever it is given."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import struct
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

import trained_world
from nndistill.datasets import generate_phantom
from nndistill.files import read_json
from nndistill.nnunet.models.prediction import predict_folder
from nndistill.runtime import batch, memory
from nndistill.runtime.record import LOCK, RECORD


@pytest.fixture(scope="module")
def models(_made_once, exported) -> dict[str, Path]:
    """A trained student of four channels by the runtime that computes it."""
    [student] = _made_once.glob("nnUNet_results/*/nnUNetTrainerDistill__student__3d_fullres")
    return {"torch": student, "onnxruntime": exported("onnx"), "openvino": exported("openvino")}


@pytest.fixture(scope="module")
def finer(tmp_path_factory) -> Path:
    """Images of smaller voxels than the network's, of several windows each."""
    folder = tmp_path_factory.mktemp("finer")
    generate_phantom(folder, cases=2, test_cases=0, shape=(52, 64, 48), spacing=(3.0, 3.0, 3.0), jobs=1)
    return folder / trained_world.DATASET


@pytest.fixture(scope="module")
def dataset(_made_once) -> Path:
    return Path(_made_once / "nnUNet_raw" / trained_world.DATASET)


@pytest.fixture
def images(dataset, tmp_path) -> Path:
    """Images of five cases that a test may damage: Phantom_0000 to Phantom_0004."""
    return Path(shutil.copytree(dataset / "imagesTr", tmp_path / "images"))


def names(folder: Path) -> list[str]:
    return sorted(file.name.removesuffix(".nii.gz") for file in folder.glob("*.nii.gz"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.nii.gz"))}


def change(file: Path, to) -> None:
    """Write an image anew after `to` has changed it."""
    image = SimpleITK.ReadImage(str(file))
    SimpleITK.WriteImage(to(image) or image, str(file))


def share_of_different_voxels(folder: Path, reference: Path) -> float:
    different = total = 0
    for file in sorted(reference.glob("*.nii.gz")):
        one, other = SimpleITK.ReadImage(str(folder / file.name)), SimpleITK.ReadImage(str(file))
        for place in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection", "GetPixelID"):
            assert getattr(one, place)() == getattr(other, place)()
        voxels, expected = SimpleITK.GetArrayFromImage(one), SimpleITK.GetArrayFromImage(other)
        assert len(np.unique(expected)) > 1
        different += np.count_nonzero(voxels != expected)
        total += expected.size
    return different / total


def test_label_maps_are_stock_nnunets_on_every_runtime(nndistill, models, finer, images, tmp_path):
    for file in finer.glob("imagesTr/Phantom_0000_*"):
        shutil.copy(file, images / file.name.replace("Phantom", "Finer"))
    stock = tmp_path / "stock"
    predict_folder(models["torch"], images, stock, fold="0", device="cpu")
    assert names(stock) == ["Finer_0000", *(f"Phantom_000{k}" for k in range(5))]
    for backend, model in models.items():
        result = nndistill("predict", model, images, tmp_path / backend, "--backend", backend)
        assert result.status == 0, result.err
        assert names(tmp_path / backend) == names(stock)
        assert share_of_different_voxels(tmp_path / backend, stock) <= 0.001
        record = read_json(tmp_path / backend / RECORD)
        assert record["made_with"]["backend"] == backend
        assert record["cases"]["Finer_0000"]["windows"] > 1


def test_every_bad_case_of_a_batch_is_a_sentence_and_the_others_finish(
    nndistill, models, images, tmp_path, monkeypatch
):
    def copy(case: str) -> None:
        for channel in range(4):
            shutil.copy(images / f"Phantom_0000_{channel:04d}.nii.gz", images / f"{case}_{channel:04d}.nii.gz")

    for case in ("Claims", "Cut", "Empty", "Huge", "Missing", "Swapped", "Tiny", "Turned"):
        copy(case)
    (images / "Missing_0002.nii.gz").unlink()
    for channel, name in enumerate(["T1C", "T1N", "T2W", "T2F"]):
        file = images / f"Swapped_{channel:04d}.nii.gz"
        (tmp_path / f"patient_{name}.nii.gz").write_bytes(file.read_bytes())
        file.unlink()
        file.symlink_to(tmp_path / f"patient_{name}.nii.gz")
    cut = images / "Cut_0001.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-2000])
    change(images / "Empty_0003.nii.gz", lambda image: image * 0)
    for channel in range(4):
        change(images / f"Tiny_{channel:04d}.nii.gz", lambda image: image[13:16, 20:22, 15:17])
        change(images / f"Turned_{channel:04d}.nii.gz", lambda image: SimpleITK.DICOMOrient(image, "LIP"))
        change(images / f"Huge_{channel:04d}.nii.gz", lambda image: SimpleITK.Expand(image, [6, 6, 6]))
        claims = images / f"Claims_{channel:04d}.nii.gz"
        header = bytearray(gzip.decompress(claims.read_bytes())[:352])
        header[40:56] = struct.pack("<8h", 3, 30000, 30000, 3000, 1, 1, 1, 1)
        claims.write_bytes(gzip.compress(header))

    monkeypatch.setattr(memory, "available_bytes", lambda: 100 * 2**20)
    out = tmp_path / "out"
    result = nndistill("predict", models["openvino"], images, out)
    good = ["Phantom_0000", "Phantom_0001", "Phantom_0002", "Phantom_0003", "Phantom_0004", "Tiny"]
    assert result.status == 2
    assert names(out) == good
    assert "Traceback" not in result.err
    sentences = {
        "Claims": "Claims_0000.nii.gz is cut short: it has 352 of 5400000000352 bytes",
        "Cut": "Cut_0001.nii.gz is cut short",
        "Empty": "Empty_0003.nii.gz is empty",
        "Huge": "Huge_0000.nii.gz is too large for this machine: 192×240×192 voxels",
        "Missing": "has no T2W (_0002)",
        "Swapped": "patient_T1C.nii.gz says t1c",
        "Turned": "Turned_0000.nii.gz is oriented",
    }
    failed = {case: how["failed"] for case, how in read_json(out / RECORD)["cases"].items() if "failed" in how}
    assert sorted(failed) == sorted(sentences)
    assert "Tiny: only 2×2×3 voxels, while the network sees" in result.err
    assert [case for case, how in read_json(out / RECORD)["cases"].items() if "remark" in how] == ["Tiny"]
    before, summary = result.err.split("error: ")
    assert summary.startswith(f"7 of 13 cases were not predicted, see {out / RECORD}: - ")
    for case, sentence in sentences.items():
        assert sentence in failed[case]
        for place in (before, summary):
            assert f"{case}: {failed[case]}" in place

    again = nndistill("predict", models["openvino"], images, out, "--any-orientation", "--overwrite", "--json")
    assert again.status == 2
    assert json.loads(again.out)["done"] == [*good, "Turned"]


@pytest.mark.parametrize(
    ("model", "backend", "sentence"),
    [
        ("openvino", "onnxruntime", "is a model for openvino, not for onnxruntime"),
        ("onnxruntime", "torch", "is a model for onnxruntime or openvino, not for torch"),
        ("torch", "openvino", "which only PyTorch computes"),
    ],
)
def test_model_for_another_runtime_is_a_sentence(nndistill, models, images, tmp_path, model, backend, sentence):
    result = nndistill("predict", models[model], images, tmp_path / "out", "--backend", backend)
    assert result.status == 2
    assert result.err.startswith("error: ")
    assert sentence in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_export_with_one_flipped_bit_is_not_computed(nndistill, models, images, tmp_path, runtime):
    model = Path(shutil.copytree(models[runtime], tmp_path / "model"))
    weights = max(model.iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    result = nndistill("predict", model, images, tmp_path / "out")
    assert result.status == 2
    assert result.err.startswith(f"error: {weights} is not the file that was exported")


def test_restart_goes_on_and_refuses_another_checkpoint(nndistill, models, images, tmp_path):
    model, out = Path(shutil.copytree(models["torch"], tmp_path / "model")), tmp_path / "out"
    assert nndistill("predict", model, images, out).status == 0
    (out / "Phantom_0002.nii.gz").unlink()
    before = {file.name: file.stat().st_mtime_ns for file in out.glob("*.nii.gz")}
    result = nndistill("predict", model, images, out)
    assert "(5 cases, 4 of them from an earlier run)" in result.out
    assert "Phantom_0001: kept Phantom_0003: kept" in result.err
    assert "Phantom_0002: done in" in result.err
    assert before.items() < {file.name: file.stat().st_mtime_ns for file in out.glob("*.nii.gz")}.items()

    checkpoint = next(model.glob("fold_0/checkpoint_final.pth"))
    content = torch.load(checkpoint, weights_only=False)
    content["network_weights"]["decoder.seg_layers.1.bias"] += 1
    torch.save(content, checkpoint)
    result = nndistill("predict", model, images, out)
    assert result.status == 2
    assert "holds label maps that were made otherwise (another model)" in result.err


@pytest.fixture
def many_images(images) -> Path:
    """Twenty-five cases, so that there is time to stop between them."""
    for file in sorted(images.iterdir()):
        for copy in range(4):
            shutil.copy(file, images / f"Copy{copy}_{file.name}")
            change(images / f"Copy{copy}_{file.name}", lambda image, copy=copy: image[copy:])
    return images


def started(model: Path, images: Path, out: Path) -> subprocess.Popen[str]:
    """A process that predicts, once it has written three label maps."""
    command = [sys.executable, "-m", "nndistill", "predict", *map(str, (model, images, out))]
    # Shells start what they put into the background with SIGINT ignored, and tests, too, may run there.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    end = time.monotonic() + 120
    while len(names(out)) < 3:
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < end
        time.sleep(0.002)
    return process


def test_killed_and_started_again_gives_the_same_label_maps(nndistill, models, many_images, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert nndistill("predict", models["openvino"], many_images, whole).status == 0
    process = started(models["openvino"], many_images, out)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed = contents(out)
    assert 3 <= len(killed) < 25
    assert killed.items() < contents(whole).items()
    assert nndistill("predict", models["openvino"], many_images, out).status == 0
    assert contents(out) == contents(whole)
    assert len(set(contents(whole).values())) > 5
    assert temporary_files(out) == []


def test_interrupted_batch_stops_soon_and_leaves_whole_files_only(nndistill, models, many_images, tmp_path):
    out = tmp_path / "out"
    process = started(models["openvino"], many_images, out)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "what was done is kept" in err
    assert "Traceback" not in err
    assert 3 <= len(names(out)) < 25
    assert temporary_files(out) == []
    assert sorted(read_json(out / RECORD)["cases"]) == names(out)
    assert nndistill("predict", models["openvino"], many_images, out).status == 0
    assert len(names(out)) == 25


def temporary_files(folder: Path) -> list[Path]:
    """Whatever is hidden, but for the lock, which stays."""
    return [file for file in folder.iterdir() if file.name.startswith(".") and file.name != LOCK]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_workstation_needs_no_package_of_the_training(models, images, tmp_path, runtime):
    program = """
import sys
from nndistill.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code
print(*({"torch", "nnunetv2", "pandas", "matplotlib", "nibabel", "yaml"} & sys.modules.keys()))
"""
    command = [sys.executable, "-c", program, "predict", models[runtime], images, tmp_path / "out", "--json"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(names(tmp_path / "out")) == 5
    assert out.splitlines()[-1] == ""


def test_one_case_is_named_by_its_first_file_and_json_is_all_that_is_printed(nndistill, models, images, tmp_path):
    out = tmp_path / "new" / "out"
    result = nndistill("predict", models["openvino"], images / "Phantom_0003_0000.nii.gz", out, "--json")
    assert json.loads(result.out) == {
        "output": str(out),
        "record": str(out / RECORD),
        "done": ["Phantom_0003"],
        "kept": [],
        "failed": {},
        "faults": [],
        "not_used": {},
    }
    assert result.err.startswith("Phantom_0003: done in")
    assert names(out) == ["Phantom_0003"]


def test_next_step_that_is_printed_evaluates_the_label_maps(nndistill, models, images, tmp_path, dataset):
    out = tmp_path / "out"
    result = nndistill("predict", models["openvino"], images, out, "--no-mirror")
    assert f"Label maps: {out} (5 cases)" in result.out
    assert f"Next:       nndistill evaluate {out} LABELS" in result.out
    labels = Path(shutil.copytree(dataset / "labelsTr", tmp_path / "labels"))  # away from the data set's dataset.json
    evaluated = nndistill("evaluate", out, labels, "--out", tmp_path / "metrics.csv", "--json")
    assert evaluated.status == 0, evaluated.err
    assert [*json.loads(evaluated.out)["labels"]] == ["NETC", "SNFH", "ET", "RC"]


def test_fault_of_ours_in_one_case_is_told_as_such_and_the_others_finish(
    nndistill, models, images, tmp_path, monkeypatch
):
    cases = iter(range(5))
    labels_of = batch.labels_of

    def broken(*arguments):
        return labels_of(*arguments) if next(cases) != 1 else 1 / 0

    monkeypatch.setattr(batch, "labels_of", broken)
    out = tmp_path / "out"
    result = nndistill("predict", models["openvino"], images, out)
    assert result.status == 1
    assert names(out) == ["Phantom_0000", "Phantom_0002", "Phantom_0003", "Phantom_0004"]
    assert "Phantom_0001: a fault of nnDistill, not yours: ZeroDivisionError" in result.err
    assert "Traceback" not in result.err
    assert "Traceback" in (out / batch.FAULTS).read_text()


@pytest.mark.parametrize(("option", "value"), [("--overlap", "1"), ("--overlap", "half"), ("--device", "abacus")])
def test_option_that_makes_no_sense_is_a_sentence(nndistill, models, images, tmp_path, option, value):
    result = nndistill("predict", models["openvino"], images, tmp_path / "out", option, value)
    assert result.status == 2
    assert result.err.startswith("error: ")
    assert option.removeprefix("--") in result.err


def test_input_without_cases_is_a_sentence(nndistill, models, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, sentence in (("empty", "holds no images"), ("nowhere", "does not exist")):
        result = nndistill("predict", models["openvino"], tmp_path / folder, tmp_path / "out")
        assert result.status == 2
        assert sentence in result.err
