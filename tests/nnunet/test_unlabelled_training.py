"""Trainings with images that have no labels: what changes in them, and what must not."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nndistill.distiller import Distiller
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.models.history import read_history
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from nndistill.recipes import load_recipe
from several_folds import add_folds
from stopped_trainings import stopping_in_epoch
from tiny import TINY


class Watched:
    """What the steps of a training were made of."""

    def __init__(self) -> None:
        self.labelled: list[str] = []
        self.unlabelled: list[str] = []
        self.losses: list[float] = []
        self.teachers_of_unlabelled: list[Any] = []

    def seen(self, data: torch.Tensor, target: Any, loss: torch.Tensor) -> None:
        content = sha256(data.numpy().tobytes()).hexdigest()
        (self.unlabelled if target is None else self.labelled).append(content)
        self.losses.append(float(loss))


@pytest.fixture
def distill(nndistill, world, monkeypatch):
    """Distil in no time; return how it ended, the fold's folder and what was seen."""
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    forward = Distiller.forward

    def call(name: str, *more: object):
        watched = Watched()

        def watch(distiller, x, target=None, **who):
            returned = forward(distiller, x, target, **who)
            watched.seen(x, target, returned.loss.detach())
            if target is None:
                watched.teachers_of_unlabelled.append(who.get("teachers"))
            return returned

        monkeypatch.setattr(Distiller, "forward", watch)
        command = ["distill", world.teacher, "--workspace", world.workspace, *TINY, "--name", name, "--no-validate"]
        result = nndistill(*command, "--method", "logits", "--weight", 0.5, *more)
        return result, world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0", watched

    return call


def _final(folder: Path) -> dict:
    return read_checkpoint(folder / "checkpoint_final.pth")


def _equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def _assert_bit_equal(a: dict, b: dict) -> None:
    assert _equal(a["network_weights"], b["network_weights"])
    states = [checkpoint["optimizer_state"]["state"] for checkpoint in (a, b)]
    assert states[1]
    assert all(_equal(states[0][i], states[1][i]) for i in states[1])
    for key in ("train_losses", "val_losses", "distillation_losses", "gradient_shares"):
        assert a["logging"][key] == b["logging"][key]
    assert torch.equal(a["nndistill"]["random_state"]["torch"], b["nndistill"]["random_state"]["torch"])
    assert torch.equal(a["nndistill"]["random_state"]["numpy"][1], b["nndistill"]["random_state"]["numpy"][1])


def test_a_share_of_zero_changes_no_bit_and_another_no_batch_with_labels(distill, world):
    images = world.dataset / "imagesTs"
    without, folder, plain = distill("without", "--epochs", 1)
    assert without.status == 0, without.err
    zero, of_zero, watched = distill("zero", "--epochs", 1, "--unlabelled", images, "--unlabelled-share", 0)
    assert zero.status == 0, zero.err
    _assert_bit_equal(_final(folder), _final(of_zero))
    assert (watched.labelled, watched.unlabelled) == (plain.labelled, [])

    result, of_half, watched = distill("half", "--epochs", 1, "--unlabelled", images, "--accumulate", 2)
    assert result.status == 0, result.err
    assert len(watched.labelled) == len(set(watched.unlabelled)) == 4  # two batches in two parts each
    a, b = _final(folder), _final(of_half)
    assert not _equal(a["network_weights"], b["network_weights"])
    assert torch.equal(a["nndistill"]["random_state"]["torch"], b["nndistill"]["random_state"]["torch"])
    assert torch.equal(a["nndistill"]["random_state"]["numpy"][1], b["nndistill"]["random_state"]["numpy"][1])
    # the objective: μ times the mean of the distillation loss over labelled and unlabelled patches
    assert b["logging"]["distillation_losses"] == pytest.approx([0.5 * np.mean(watched.losses)], rel=1e-5)
    setup = json.loads((of_half.parent / "plans.json").read_text())["nndistill"]["distillation"]["unlabelled"]
    assert (setup["images"], setup["share"], setup["folder"]) == (1, 0.5, str(images))
    assert read_history(of_half.parent, "0").facts["Unlabelled"].startswith("1 image (SHA-256 ")
    log = next(of_half.glob("training_log*.txt")).read_text()
    assert "unlabelled: 1 image (" in log
    assert "1 of the 1 unlabelled images are test cases (Phantom_test_0000)" in log
    assert "transductive" in result.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "taught_by"),
    [
        (["--teacher-fold", 0, 1], [[[0, 1]] * 2] * 2),
        (["--teacher-fold", 0, 1, "--teachers", "rotate"], [[[0]] * 2, [[1]] * 2]),
        (["--teacher-fold", "out-of-fold"], [None, None]),  # none has seen them, so all teach
    ],
)
def test_several_teachers_teach_unlabelled_images_as_they_teach_others(distill, world, way, taught_by):
    add_folds(world.teacher, [1, 2, 3, 4])
    result, _, watched = distill("together", "--epochs", 1, "--unlabelled", world.dataset / "imagesTs", *way)
    assert result.status == 0, result.err
    assert watched.teachers_of_unlabelled == taught_by


