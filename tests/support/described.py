"""Descriptions of made-up models, and the same facts as nnU-Net holds them."""

from __future__ import annotations

from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nndistill.runtime.description import Channel, ModelDescription, Normalization, Resampling

SPLINES = Resampling(order=3, order_z=0)
LINEAR = Resampling(order=1, order_z=0)


def describe(*channels: str | Normalization, **facts: Any) -> ModelDescription:
    """A description: channels by name or normalisation, and what differs from a model at 1 mm with two labels."""
    made = [
        Channel(name=channel, normalization=Normalization(scheme="ZScoreNormalization"))
        if isinstance(channel, str)
        else Channel(name=f"channel {number}", normalization=channel)
        for number, channel in enumerate(channels or ("T1",))
    ]
    usual = {
        "name": "made up",
        "format": "onnx",
        "file_ending": ".nii.gz",
        "transpose_forward": (0, 1, 2),
        "transpose_backward": (0, 1, 2),
        "spacing": (1.0, 1.0, 1.0),
        "patch_size": (8, 8, 8),
        "labels": {"background": 0, "lesion": 1},
        "resample_data": SPLINES,
        "resample_probabilities": LINEAR,
    }
    return ModelDescription(channels=tuple(made), **usual | facts)


def as_plans(description: ModelDescription) -> tuple[PlansManager, Any, dict[str, Any]]:
    """nnU-Net's plans, configuration and `dataset.json` for a description."""
    schemes = [channel.normalization for channel in description.channels]
    intensities = ("mean", "std", "percentile_00_5", "percentile_99_5")
    configuration = {
        "architecture": {},
        "preprocessor_name": "DefaultPreprocessor",
        "spacing": list(description.spacing),
        "patch_size": list(description.patch_size),
        "normalization_schemes": [how.scheme for how in schemes],
        "use_mask_for_norm": [how.use_mask for how in schemes],
    }
    for what, how in (
        ("data", description.resample_data),
        ("seg", Resampling(order=0, order_z=0)),
        ("probabilities", description.resample_probabilities),
    ):
        configuration[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{what}_kwargs"] = {"is_seg": what == "seg", **how.model_dump()}
    plans = PlansManager(
        {
            "transpose_forward": list(description.transpose_forward),
            "transpose_backward": list(description.transpose_backward),
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": {
                str(number): {key: getattr(how, key) for key in intensities} for number, how in enumerate(schemes)
            },
            "configurations": {"3d_fullres": configuration},
        }
    )
    dataset = {"labels": description.labels}
    if description.regions_class_order is not None:
        dataset["regions_class_order"] = list(description.regions_class_order)
    return plans, plans.get_configuration("3d_fullres"), dataset
