"""The projections φ that a student was trained with, from its checkpoint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...methods.parts.phi import Phi, new_phi
from ..run_setup import KEY, Distillation, RunSetup, TeacherNetwork
from .model_folder import ModelFolder


def trained_phi(
    student: ModelFolder,
    checkpoint: dict[str, Any],
    teacher: ModelFolder,
    teacher_channels: Sequence[int],
    *,
    fold: str,
    ndim: int = 3,
) -> list[Phi] | None:
    """Read φ of every encoder stage that student and teacher have in common.

    Args:
        student: The student's model folder.
        checkpoint: Content of its checkpoint.
        teacher: The teacher that it will be compared with.
        teacher_channels: Channels of each of the teacher's stages.
        fold: Of both: the student's checkpoint and the teacher's network.
        ndim: Number of dimensions of the networks.

    Returns:
        One convolution per common stage, fine to coarse; `None` if the student was trained without φ or with more than
        one per stage, with another network than this one or with several, or by stock nnU-Net.
    """
    if KEY not in student.plans or KEY not in checkpoint:
        return None
    setup = RunSetup.of(student.plans).distillation
    if setup is None or not _alone_taught_by(teacher, setup, fold=fold):
        return None
    if len(setup.teacher.channels) != len(teacher_channels):
        return None
    weights = checkpoint[KEY].get("method", {})
    places = [key.removesuffix("phi.0.weight") for key in weights if re.fullmatch(r"(parts\..+\.)?phi\.0\.weight", key)]
    if len(places) != 1:
        return None
    stages = []
    for pair, (ours, theirs) in enumerate(setup.stages):
        channels = setup.student_channels[ours], teacher_channels[theirs]
        convolution = new_phi(*channels, ndim=ndim).requires_grad_(False)
        own = {name: weights.get(f"{places[0]}phi.{pair}.{name}") for name in ("weight", "bias")}
        if any(own[name] is None or own[name].shape != value.shape for name, value in convolution.named_parameters()):
            return None
        convolution.load_state_dict(own)
        stages.append(convolution)
    return stages


def _alone_taught_by(teacher: ModelFolder, setup: Distillation, *, fold: str) -> bool:
    """Whether the teacher's network of a fold is the one that taught the student's, and no other did."""
    ours = setup.teacher
    return (
        ours.networks_for(fold) == [TeacherNetwork(ours, fold)]
        and _model(ours.folder) == _model(teacher.path)
        and ours.checkpoint == teacher.checkpoint_file(fold).name
    )


def _model(folder: str | Path) -> tuple[str, ...]:
    """The names of data set and model folder, which stay if a workspace is moved."""
    return Path(folder).parts[-2:]
