"""The engine of a training: asked for on the command line, kept in its checkpoints, found by later trainings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from networks import residual_unet
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.run_setup import KEY, RunSetup
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from nndistill.nnunet.training.teacher_engine import teacher_engine
from nndistill.teacher_engines import CompiledEncoderEngine, TorchEngine
from nndistill.teacher_engines.choice import UNDECIDED
from nndistill.teacher_engines.openvino import computes_bfloat16
from tiny import TINY


@pytest.fixture
def distill(nndistill, world):
    def call(name: str, *arguments: object, epochs: int = 2):
        return nndistill(
            *["distill", world.teacher, "--workspace", world.workspace, *TINY, "--epochs", epochs],
            *["--no-validate", "--name", name, *arguments],
        )

    return call


@pytest.fixture
def folder(world):
    return lambda name: world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0"


def _final(folder: Path) -> dict:
    return read_checkpoint(folder / "checkpoint_final.pth")


def _log(folder: Path) -> str:
    return "".join(file.read_text() for file in sorted(folder.glob("training_log*")))


def _without_openvino(patch: pytest.MonkeyPatch) -> None:
    for module in ("openvino", "stored_model"):
        patch.delitem(sys.modules, f"nndistill.teacher_engines.{module}", raising=False)
    patch.setitem(sys.modules, "openvino", None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "engine"),
    [
        ("float32", "openvino"),
        pytest.param(
            *("bfloat16", "openvino-bfloat16"),
            marks=pytest.mark.skipif(not computes_bfloat16(), reason="this processor has no bfloat16"),
        ),
    ],
)
def test_resumed_training_keeps_openvino_and_its_bits(distill, folder, world, monkeypatch, precision, engine):
    """The uninterrupted training finds what the interrupted one converted."""
    begin = nnUNetTrainerDistill.on_train_epoch_start

    def begin_the_first_epoch_only(trainer: nnUNetTrainerDistill) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        begin(trainer)

    asked = ["--teacher-engine", "openvino", "--precision", precision]
    with monkeypatch.context() as patch:
        patch.setattr(nnUNetTrainerDistill, "on_train_epoch_start", begin_the_first_epoch_only)
        assert distill("stopped", *asked).status == 130
    latest = read_checkpoint(folder("stopped") / "checkpoint_latest.pth")
    assert latest[KEY]["teacher_engine"] == engine
    assert f"the teacher is computed by OpenVINO in {precision}" in _log(folder("stopped"))
    assert "encoder.stages.2" in _log(folder("stopped"))
    (converted,) = (world.teacher / "fold_0").glob("teacher_openvino_*")
    written = (converted / "model.bin").stat().st_mtime_ns

    with monkeypatch.context() as patch:
        _without_openvino(patch)
        refused = distill("stopped", *asked, "--resume")
    assert refused.status == 2
    assert f"begun with its teacher computed by OpenVINO in {precision}, but OpenVINO is not installed" in refused.err

    resumed = distill("stopped", *asked, "--resume")
    assert resumed.status == 0, resumed.err
    assert "as before" in _log(folder("stopped"))
    assert distill("whole", *asked).status == 0
    assert list((world.teacher / "fold_0").glob("teacher_openvino_*")) == [converted]
    assert (converted / "model.bin").stat().st_mtime_ns == written
    weights = [_final(folder(name))["network_weights"] for name in ("stopped", "whole")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])


def test_setup_says_what_was_asked_for_and_a_short_training_is_left_to_pytorch(distill, folder):
    assert distill("tried", epochs=1).status == 0
    setup = json.loads((folder("tried").parent / "plans.json").read_text())[KEY]
    assert setup["distillation"]["teacher_engine"] == "auto"
    assert "teacher_engine" not in _final(folder("tried"))[KEY]


def test_openvino_that_is_missing_is_a_sentence_and_the_training_goes_on(distill, folder, monkeypatch):
    with monkeypatch.context() as patch:
        _without_openvino(patch)
        result = distill("tried", "--teacher-engine", "openvino", epochs=1)
    assert result.status == 0
    assert (
        "PyTorch computes the teacher, since OpenVINO is not installed (pip install '.[openvino]' in nnDistill's "
        "repository)" in result.err
    )
    assert "teacher_engine" not in _final(folder("tried"))[KEY]


@pytest.mark.slow
def test_freekd_learns_in_pytorch_and_trains_with_openvino(distill, folder):
    options = ["--method", "freekd+logits", "--option", "freekd.prompt_iterations=2", "--precision", "float32"]
    result = distill("tried", *options, "--teacher-engine", "openvino", epochs=1)
    assert result.status == 0, result.err
    assert _final(folder("tried"))[KEY]["teacher_engine"] == "openvino"
    assert "logits" in _log(folder("tried")).partition("the teacher is computed by OpenVINO")[2].splitlines()[0]


def test_unknown_engine_is_refused(distill):
    assert distill("tried", "--teacher-engine", "tensorrt").status == 2


def test_setup_of_an_older_version_leaves_the_choice_open(world):
    plans = json.loads((world.results / "nnUNetTrainerDistill__student__3d_fullres" / "plans.json").read_text())
    del plans[KEY]["distillation"]["teacher_engine"]
    assert RunSetup.of(plans).distillation.teacher_engine == "auto"


def _on(device: str, needs: set[str], warnings: list[str], **changes: object):
    torch.manual_seed(0)
    settings = {
        "wanted": "auto",
        "kept": UNDECIDED,
        "device": torch.device(device),
        "compiled": True,
        "in_one_process": True,
        "batches": 1,
        "checkpoint_file": Path("none"),
        "folders": [],
        "log": print,
        "warn": warnings.append,
    }
    return teacher_engine(TorchEngine.reading(residual_unet((8, 16)), needs), **{**settings, **changes})


def test_gpu_computes_a_compiled_encoder_or_what_the_method_reads():
    warnings: list[str] = []
    assert isinstance(_on("cuda", {"encoder"}, warnings), CompiledEncoderEngine)
    assert isinstance(_on("cuda", {"logits"}, warnings), TorchEngine)
    assert isinstance(_on("cuda", {"encoder"}, warnings, compiled=False), TorchEngine)
    assert not warnings


@pytest.mark.parametrize(
    ("changes", "named"), [({"device": "cuda"}, "on cuda"), ({"device": "cpu", "in_one_process": False}, "processes")]
)
def test_openvino_where_it_is_not_used_is_a_sentence(changes, named):
    warnings: list[str] = []
    device = changes.pop("device")
    assert _on(device, {"encoder"}, warnings, wanted="openvino", **changes).name == "torch"
    assert named in warnings[0]
