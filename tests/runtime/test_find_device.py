"""The device `auto` can run the networks, and one that was asked for by name is there."""

from __future__ import annotations

import logging

import pytest
import torch

from nndistill.errors import UserError
from nndistill.runtime.backends.torch import find_device


@pytest.fixture(params=["cuda", "mps"])
def present(request, monkeypatch) -> str:
    """A machine with one kind of GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param == "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: request.param == "mps")
    return str(request.param)


def _refusing(error: Exception):
    def probe(device: torch.device) -> None:
        raise error

    return probe


def test_auto_takes_a_gpu_that_passes_the_probe(present, caplog):
    probed = []
    assert find_device("auto", probe=probed.append).type == present
    assert [device.type for device in probed] == [present]
    assert not caplog.text


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("The operator 'aten::conv_transpose3d' is not implemented for the MPS device.\nMore."),
        TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."),
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
    ],
)
def test_auto_takes_the_cpu_and_says_why_if_the_gpu_cannot_run_the_networks(present, error, caplog):
    with caplog.at_level(logging.WARNING, logger="nndistill"):
        assert find_device("auto", probe=_refusing(error)).type == "cpu"
    (record,) = caplog.records
    reason = str(error).splitlines()[0].rstrip(".")
    assert record.message == f"the device {present} cannot run the networks ({reason}), so another one computes."


def test_gpu_without_memory_is_still_the_one_that_runs_networks(present):
    assert find_device("auto", probe=_refusing(torch.cuda.OutOfMemoryError())).type == present


def test_device_that_was_asked_for_is_not_probed(present):
    assert find_device(present, probe=_refusing(RuntimeError())).type == present


def test_device_that_is_not_there_is_a_sentence(present):
    other = {"cuda": "mps", "mps": "cuda"}[present]
    with pytest.raises(UserError, match=f"{other} is not available on this machine \\(available: cpu, {present}\\)"):
        find_device(other)


def test_probe_runs_on_this_machines_cpu():
    from nndistill.runtime.backends.torch import _run_what_networks_need

    _run_what_networks_need(torch.device("cpu"))
    with pytest.raises(RuntimeError, match="meta"):  # a device without values
        _run_what_networks_need(torch.device("meta"))
