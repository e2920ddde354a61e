"""The projections φ that a student was trained with, from its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...methods.parts.phi import Phi, new_phi
from ..run_setup import KEY, RunSetup
from .model_folder import ModelFolder


def trained_phi(
    student: ModelFolder,
    checkpoint: dict[str, Any],
    teacher: ModelFolder,
    teacher_channels: Sequence[int],
    *,
    ndim: int = 3,
) -> list[Phi] | None:
    """Read φ of every encoder stage that student and teacher have in common.

    Args:
        student: The student's model folder.
        checkpoint: Content of its checkpoint.
        teacher: The teacher that it will be compared with.
        teacher_channels: Channels of each of the teacher's stages.
        ndim: Number of dimensions of the networks.

    Returns:
        One convolution per common stage, fine to coarse; `None` if the student was trained without φ, with another
        teacher, or by stock nnU-Net.
    """
    if KEY not in student.plans or KEY not in checkpoint:
        return None
    setup = RunSetup.of(student.plans).distillation
    if setup is None or _model(setup.teacher.folder) != _model(teacher.path):
        return None
    if len(setup.teacher.channels) != len(teacher_channels):
        return None
    weights = checkpoint[KEY].get("method", {})
    stages = []
    for pair, (ours, theirs) in enumerate(setup.stages):
        channels = setup.student_channels[ours], teacher_channels[theirs]
        convolution = new_phi(*channels, ndim=ndim).requires_grad_(False)
        own = {name: weights.get(f"phi.{pair}.{name}") for name in ("weight", "bias")}
        if any(own[name] is None or own[name].shape != value.shape for name, value in convolution.named_parameters()):
            return None
        convolution.load_state_dict(own)
        stages.append(convolution)
    return stages


def _model(folder: str | Path) -> tuple[str, ...]:
    """The names of data set and model folder, which stay if a workspace is moved."""
    return Path(folder).parts[-2:]
