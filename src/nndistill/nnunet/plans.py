"""Plans files, which define a network. A student's plans are the teacher's with a smaller network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import prod
from typing import Any

from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from ..errors import UnknownName, UserError
from .architecture import FEWEST_STAGES, Architecture, as_kind, with_blocks, with_features
from .configuration import managers, patch_factors
from .trainer_class import find_trainer, network_of_trainer

SMALLEST_STAGE = 8
"""The fewest channels of a student stage, unless the teacher's has fewer; the paper's release does the same."""


def distillable_configuration(plans: dict[str, Any], name: str | None = None, *, source: str = "the plans") -> str:
    """Check that a configuration can be distilled, and return its name.

    Args:
        plans: A plans file's content.
        name: A configuration's name. Default: `3d_fullres`, or else the first that needs no other, one of three
            dimensions before one of two.
        source: What messages call the plans.

    Raises:
        UserError: It is the second stage of a cascade, or all are.
        UnknownName: The plans have no configuration of this name.
    """
    available = list(plans["configurations"])
    if name is not None and name not in available:
        raise UnknownName("configuration", name, available, option="configuration")
    candidates = [name] if name else sorted(available, key=lambda each: each != "3d_fullres")
    read = {each: managers(plans, each).configuration for each in candidates}
    alone = [each for each in candidates if read[each].previous_stage_name is None]
    if not alone:
        raise UserError(
            f"{candidates[0]} of {source} is the second stage of a cascade, which needs another network's output; "
            "use a teacher trained with 3d_fullres, 3d_lowres or 2d."
        )
    return max(alone, key=lambda each: len(read[each].patch_size))  # the first of equal ones


def dimensions(plans: dict[str, Any], configuration: str) -> int:
    """Return the number of dimensions of a configuration's network: 3, or 2 for one that sees a slice at a time."""
    return len(resolved_configuration(plans, configuration)["patch_size"])


