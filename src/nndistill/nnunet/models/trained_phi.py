"""The projections φ that a student was trained with, from its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..run_setup import KEY, RunSetup
from .model_folder import ModelFolder


def trained_phi(
    student: ModelFolder, checkpoint: dict[str, Any], teacher: ModelFolder, teacher_channels: Sequence[int]
) -> list[nn.Conv3d] | None:
    """Read φ of every encoder stage.

    Args:
        student: The student's model folder.
        checkpoint: Content of its checkpoint.
        teacher: The teacher that it will be compared with.
        teacher_channels: Channels of each of the teacher's stages.

    Returns:
        One convolution per stage, fine to coarse; `None` if the student was trained without φ, with another teacher
        or several, or by stock nnU-Net.
    """
    if KEY not in student.plans or KEY not in checkpoint:
        return None
    setup = RunSetup.of(student.plans).distillation
    if setup is None or _model(setup.teacher.folder) != _model(teacher.path):
        return None
    if len(setup.student_channels) != len(teacher_channels):
        return None
    weights = checkpoint[KEY].get("method", {})
    stages = []
    for stage, (inputs, outputs) in enumerate(zip(setup.student_channels, teacher_channels, strict=True)):
        convolution = nn.Conv3d(inputs, outputs, kernel_size=1).requires_grad_(False)
        own = {name: weights.get(f"phi.{stage}.{name}") for name in ("weight", "bias")}
        if any(own[name] is None or own[name].shape != value.shape for name, value in convolution.named_parameters()):
            return None
        convolution.load_state_dict(own)
        stages.append(convolution)
    return stages


def _model(folder: str | Path) -> tuple[str, ...]:
    """The names of data set and model folder, which stay if a workspace is moved."""
    return Path(folder).parts[-2:]
