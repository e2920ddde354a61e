"""The precision of a training: chosen once, kept for good, and not that of losses and statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import autocast, nn

from activations import labels, of_network
from networks import residual_unet
from nndistill.errors import UserError
from nndistill.files import read_json, write_json
from nndistill.methods import METHODS, Activations, build_method
from nndistill.nnunet.models.checkpoints import read_checkpoint, write_checkpoint
from nndistill.nnunet.models.history import read_history
from nndistill.nnunet.run_setup import KEY
from nndistill.nnunet.training import precision, recipe_trainer
from nndistill.nnunet.training.precision import (
    PAYS,
    LossInFloat32,
    choose_precision,
    computing_in,
    measure_bfloat16,
    refuse_another_precision,
)
from nndistill.nnunet.training.recipe_trainer import nnUNetTrainerRecipe
from nndistill.nnunet.workspace import use_workspace
from stopped_trainings import stopping_in_epoch
from tiny import TINY

CPU, CUDA, MPS = (torch.device(kind) for kind in ("cpu", "cuda", "mps"))


@pytest.fixture
def measured(monkeypatch):
    """Let the measurement say these speeds, one per run that measures."""

    def say(*speeds: float) -> None:
        left = list(speeds)
        monkeypatch.setattr(precision, "may_be_faster_in_bfloat16", lambda: True)
        monkeypatch.setattr(recipe_trainer, "measure_bfloat16", lambda network, **sizes: left.pop(0))

    return say


@pytest.fixture
def seen(monkeypatch):
    """Precisions of the logits that losses were given."""
    found = set()
    forward = LossInFloat32.forward

    def look(self, output, target):
        found.update(logits.dtype for logits in output)
        return forward(self, output, target)

    monkeypatch.setattr(LossInFloat32, "forward", look)
    return found


@pytest.fixture
def distill(nndistill, world):
    """Distil in no time, which in bfloat16 takes small patches; return how it ended and the folder of the fold."""
    plans = read_json(world.teacher / "plans.json")
    plans["configurations"]["3d_fullres"]["patch_size"] = [16, 16, 16]
    write_json(world.teacher / "plans.json", plans)

    def call(name: str, *more: object):
        command = ["distill", world.teacher, "--workspace", world.workspace, *TINY, "--name", name, "--no-validate"]
        return nndistill(*command, *more), world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0"

    return call


def _final(folder: Path) -> dict:
    return read_checkpoint(folder / "checkpoint_final.pth")


def _equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def _precision_in(checkpoint: dict) -> str | None:
    return checkpoint["init_args"]["plans"][KEY]["precision"]


@pytest.mark.parametrize(
    ("wanted", "device", "speed", "chosen"),
    [
        ("auto", CPU, PAYS, "bfloat16"),
        ("auto", CPU, PAYS - 0.01, "float32"),
        ("auto", CUDA, None, "float16"),
        ("auto", MPS, None, "float32"),
        ("float32", CPU, None, "float32"),
        ("float32", CUDA, None, "float32"),
        ("bfloat16", CPU, 3.0, "bfloat16"),
        ("bfloat16", CPU, 0.25, "bfloat16"),
        ("bfloat16", CUDA, None, "bfloat16"),
    ],
)
def test_choice_follows_the_recipe_the_device_and_a_measurement_where_it_matters(
    monkeypatch, wanted, device, speed, chosen
):
    monkeypatch.setattr(precision, "may_be_faster_in_bfloat16", lambda: True)

    def measure() -> float:
        assert speed is not None, "nothing had to be measured"
        return speed

    choice = choose_precision(wanted, device, speed_of_bfloat16=measure)
    assert choice.precision == chosen
    assert choice.remark == (wanted == "bfloat16" and speed == 0.25)
    assert not choice.remark or "4 times as long" in choice.reason


def test_processor_that_cannot_be_faster_in_bfloat16_is_not_measured(monkeypatch):
    monkeypatch.setattr(precision, "may_be_faster_in_bfloat16", lambda: False)
    choice = choose_precision("auto", CPU, speed_of_bfloat16=lambda: pytest.fail("measured"))
    assert choice.precision == "float32"


def test_bfloat16_where_there_is_none_is_refused():
    with pytest.raises(UserError, match="on mps leave the precision at auto"):
        choose_precision("bfloat16", MPS, speed_of_bfloat16=lambda: 1.0)


@pytest.mark.parametrize(
    ("begun", "wanted", "device", "sentence"),
    [
        ("float32", "bfloat16", CPU, "begun in float32 and cannot continue in bfloat16"),
        ("bfloat16", "float32", CPU, "begun in bfloat16 and cannot continue in float32"),
        ("float16", "float32", CUDA, "begun in float16 and cannot continue in float32"),
        ("float16", "auto", CPU, "begun in float16 and cannot continue on cpu"),
        ("bfloat16", "auto", MPS, "begun in bfloat16 and cannot continue on mps"),
    ],
)
def test_run_is_never_continued_in_another_precision(begun, wanted, device, sentence):
    with pytest.raises(UserError, match=sentence):
        refuse_another_precision(begun, wanted, device)


@pytest.mark.slow
def test_resumed_run_keeps_the_precision_that_was_measured_at_its_start_bit_for_bit(
    distill, measured, seen, monkeypatch
):
    measured(3.0, 3.0)  # a third measurement would find nothing
    kept = []
    monkeypatch.setattr(recipe_trainer, "keep_freed_memory", lambda: kept.append(True))
    result, whole = distill("whole", "--epochs", 2)
    assert result.status == 0, result.err
    with stopping_in_epoch(1):
        stopped, parts = distill("parts", "--epochs", 2)
    assert stopped.status == 130
    assert seen == {torch.bfloat16}
    resumed, _ = distill("parts", "--epochs", 2, "--resume")
    assert resumed.status == 0, resumed.err
    a, b = _final(whole), _final(parts)
    assert _precision_in(a) == _precision_in(b) == "bfloat16"
    assert a["logging"]["train_losses"] == b["logging"]["train_losses"]
    assert min(a["logging"]["gradient_shares"]) > 0
    assert _equal(a["network_weights"], b["network_weights"])
    assert _equal(a["nndistill"]["method"], b["nndistill"]["method"])
    assert {weights.dtype for weights in a["network_weights"].values()} == {torch.float32}
    assert read_history(whole.parent, "0").facts["Precision"] == "bfloat16"
    assert len(kept) == 3


def test_bfloat16_on_a_processor_without_it_works_and_is_remarked_on(distill, measured, seen):
    measured(0.4)
    result, folder = distill("slow", "--epochs", 1, "--precision", "bfloat16")
    assert result.status == 0, result.err
    assert "bfloat16 takes 2.5 times as long as float32 on this processor" in result.err
    assert seen == {torch.bfloat16}
    again, _ = distill("slow", "--epochs", 1, "--precision", "float32", "--resume")
    assert again.status == 2
    assert "with another setup (precision bfloat16, now float32)" in again.err
    assert _precision_in(_final(folder)) == "bfloat16"


@pytest.fixture
def trainer_on(world):
    """A trainer for the world's teacher, with another precision in its recipe."""

    def make(device: torch.device, wanted: str) -> nnUNetTrainerRecipe:
        use_workspace(world.workspace)
        plans = {**read_json(world.teacher / "plans.json"), "continue_training": False}
        plans[KEY] = {**plans[KEY], "recipe": {**plans[KEY]["recipe"], "precision": wanted}}
        return nnUNetTrainerRecipe(plans, "3d_fullres", 0, read_json(world.teacher / "dataset.json"), device)

    return make


