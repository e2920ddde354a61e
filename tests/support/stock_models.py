"""Plans, data set descriptions and model folders as stock nnU-Net leaves them, with random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet, ResidualUNet
from torch import nn

NETWORKS = {network.__name__: network for network in (PlainConvUNet, ResidualEncoderUNet, ResidualUNet)}


def configuration(
    *,
    features: Sequence[int] = (8, 16, 32),
    kernels: Sequence[Any] | None = None,
    strides: Sequence[Any] | None = None,
    patch: Sequence[int] = (16, 16, 16),
    channels: int = 1,
    network: str = "PlainConvUNet",
) -> dict[str, Any]:
    """A configuration as nnU-Net writes it since 2.4."""
    stages, axes = len(features), len(patch)
    how = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    blocks = "n_conv_per_stage" if network == "PlainConvUNet" else "n_blocks_per_stage"
    return {
        "data_identifier": "nnUNetPlans_3d_fullres" if axes == 3 else "nnUNetPlans_2d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": [24.0] * axes,
        "spacing": [1.0] * axes,
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": how,
        "resampling_fn_seg_kwargs": {**how, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**how, "order": 1},
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{network}",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": list(features),
                "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
                "kernel_sizes": [list(kernel) for kernel in kernels or [[3] * axes] * stages],
                "strides": list(strides or [[1] * axes] + [[2] * axes] * (stages - 1)),
                blocks: [1] * stages,
                "n_conv_per_stage_decoder": [1] * (stages - 1),
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": True,
    }


def before_2_4(configuration: dict[str, Any]) -> dict[str, Any]:
    """The same network as nnU-Net 2.0 to 2.3 described it."""
    old = {key: value for key, value in configuration.items() if key != "architecture"}
    arguments = configuration["architecture"]["arch_kwargs"]
    blocks = arguments.get("n_conv_per_stage") or arguments["n_blocks_per_stage"]
    return old | {
        "UNet_class_name": configuration["architecture"]["network_class_name"].rpartition(".")[2],
        "UNet_base_num_features": arguments["features_per_stage"][0],
        "n_conv_per_stage_encoder": blocks,
        "n_conv_per_stage_decoder": arguments["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [len(blocks) - 1] * len(configuration["patch_size"]),
        "pool_op_kernel_sizes": arguments["strides"],
        "conv_kernel_sizes": arguments["kernel_sizes"],
        "unet_max_num_features": max(arguments["features_per_stage"]),
    }


def plans(configurations: Mapping[str, Any], *, name: str = "nnUNetPlans", channels: int = 1) -> dict[str, Any]:
    """A plans file's content."""
    statistics = {"max": 4.0, "mean": 3.0, "median": 3.0, "min": 2.0, "std": 0.2}
    statistics |= {"percentile_00_5": 2.1, "percentile_99_5": 3.9}
    return {
        "dataset_name": "Dataset950_Made",
        "plans_name": name,
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [24, 24, 24],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": dict(configurations),
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(channel): statistics for channel in range(channels)},
    }


def dataset(channels: int = 1, labels: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A data set's description."""
    return {
        "channel_names": {str(channel): f"C{channel}" for channel in range(channels)},
        "labels": labels or {"background": 0, "lesion": 1},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }


def network_of(configuration: Mapping[str, Any], *, channels: int = 1, classes: int = 2) -> nn.Module:
    """The network of a configuration, built without nnU-Net."""
    architecture = configuration["architecture"]
    arguments = dict(architecture["arch_kwargs"])
    flat = len(configuration["patch_size"]) == 2
    arguments |= {
        "conv_op": nn.Conv2d if flat else nn.Conv3d,
        "norm_op": nn.InstanceNorm2d if flat else nn.InstanceNorm3d,
    }
    arguments |= {"dropout_op": None, "nonlin": nn.LeakyReLU}
    kind = NETWORKS[architecture["network_class_name"].rpartition(".")[2]]
    return kind(input_channels=channels, num_classes=classes, deep_supervision=False, **arguments)


def write_model(
    folder: Path,
    plans: Mapping[str, Any],
    description: Mapping[str, Any],
    weights: Mapping[str, Any],
    *,
    name: str = "3d_fullres",
    trainer: str = "nnUNetTrainer",
    **more: Any,
) -> Path:
    """A model folder with one fold."""
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(description))
    arguments = {"plans": plans, "configuration": name, "fold": 0, "dataset_json": description}
    checkpoint = {"network_weights": weights, "trainer_name": trainer, "init_args": arguments}
    axes = tuple(range(len(plans["configurations"][name].get("patch_size", (0, 1, 2)))))
    torch.save({**checkpoint, "inference_allowed_mirroring_axes": axes, **more}, folder / "fold_0/checkpoint_final.pth")
    return folder
