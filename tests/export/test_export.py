"""Exports of a trained student: they predict as PyTorch does, tell all they need, and leave nothing when they fail."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import SimpleITK
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nndistill.analysis.costs import model_costs
from nndistill.export import onnx as onnx_export
from nndistill.export import safetensors
from nndistill.export.sample_cases import read_case
from nndistill.nnunet.models.prediction import predict_folder
from nndistill.runtime.cases import find_cases
from nndistill.runtime.description import ModelDescription
from nndistill.runtime.loading import load_model
from nndistill.runtime.postprocessing import labels_of
from nndistill.runtime.sliding_window import predict_logits

EVERY = [
    ("nnunet", "float32", 0),
    ("safetensors", "float32", 0),
    ("onnx", "float32", 0.001),
    ("openvino", "float32", 0.001),
    pytest.param("onnx", "float16", 0.01, marks=pytest.mark.slow),
    pytest.param("openvino", "float16", 0.01, marks=pytest.mark.slow),
    pytest.param("openvino", "bfloat16", 0.02, marks=pytest.mark.slow),
    pytest.param("onnx", "int8", 0.2, marks=pytest.mark.slow),
    ("openvino", "int8", 0.2),
]
"""Format, precision, and the share of labels that may differ from PyTorch's; INT8 of an untrained network is coarse."""


@pytest.fixture
def student(world) -> Path:
    return world.results / "nnUNetTrainerDistill__student__3d_fullres"


def predicted(model: Path, images: Path) -> np.ndarray:
    loaded = load_model(model)
    [case] = find_cases(images, loaded.description)
    preprocessed = read_case(case, loaded.description)
    return labels_of(predict_logits(preprocessed, loaded.backend, loaded.description), preprocessed, loaded.description)


@pytest.fixture(scope="module")
def expected(_made_once) -> np.ndarray:
    """What the student predicts in PyTorch."""
    student = next(_made_once.glob("nnUNet_results/*/nnUNetTrainerDistill__student__3d_fullres"))
    return predicted(student, next(_made_once.glob("nnUNet_raw/*/imagesTs")))


@pytest.mark.parametrize(("format", "precision", "share"), EVERY)
def test_every_export_predicts_as_pytorch_does(exported, world, expected, format, precision, share):
    found = predicted(exported(format, precision), world.dataset / "imagesTs")
    assert len(np.unique(expected)) > 2
    assert (found != expected).mean() <= share


@pytest.mark.parametrize(("format", "precision", "share"), EVERY)
def test_export_holds_nothing_of_this_machine(exported, tmp_path_factory, format, precision, share):
    folder = exported(format, precision)
    places = [str(tmp_path_factory.getbasetemp()).encode(), str(Path(torch.__file__).parents[1]).encode()]
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert folder / "nndistill.json" in files
    for file in files:
        content = file.read_bytes()
        assert not [place for place in places if place in content], file


@pytest.mark.parametrize(("format", "precision", "share"), [kind for kind in EVERY if kind[0] != "nnunet"])
def test_what_the_check_found_is_in_the_description(exported, format, precision, share):
    check = ModelDescription.read(exported(format, precision)).check
    assert check["differing_labels"] <= share
    assert check["backend"] == {"onnx": "onnxruntime", "safetensors": "torch"}.get(format, "openvino")
    assert (check["max_difference"] == 0) == (format == "safetensors")


@pytest.mark.parametrize(("format", "precision"), [("nnunet", "float32"), ("onnx", "float32"), ("openvino", "int8")])
def test_description_tells_what_the_trained_network_costs(exported, student, format, precision):
    description, costs = ModelDescription.read(exported(format, precision)), model_costs(student)
    assert (description.parameters, description.flops_patch) == (costs["parameters"], costs["flops_patch"])


def test_smaller_numbers_make_smaller_files(exported):
    def size(precision: str) -> int:
        return (exported("openvino", precision) / "model.bin").stat().st_size

    assert size("bfloat16") == size("float32")  # computed so, kept as it is
    assert size("float16") == pytest.approx(size("float32") / 2, rel=0.02)
    assert size("int8") < 0.4 * size("float32")


def test_onnx_takes_any_number_of_windows_and_is_one_file(exported):
    import onnxruntime

    folder = exported("onnx")
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "nndistill.json"}
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    [given], [taken] = session.get_inputs(), session.get_outputs()
    assert (given.name, taken.name) == ("image", "logits")
    windows = np.random.default_rng(0).standard_normal((3, *given.shape[1:]), np.float32)
    [together] = session.run(None, {"image": windows})
    for window, logits in zip(windows, together, strict=True):
        np.testing.assert_allclose(session.run(None, {"image": window[None]})[0][0], logits, atol=1e-4)


