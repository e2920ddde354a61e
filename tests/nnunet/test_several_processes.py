"""A training in two processes: nothing waits for what never comes, and each process is as it was after a resume.

The processes are copies of this one, on the CPU with Gloo; a user's are started anew, on GPUs with NCCL.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.multiprocessing.spawn import ProcessRaisedException

from nndistill import load_recipe, prepare_student
from nndistill.errors import UserError
from nndistill.nnunet.models.checkpoints import random_state, read_checkpoint
from nndistill.nnunet.training import recipe_trainer, several_processes
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from nndistill.nnunet.training.one_process import Observers
from nndistill.nnunet.training.run import Run, train
from nndistill.nnunet.training.several_processes import train_together
from nndistill.progress import TrainingState

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a process cannot be copied on this system")

CPU = torch.device("cpu")
SECONDS = 600
"""After which a process that hangs ends itself; on an idle machine these trainings take a few."""


@pytest.fixture
def copies(monkeypatch):
    """Processes are copies of this one, with its patches, and end themselves if they hang."""
    start, take_part = several_processes.start_processes, several_processes.take_part

    def take_part_in_time(*arguments) -> None:
        signal.alarm(SECONDS)
        torch.set_num_threads(1)
        take_part(*arguments)

    def start_copies(*arguments, start_method, **options):
        return start(*arguments, start_method="fork", **options)

    monkeypatch.setattr(several_processes, "start_processes", start_copies)
    monkeypatch.setattr(several_processes, "take_part", take_part_in_time)


@pytest.fixture
def student(world, monkeypatch):
    """A student whose loss gathers from all processes, and whose best checkpoint is validated."""
    for folder in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(folder, str(world.workspace / folder))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")

    def prepare(
        method: str,
        *,
        batch_dice: bool = True,
        unlabelled: Path | None = None,
        unlabelled_share: float | None = None,
        **options: object,
    ) -> Run:
        recipe = load_recipe("quick").adjusted(
            method=method, method_options=options or None, epochs=2, iterations=2, validation_iterations=1
        )
        recipe = recipe.model_copy(update={"checkpoint": "best"})
        run = prepare_student(
            world.teacher,
            fold="0",
            recipe=recipe,
            name="together",
            unlabelled=unlabelled,
            unlabelled_share=unlabelled_share,
        )
        plans = json.loads(run.plans_file.read_text())
        plans["configurations"]["3d_fullres"]["batch_dice"] = batch_dice
        run.plans_file.write_text(json.dumps(plans))
        return run

    return prepare


def _rank() -> int:
    return torch.distributed.get_rank()


@pytest.mark.slow
def test_two_processes_learn_prompts_skip_a_step_together_and_resume(copies, student, monkeypatch):
    run = student("freekd", prompt_iterations=1)
    losses, end = nnUNetTrainerDistill.losses, nnUNetTrainer.on_train_end
    calls = iter(range(100))

    def nan_once_in_one_process(trainer, data, target):
        terms = losses(trainer, data, target)
        bad = _rank() == 1 and next(calls) == 1
        return {name: term * (float("nan") if bad else 1.0) for name, term in terms.items()}

    def keep(trainer) -> None:
        kept = {"weights": trainer.network.state_dict(), "method": trainer.method.state_dict()}
        torch.save(kept, run.fold_folder / f"kept_by_{_rank()}.pth")
        end(trainer)

    def validate(trainer, save_probabilities: bool = False) -> None:
        (run.fold_folder / f"validated_by_{_rank()}").touch()

    monkeypatch.setattr(nnUNetTrainerDistill, "losses", nan_once_in_one_process)
    monkeypatch.setattr(nnUNetTrainer, "on_train_end", keep)
    monkeypatch.setattr(nnUNetTrainer, "perform_actual_validation", validate)
    seen: list[object] = []
    observers = Observers(seen.append, seen.append, lambda done, total: seen.append((done, total)))
    train_together(run, CPU, processes=2, validate=True, observers=observers)

    assert seen[0] == 2 * (2 + 1)
    assert (1, 1) in seen
    states = [state for state in seen if isinstance(state, TrainingState)]
    assert [state.current_epoch for state in states] == [0, 0, 0, 1, 1, 1]
    checkpoint = read_checkpoint(run.fold_folder / "checkpoint_final.pth")
    assert checkpoint["logging"]["skipped_steps"] == [1, 0]
    assert len(list(run.fold_folder.glob("validated_by_*"))) == 2
    first, second = (torch.load(run.fold_folder / f"kept_by_{rank}.pth") for rank in range(2))
    for part in ("weights", "method"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(first[part][key], second[part][key]) for key in first[part])
        assert all(torch.isfinite(value).all() for value in first[part].values())
    numbers = [checkpoint["nndistill"]["random_state"], *checkpoint["nndistill"]["random_states_of_others"]]
    assert len(numbers) == 2
    assert not torch.equal(numbers[0]["torch"], numbers[1]["torch"])

    begin = recipe_trainer.nnUNetTrainerRecipe.on_train_start

    def begin_and_keep_numbers(trainer) -> None:
        begin(trainer)
        torch.save(torch.get_rng_state(), run.fold_folder / f"numbers_of_{_rank()}.pth")

    monkeypatch.setattr(recipe_trainer.nnUNetTrainerRecipe, "on_train_start", begin_and_keep_numbers)
    (run.fold_folder / "checkpoint_final.pth").rename(run.fold_folder / "checkpoint_latest.pth")
    train_together(run, CPU, processes=2, validate=False, observers=Observers())
    for rank, state in enumerate(numbers):
        assert torch.equal(torch.load(run.fold_folder / f"numbers_of_{rank}.pth"), state["torch"])


@pytest.mark.slow
def test_two_processes_learn_from_images_without_labels_of_their_own_and_stay_equal(
    copies, student, world, monkeypatch
):
    """With a method that reads the encoder alone: no gradient of such an image reaches the decoder."""
    run = student("dcd", unlabelled=world.dataset / "imagesTs", unlabelled_share=0.6)
    forward, end = nnUNetTrainerDistill.losses, nnUNetTrainer.on_train_end
    drawn: list[torch.Tensor] = []

    def watch(trainer, data, target):
        drawn.extend([] if target is not None else [data])
        return forward(trainer, data, target)

    def keep(trainer) -> None:
        weights = {name: value for part in trainer.trained_modules() for name, value in part.state_dict().items()}
        torch.save((weights, drawn), run.fold_folder / f"kept_by_{_rank()}.pth")
        end(trainer)

    monkeypatch.setattr(nnUNetTrainerDistill, "losses", watch)
    monkeypatch.setattr(nnUNetTrainer, "on_train_end", keep)
    train_together(run, CPU, processes=2, validate=False, observers=Observers())

    (first, mine), (second, others) = (torch.load(run.fold_folder / f"kept_by_{rank}.pth") for rank in range(2))
    assert len(mine) == len(others) == 6  # 1.5 batches in each of four steps
    assert not any(torch.equal(a, b) for a, b in zip(mine, others, strict=True))
    assert first.keys() == second.keys()
    assert any("phi" in name for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.isfinite(value).all() for value in first.values())


def _validate(rank: int, folder: str) -> None:
    signal.alarm(SECONDS)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    trainer = object.__new__(recipe_trainer.nnUNetTrainerRecipe)
    trainer.recipe, trainer.is_ddp = SimpleNamespace(checkpoint="best"), True
    trainer.output_folder, trainer._average, trainer.device = folder, None, CPU
    trainer.load_checkpoint = lambda file: Path(folder, f"found_by_{rank}").write_text(str(Path(file).is_file()))
    if rank == 0:
        time.sleep(1)
        Path(folder, "checkpoint_best.pth").touch()
    trainer.perform_actual_validation()


def test_no_process_looks_for_the_best_checkpoint_before_the_first_has_written_it(tmp_path, monkeypatch):
    monkeypatch.setattr(nnUNetTrainer, "perform_actual_validation", lambda trainer, save_probabilities: None)
    torch.multiprocessing.start_processes(_validate, (str(tmp_path),), nprocs=2, start_method="fork")
    assert [Path(tmp_path, f"found_by_{rank}").read_text() for rank in range(2)] == ["True", "True"]


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_every_process_resumes_with_its_own_random_numbers(rank):
    drawn = []
    for seed in range(2):
        torch.manual_seed(seed)
        drawn.append(random_state())
    entries = recipe_trainer._by_process(drawn)
    mine = recipe_trainer._of_process(rank, entries)
    assert mine is (drawn[rank] if rank < 2 else None)


def _report_and_fail(rank, task, reports, *, mistake: bool) -> None:
    if rank == 1:
        time.sleep(60)  # until it is ended
    reports.put(("on_start", 5))
    several_processes._Reporter(reports).emit(
        logging.LogRecord("nndistill.x", logging.WARNING, "", 0, "beware of %s", ("this",), None)
    )
    if mistake:
        reports.put(("mistake", UserError("the disk is full.", option="workspace")))
        sys.exit(1)
    raise ZeroDivisionError


@pytest.mark.parametrize("mistake", [True, False])
def test_mistake_or_fault_in_one_process_ends_all_and_reaches_the_user(copies, mistake, monkeypatch, caplog):
    monkeypatch.setattr(several_processes, "take_part", partial(_report_and_fail, mistake=mistake))
    begun, seen = time.monotonic(), []
    kind, sentence = (UserError, "the disk is full") if mistake else (ProcessRaisedException, "ZeroDivisionError")
    with pytest.raises(kind, match=sentence), caplog.at_level(logging.WARNING, logger="nndistill"):
        train_together(None, CPU, processes=2, validate=False, observers=Observers(on_start=seen.append))
    assert seen == [5]
    assert "beware of this" in caplog.text
    assert time.monotonic() - begun < 50


@pytest.mark.parametrize(
    ("arguments", "sentence", "options"),
    [
        ((), "there are not 2 GPUs with CUDA on this machine; it has 0.", "See the option --gpus."),
        (("--device", "cpu"), "several GPUs train together on cuda, not on cpu.", "options --gpus, --device."),
    ],
)
@pytest.mark.parametrize("command", ["distill", "teach"])
def test_more_gpus_than_there_are_is_a_sentence_before_anything_is_made(
    command, arguments, sentence, options, nndistill, world, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    what = world.teacher if command == "distill" else 900
    before = sorted(world.workspace.rglob("*"))
    result = nndistill(command, what, "--workspace", world.workspace, "--gpus", 2, "--name", "two", *arguments)
    assert result.status == 2
    assert sentence in result.err
    assert options in result.err
    assert sorted(world.workspace.rglob("*")) == before


def test_batch_that_cannot_be_shared_is_a_sentence(student, monkeypatch):
    run = student("none")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(UserError, match="a batch of 2 cannot be shared by 3 GPUs; use at most 2, or a larger batch"):
        train(run, gpus=3)


@pytest.mark.parametrize("validate", ["--validate", "--no-validate"])
def test_options_and_the_json_object_are_the_same_with_several_gpus(validate, nndistill, world, monkeypatch):
    asked = {}

    def pretend(run, device, *, processes, validate, observers) -> None:
        asked.update(device=device.type, processes=processes, validate=validate)
        observers.on_start(1)
        observers.on_iteration(TrainingState(current_epoch=0, num_epochs=1, loss=None, dice=None))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("nndistill.nnunet.training.run.train_together", pretend)
    monkeypatch.setattr("nndistill.nnunet.models.scores.validation_scores", lambda *_: None)
    result = nndistill(
        *["distill", world.teacher, "--workspace", world.workspace, "--gpus", 2, "--name", "two", validate, "--json"]
    )
    assert result.status == 0, result.err
    assert asked == {"device": "cuda", "processes": 2, "validate": validate == "--validate"}
    assert json.loads(result.out)["model"].endswith("nnUNetTrainerDistill__two__3d_fullres")
    assert "epoch 1/1" in result.err