@pytest.mark.filterwarnings("ignore:.*GradScaler is enabled, but CUDA is not available")
@pytest.mark.parametrize(("wanted", "scaled"), [("auto", True), ("bfloat16", False), ("float32", False)])
def test_gradients_are_scaled_in_float16_only(trainer_on, wanted, scaled):
    trainer = trainer_on(CUDA, wanted)
    trainer._settle_precision()
    assert (trainer.grad_scaler is not None) == scaled


def test_run_of_an_older_version_continues_in_the_precision_of_nnunet(trainer_on, world, tmp_path):
    checkpoint = read_checkpoint(world.teacher / "fold_0" / "checkpoint_final.pth")
    checkpoint["init_args"]["plans"][KEY].pop("precision", None)
    write_checkpoint(tmp_path / "checkpoint_latest.pth", checkpoint)
    trainer = trainer_on(CPU, "auto")
    trainer.load_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert trainer.precision == "float32"


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("chosen", ["float32", "bfloat16", "float16"])
def test_autocast_of_stock_validation_takes_over_the_precision_around_it(chosen):
    with computing_in(chosen, CUDA), autocast("cuda", enabled=True):
        assert torch.get_autocast_dtype("cuda") == getattr(torch, chosen)


DICE = {"smooth": 1e-5, "batch_dice": True, "ddp": False}