@pytest.mark.slow
def test_stock_nnunet_installs_the_zip_and_predicts_the_same_labels(
    exported, world, student, python_without_nndistill, environment, tmp_path
):
    [archive] = exported("nnunet").glob("*.zip")
    results = tmp_path / "results"
    results.mkdir()
    calls = f"""
import multiprocessing
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.model_sharing.model_import import install_model_from_zip_file
if __name__ == "__main__":
    install_model_from_zip_file({str(archive)!r})
    predict_entry_point()
"""
    script = tmp_path / "stock.py"
    script.write_text(calls)
    options = {"-d": 900, "-p": "student", "-tr": "nnUNetTrainer", "-c": "3d_fullres", "-f": 0, "-device": "cpu"}
    options |= {"-i": world.dataset / "imagesTs", "-o": tmp_path / "stock", "-npp": 1, "-nps": 1}
    subprocess.run(
        [python_without_nndistill, script, *(str(word) for option in options.items() for word in option)],
        check=True,
        env={k: v for k, v in environment.items() if k not in {"nnUNet_extTrainer", "PYTHONPATH"}}
        | {"nnUNet_results": str(results)},
        capture_output=True,
    )
    [file] = (tmp_path / "stock").glob("*.nii.gz")
    [original] = predict_folder(student, world.dataset / "imagesTs", tmp_path / "original", fold="0", device="cpu")
    np.testing.assert_array_equal(*(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(f))) for f in (file, original)))


def test_checkpoint_for_stock_nnunet_has_no_training_state_and_runs_no_code(exported, student):
    [file] = exported("nnunet").rglob("checkpoint_final.pth")
    checkpoint = torch.load(file, weights_only=True)
    assert set(checkpoint) == {
        "network_weights",
        "trainer_name",
        "init_args",
        "inference_allowed_mirroring_axes",
    }
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert file.stat().st_size < 0.7 * (student / "fold_0" / "checkpoint_final.pth").stat().st_size
    plans = json.loads((file.parents[1] / "plans.json").read_text())
    assert plans["nndistill"]["distillation"]["method"] == "dcd"
    assert "/" not in plans["nndistill"]["distillation"]["teacher"]["folder"]


