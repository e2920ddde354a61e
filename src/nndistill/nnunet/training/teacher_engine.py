"""What computes the frozen teacher of a training: on a processor what the run chooses, on a GPU PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ...files import digest
from ...teacher_engines import CompiledEncoderEngine, TeacherEngine, TeacherEnsemble, TorchEngine
from ...teacher_engines.average import mean_of_classes, mean_of_logits, mean_of_regions
from ...teacher_engines.choice import ChosenEngine, Wanted
from ...teacher_engines.compiled import returns_its_stages
from ..run_setup import Together


def teacher_engine(
    teacher: TorchEngine,
    *,
    wanted: Wanted,
    kept: str,
    device: torch.device,
    compiled: bool,
    in_one_process: bool,
    batches: int,
    checkpoint_file: Path,
    folders: Sequence[Path],
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> TeacherEngine:
    """Return the engine of a training, which may make its choice at the first batch.

    Args:
        teacher: In PyTorch.
        wanted: What the setup says.
        kept: What the checkpoint says from which the training continues, or `UNDECIDED`.
        device: Of the training.
        compiled: Whether nnU-Net compiles the student.
        in_one_process: Whether this process trains alone: the choice is one process's own.
        batches: Number of batches to come.
        checkpoint_file: The teacher's.
        folders: Where a converted teacher is kept, the first that can be written.
        log: Takes sentences about what is chosen.
        warn: Takes sentences about what was asked for and is not possible.
    """
    if device.type == "cpu" and in_one_process:
        return ChosenEngine(
            teacher,
            wanted=wanted,
            batches=batches,
            kept=kept,
            facts={"teacher": digest(checkpoint_file)},
            folders=folders,
            log=log,
            warn=warn,
        )
    if wanted == "openvino":
        place = f"on {device.type}" if device.type != "cpu" else "of a training in several processes"
        warn(f"PyTorch computes the teacher {place}; OpenVINO does so on a processor, in one process.")
    network, taps = teacher.tapped.network, teacher.tapped.taps
    if compiled and returns_its_stages(network, taps, logits=teacher.logits):
        return CompiledEncoderEngine(network)
    return teacher


def ensemble_of(engines: Sequence[TeacherEngine], together: Together, *, regions: bool) -> TeacherEnsemble:
    """Return several teachers as one.

    Args:
        engines: One per teacher.
        together: How they teach. With `mean-logits` they predict what stock nnU-Net does with several folds.
        regions: Whether they predict regions, which may overlap, instead of classes.
    """
    of_probabilities = mean_of_regions if regions else mean_of_classes
    return TeacherEnsemble(engines, average=mean_of_logits if together == "mean-logits" else of_probabilities)
