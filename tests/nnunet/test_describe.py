"""The description holds what nnU-Net's own managers say, or a sentence names what the runtime does not know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nndistill.nnunet.models.checkpoints import read_checkpoint, write_checkpoint
from nndistill.nnunet.models.describe import NotDescribable, describe
from nndistill.nnunet.models.model_folder import ModelFolder

REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}


@pytest.fixture
def folder(world) -> ModelFolder:
    return ModelFolder.read(world.results / "nnUNetTrainerDistill__student__3d_fullres")


def with_configuration(folder: ModelFolder, **changes: Any) -> ModelFolder:
    configuration = {**folder.plans["configurations"]["3d_fullres"], **changes}
    return replace(folder, plans={**folder.plans, "configurations": {"3d_fullres": configuration}})


def checkpoint_of(folder: ModelFolder) -> Path:
    return folder.checkpoint_file("0")


def test_description_says_what_nnunets_managers_say(folder):
    description = describe(folder, checkpoint_of(folder))
    manager = PlansManager(folder.plans)
    configuration = manager.get_configuration("3d_fullres")
    assert list(description.spacing) == configuration.spacing
    assert list(description.patch_size) == configuration.patch_size
    assert list(description.transpose_forward) == manager.transpose_forward
    assert list(description.transpose_backward) == manager.transpose_backward
    assert [c.normalization.scheme for c in description.channels] == configuration.normalization_schemes
    assert [c.normalization.use_mask for c in description.channels] == configuration.use_mask_for_norm
    assert [c.name for c in description.channels] == list(folder.dataset_json["channel_names"].values())
    assert description.heads == manager.get_label_manager(folder.dataset_json).num_segmentation_heads
    for ours, theirs in (
        (description.resample_data, configuration.resampling_fn_data),
        (description.resample_probabilities, configuration.resampling_fn_probabilities),
    ):
        assert {"is_seg": False, **ours.model_dump()} == theirs.keywords


def test_regions_are_described_in_the_networks_order(folder):
    dataset = {**folder.dataset_json, "labels": REGIONS, "regions_class_order": [1, 2, 3]}
    description = describe(replace(folder, dataset_json=dataset), checkpoint_of(folder))
    labels = PlansManager(folder.plans).get_label_manager(dataset)
    assert description.regions_class_order == (1, 2, 3)
    assert description.heads == labels.num_segmentation_heads == 3


def test_mirroring_axes_come_from_the_checkpoint(folder):
    file = checkpoint_of(folder)
    write_checkpoint(file, {**read_checkpoint(file), "inference_allowed_mirroring_axes": (0, 2)})
    assert describe(folder, file).mirroring_axes == (0, 2)


def test_ct_brings_its_statistics_and_nothing_else_does(folder):
    schemes = ["CTNormalization", "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization"]
    description = describe(with_configuration(folder, normalization_schemes=schemes), checkpoint_of(folder))
    ct, *others = [channel.normalization for channel in description.channels]
    statistics = folder.plans["foreground_intensity_properties_per_channel"]["0"]
    assert (ct.mean, ct.std, ct.percentile_00_5, ct.percentile_99_5) == tuple(
        statistics[key] for key in ("mean", "std", "percentile_00_5", "percentile_99_5")
    )
    assert all(other.mean is None for other in others)


def test_keywords_that_a_plans_file_leaves_out_are_nnunets_defaults(folder):
    changed = with_configuration(folder, resampling_fn_probabilities_kwargs={"order": 1})
    resampling = describe(changed, checkpoint_of(folder)).resample_probabilities
    assert (resampling.order, resampling.order_z, resampling.force_separate_z) == (1, 0, False)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"preprocessor_name": "MyPreprocessor"}, "preprocessor MyPreprocessor"),
        ({"normalization_schemes": ["ZScoreNormalization"] * 3 + ["N4"]}, "normalisation of channel .* N4"),
        ({"resampling_fn_data": "resample_torch_fornnunet"}, "resampling of data resample_torch_fornnunet"),
        ({"resampling_fn_probabilities": "no_resampling_hack"}, "resampling of probabilities no_resampling_hack"),
        ({"resampling_fn_data_kwargs": {"is_seg": True}}, "resampling of data as labels"),
        ({"resampling_fn_data_kwargs": {"separate_z_anisotropy_threshold": 5}}, "resampling of data with"),
        ({"resampling_fn_data_kwargs": {"memefficient": True}}, "resampling of data with {'memefficient': True}"),
    ],
)
def test_what_the_runtime_does_not_know_is_named(folder, changes, named):
    with pytest.raises(NotDescribable, match=rf"{named}.*in the format nnunet"):
        describe(with_configuration(folder, **changes), checkpoint_of(folder))


@pytest.mark.parametrize("reader", ["NibabelIOWithReorient", "NaturalImage2DIO", "Tiff3DIO"])
def test_reader_that_the_runtime_does_not_know_is_named(folder, reader):
    plans = {**folder.plans, "image_reader_writer": reader}
    with pytest.raises(NotDescribable, match=f"reader of images {reader}"):
        describe(replace(folder, plans=plans), checkpoint_of(folder))


def test_images_that_are_turned_when_read_are_described_so(folder):
    plans = {**folder.plans, "image_reader_writer": "SimpleITKIOWithReorient"}
    assert describe(replace(folder, plans=plans), checkpoint_of(folder)).reorient_to == "RAS"


def test_orientations_are_unknown_where_the_data_set_is_not_there(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    assert describe(folder, checkpoint_of(folder)).orientations == ()
