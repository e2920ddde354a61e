"""The stages of a trained network, and whether a student's can be compared with them, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import UserError
from ...taps import TappedNetwork, Taps, nnunet_taps, unwrapped
from ..plans import build_network, features_per_stage, input_channels, resolved_configuration, stage_factors
from ..stage_pairs import stage_pairs
from .model_folder import ModelFolder


def stage_taps(network: nn.Module) -> Taps:
    """Find the stages of a network that was read from a model folder.

    Raises:
        UserError: It is no U-Net of nnU-Net's kind.
    """
    try:
        return nnunet_taps(network)
    except UserError as error:
        raise UserError(
            f"the trained network is a {type(unwrapped(network)).__name__}, which has no encoder.stages and "
            "decoder.stages as nnU-Net's U-Nets have, so its stages are not known. Use a model whose network is a "
            "PlainConvUNet or a ResidualEncoderUNet, or nndistill.Distiller in Python, which takes the names of stages."
        ) from error


def refuse_unlike_stages(
    teacher: ModelFolder, checkpoint_file: Path, plans: dict[str, Any], configuration: str
) -> None:
    """Read a teacher as the training will, and compare the channels and sizes of its stages with those of the plans.

    Nothing is computed: sizes are those of networks on PyTorch's `meta` device.

    Args:
        teacher: Its folder.
        checkpoint_file: Of the fold that teaches.
        plans: The student's.
        configuration: The configuration of both.

    Raises:
        UserError: The teacher cannot be read or is no U-Net, or its trainer built another network than its plans say.
    """
    patch = resolved_configuration(plans, configuration)["patch_size"]
    shape = (1, input_channels(plans, configuration, teacher.dataset_json), *patch)
    taught = _stage_shapes(teacher.network(checkpoint_file), shape)
    planned = features_per_stage(teacher.plans, configuration)
    if [stage[1] for stage in taught] != planned:
        raise UserError(
            f"the stages of the teacher have {_list(stage[1] for stage in taught)} channels, and its plans say "
            f"{_list(planned)}: its trainer builds another network than they describe, so no student can be derived "
            "from them. Use a teacher whose network is that of its plans."
        )
    with torch.device("meta"):
        student = build_network(plans, configuration, teacher.dataset_json)
    students = _stage_shapes(student, shape)
    for ours, theirs in stage_pairs(*(stage_factors(of, configuration) for of in (plans, teacher.plans))):
        if students[ours][2:] != taught[theirs][2:]:
            raise UserError(
                f"in stage {ours + 1}, the student's features have {_size(students[ours])} voxels and the teacher's "
                f"{_size(taught[theirs])}: the teacher's trainer builds another network than its plans describe."
            )


def _stage_shapes(network: nn.Module, shape: Sequence[int]) -> list[tuple[int, ...]]:
    tapped = TappedNetwork(network.to("meta").eval(), stage_taps(network).only({"encoder"}))
    with torch.no_grad():
        _, activations = tapped(torch.empty(tuple(shape), device="meta"))
    return [tuple(stage.shape) for stage in activations.encoder]


def _list(values: Any) -> str:
    return ", ".join(map(str, values))


def _size(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape[2:]))
