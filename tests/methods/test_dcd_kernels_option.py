"""Where Triton's kernels cannot be used, a sentence says so; none of these tests needs Triton."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from nndistill.errors import UnknownName, UserError
from nndistill.methods import DCD, Activations, build_method
from nndistill.methods.parts import kernels


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"bands": "A+D"}, "bands"),
        ({"bands": {"D": 0.5}}, "bands"),
        ({"domain": "coefficients"}, "domain"),
        ({"loss_every": 4}, "loss_every"),
        ({"mode": "zero"}, "mode"),
        ({"ndim": 2}, "ndim"),
        ({"wavelet": "dmey"}, "dmey"),
    ],
)
def test_options_that_the_kernels_do_not_have_are_refused(options: dict, named: str) -> None:
    with pytest.raises(UserError, match=f"(?s)kernels 'triton'.*{named}.*choose kernels 'torch'"):
        DCD([2], [4], kernels="triton", **options)


def test_other_kernels_are_unknown() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'triton'"):
        build_method("dcd", student_channels=[2], teacher_channels=[4], kernels="tritn")


def step(device: str = "cpu", dtype: torch.dtype = torch.float32) -> torch.Tensor:
    student, teacher = (torch.zeros(1, c, 9, 9, 9, device=device, dtype=dtype) for c in (2, 4))
    return DCD([2], [4], kernels="triton").to(device)(Activations([student]), Activations([teacher]))


def test_a_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(UserError, match=r"need CUDA, and these features are on cpu; choose kernels 'torch'\."):
        step()


def test_double_precision_is_refused() -> None:
    with pytest.raises(UserError, match="these features are float64"):
        step(dtype=torch.float64)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    real = importlib.util.find_spec
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None if name == "triton" else real(name))
    with pytest.raises(UserError, match="pip install triton"):
        step()


def test_on_meta_nothing_runs_and_triton_is_not_needed() -> None:
    assert step("meta").is_meta