def resolved_configuration(plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    """Return a configuration's values with those that it inherits, in the form of the newest version of plans."""
    resolved: dict[str, Any] = managers(plans, configuration).configuration.configuration
    resolved.pop("inherits_from", None)
    return resolved


def intensity_statistics(plans: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return what the plans say about the foreground's intensities in the training cases, by the channel's number.

    Example:
        >>> intensity_statistics({"foreground_intensity_properties_by_modality": {"0": {"mean": 40.0}}})  # nnU-Net 2.0
        {'0': {'mean': 40.0}}
    """
    keys = ("foreground_intensity_properties_per_channel", "foreground_intensity_properties_by_modality")
    return next((plans[key] for key in keys if plans.get(key)), {})


def features_per_stage(plans: dict[str, Any], configuration: str) -> list[int]:
    """Return the channels of each encoder stage, fine to coarse.

    Raises:
        UserError: The network is not made of stages, as transformers are not.
    """
    architecture = resolved_configuration(plans, configuration)["architecture"]
    arguments = architecture["arch_kwargs"]
    if not {"features_per_stage", "n_stages", "strides"} <= arguments.keys():
        raise UserError(
            f"the network of {configuration} in the plans {plans.get('plans_name')!r} is a "
            f"{architecture['network_class_name'].rpartition('.')[2]}, which has no stages whose channels could be "
            "reduced, as nnU-Net's U-Nets have; use a teacher that is a PlainConvUNet or a ResidualEncoderUNet."
        )
    features = arguments["features_per_stage"]
    return [features] * arguments["n_stages"] if isinstance(features, int) else list(features)


def reduced_features(teacher: Sequence[int], reduction: int, *, floor: int = SMALLEST_STAGE) -> list[int]:
    """Divide every stage's channels by a reduction (the paper's $C/r$), but not to less than `floor`.

    Args:
        teacher: Channels of each teacher stage.
        reduction: r of the paper.
        floor: The fewest channels of a student stage, unless the teacher's has fewer.

    Raises:
        UserError: The reduction is below 1, or leaves a stage without a channel.

    Example:
        >>> reduced_features([32, 64, 128, 256, 320, 320], 4)
        [8, 16, 32, 64, 80, 80]
    """
    if reduction < 1:
        raise UserError(
            f"a reduction of {reduction} is not possible: the teacher's channels are divided by it, so it is at "
            "least 1.",
            option="reduction",
        )
    if min(teacher) < reduction:
        raise UserError(
            f"a reduction of {reduction} leaves no channel: the teacher's narrowest stage has {min(teacher)}. "
            f"Use at most {min(teacher)}, or give the channels of each student stage.",
            option=("reduction", "features"),
        )
    return [min(channels, max(channels // reduction, floor)) for channels in teacher]


def stage_factors(plans: dict[str, Any], configuration: str) -> list[tuple[int, ...]]:
    """Return by how much each encoder stage is coarser than the image along each axis, fine to coarse."""
    kept = resolved_configuration(plans, configuration)
    strides, axes = _strides(kept["architecture"]["arch_kwargs"]), len(kept["patch_size"])
    return [tuple(patch_factors(strides[:stages], axes)) for stages in range(1, len(strides) + 1)]


def derive_plans(
    plans: dict[str, Any],
    configuration: str,
    *,
    features: Sequence[int] | None = None,
    blocks: Sequence[int] | None = None,
    architecture: Architecture = "teacher",
    patch_size: Sequence[int] | None = None,
    batch_size: int | None = None,
    name: str,
) -> dict[str, Any]:
    """Derive plans with another network, patch size or batch size; only one configuration is kept.

    They need the same preprocessed data, so nothing has to be preprocessed again. A network that was the first stage
    of a cascade is no longer: the second stage is not in the plans.

    Args:
        plans: A plans file's content; it is not changed.
        configuration: The configuration to keep.
        features: Channels of each stage; fewer entries than stages make a shallower network.
        blocks: Residual blocks of each encoder stage, or convolutions of a plain network; or one number for all.
        architecture: `plain` for a `PlainConvUNet` with the same stages.
        patch_size: Voxels per patch along each axis, divisible by the network's strides.
        batch_size: Patches per batch.
        name: `plans_name` of the new plans.

    Raises:
        UserError: Too many or non-positive features, blocks that do not fit the stages, or a patch size the network
            cannot take.
        UnknownName: There is no such architecture.
    """
    kept = resolved_configuration(plans, configuration)
    kept.pop("next_stage", None)
    stages = len(features_per_stage(plans, configuration))
    kept["architecture"] = as_kind(kept["architecture"], architecture)
    arguments = kept["architecture"]["arch_kwargs"]
    if features is not None:
        if stages < FEWEST_STAGES:
            raise UserError(
                f"the network of {configuration} has {stages} stages, and nnU-Net's training with deep supervision "
                f"needs at least {FEWEST_STAGES}."
            )
        if not FEWEST_STAGES <= len(features) <= stages or min(features) < 1:
            raise UserError(
                f"the features {' '.join(map(str, features))} do not fit the plans, which have {stages} stages: "
                f"give between {FEWEST_STAGES} and {stages} positive numbers.",
                option="features",
            )
        arguments = with_features(arguments, features)
    if blocks is not None:
        arguments = with_blocks(arguments, blocks)
    kept["architecture"] = {**kept["architecture"], "arch_kwargs": arguments}
    axes = len(kept["patch_size"])
    if patch_size is not None:
        kept["patch_size"] = list(patch_size)
    if batch_size is not None:
        kept["batch_size"] = batch_size
    _check_patch_size(kept["patch_size"], _strides(arguments), axes)
    copied = {key: deepcopy(value) for key, value in plans.items() if key != "configurations"}
    return {**copied, "plans_name": name, "configurations": {configuration: kept}}


def build_network(
    plans: dict[str, Any],
    configuration: str,
    dataset_json: dict[str, Any],
    *,
    trainer: str = "nnUNetTrainer",
) -> nn.Module:
    """Build the network of plans, with nnU-Net's initialisation, without deep supervision.

    Args:
        plans: A plans file's content.
        configuration: Name of one of its configurations.
        dataset_json: A `dataset.json`'s content, for the numbers of channels and classes.
        trainer: The trainer class whose `build_network_architecture` is called, as in nnU-Net's prediction.

    Raises:
        UserError: The trainer class is not installed or cannot be imported, or it cannot build the network.
    """
    read = managers(plans, configuration)
    return network_of_trainer(find_trainer(trainer), read, dataset_json)


def input_channels(plans: dict[str, Any], configuration: str, dataset_json: dict[str, Any]) -> int:
    """Return the number of input channels of the network of plans."""
    return int(determine_num_input_channels(*managers(plans, configuration), dataset_json))


def has_regions(plans: dict[str, Any], dataset_json: dict[str, Any]) -> bool:
    """Return whether the network of plans predicts regions, which may overlap, instead of labels."""
    manager = PlansManager(
        {"label_manager": "LabelManager", **plans}
    )  # of an old file, nnU-Net prints that it has none
    return bool(manager.get_label_manager(dataset_json).has_regions)


def patches_per_case(plans: dict[str, Any], configuration: str, *, step: float = 0.5) -> int:
    """Return the number of patches in which nnU-Net's sliding window covers the data set's median image.

    In two dimensions it covers each of its slices, whose number the configuration does not say.

    Args:
        plans: A plans file's content.
        configuration: Name of one of its configurations.
        step: Distance between two windows, in patch sizes. Default: nnU-Net's.

    Raises:
        UserError: The plans of a 2D configuration do not say how many slices the median image has.
    """
    kept = resolved_configuration(plans, configuration)
    patch = kept["patch_size"]
    slices = _median_slices(plans) if len(patch) == 2 else 1
    padded = [max(round(size), tile) for size, tile in zip(kept["median_image_size_in_voxels"], patch, strict=True)]
    return slices * prod(len(axis) for axis in compute_steps_for_sliding_window(tuple(padded), tuple(patch), step))


def _median_slices(plans: dict[str, Any]) -> int:
    shape = plans.get("original_median_shape_after_transp")
    if not isinstance(shape, list) or len(shape) != 3:
        raise UserError(
            f"the plans {plans.get('plans_name')!r} have no original_median_shape_after_transp, which says how many "
            "slices an image has; plan the data set again with nnU-Net."
        )
    return int(shape[0])


def _strides(arguments: dict[str, Any]) -> list[Any]:
    """The strides of each encoder stage of a network with these arguments."""
    strides = arguments["strides"]
    return [strides] * arguments["n_stages"] if isinstance(strides, int) else list(strides)


def _check_patch_size(patch_size: Sequence[int], strides: Sequence[Any], axes: int) -> None:
    if len(patch_size) != axes:
        raise UserError(
            f"the patch size {' '.join(map(str, patch_size))} has {len(patch_size)} numbers, and the network sees "
            f"patches of {axes} axes.",
            option="patch_size",
        )
    for axis, (size, stride) in enumerate(zip(patch_size, patch_factors(strides, len(patch_size)), strict=True)):
        if size < 1 or size % stride:
            raise UserError(
                f"patch size {'×'.join(map(str, patch_size))} does not fit the network: axis {axis} must be a "
                f"multiple of {stride}.",
                option="patch_size",
            )
