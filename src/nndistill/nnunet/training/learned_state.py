"""FreeKD's prompts for an nnU-Net teacher: learnt once, kept beside it, found again by every later run.

What is learnt depends on the teacher's checkpoint, the options and the data, and on nothing else: the random numbers
are always the same ones, whatever the run's seed, and the run goes on with its own as if nothing had happened. So
where runs are repeatable (no augmentation in worker processes), one that learnt its prompts equals one that found them.
"""

from __future__ import annotations

import json
import logging
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import UserError
from ...files import digest
from ...methods import FreeKD
from ..models.checkpoints import random_state, restore_random_state, seed_everything, write_checkpoint

if TYPE_CHECKING:
    from .trainer import nnUNetTrainerDistill

logger = logging.getLogger(__name__)

_SEED = 1234
_DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)


def provide_prompts(trainer: nnUNetTrainerDistill) -> None:
    """Give every FreeKD of the run's method the prompts it lacks: from the teacher's folder, or learnt now.

    Args:
        trainer: A trainer whose data loaders and distiller are ready.

    Raises:
        UserError: The prompts diverged, or could be written nowhere.
    """
    for method in trainer.method.modules():
        if isinstance(method, FreeKD) and not method.prepared:
            _provide(method, trainer)


def _provide(method: FreeKD, trainer: nnUNetTrainerDistill) -> None:
    teacher = trainer.distillation.teacher
    beside_teacher = Path(teacher.folder) / f"fold_{teacher.fold}"
    made_from = _origin(method, beside_teacher / teacher.checkpoint, trainer)
    name = f"frequency_prompts_{sha256(json.dumps(made_from).encode()).hexdigest()[:16]}.pt"
    places = [beside_teacher / name, Path(trainer.output_folder) / name]
    if trainer.local_rank != 0:
        while not _read(method, places, logging.DEBUG):  # rank 0 is learning; a collective call would time out
            time.sleep(1)
    elif _read(method, places, logging.WARNING):
        trainer.print_to_log_file("frequency prompts: learnt before from this teacher")
    else:
        with _own_random_numbers(), _deep_supervision(trainer):
            trainer.distiller.prepare(_batches(trainer), trainer.loss, report=_reporter(trainer))
        _write({"made_from": made_from, "prompts": method.learnt_prompts}, places)


def _origin(method: FreeKD, checkpoint: Path, trainer: nnUNetTrainerDistill) -> dict[str, Any]:
    """Everything the prompts depend on."""
    return {
        "teacher": digest(checkpoint),
        "wavelet": [method.wavelet, method.level, method.mode],
        "shapes": [list(prompts.shape) for prompts in method.learnt_prompts],
        **method.prompt_options,
        "dataset": trainer.plans_manager.dataset_name,
        "fold": trainer.fold,
        "batch_size": trainer.batch_size,
        "mirroring": trainer.recipe.mirroring,
    }


def _read(method: FreeKD, places: Sequence[Path], level: int) -> bool:
    """Take the prompts from the first place that has them, logging at `level` why one that is there does not do."""
    for path in places:
        if not path.is_file():
            continue
        try:
            method.use_prompts(torch.load(path, map_location="cpu", weights_only=True)["prompts"])
        except (*_DAMAGE, pickle.UnpicklingError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            logger.log(level, "%s is damaged (%s); the frequency prompts are learnt again.", path, reason)
        else:
            return True
    return False


def _write(content: dict[str, Any], places: Sequence[Path]) -> None:
    *others, last = places
    for path in others:
        try:
            write_checkpoint(path, content)
        except UserError as error:
            logger.warning("The frequency prompts cannot be kept beside the teacher and go to %s: %s", last, error)
        else:
            return
    write_checkpoint(last, content)


def _batches(trainer: nnUNetTrainerDistill) -> Iterator[tuple[Tensor, Any]]:
    """The run's own training batches, on its device."""
    while True:
        yield trainer.on_device(next(trainer.dataloader_train))


def _reporter(trainer: nnUNetTrainerDistill) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            trainer.print_to_log_file(f"frequency prompts: {done} of {total} batches")
        trainer.on_preparation(done, total)

    return report


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    state = random_state()
    seed_everything(_SEED)
    try:
        yield
    finally:
        restore_random_state(state)


@contextmanager
def _deep_supervision(trainer: nnUNetTrainerDistill) -> Iterator[None]:
    """Let the teacher answer at the sizes that the loss expects of the student."""
    assert trainer.teacher is not None
    decoder: Any = trainer.teacher.decoder
    decoder.deep_supervision = trainer.enable_deep_supervision
    try:
        yield
    finally:
        decoder.deep_supervision = False