@pytest.mark.slow
def test_labels_of_unlabelled_images_change_nothing(distill, world, monkeypatch):
    """Neither label maps next to the images nor what the loader would take for labels."""
    arguments = ["--epochs", 1, "--unlabelled", world.dataset / "imagesTs", "--unlabelled-share", 0.75]
    result, folder, watched = distill("plain", *arguments)
    assert result.status == 0, result.err
    assert len(watched.unlabelled) == 3 * len(watched.labelled)

    shutil.rmtree(world.preprocessed / "unlabelled")  # to be preprocessed again, next to other labels
    for file in (world.dataset / "labelsTs").iterdir():
        image = nib.load(file)
        others = np.random.default_rng(1).integers(0, 4, image.shape).astype(np.uint8)
        nib.save(nib.Nifti1Image(others, image.affine), file)
    draw, labelled = nnUNetDataLoader.generate_train_batch, []

    def with_labels(loader):
        batch = draw(loader)
        if "/unlabelled/" in loader._data.source_folder:
            labelled.append(batch["target"].shape)
            batch["target"] = torch.randint(0, 4, batch["target"].shape, dtype=torch.int16)
        return batch

    monkeypatch.setattr(nnUNetDataLoader, "generate_train_batch", with_labels)
    result, of_other, other = distill("labels", *arguments)
    assert result.status == 0, result.err
    assert len(labelled) == len(other.unlabelled)
    assert other.unlabelled == watched.unlabelled
    _assert_bit_equal(_final(folder), _final(of_other))


@pytest.mark.slow
def test_without_a_seed_a_resumed_training_has_the_unlabelled_batches_that_it_began_with(
    distill, world, monkeypatch, tmp_path
):
    recipe = tmp_path / "no-seed.yaml"
    recipe.write_text(yaml.safe_dump(load_recipe("quick").model_dump(mode="json") | {"seed": None}))
    arguments = ["--recipe", recipe, "--epochs", 2, "--unlabelled", world.dataset / "imagesTs"]
    arguments += ["--unlabelled-share", 0.6]
    monkeypatch.setattr("secrets.randbits", lambda bits: 5)
    _, _, watched = distill("whole", *arguments)
    with stopping_in_epoch(1):
        _, _, before = distill("parts", *arguments)
    monkeypatch.setattr("secrets.randbits", lambda bits: 6)
    resumed, _, after = distill("parts", *arguments, "--resume")
    assert resumed.status == 0, resumed.err
    assert len(watched.unlabelled) == 6
    assert before.unlabelled + after.unlabelled == watched.unlabelled
    _, _, another = distill("another", *arguments)
    assert not set(another.unlabelled) & set(watched.unlabelled)


@pytest.mark.slow
def test_a_resumed_training_has_the_batches_of_one_that_was_not(distill, world, monkeypatch):
    arguments = ["--epochs", 2, "--unlabelled", world.dataset / "imagesTs", "--unlabelled-share", 0.6]
    result, whole, watched = distill("whole", *arguments)
    assert result.status == 0, result.err
    assert len(watched.unlabelled) == 6  # 1.5 batches per step
    with stopping_in_epoch(1):
        stopped, parts, before = distill("parts", *arguments)
    assert stopped.status == 130
    resumed, _, after = distill("parts", *arguments, "--resume")
    assert resumed.status == 0, resumed.err
    assert before.unlabelled + after.unlabelled == watched.unlabelled
    _assert_bit_equal(_final(whole), _final(parts))


@pytest.mark.slow
def test_batches_come_from_processes_too(distill, world, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    result, folder, watched = distill("processes", "--epochs", 1, "--unlabelled", world.dataset / "imagesTs")
    assert result.status == 0, result.err
    assert len(watched.unlabelled) == len(watched.labelled) == 2
    assert (folder / "checkpoint_final.pth").is_file()


@pytest.mark.slow
def test_images_that_are_gone_or_damaged_are_a_sentence(distill, world):
    arguments = ["--epochs", 1, "--unlabelled", world.dataset / "imagesTs"]
    begin = nnUNetTrainerDistill._provide_unlabelled_batches

    def spoiled(spoil):
        def provide(trainer):
            for file in world.preprocessed.glob("unlabelled/*/cases/*.b2nd"):
                if not file.name.endswith("_seg.b2nd"):
                    spoil(file)
            begin(trainer)

        return provide

    for name, spoil, words in (
        ("gone", Path.unlink, "no longer complete"),
        ("damaged", lambda file: file.write_bytes(b"damaged"), "cannot be read"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nnUNetTrainerDistill, "_provide_unlabelled_batches", spoiled(spoil))
            result, _, _ = distill(name, *arguments)
        assert result.status == 2, result.err
        assert words in result.err
