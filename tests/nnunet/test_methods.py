"""Every method trains a student of nnU-Net, stops and goes on, through the command line."""

from __future__ import annotations

import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch

from extensions import METHOD
from nndistill.methods import METHODS
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from tiny import TINY

SHORT = {"freekd": ["--option", "prompt_iterations=2"]}
RUNS = {
    **{name: ["--method", name, *SHORT.get(name, [])] for name in sorted(METHODS)},
    "cwd on the encoder": ["--method", "cwd", "--option", "match=encoder"],
    "reco-kd with φ trained": ["--method", "reco-kd", "--option", "train_phi=true"],
    "a combination": ["--method", "dcd+logits", "--option", "weights=[1, 2]", "--option", "dcd.level=2"],
    "frozen phi": ["--method", "dcd", "--option", "train_phi=false"],
}

ALWAYS = {"a combination"}
"""Trained by every run of the tests, as `dcd` alone is in many others."""


@pytest.mark.parametrize("run", [pytest.param(run, marks=[] if run in ALWAYS else pytest.mark.slow) for run in RUNS])
def test_method_trains_and_resumes(run, nndistill, world, monkeypatch):
    command = ["distill", world.teacher, "--workspace", world.workspace, *RUNS[run], *TINY, "--epochs", 2]
    command += ["--name", "tried", "--no-validate"]

    begin = nnUNetTrainerDistill.on_train_epoch_start

    def begin_the_first_epoch_only(trainer: nnUNetTrainerDistill) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        begin(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(nnUNetTrainerDistill, "on_train_epoch_start", begin_the_first_epoch_only)
        assert nndistill(*command).status == 130
    result = nndistill(*command, "--resume")
    assert result.status == 0, result.err

    folder = world.results / "nnUNetTrainerDistill__tried__3d_fullres" / "fold_0"
    losses = read_checkpoint(folder / "checkpoint_final.pth")["logging"]["distillation_losses"]
    assert len(losses) == 2
    assert all(math.isfinite(loss) and (loss > 0) == (run != "none") for loss in losses)


@pytest.mark.parametrize(
    "option",
    [
        "bands=[LLH, HLL]",
        "bands={A: 1, D: 0.9, S: 0.5}",
        *(
            pytest.param(option, marks=pytest.mark.slow)
            for option in ("bands=A", "bands=S", "domain=coefficients", "level=4", "wavelet=haar", "loss_every=4")
        ),
    ],
)
def test_ablation_of_dcd_trains(option, nndistill, world):
    command = ["distill", world.teacher, "--workspace", world.workspace, *TINY, "--epochs", 1, "--no-validate"]
    assert nndistill(*command, "--option", option, "--name", "tried").status == 0
    folder = world.results / "nnUNetTrainerDistill__tried__3d_fullres" / "fold_0"
    (loss,) = read_checkpoint(folder / "checkpoint_final.pth")["logging"]["distillation_losses"]
    assert math.isfinite(loss)
    assert loss > 0


@pytest.mark.parametrize(
    "asked",
    [["--option", "train_phi=false"], pytest.param(["--method", "dcd-release"], marks=pytest.mark.slow)],
)
def test_frozen_phi_stays_as_it_was_drawn_and_is_in_no_optimiser(asked, nndistill, world, monkeypatch):
    drawn = {}
    configure = nnUNetTrainerDistill.configure_optimizers

    def spy(trainer: nnUNetTrainerDistill):
        configured = configure(trainer)
        drawn.update({name: value.clone() for name, value in trainer.method.state_dict().items()})
        return configured

    monkeypatch.setattr(nnUNetTrainerDistill, "configure_optimizers", spy)
    command = ["distill", world.teacher, "--workspace", world.workspace, *TINY, "--epochs", 1, "--no-validate"]
    result = nndistill(*command, *asked, "--name", "tried")
    assert result.status == 0, result.err
    folder = world.results / "nnUNetTrainerDistill__tried__3d_fullres" / "fold_0"
    checkpoint = read_checkpoint(folder / "checkpoint_final.pth")
    kept = checkpoint["nndistill"]["method"]
    assert drawn.keys() == kept.keys() >= {"phi.0.weight", "phi.0.bias"}
    assert all(torch.equal(kept[name], value) for name, value in drawn.items())
    student = {value.data_ptr() for value in checkpoint["network_weights"].values()}  # some have two names
    assert len(checkpoint["optimizer_state"]["param_groups"][0]["params"]) == len(student)


def test_method_of_another_package_trains_and_heads_its_column_of_a_report(install, nndistill, world, tmp_path):
    install("my-methods", METHOD, {"direction": "Direction"})
    command = ["distill", world.teacher, "--workspace", world.workspace, *TINY, "--epochs", 1, "--name", "tried"]
    result = nndistill(*command, "--method", "direction", "--option", "power=2.0", "--validate")
    assert result.status == 0, result.err
    student = world.results / "nnUNetTrainerDistill__tried__3d_fullres"
    (loss,) = read_checkpoint(student / "fold_0" / "checkpoint_final.pth")["logging"]["distillation_losses"]
    assert loss > 0
    report = nndistill(
        "report", student, "--out", tmp_path / "out", "--workspace", world.workspace, "--jobs", 1, "--json"
    )
    assert report.status == 0, report.err
    assert [row["Model"] for row in json.loads(report.out)["tables"]["overall"]] == ["Direction of features, power 2.0"]


@pytest.fixture
def regions(nndistill, world) -> str:
    """The tiny data set once more, with overlapping regions, an ignored label and a teacher of its own."""
    raw = world.dataset.with_name("Dataset901_Regions")
    shutil.copytree(world.dataset, raw)
    description = json.loads((raw / "dataset.json").read_text())
    description["labels"] = {"background": 0, "tumour": [1, 2, 3], "core": [1, 3], "ignore": 4}
    description["regions_class_order"] = [2, 1]
    (raw / "dataset.json").write_text(json.dumps(description))
    made = nndistill(
        *["teach", 901, "--workspace", world.workspace, *TINY, "--epochs", 1, "--features", 8, 16, 32],
        *["--batch-size", 2, "--no-validate"],
    )
    assert made.status == 0, made.err
    return str(next((world.workspace / "nnUNet_results" / raw.name).glob("nnUNetTrainerRecipe__*")))


@pytest.mark.slow
def test_regions_and_the_ignored_label_reach_the_methods(regions, nndistill, world, monkeypatch):
    seen, told = [], []
    losses = nnUNetTrainerDistill.losses

    def spy(trainer, data, target):
        distiller = trainer.distiller
        told.append((trainer.method.parts["ifvd"].classes, trainer.method.parts["dist"].ignores))
        trainer.distiller = lambda x, reference, **who: (
            seen.append((target[0], reference)) or distiller(x, reference, **who)
        )
        terms = losses(trainer, data, target)
        trainer.distiller = distiller
        return terms

    monkeypatch.setattr(nnUNetTrainerDistill, "losses", spy)
    result = nndistill(
        *["distill", regions, "--workspace", world.workspace, *TINY, "--epochs", 1, "--no-validate"],
        *["--method", "logits+dist+ifvd", "--name", "tried"],
    )
    assert result.status == 0, result.err
    results = world.workspace / "nnUNet_results" / "Dataset901_Regions"
    plans = json.loads((results / "nnUNetTrainerDistill__tried__3d_fullres" / "plans.json").read_text())
    options = plans["nndistill"]["distillation"]["options"]
    assert options == {"dist.regions": True, "logits.regions": True}
    assert set(told) == {(3, True)}  # two regions, and what is in neither
    assert any(ignored.any() for ignored in (target[:, -1] for target, _ in seen))
    for target, reference in seen:
        assert reference.shape[1] == 2
        assert torch.equal((reference < 0).all(1), target[:, -1])
        assert torch.equal((reference > 0) & ~target[:, -1:], target[:, :-1] & ~target[:, -1:])


def test_ignored_label_becomes_negative_and_others_stay():
    target = torch.tensor([0.0, 3.0, 1.0, 3.0]).view(1, 1, 4, 1, 1)
    labels = SimpleNamespace(label_manager=SimpleNamespace(has_ignore_label=True, has_regions=False, ignore_label=3))
    reference = nnUNetTrainerDistill._reference(labels, [target, target[:, :, ::2]])
    assert reference.flatten().tolist() == [0, -1, 1, -1]
    without = SimpleNamespace(label_manager=SimpleNamespace(has_ignore_label=False))
    assert nnUNetTrainerDistill._reference(without, target) is target