@pytest.mark.parametrize("regions", [False, True])
def test_loss_of_bfloat16_logits_is_that_of_the_same_numbers_in_double_precision(regions):
    """Under a processor's autocast, nnU-Net's loss alone would have three digits in the gradient of every voxel."""
    shape = (2, 3, 12, 10, 8)
    target = torch.randint(2 if regions else 3, shape if regions else (2, 1, *shape[2:]))
    if regions:
        plain = DC_and_BCE_loss({}, {"do_bg": True, **DICE}, dice_class=MemoryEfficientSoftDiceLoss)
    else:
        plain = DC_and_CE_loss({"do_bg": False, **DICE}, {}, dice_class=MemoryEfficientSoftDiceLoss)
    stock = DeepSupervisionWrapper(plain, [0.75, 0.25])
    logits = (3 * torch.randn(shape)).bfloat16().requires_grad_()
    exact = logits.detach().double().requires_grad_()
    with autocast("cpu", dtype=torch.bfloat16):
        loss = LossInFloat32(stock)([logits, logits], [target, target])
    expected = stock([exact, exact], [target, target])
    loss.backward()
    expected.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=2**-8, atol=1e-9)  # rounded once, at the end


def test_loss_of_other_logits_is_nnunets_own():
    logits, target = torch.randn(1, 2, 4, 4, 4), torch.zeros(1, 2, 4, 4, 4)
    untouched = LossInFloat32(lambda output, target: output)
    assert untouched(logits, target) is logits
    assert untouched(logits.half(), target).dtype == torch.float16


@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_statistics_of_norms_are_those_of_double_precision(mean):
    """A sum of 40,000 voxels in bfloat16 would have no digit left."""
    features = (torch.randn(2, 3, 40, 40, 25) + mean).bfloat16()
    with autocast("cpu", dtype=torch.bfloat16):
        normalised = nn.InstanceNorm3d(3, affine=True)(features)
    expected = nn.functional.instance_norm(features.double())
    torch.testing.assert_close(normalised.double(), expected, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"none"}))
def test_every_method_compares_bfloat16_features_as_precisely_as_their_digits_allow(name):
    pair = [of_network([8, 16], seed=1, gradient=True), of_network([16, 32], seed=2)]
    method = build_method(name, student_channels=[8, 16], teacher_channels=[16, 32])
    half, single = ([_in(each, dtype) for each in pair] for dtype in (torch.bfloat16, torch.float32))
    target = labels(3, space=(8, 8, 8))
    with autocast("cpu", dtype=torch.bfloat16):
        loss = method(*half, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, method(*single, target), rtol=2e-2, atol=1e-4)
    loss.backward()
    gradients = [x.grad for x in (*pair[0].encoder, *pair[0].decoder, pair[0].logits) if x.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def _in(activations: Activations, dtype: torch.dtype) -> Activations:
    """The same numbers, those of bfloat16, in a type."""

    def convert(x: torch.Tensor) -> torch.Tensor:
        return x.bfloat16().to(dtype)

    return Activations(
        [convert(x) for x in activations.encoder],
        [convert(x) for x in activations.decoder],
        convert(activations.logits),
    )


def test_measuring_leaves_no_trace():
    network = residual_unet([4, 8])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    assert measure_bfloat16(network, channels=1, patch_size=[16, 16, 12]) > 0
    assert _equal(before, network.state_dict())
    assert torch.equal(random, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_step_that_another_program_slows_does_not_decide(monkeypatch):
    seconds = {"float32": iter([9.0, *[0.4] * 99]), "bfloat16": iter([9.0, 2.0, *[0.1] * 99])}
    monkeypatch.setattr(precision, "_seconds_per_step", lambda network, image, wanted: next(seconds[wanted]))
    assert measure_bfloat16(residual_unet([4, 8]), channels=1, patch_size=[16, 16, 12]) == pytest.approx(4)


@pytest.mark.parametrize(
    ("strides", "patch", "small"),
    [
        ([1, 2, 2], [64, 64, 20], [48, 48, 20]),
        ([1, 2, 2, 2, 2, [2, 2, 1]], [128, 160, 112], [64, 64, 48]),
    ],
)
def test_network_is_measured_on_a_patch_that_it_takes(strides, patch, small):
    with torch.device("meta"):
        network = residual_unet([2] * len(strides), strides=strides)
    assert precision._small_patch(network, patch) == small
