"""From a model folder to the description that travels with an exported network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import SimpleITK

from ...dataset_json import channel_names
from ...errors import UserError
from ...runtime.description import Channel, ModelDescription, Normalization, Resampling
from ..data.raw_cases import raw_cases
from ..plans import has_regions, intensity_statistics, resolved_configuration
from ..workspace import raw_folder
from .checkpoints import read_checkpoint
from .model_folder import ModelFolder

_READERS = {"SimpleITKIO": None, "NibabelIO": None, "SimpleITKIOWithReorient": "RAS"}
_RESAMPLING = "resample_data_or_seg_to_shape"
_RESAMPLING_DEFAULTS = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": False}
_ANISOTROPY = 3
_STATISTICS = ("mean", "std", "percentile_00_5", "percentile_99_5")


class NotDescribable(UserError):
    """The plans ask for a step between NIfTI and NIfTI that only nnU-Net itself can take."""


def describe(folder: ModelFolder, checkpoint_file: Path) -> ModelDescription:
    """Collect what a runtime needs besides the network; the format is that of a stock model folder.

    Args:
        folder: A model folder.
        checkpoint_file: Of one of its folds.

    Raises:
        NotDescribable: The plans name something that nnDistill's runtime does not know.
        UserError: The checkpoint cannot be read, or is of the second stage of a cascade.
    """
    checkpoint = read_checkpoint(checkpoint_file)
    name = folder.configuration(checkpoint)
    plans, dataset = folder.plans, folder.dataset_json
    configuration = resolved_configuration(plans, name)
    _refuse("preprocessor", configuration["preprocessor_name"], {"DefaultPreprocessor"})
    _refuse("reader of images", plans["image_reader_writer"], _READERS)
    _refuse("label manager", plans.get("label_manager", "LabelManager"), {"LabelManager"})
    regions = has_regions(plans, dataset)
    return ModelDescription(
        name=f"{plans['dataset_name']}, {plans['plans_name']}, {name}, {checkpoint_file.parent.name}",
        format="nnunet",
        channels=_channels(plans, configuration, dataset),
        file_ending=dataset["file_ending"],
        reorient_to=_READERS[plans["image_reader_writer"]],
        orientations=_training_orientations(plans["dataset_name"]),
        transpose_forward=plans["transpose_forward"],
        transpose_backward=plans["transpose_backward"],
        spacing=configuration["spacing"],
        patch_size=configuration["patch_size"],
        mirroring_axes=tuple(checkpoint.get("inference_allowed_mirroring_axes") or ()),
        labels=dataset["labels"],
        regions_class_order=tuple(dataset["regions_class_order"]) if regions else None,
        resample_data=_resampling(configuration, "data"),
        resample_probabilities=_resampling(configuration, "probabilities"),
        versions={package: version(package) for package in ("nndistill", "nnunetv2", "torch")},
    )


def _channels(
    plans: Mapping[str, Any], configuration: Mapping[str, Any], dataset: dict[str, Any]
) -> tuple[Channel, ...]:
    statistics = intensity_statistics(plans)
    schemes, masks = configuration["normalization_schemes"], configuration["use_mask_for_norm"]
    names = channel_names(dataset)
    if not len(names) == len(schemes) == len(masks):
        raise UserError(
            f"the plans normalise {len(schemes)} channels, and dataset.json names {len(names)} ({', '.join(names)}): "
            "they do not belong together."
        )
    known = get_args(Normalization.model_fields["scheme"].annotation)
    channels = []
    for index, (name, scheme, mask) in enumerate(zip(names, schemes, masks, strict=True)):
        _refuse(f"normalisation of channel {name}", scheme, known)
        of_channel = statistics[str(index)] if scheme == "CTNormalization" else {}
        numbers = {key: of_channel[key] for key in _STATISTICS if key in of_channel}
        normalization = Normalization(scheme=scheme, use_mask=bool(mask), **numbers)
        channels.append(Channel(name=name, normalization=normalization))
    return tuple(channels)


def _resampling(configuration: Mapping[str, Any], what: str) -> Resampling:
    _refuse(f"resampling of {what}", configuration[f"resampling_fn_{what}"], {_RESAMPLING})
    given = dict(configuration[f"resampling_fn_{what}_kwargs"])
    if given.pop("separate_z_anisotropy_threshold", _ANISOTROPY) != _ANISOTROPY or not given.keys() <= set(
        _RESAMPLING_DEFAULTS
    ):
        raise _not_describable(f"resampling of {what} with {given}")
    options = {**_RESAMPLING_DEFAULTS, **given}
    if options.pop("is_seg"):
        raise _not_describable(f"resampling of {what} as labels")
    return Resampling(**options)


def _refuse(what: str, name: str, known: Mapping[str, Any] | Sequence[str] | set[str]) -> None:
    if name not in known:
        raise _not_describable(f"{what} {name}")


def _not_describable(what: str) -> NotDescribable:
    return NotDescribable(
        f"the plans name the {what}, which nnDistill's own prediction does not know. Export the model in the format "
        "nnunet, which keeps everything, and predict with stock nnUNetv2_predict.",
        option="format",
    )


def _training_orientations(dataset: str) -> tuple[str, ...]:
    """Orientations of a data set's training images, such as `("LPS", "RAS")`, the most frequent one first.

    Args:
        dataset: Full name of a data set in `nnUNet_raw`.

    Returns:
        Codes as ITK writes them; none if the data set is not there or its headers cannot be read.
    """
    try:
        codes = [_orientation(str(case.images[0])) for case in raw_cases(raw_folder() / dataset)]
    except (UserError, RuntimeError):
        return ()
    return tuple(sorted(set(codes), key=lambda code: (-codes.count(code), code)))


def _orientation(file: str) -> str:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return str(SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(reader.GetDirection()))
