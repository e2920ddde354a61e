"""A configuration of a plans file, with what it inherits, as nnU-Net reads it; what is wrong with it is a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import prod
from typing import Annotated, Any, NamedTuple

from dynamic_network_architectures.architectures import unet
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError

from ..errors import UserError
from ..validation import explain

Axes = Annotated[list[int], Field(min_length=2, max_length=3)]


class _Architecture(BaseModel):
    """A network; plans of nnU-Net 2.0 to 2.3 are brought into this form first."""

    network_class_name: str
    arch_kwargs: dict[str, Any]
    requires_import: list[str] = Field(alias="_kw_requires_import")


class _Configuration(BaseModel):
    """What is read of a configuration. nnU-Net keeps further keys, and so does nnDistill."""

    data_identifier: str
    preprocessor_name: str
    batch_size: PositiveInt
    patch_size: Annotated[list[PositiveInt], Field(min_length=2, max_length=3)]
    median_image_size_in_voxels: list[float]
    spacing: Annotated[list[PositiveFloat], Field(min_length=2, max_length=3)]
    normalization_schemes: Annotated[list[str], Field(min_length=1)]
    use_mask_for_norm: list[bool]
    resampling_fn_data: str
    resampling_fn_data_kwargs: dict[str, Any]
    resampling_fn_probabilities: str
    resampling_fn_probabilities_kwargs: dict[str, Any]
    architecture: _Architecture
    previous_stage: str | None = None
    next_stage: str | list[str] | None = None


class _Plans(BaseModel):
    """What is read of a plans file."""

    plans_name: str
    dataset_name: str
    image_reader_writer: str
    transpose_forward: Axes
    transpose_backward: Axes
    configurations: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


class Managers(NamedTuple):
    """nnU-Net's views of plans and of one of their configurations."""

    plans: PlansManager
    configuration: ConfigurationManager


def check_plans(plans: Mapping[str, Any], *, source: str) -> None:
    """Check that plans have what is read of them, apart from their configurations.

    Args:
        plans: A plans file's content.
        source: What messages call the file.

    Raises:
        UserError: A key is missing or has another kind of value.
    """
    try:
        _Plans.model_validate(plans)
    except ValidationError as error:
        reason = explain(error, _Plans, plans).sentence
        raise UserError(f"{source} is not a plans file of nnU-Net v2: {reason}") from error
    forward, backward = plans["transpose_forward"], plans["transpose_backward"]
    if [forward[axis] for axis in backward if 0 <= axis < len(forward)] != list(range(len(forward))):
        raise UserError(
            f"{source}: transpose_backward is {backward}, which does not undo the transpose_forward {forward}; each "
            "has to name every axis once."
        )


def managers(plans: dict[str, Any], configuration: str) -> Managers:
    """Read plans and a configuration with what it inherits; those of nnU-Net 2.0 to 2.3 are brought into today's form.

    Args:
        plans: A plans file's content; it is not changed.
        configuration: Name of one of its configurations.

    Raises:
        UserError: The plans cannot be read; the message names the configuration and the key.
    """
    named = f"the configuration {configuration} of the plans {plans.get('plans_name')!r}"
    _refuse_inheritance(plans, configuration, named)
    # nnU-Net prints that an old file names no label manager, and warns that it has another form
    manager = PlansManager({"label_manager": "LabelManager", **deepcopy(plans)})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = manager.get_configuration(configuration)
    except KeyError as error:
        raise UserError(f"{named} has no {error.args[0]!r}, which nnU-Net needs.") from error
    except RuntimeError as error:
        raise UserError(f"{named} is in a form that nnU-Net cannot read: {error}.") from error
    content = read.configuration
    try:
        _Configuration.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{named} is incomplete: {explain(error, _Configuration, content).sentence}") from error
    _name_where_it_is(content["architecture"])
    _refuse_unlike_axes(content, named)
    _refuse_patch(content, named)
    if manager.label_manager_class is None:
        raise UserError(f"the plans name the label manager {plans['label_manager']!r}, which nnU-Net does not have.")
    return Managers(manager, read)


def patch_factors(strides: Sequence[int | list[int]], axes: int) -> list[int]:
    """What a patch's size along each axis has to be a multiple of: the product of the stages' strides."""
    return [prod(_along(stride, axis) for stride in strides) for axis in range(axes)]


def _refuse_inheritance(plans: dict[str, Any], configuration: str, named: str) -> None:
    """Refuse a configuration that inherits from none that there is, or from itself."""
    configurations = plans["configurations"]
    line = [configuration]
    while (parent := configurations[line[-1]].get("inherits_from")) is not None:
        if not isinstance(parent, str) or parent not in configurations:
            raise UserError(
                f"{named} inherits from {parent!r}, which the plans do not have (they have "
                f"{', '.join(configurations)})."
            )
        if parent in line:
            raise UserError(f"{named} inherits from itself: {' from '.join([*line, parent])}.")
        line.append(parent)


def _refuse_unlike_axes(configuration: dict[str, Any], named: str) -> None:
    """Refuse a patch of two axes with a spacing or a network of three, and the reverse."""
    axes, spaced = len(configuration["patch_size"]), len(configuration["spacing"])
    convolution = str(configuration["architecture"]["arch_kwargs"].get("conv_op", "")).rpartition(".")[2]
    if spaced != axes or (convolution in ("Conv2d", "Conv3d") and convolution != f"Conv{axes}d"):
        network = f" and convolutions {convolution}" if convolution else ""
        raise UserError(
            f"{named} has a patch size of {axes} axes, a spacing of {spaced}{network}, which do not belong together."
        )


def _refuse_patch(configuration: dict[str, Any], named: str) -> None:
    """Refuse a patch that a U-Net's decoder would not give back in its size: nnU-Net fails in the first step."""
    patch, arguments = configuration["patch_size"], configuration["architecture"]["arch_kwargs"]
    strides, kernels = arguments.get("strides"), arguments.get("kernel_sizes")
    if not (_is_per_stage(strides, len(patch)) and _is_per_stage(kernels, len(patch))):
        return  # not one of nnU-Net's U-Nets, or what building the network will explain
    axes = range(len(patch))
    factors = patch_factors(strides, len(patch))
    if any(size % factor for size, factor in zip(patch, factors, strict=True)):
        raise UserError(
            f"{named} has the patch size {patch}, which its strides do not divide: each has to "
            f"be a multiple of {factors}."
        )
    if any(_along(strides[0], axis) != 1 for axis in axes):
        raise UserError(
            f"{named} has the stride {strides[0]} in its first stage, which no decoder undoes; it has to be 1."
        )
    if even := [k for k in kernels if any(_along(k, axis) % 2 == 0 for axis in axes)]:
        raise UserError(
            f"{named} has the kernel size {even[0]}; with an even one, features lose a voxel. Take odd ones."
        )


def _is_per_stage(values: Any, axes: int) -> bool:
    """Whether these are numbers, or one number per axis, for each of some stages."""
    return (
        isinstance(values, list)
        and values != []
        and all(isinstance(value, int) or (isinstance(value, list) and len(value) == axes) for value in values)
    )


def _along(value: int | list[int], axis: int) -> int:
    return value[axis] if isinstance(value, list) else value


def _name_where_it_is(architecture: dict[str, Any]) -> None:
    """Name a U-Net by its module: nnU-Net looks for one that has moved by importing all networks that there are."""
    module, _, name = architecture["network_class_name"].rpartition(".")
    if module.startswith("dynamic_network_architectures.") and hasattr(unet, name):
        architecture["network_class_name"] = f"{unet.__name__}.{name}"