def test_json_tells_folder_size_and_check(nndistill, world, student):
    result = nndistill("export", student, "--format", "safetensors", "--workspace", world.workspace, "--json")
    told = json.loads(result.out)
    folder = student / "exports" / "safetensors-float32-fold_0"
    assert told["folder"] == str(folder)
    assert told["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    assert told["check"]["differing_labels"] == 0
    assert ModelDescription.read(folder).orientations == ("RAS",)  # the phantom's affine is positive


def test_next_step_and_figures_are_printed(nndistill, student):
    result = nndistill("export", student, "--format", "safetensors")
    assert "logits differ by up to 0 " in result.out
    assert "nndistill predict" in result.out
    result = nndistill("export", student, "--format", "nnunet")
    assert "nnUNetv2_install_pretrained_model_from_zip" in result.out


def test_exporting_again_replaces_the_export(nndistill, student, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        assert nndistill("export", student, "--format", "safetensors", "--out", out).status == 0
    assert nndistill("export", student, "--format", "nnunet", "--out", out).status == 0
    assert not (out / "model.safetensors").exists()


def test_folder_that_is_no_export_is_left_alone(nndistill, student, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    result = nndistill("export", student, "--format", "safetensors", "--out", tmp_path)
    assert result.status == 2
    assert "exists already and is not an export" in result.err
    assert [file.name for file in tmp_path.iterdir() if file.name != "workspace"] == ["thesis.tex"]


def test_what_lies_in_an_export_is_left_alone(nndistill, student, tmp_path):
    out = tmp_path / "out"
    assert nndistill("export", student, "--format", "safetensors", "--out", out).status == 0
    label_map = out / "labels" / "a.nii.gz"
    label_map.parent.mkdir()
    label_map.write_text("hours of work")
    result = nndistill("export", student, "--format", "safetensors", "--out", out)
    assert result.status == 2
    assert f"{label_map} is no part of the export" in result.err
    assert label_map.read_text() == "hours of work"


def test_the_current_folder_is_not_replaced(nndistill, student, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    result = nndistill("export", student.resolve(), "--format", "safetensors", "--out", ".")
    assert result.status == 2
    assert "an export replaces its folder, and . is the current one: name a new folder." in result.err


def test_an_export_knows_the_orientations_where_the_data_set_is_not(nndistill, world, student, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert nndistill("export", student, "--format", "nnunet", "--out", out, "--workspace", world.workspace).status == 0
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nowhere"))
    assert ModelDescription.read(out).orientations == load_model(out).description.orientations == ("RAS",)


@pytest.mark.parametrize(
    ("options", "sentence", "flags"),
    [
        (["--format", "onx"], "there is no format 'onx'. Did you mean 'onnx'?", " --format"),
        (["--format", "onnx", "--precision", "int4"], "there is no precision 'int4'", " --precision"),
        (
            ["--format", "onnx", "--precision", "bfloat16"],
            "for bfloat16 use openvino.",
            "s --format, --precision",
        ),
        (
            ["--format", "nnunet", "--precision", "int8"],
            "for int8 use openvino or onnx.",
            "s --format, --precision",
        ),
        (
            ["--format", "onnx", "--precision", "int8"],
            "give a folder of them for calibration",
            "s --calibration, --labels",
        ),
        (
            ["--format", "onnx", "--labels", "."],
            "give all three, or no labels.",
            "s --labels, --precision, --calibration",
        ),
        (
            ["--format", "nnunet", "--calibration", "."],
            "has no use for calibration cases.",
            "s --format, --calibration",
        ),
        (["--format", "onnx", "--fold", "7"], "no finished checkpoint for fold 7", None),
        (["--format", "openvino", "--calibration", "nowhere"], "nowhere does not exist", None),
    ],
)
def test_impossible_export_is_a_sentence_and_leaves_nothing(nndistill, student, options, sentence, flags):
    result = nndistill("export", student, *options)
    assert result.status == 2
    assert sentence in result.err
    assert flags is None or result.err.endswith(f"See the option{flags}.")
    assert not (student / "exports").exists()


def test_export_of_an_export_is_a_sentence(nndistill, exported):
    result = nndistill("export", exported("onnx"), "--format", "openvino")
    assert result.status == 2
    assert "is an export already" in result.err


def test_plans_that_only_nnunet_knows_are_exported_for_nnunet_only(nndistill, student):
    plans = json.loads((student / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["resampling_fn_data"] = "resample_torch_fornnunet"
    (student / "plans.json").write_text(json.dumps(plans))
    result = nndistill("export", student, "--format", "onnx")
    assert result.status == 2
    assert "the resampling of data resample_torch_fornnunet" in result.err
    assert "Export the model in the format nnunet" in result.err
    assert nndistill("export", student, "--format", "nnunet").status == 0


@pytest.mark.parametrize("error", [1.0, float("nan")])
def test_network_that_was_translated_wrongly_is_not_kept(nndistill, student, monkeypatch, error):
    def write_wrongly(job, output):
        files = write(job, output)
        weights = load_file(output / files[0])
        with safe_open(output / files[0], framework="pt") as content:
            metadata = content.metadata()
        [bias] = [name for name in weights if name.endswith("seg_layers.1.bias")]
        weights[bias][-1] += error
        save_file(weights, output / files[0], metadata)
        return files

    write = safetensors.export_safetensors
    monkeypatch.setattr(safetensors, "export_safetensors", write_wrongly)
    result = nndistill("export", student, "--format", "safetensors")
    assert result.status == 2
    assert "does not compute what PyTorch computes" in result.err
    assert not any((student / "exports").iterdir())


def test_precision_that_costs_more_than_is_tolerated_is_not_kept(nndistill, student, world, exported, monkeypatch):
    file = exported("onnx") / "model.onnx"

    def write_another(job, output):
        model = onnx.load(file)
        [bias] = [values for values in model.graph.initializer if values.name.endswith("seg_layers.1.bias")]
        bias.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32([0, 0, 0, 0, 1000]), bias.name)
        )
        onnx.save(model, output / "model.onnx")
        return ["model.onnx"]

    monkeypatch.setattr(onnx_export, "export_onnx", write_another)
    images, labels = world.dataset / "imagesTr", world.dataset / "labelsTr"
    result = nndistill(
        *("export", student, "--format", "onnx", "--precision", "int8"),
        *("--calibration", images, "--labels", labels, "--tolerance", 0),
    )
    assert result.status == 2
    assert "int8 costs" in result.err
    assert "more than the tolerance of 0" in result.err
    assert not any((student / "exports").iterdir())


def test_missing_reference_is_a_sentence(nndistill, student, world, exported, monkeypatch):
    export = exported("onnx")
    monkeypatch.setattr(onnx_export, "export_onnx", lambda job, output: _copied(export, output))
    shutil.rmtree(world.dataset / "labelsTr")
    (world.dataset / "labelsTr").mkdir()
    result = nndistill(
        *("export", student, "--format", "onnx", "--precision", "float16"),
        *("--calibration", world.dataset / "imagesTr", "--labels", world.dataset / "labelsTr"),
    )
    assert result.status == 2
    assert "the reference of case" in result.err


def _copied(export: Path, output: Path) -> list[str]:
    shutil.copy(export / "model.onnx", output)
    return ["model.onnx"]
