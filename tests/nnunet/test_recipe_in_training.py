"""What a recipe asks for is what happens in a training: ramp, averaged weights, early stopping, best checkpoint."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nndistill.distiller import Distiller
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.models.prediction import predict_folder
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from nndistill.nnunet.training.one_process import _trainer
from nndistill.nnunet.training.recipe_trainer import nnUNetTrainerRecipe
from nndistill.nnunet.training.run import Run
from nndistill.recipes import load_recipe
from stopped_trainings import stopping_in_epoch

EPOCHS = 4


@pytest.fixture
def distill(nndistill, world, tmp_path):
    """Distil with the quick recipe and these changes; return how it ended and the folder of the fold."""

    def call(name: str, *more: object, **changes: object):
        recipe = load_recipe("quick").model_dump(mode="json") | {"iterations": 2, "validation_iterations": 1} | changes
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(recipe))
        result = nndistill(
            "distill",
            world.teacher,
            "--workspace",
            world.workspace,
            "--name",
            name,
            "--recipe",
            file,
            "--device",
            "cpu",
            *more,
        )
        return result, world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0"

    return call


def _final(folder: Path) -> dict:
    return read_checkpoint(folder / "checkpoint_final.pth")


def _equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_same_seed_is_the_same_student_and_the_same_batches_whatever_the_method(distill):
    """Otherwise a difference between two methods would be one between two seeds."""
    first = {}
    for method in ("none", "dcd", "ifvd"):
        _, folder = distill(method, "--no-validate", method=method, epochs=1, iterations=1)
        first[method] = _final(folder)["logging"]["segmentation_losses"]
    assert first["dcd"] == first["ifvd"] == first["none"]


@pytest.mark.slow
def test_teacher_does_not_run_before_the_ramp_begins(distill, monkeypatch):
    runs = []
    forward = Distiller.forward

    def counted(self, *batch, **teachers):
        runs.append(1)
        return forward(self, *batch, **teachers)

    monkeypatch.setattr(Distiller, "forward", counted)
    ramp = {"name": "cosine-ramp", "start": 0.25, "length": 0.5}
    _, folder = distill("ramp", "--no-validate", epochs=EPOCHS, weight_schedule=ramp)
    losses = _final(folder)["logging"]["distillation_losses"]
    assert losses[:2] == [0, 0]  # epoch 0, and epoch 1, where the ramp is still at zero
    assert min(losses[2:]) > 0
    assert len(runs) == 2 * 2


@pytest.mark.slow
def test_a_run_that_goes_on_from_its_best_checkpoint_equals_the_uninterrupted_one(distill, monkeypatch):
    setup = {"epochs": 3, "save_every": 50}
    _, whole = distill("whole", "--no-validate", **setup)
    with stopping_in_epoch(1):
        stopped, parts = distill("parts", "--no-validate", **setup)
    assert stopped.status == 130
    assert [file.name for file in parts.glob("*.pth")] == ["checkpoint_best.pth"]
    resumed, _ = distill("parts", "--no-validate", "--resume", **setup)
    assert resumed.status == 0, resumed.err
    ours, theirs = _final(parts), _final(whole)
    assert _equal(ours["network_weights"], theirs["network_weights"])
    lengths = [{key: len(values) for key, values in each["logging"].items()} for each in (ours, theirs)]
    assert lengths[0] == lengths[1]


@pytest.mark.slow
def test_averaged_weights_are_validated_and_predict_and_the_trained_ones_are_kept(distill, world, tmp_path):
    result, folder = distill("average", epochs=2, weight_averaging={"decay": 0.5}, checkpoint="best")
    assert result.status == 0, result.err
    checkpoint = read_checkpoint(folder / "checkpoint_best.pth")
    trained = checkpoint["nndistill"]["trained_weights"]
    assert checkpoint["network_weights"].keys() == trained.keys()
    assert not _equal(checkpoint["network_weights"], trained)

    case = next((folder / "validation").glob("*.nii.gz"))
    images = tmp_path / "images"
    images.mkdir()
    for channel in (world.dataset / "imagesTr").glob(f"{case.name.removesuffix('.nii.gz')}_*"):
        (images / channel.name).symlink_to(channel)
    (predicted,) = predict_folder(folder.parent, images, tmp_path / "predicted", fold="0", device="cpu")
    np.testing.assert_array_equal(np.asarray(nib.load(case).dataobj), np.asarray(nib.load(predicted).dataobj))
    assert "-chk checkpoint_best.pth" in result.out.replace("\n", " ")


def test_average_with_no_memory_is_the_trained_weights(distill):
    _, folder = distill("forgets", "--no-validate", epochs=1, weight_averaging={"decay": 1e-12})
    checkpoint = _final(folder)
    for key, weight in checkpoint["nndistill"]["trained_weights"].items():
        torch.testing.assert_close(checkpoint["network_weights"][key], weight)


@pytest.mark.slow
def test_stopped_and_resumed_with_average_and_ramp_equals_uninterrupted(distill, monkeypatch):
    extras = {
        "epochs": EPOCHS,
        "weight_averaging": {"decay": 0.9},
        "weight_schedule": {"name": "cosine-ramp", "start": 0.0, "length": 1.0},
    }
    _, whole = distill("whole", "--no-validate", **extras)

    with stopping_in_epoch(2):
        stopped, parts = distill("parts", "--no-validate", **extras)
    assert stopped.status == 130
    resumed, _ = distill("parts", "--no-validate", "--resume", **extras)
    assert resumed.status == 0, resumed.err
    a, b = _final(whole), _final(parts)
    assert a["logging"]["train_losses"] == b["logging"]["train_losses"]
    assert _equal(a["network_weights"], b["network_weights"])
    assert _equal(a["nndistill"]["trained_weights"], b["nndistill"]["trained_weights"])


@pytest.mark.slow
def test_training_stops_when_the_validation_dice_no_longer_rises(distill, monkeypatch):
    dice = [0.5, 0.6, 0.1, 0.1, 0.1, 0.1]

    def validate(self, outputs):
        self.logger.log("mean_fg_dice", dice[self.current_epoch], self.current_epoch)
        self.logger.log("dice_per_class_or_region", [dice[self.current_epoch]], self.current_epoch)
        self.logger.log("val_losses", 0.0, self.current_epoch)

    monkeypatch.setattr(nnUNetTrainer, "on_validation_epoch_end", validate)
    result, folder = distill("early", "--no-validate", epochs=6, early_stopping={"patience": 2})
    assert result.status == 0, result.err
    assert _final(folder)["current_epoch"] == 4  # the best was the second, two epochs more did not help
    assert "stopped early after 4 of 6 epochs" in result.err
    again, _ = distill("early", "--no-validate", "--resume", epochs=6, early_stopping={"patience": 2})
    assert again.status == 0
    assert _final(folder)["current_epoch"] == 4


def test_teacher_checkpoint_of_the_recipe_teaches(distill, world):
    best = world.teacher / "fold_0" / "checkpoint_best.pth"
    assert best.is_file()
    for which in ("final", "best"):
        _, folder = distill(which, "--no-validate", epochs=1, teacher_checkpoint=which)
        teacher = _final(folder)["init_args"]["plans"]["nndistill"]["distillation"]["teacher"]
        assert teacher["checkpoint"] == f"checkpoint_{which}.pth"


def test_checkpoint_is_written_by_way_of_the_cpu(distill, monkeypatch):
    """On the way, a second copy of student, optimiser and average would otherwise stand on the GPU."""
    places = []
    load = torch.load

    def spy(file, *arguments, map_location=None, **options):
        if isinstance(file, io.BytesIO):
            places.append(map_location)
        return load(file, *arguments, map_location=map_location, **options)

    monkeypatch.setattr(torch, "load", spy)
    result, _ = distill("placed", "--no-validate", method="none", epochs=1, iterations=1)
    assert result.status == 0, result.err
    assert places
    assert set(places) == {"cpu"}


def test_student_alone_trains_on_one_device(distill, world, monkeypatch):
    """On the meta device nothing is computed, and a tensor on another device is an error."""
    monkeypatch.setenv("nnUNet_compile", "false")
    assert distill("alone", "--no-validate", method="none", epochs=1, iterations=1)[0].status == 0
    run = Run(world.dataset.name, "3d_fullres", "0", nnUNetTrainerDistill.__name__, "alone")
    trainer = _trainer(run, torch.device("meta"))
    trainer.initialize()
    trainer.on_train_start()
    objectives = []

    def stop(loss: torch.Tensor) -> None:
        objectives.append(loss)
        raise KeyboardInterrupt  # what follows reads values

    monkeypatch.setattr(trainer, "_update", stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.train_step(next(trainer.dataloader_train))
    assert objectives[0].device.type == "meta"
    assert all(parameter.grad is not None for parameter in trainer.network.encoder.parameters())


def test_gpu_without_enough_memory_is_a_sentence_that_says_what_to_lower(distill, monkeypatch):
    def fail(self, data, target):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")

    monkeypatch.setattr(nnUNetTrainerRecipe, "losses", fail)
    result, _ = distill("large", "--no-validate", method="none", epochs=1)
    assert result.status == 2
    assert "the GPU has not enough memory for large (CUDA out of memory. Tried to allocate 2.00 GiB)" in result.err
    assert "Train with a smaller batch, a smaller patch, fewer features, or a method that reads less" in result.err
    assert "See the options --batch-size, --features, --method." in result.err
