"""Every runtime computes what PyTorch computes, mirrored or not, and says in a sentence what it cannot do."""

from __future__ import annotations

import logging
from itertools import combinations

import numpy as np
import pytest
import torch

from nndistill.errors import UserError
from nndistill.runtime.backends import openvino as openvino_backend
from nndistill.runtime.backends.onnxruntime import OnnxRuntimeBackend
from nndistill.runtime.backends.openvino import OpenVinoBackend
from nndistill.runtime.backends.torch import TorchBackend
from small_exports import PATCH, Small, small_description

EIGHT = [axes for count in range(4) for axes in combinations(range(3), count)]
RUNTIMES = ["torch", "onnxruntime", "openvino", "openvino on onnx"]


def load(small: Small, runtime: str, **changes):
    description = small_description(**changes)
    match runtime:
        case "torch":
            return TorchBackend(small.network, device=torch.device("cpu"))
        case "onnxruntime":
            return OnnxRuntimeBackend(small.folders["onnx"] / "model.onnx", description)
        case "openvino":
            return OpenVinoBackend(small.folders["openvino"] / "model.xml", description)
        case _:
            return OpenVinoBackend(small.folders["onnx"] / "model.onnx", description)


@pytest.fixture
def window() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, *PATCH)).astype(np.float32)


def averaged_by_hand(network, window, mirrorings) -> np.ndarray:
    with torch.no_grad():
        outputs = []
        for axes in mirrorings:
            spatial = [axis + 1 for axis in axes]
            flipped = np.flip(window, spatial).copy()
            output = network(torch.from_numpy(flipped)[None])[0].numpy()
            outputs.append(np.flip(output, spatial))
    return np.mean(outputs, axis=0)


@pytest.mark.parametrize("runtime", RUNTIMES[1:])
def test_network_of_other_dimensions_than_its_description_is_a_sentence(small, runtime):
    with pytest.raises(UserError, match="is a network of 3 dimensions, and the description next to it is of one of 2"):
        load(small, runtime, patch_size=PATCH[1:], spacing=(1.0, 1.0), mirroring_axes=(0, 1))


@pytest.mark.parametrize("mirrorings", [[()], [(0,)], [(), (2,)], EIGHT], ids=["none", "one", "two", "eight"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_logits_are_the_mean_of_pytorchs_over_mirrorings_undone(small, window, runtime, mirrorings):
    backend = load(small, runtime)
    before = window.copy()
    logits = backend.logits(window, mirrorings)
    np.testing.assert_allclose(logits, averaged_by_hand(small.network, window, mirrorings), atol=2e-4)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(window, before)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_second_window_owes_nothing_to_the_first_nor_to_what_the_caller_did_with_its_logits(small, window, runtime):
    backend = load(small, runtime)
    expected = backend.logits(window, EIGHT).copy()
    logits = backend.logits(window[:, ::-1].copy(), EIGHT)
    logits[:] = np.nan
    np.testing.assert_array_equal(backend.logits(window, EIGHT), expected)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_device_is_named_for_people(small, runtime):
    assert load(small, runtime).device
    assert load(small, runtime).precision == "float32"


def test_bfloat16_is_computed_in_float32_with_a_warning_where_the_processor_has_none(
    small, window, monkeypatch, caplog
):
    monkeypatch.setitem(openvino_backend._CAPABILITIES, "bf16", "none of this processor's")
    with caplog.at_level(logging.WARNING, logger="nndistill"):
        backend = load(small, "openvino", precision="bfloat16")
    assert "cannot compute in bfloat16" in caplog.text
    assert backend.precision == "float32"
    np.testing.assert_array_equal(backend.logits(window), load(small, "openvino").logits(window))


def test_float32_stays_float32_on_a_processor_that_has_bfloat16(small, window):
    difference = np.abs(load(small, "openvino").logits(window) - averaged_by_hand(small.network, window, [()]))
    assert difference.max() < 1e-4  # in bfloat16 it is a hundred times as large


@pytest.mark.parametrize(
    ("kind", "device", "sentence"),
    [
        (OnnxRuntimeBackend, "cuda", "pip install onnxruntime-gpu"),
        (OnnxRuntimeBackend, "tpu", "ONNX Runtime has no device 'tpu'"),
        (OpenVinoBackend, "cuda", "for NVIDIA's GPUs another backend"),
        (OpenVinoBackend, "gpu", "OpenVINO finds no device gpu"),
    ],
)
def test_device_that_is_not_there_is_a_sentence(small, kind, device, sentence):
    import onnxruntime
    import openvino

    if device == "gpu" and "GPU" in openvino.Core().available_devices:
        pytest.skip("there is a GPU for OpenVINO")
    if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime computes on GPUs")
    with pytest.raises(UserError, match=sentence):
        kind(small.folders["onnx"] / "model.onnx", small_description(), device=device)


@pytest.mark.parametrize("kind", [OnnxRuntimeBackend, OpenVinoBackend])
def test_network_that_the_runtime_refuses_is_a_sentence(tmp_path, kind, small):
    file = tmp_path / "model.onnx"
    file.write_bytes((small.folders["onnx"] / "model.onnx").read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cannot load .*model\.onnx .*as it was exported: install") as refused:
        kind(file, small_description())
    assert "Exception from" not in str(refused.value)


def test_gpu_without_enough_memory_for_a_window_is_a_sentence(small, window, monkeypatch):
    backend = load(small, "torch")
    monkeypatch.setattr(backend, "_network", _OutOfMemory())
    with pytest.raises(UserError, match=r"not enough memory for a window of \d+×\d+×\d+ voxels"):
        backend.logits(window)


def test_gpu_without_enough_memory_for_the_window_itself_is_a_sentence(small, window, monkeypatch):
    backend = load(small, "torch")
    monkeypatch.setattr(torch, "from_numpy", _OutOfMemory())
    with pytest.raises(UserError, match=r"not enough memory for a window"):
        backend.logits(window)


class _OutOfMemory:
    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError
