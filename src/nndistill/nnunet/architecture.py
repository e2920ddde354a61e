"""The architecture in plans: nnU-Net's name of a network and its arguments, of which a student may have others."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal, get_args

from dynamic_network_architectures.architectures import unet

from ..errors import UnknownName, UserError

Architecture = Literal["teacher", "plain"]
"""The teacher's own kind of network, or nnU-Net's `PlainConvUNet`."""

FEWEST_STAGES = 3
"""With two stages, nnU-Net's deep supervision has one output, whose weight becomes 0 / 0."""

BLOCKS = ("n_blocks_per_stage", "n_conv_per_stage")
"""What networks of nnU-Net's call the numbers of residual blocks, or of convolutions, of their encoder stages."""

_PER_ENCODER_STAGE = ("kernel_sizes", "strides", *BLOCKS)

_PLAIN_CONVOLUTIONS = 2
"""Per stage of encoder and decoder, as nnU-Net's default planner has it."""


def with_features(arguments: dict[str, Any], features: Sequence[int]) -> dict[str, Any]:
    """Return a network's arguments with other channels; fewer entries than stages leave out the deepest stages."""
    left_out = arguments["n_stages"] - len(features)
    changed = dict(arguments)
    for key in _PER_ENCODER_STAGE:
        if isinstance(arguments.get(key), list):
            changed[key] = arguments[key][: len(features)]
    decoder = arguments.get("n_conv_per_stage_decoder")
    if isinstance(decoder, list):  # from the deepest stage up
        changed["n_conv_per_stage_decoder"] = decoder[left_out:]
    return {**changed, "n_stages": len(features), "features_per_stage": list(features)}


def with_blocks(arguments: dict[str, Any], blocks: Sequence[int]) -> dict[str, Any]:
    """Return a network's arguments with other numbers of blocks, or of convolutions, per encoder stage.

    Args:
        arguments: Of a network of nnU-Net's.
        blocks: A number for each stage, or one for all.

    Raises:
        UserError: They are not as many as the stages, or one is not positive, or the network has no blocks.
    """
    stages = arguments["n_stages"]
    if len(blocks) not in (1, stages) or min(blocks) < 1:
        raise UserError(
            f"the blocks {' '.join(map(str, blocks))} do not fit a student of {stages} stages: give a positive number "
            "for each stage, or one for all.",
            option="blocks",
        )
    key = next((key for key in BLOCKS if key in arguments), None)
    if key is None:
        raise UserError(
            f"the teacher's network is built with neither {' nor '.join(BLOCKS)}, so its student cannot have other "
            "blocks; choose the plain architecture, or leave the blocks out.",
            option=("blocks", "architecture"),
        )
    return {**arguments, key: list(blocks) * (stages if len(blocks) == 1 else 1)}


def as_kind(architecture: dict[str, Any], kind: Architecture) -> dict[str, Any]:
    """Return an architecture as it is, or that of a `PlainConvUNet` with the same stages.

    Each stage of its encoder and decoder has two convolutions, as nnU-Net's default planner has it. Channels, kernels,
    strides, normalisation and activation stay. A network that is plain already is returned as it is.

    Raises:
        UnknownName: There is no such kind.
    """
    if kind not in get_args(Architecture):
        raise UnknownName("architecture", kind, get_args(Architecture), option="architecture")
    name = f"{unet.__name__}.{unet.PlainConvUNet.__name__}"
    if kind == "teacher" or architecture["network_class_name"] == name:
        return architecture
    taken = inspect.signature(unet.PlainConvUNet).parameters
    arguments = {key: value for key, value in architecture["arch_kwargs"].items() if key in taken}
    stages = arguments["n_stages"]
    arguments["n_conv_per_stage"] = [_PLAIN_CONVOLUTIONS] * stages
    arguments["n_conv_per_stage_decoder"] = [_PLAIN_CONVOLUTIONS] * (stages - 1)
    return {**architecture, "network_class_name": name, "arch_kwargs": arguments}
