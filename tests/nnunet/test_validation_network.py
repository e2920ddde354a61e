"""Validation cases are predicted by another network than PyTorch's only if that is faster, and equal."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from networks import residual_unet
from nndistill.nnunet.training import recipe_trainer, validation_network
from nndistill.nnunet.training.validation_network import (
    LARGEST_DIFFERENCE,
    ValidationWork,
    choose_validation_network,
    faster_networks,
)
from nndistill.nnunet.training.validation_network import validation_work as work_of

VOXELS = 10_000


class Fake(nn.Module):
    """Is said to take so long for a window; predicts label 1 in half of the voxels and some more, and 2 in a few."""

    def __init__(self, seconds: float, more: int = 0, few: int = 8) -> None:
        super().__init__()
        self.seconds, self.more, self.few = seconds, more, few


def _labels(network: Fake, image: torch.Tensor) -> np.ndarray:
    labels = (np.arange(VOXELS) < VOXELS // 2 + network.more).astype(np.uint8)
    labels[VOXELS - network.few :] = 2
    return labels


def work(windows: int, **changes: object) -> ValidationWork:
    patch = torch.zeros(1, 1, 2, 2, 2)
    values = {"windows": windows, "checked_windows": 2, "patch": patch, "checked": [patch[0]], "labels": _labels}
    return ValidationWork(**{**values, **changes})


@pytest.fixture(autouse=True)
def _as_said(monkeypatch):
    monkeypatch.setattr(validation_network, "_seconds", lambda network, patch: network.seconds)


def choose(others: dict[str, nn.Module], windows: int = 1000, **changes: object):
    """Returns which was chosen, and why."""
    trained = Fake(1.0)
    builders = {name: (lambda other=other: other) for name, other in others.items()}
    chosen = choose_validation_network(trained, builders, work(windows, **changes))
    names = {id(trained): "PyTorch", **{id(other): name for name, other in others.items()}}
    return names[id(chosen.network)], chosen.reason


def test_fastest_equal_is_chosen():
    name, reason = choose({"Fast": Fake(0.5), "Faster": Fake(0.1)})
    assert name == "Faster"
    assert reason.startswith("Faster: it computes a window ")
    assert "and its label maps of the first cases differ from PyTorch's in 0 of the voxels" in reason
    assert reason.endswith("with a Dice of at least 1.000 for every label")


def test_label_maps_may_differ_in_one_voxel_of_a_thousand_and_no_more():
    bound = round(LARGEST_DIFFERENCE * VOXELS)
    assert choose({"Fast": Fake(0.1, more=bound)})[0] == "Fast"
    name, reason = choose({"Fast": Fake(0.1, more=bound + 1)})
    assert name == "PyTorch"
    assert "but its label maps of the first cases differ from PyTorch's in 0.0011 of the voxels" in reason


def test_a_small_label_that_is_lost_is_no_small_difference():
    name, reason = choose({"Fast": Fake(0.1, few=0)})
    assert name == "PyTorch"
    assert "in 0.0008 of the voxels, with a Dice of at least 0.000 for every label" in reason
    assert choose({"Fast": Fake(0.1, few=7)})[0] == "PyTorch"


def test_what_gains_nothing_is_not_chosen():
    name, reason = choose({"Slow": Fake(0.9)})
    assert name == "PyTorch"
    assert "does not pay" in reason


def test_what_costs_more_to_check_than_it_saves_is_not_checked():
    no_labels = {"checked_windows": 10_000, "labels": lambda network, image: pytest.fail("checked")}
    assert choose({"Fast": Fake(0.1)}, **no_labels)[0] == "PyTorch"


def test_short_validation_is_left_to_pytorch():
    builders = {"Fast": lambda: pytest.fail("built")}
    trained = Fake(0.0)
    chosen = choose_validation_network(trained, builders, work(windows=10))
    assert chosen.network is trained


def test_network_that_a_converter_stumbles_over_is_left_to_pytorch():
    def stumble() -> nn.Module:
        raise RuntimeError("no translator for this operation")

    trained = Fake(1.0)
    chosen = choose_validation_network(trained, {"OpenVINO": stumble}, work(1000))
    assert chosen.network is trained
    assert "OpenVINO cannot compute this network" in chosen.reason


@pytest.mark.parametrize("bfloat16", [True, False])
def test_networks_that_may_be_faster_compute_the_same(monkeypatch, bfloat16):
    monkeypatch.setattr(validation_network, "may_be_faster_in_bfloat16", lambda: bfloat16)
    network, patch = residual_unet([4, 8]).eval(), torch.randn(1, 1, 16, 16, 12)
    others = faster_networks(network, patch)
    assert ("PyTorch in bfloat16" in others) == bfloat16
    with torch.inference_mode():
        expected = network(patch)
        for name, build in others.items():
            output = build()(patch)
            assert output.dtype == torch.float32
            difference = (output - expected).norm() / expected.norm()
            assert difference < (0.05 if "bfloat16" in name else 1e-4) or _openvino_has_bfloat16(name)


def _openvino_has_bfloat16(name: str) -> bool:
    import openvino

    return name == "OpenVINO" and "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_summary_is_that_of_stock_whichever_network_computed_it(nndistill, world, monkeypatch):
    pytest.importorskip("openvino")
    student = world.results / "nnUNetTrainerDistill__student__3d_fullres"
    summary = student / "fold_0" / "validation" / "summary.json"
    stock = json.loads(summary.read_text())
    shutil.rmtree(summary.parent)
    seconds = iter([1.0, 1e-6])
    monkeypatch.setattr(validation_network, "_seconds", lambda network, patch: next(seconds))
    monkeypatch.setattr(recipe_trainer, "validation_work", lambda trainer: replace(work_of(trainer), windows=1000))
    monkeypatch.setattr(validation_network, "may_be_faster_in_bfloat16", lambda: False)
    # A network of two epochs is undecided almost everywhere, so its label maps would not survive bfloat16.
    monkeypatch.setattr("nndistill.teacher_engines.openvino_graph.computes_bfloat16", lambda: False)
    plans = json.loads((world.preprocessed / "student.json").read_text())["nndistill"]
    result = nndistill(
        *("distill", plans["distillation"]["teacher"]["folder"], "--workspace", world.workspace, "--name", "student"),
        *("--recipe", "quick", "--iterations", 2, "--epochs", 2, "--device", "cpu", "--resume", "--json"),
    )
    assert result.status == 0, result.err
    log = "".join(file.read_text() for file in sorted((student / "fold_0").glob("training_log*")))
    assert "validation is computed by OpenVINO: it computes a window 1e+06 times as fast" in log
    ours = json.loads(summary.read_text())
    assert ours["mean"].keys() == stock["mean"].keys()
    assert ours["foreground_mean"]["Dice"] == pytest.approx(stock["foreground_mean"]["Dice"], abs=1e-3)
    assert [case["reference_file"] for case in ours["metric_per_case"]] == [
        case["reference_file"].replace(str(stock_workspace(stock)), str(world.workspace))
        for case in stock["metric_per_case"]
    ]


def stock_workspace(summary: dict) -> str:
    """The folder in which the fixture made the workspace first."""
    return summary["metric_per_case"][0]["reference_file"].split("/nnUNet_preprocessed/")[0]
