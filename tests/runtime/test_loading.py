"""A folder becomes a network that computes, or a sentence says why not."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from nndistill.errors import UnknownName, UserError
from nndistill.runtime.loading import load_model
from small_exports import PATCH


@pytest.mark.parametrize(
    ("format", "backend", "chosen"),
    [
        ("onnx", None, "onnxruntime"),
        ("onnx", "onnxruntime", "onnxruntime"),
        ("onnx", "openvino", "openvino"),
        ("openvino", None, "openvino"),
    ],
)
def test_export_is_computed_by_its_own_backend_or_the_one_asked_for(small, format, backend, chosen):
    model = load_model(small.folders[format], backend=backend)
    assert model.backend.name == chosen
    assert model.backend.logits(np.zeros((2, *PATCH), np.float32)).shape == (3, *PATCH)


@pytest.mark.parametrize(
    ("format", "backend", "sentence"),
    [
        ("onnx", "torch", "is a model for onnxruntime or openvino, not for torch; export it as safetensors or nnunet"),
        ("openvino", "onnxruntime", "is a model for openvino, not for onnxruntime; export it as onnx"),
    ],
)
def test_wrong_model_for_the_runtime_is_a_sentence(small, format, backend, sentence):
    with pytest.raises(UserError, match=sentence):
        load_model(small.folders[format], backend=backend)


def test_unknown_backend_is_answered_with_the_nearest(small):
    with pytest.raises(UnknownName, match="Did you mean 'openvino'"):
        load_model(small.folders["openvino"], backend="openvin")


def test_folder_that_is_no_model_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"neither an exported model, .* nor a trained nnU-Net"):
        load_model(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        load_model(tmp_path / "nowhere")


def test_changed_network_is_not_computed(small, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(small.folders["openvino"], copy)
    content = bytearray((copy / "model.bin").read_bytes())
    content[100] ^= 1
    (copy / "model.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.bin is not the file that was exported"):
        load_model(copy)


def test_fold_of_an_export_is_a_sentence(small):
    with pytest.raises(UserError, match="holds one fold"):
        load_model(small.folders["onnx"], fold="0")


def test_trained_nnunet_is_computed_by_pytorch_and_by_nothing_else(world):
    student = world.results / "nnUNetTrainerDistill__student__3d_fullres"
    model = load_model(student)
    assert model.backend.name == "torch"
    assert model.description.mirroring_axes == ()
    with pytest.raises(UserError, match=r"which only PyTorch computes; for openvino export it first, as openvino"):
        load_model(student, backend="openvino")


def test_one_of_several_folds_has_to_be_chosen(world):
    shutil.copytree(world.teacher / "fold_0", world.teacher / "fold_3")
    with pytest.raises(UserError, match="holds the folds 0, 3; choose one of them") as error:
        load_model(world.teacher)
    assert error.value.flags == ["--fold"]
    assert load_model(world.teacher, fold="3").description.name.endswith("fold_3")
    with pytest.raises(UserError, match="no finished checkpoint for fold 4"):
        load_model(world.teacher, fold="4")
