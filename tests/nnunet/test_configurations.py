"""Configurations as nnU-Net allows them: a student of each can be trained, or a sentence says at once why not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nndistill import Distiller, build_method, prepare_student
from nndistill.errors import UserError
from nndistill.files import read_json
from nndistill.nnunet.models.checkpoints import read_checkpoint, write_checkpoint
from nndistill.nnunet.models.model_folder import ModelFolder
from nndistill.nnunet.models.stages import refuse_unlike_stages
from nndistill.nnunet.plans import (
    build_network,
    derive_plans,
    dimensions,
    distillable_configuration,
    features_per_stage,
    reduced_features,
)
from stock_models import before_2_4, configuration, dataset, network_of, plans, write_model
from tiny import TINY

FLAT = [1, 3, 3]
KINDS: dict[str, dict[str, Any]] = {
    "plain": configuration(),
    "residual": configuration(network="ResidualEncoderUNet"),
    "residual decoder": configuration(network="ResidualUNet"),
    "anisotropic": configuration(
        kernels=[FLAT, FLAT, [3, 3, 3]], strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]], patch=(6, 16, 16)
    ),
    "seven stages": configuration(
        features=(4, 8, 16, 16, 16, 16, 16), strides=[[1, 1, 1], *[[2, 2, 2]] * 2, *[[1, 1, 1]] * 4], patch=(8, 8, 8)
    ),
    "strides as numbers": configuration(strides=[1, 2, 2]),
    "two dimensions": configuration(patch=(16, 24)),
    "residual, two dimensions": configuration(patch=(16, 24), network="ResidualEncoderUNet"),
}
FAMILY = {
    "2d": configuration(patch=(16, 16)),
    "3d_lowres": {**KINDS["plain"], "next_stage": "3d_cascade_fullres"},
    "3d_fullres": KINDS["plain"],
    "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    "3d_large": {"inherits_from": "3d_fullres", "batch_size": 7},
    "3d_larger": {"inherits_from": "3d_large", "patch_size": [24, 24, 24]},
}


@pytest.mark.parametrize("form", ["today", "before 2.4"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_student_of_every_kind_of_network_learns_from_it(kind, form):
    described = KINDS[kind]
    if form == "before 2.4":
        if described["architecture"]["network_class_name"].endswith(".ResidualUNet"):
            pytest.skip("nnU-Net 2.0 to 2.3 did not have it")
        described = before_2_4(described)
    taught = plans({"3d_fullres": described})
    features = features_per_stage(taught, "3d_fullres")
    assert features == KINDS[kind]["architecture"]["arch_kwargs"]["features_per_stage"]
    reduced = reduced_features(features, 4, floor=2)
    derived = derive_plans(taught, "3d_fullres", features=reduced, name="student")
    teacher, student = (build_network(each, "3d_fullres", dataset()) for each in (taught, derived))
    assert repr(teacher) == repr(network_of(KINDS[kind]))
    ndim = dimensions(taught, "3d_fullres")
    method = build_method("dcd", student_channels=reduced, teacher_channels=features, level=1, ndim=ndim)
    image = torch.randn(1, 1, *KINDS[kind]["patch_size"])
    output, loss = Distiller(student, teacher, method)(image, None)
    (output.square().mean() + loss).backward()
    assert all(parameter.grad.isfinite().all() for parameter in student.parameters() if parameter.grad is not None)
    assert output.shape == (1, 2, *image.shape[2:])


@pytest.mark.parametrize("name", ["3d_lowres", "3d_fullres", "3d_large", "3d_larger"])
def test_plans_of_a_student_need_no_other_configuration(name):
    derived = derive_plans(plans(FAMILY), name, features=[2, 4, 8], name="student")
    assert list(derived["configurations"]) == [name]
    kept = derived["configurations"][name]
    assert not {"inherits_from", "next_stage", "previous_stage"} & kept.keys()
    assert distillable_configuration(derived) == name
    assert (kept["batch_size"], kept["patch_size"]) == {
        "3d_large": (7, [16, 16, 16]),
        "3d_larger": (7, [24, 24, 24]),
    }.get(name, (2, [16, 16, 16]))


@pytest.mark.parametrize(
    ("kept", "chosen"),
    [
        (FAMILY, "3d_fullres"),
        (["2d", "3d_cascade_fullres", "3d_lowres", "3d_fullres"], "3d_fullres"),
        (["2d", "3d_lowres"], "3d_lowres"),
        (["2d"], "2d"),
    ],
)
def test_configuration_that_needs_no_other_is_taken_and_three_dimensions_before_two(kept, chosen):
    assert distillable_configuration(plans({name: FAMILY[name] for name in kept})) == chosen


def _changed(**changes: Any) -> dict[str, Any]:
    return plans({"3d_fullres": {**KINDS["plain"], **changes}})


PRIMUS = {
    "network_class_name": "dynamic_network_architectures.architectures.primus.Primus",
    "arch_kwargs": {"embed_dim": 396, "patch_embed_size": [8, 8, 8]},
    "_kw_requires_import": [],
}


@pytest.mark.parametrize(
    ("given", "name", "sentence"),
    [
        (plans(FAMILY), "3d_cascade_fullres", "3d_cascade_fullres of .* is the second stage of a cascade"),
        (plans(FAMILY), "3d_lowers", "Did you mean '3d_lowres'"),
        (_changed(architecture=PRIMUS), None, "is a Primus, which has no stages"),
        (_changed(inherits_from="3d_base"), None, "inherits from '3d_base', which the plans do not have"),
        (_changed(inherits_from=["3d_base"]), None, r"inherits from \['3d_base'\], which the plans do not have"),
        (_changed(inherits_from="3d_fullres"), None, "inherits from itself: 3d_fullres from 3d_fullres"),
        (_changed(patch_size=[16, 16]), None, "has a patch size of 2 axes, a spacing of 3 and convolutions Conv3d"),
        (_changed(patch_size=[16, 16], spacing=[1.0, 1.0]), None, "a spacing of 2 and convolutions Conv3d"),
        (_changed(patch_size=[16, 0, 16]), None, r"patch_size.1: Input should be greater than 0 \(given: 0\)"),
        (_changed(spacing=None), None, "spacing: Input should be a valid list"),
        (_changed(architecture={}), None, "the key architecture.network_class_name is missing"),
        (
            plans({"3d_fullres": {**before_2_4(KINDS["plain"]), "UNet_class_name": "SwinUNETR"}}),
            None,
            "Unknown architecture SwinUNETR",
        ),
        (
            plans({"3d_fullres": {k: v for k, v in before_2_4(KINDS["plain"]).items() if k != "conv_kernel_sizes"}}),
            None,
            "has no 'conv_kernel_sizes'",
        ),
        ({**plans(FAMILY), "configurations": {}}, None, "not a plans file of nnU-Net v2: configurations: "),
        ({**plans(FAMILY), "transpose_forward": None}, None, "not a plans file .*: transpose_forward"),
        ({**plans(FAMILY), "transpose_forward": [0, 0, 1]}, None, "does not undo the transpose_forward"),
        ({**plans(FAMILY), "transpose_backward": [2, 0, 1]}, None, "does not undo the transpose_forward"),
        ({**plans(FAMILY), "label_manager": "MyLabels"}, None, "the plans name the label manager 'MyLabels'"),
        (
            _changed(patch_size=[15, 16, 16]),
            None,
            r"patch size \[15, 16, 16\], which its strides .* multiple of \[4, 4, 4\]",
        ),
        (plans({"3d_fullres": configuration(strides=[2, 2, 2])}), None, "has the stride 2 in its first stage"),
        (
            plans({"3d_fullres": configuration(kernels=[[3, 3, 3], [2, 3, 3], [3, 3, 3]])}),
            None,
            r"has the kernel size \[2, 3, 3\]",
        ),
        (plans({"3d_fullres": configuration(features=(8, 16))}), None, "has 2 stages, and nnU-Net's training"),
        (
            _changed(architecture={**KINDS["plain"]["architecture"], "network_class_name": "no.such.Network"}),
            None,
            "nnUNetTrainer cannot build the network of nnUNetPlans here",
        ),
    ],
)
def test_plans_that_no_student_can_be_made_of_are_a_sentence(nndistill, tmp_path, given, name, sentence):
    (tmp_path / "plans.json").write_text(json.dumps(given))
    (tmp_path / "dataset.json").write_text(json.dumps(dataset()))
    asked = ["--configuration", name] if name else []
    result = nndistill("complexity", tmp_path / "plans.json", *asked)
    assert result.status == 2, result.err
    assert re.search(sentence, result.err), result.err


def test_old_model_in_a_renamed_folder_is_exported_with_nothing_else_on_standard_output(nndistill, tmp_path):
    old = {"2d": before_2_4(FAMILY["2d"]), "3d_lowres": before_2_4(FAMILY["3d_lowres"])}
    described = plans(old)
    del described["label_manager"]  # which such plans did not name
    weights = {
        f"module._orig_mod.{name}": value.half() for name, value in network_of(KINDS["plain"]).state_dict().items()
    }
    model = write_model(
        tmp_path / "model 291 (v2)",
        described,
        dataset(),
        weights,
        name="3d_lowres",
        trainer="nnUNetTrainerNoMirroring",
        inference_allowed_mirroring_axes=None,
    )
    exported = nndistill("export", model, "--format", "safetensors", "--out", tmp_path / "export", "--json")
    assert exported.status == 0, exported.err
    assert json.loads(exported.out)["check"]["differing_labels"] == 0
    assert read_json(tmp_path / "export" / "nndistill.json")["mirroring_axes"] == []
    costs = nndistill("complexity", model, "--json")
    assert costs.status == 0, costs.err
    assert json.loads(costs.out)["network"]["features"] == [8, 16, 32]


def test_costs_of_a_model_folder_are_those_of_the_configuration_that_was_trained(nndistill, tmp_path):
    larger = {**FAMILY, "3d_lowres": configuration(features=(4, 8, 16))}
    model = write_model(tmp_path / "model", plans(larger), dataset(), {}, name="3d_lowres")
    assert json.loads(nndistill("complexity", model, "--json").out)["network"]["features"] == [4, 8, 16]


def test_trainer_that_builds_another_network_than_its_plans_say_cannot_teach(tmp_path, monkeypatch):
    (tmp_path / "made.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "from stock_models import configuration, network_of\n"
        "from torch import nn\n\n"
        "class Wider(nnUNetTrainer):\n"
        "    @staticmethod\n"
        "    def build_network_architecture(plans_manager):\n"
        "        return network_of(configuration(features=(16, 16, 32)))\n\n"
        "class Flat(nnUNetTrainer):\n"
        "    @staticmethod\n"
        "    def build_network_architecture(plans_manager):\n"
        "        return nn.Sequential(nn.Conv3d(1, 2, 1))\n"
    )
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    described = plans({"3d_fullres": KINDS["plain"]})
    derived = derive_plans(described, "3d_fullres", features=[2, 4, 8], name="student")
    for trainer, sentence in {
        "Wider": "the teacher have 16, 16, 32 channels, and its plans say 8, 16, 32",
        "Flat": "is a Sequential, which has no encoder.stages",
    }.items():
        weights = build_network(described, "3d_fullres", dataset(), trainer=trainer).state_dict()
        folder = ModelFolder.read(write_model(tmp_path / trainer, described, dataset(), weights, trainer=trainer))
        with pytest.raises(UserError, match=sentence):
            refuse_unlike_stages(folder, folder.checkpoint_file("0"), derived, "3d_fullres")


def test_numbers_of_channels_that_differ_between_plans_and_description_are_named(nndistill, tmp_path):
    model = write_model(
        tmp_path / "model",
        plans({"3d_fullres": KINDS["plain"]}),
        dataset(2),
        network_of(KINDS["plain"], channels=2).state_dict(),
    )
    result = nndistill("export", model, "--format", "onnx")
    assert result.status == 2
    assert "the plans normalise 1 channels, and dataset.json names 2 (C0, C1)" in result.err


def _stock_teacher(world: Any, name: str, own: dict[str, Any], *, plans_name: str) -> Path:
    """The tiny teacher as stock nnU-Net would have trained it with a configuration of the user's own."""
    taught = {key: value for key, value in read_json(world.teacher / "plans.json").items() if key != "nndistill"}
    taught["plans_name"] = plans_name
    taught["configurations"] |= own
    folder = world.results / f"nnUNetTrainer__{plans_name}__{name}"
    shutil.copytree(world.teacher / "fold_0", folder / "fold_0")
    shutil.copy(world.teacher / "dataset.json", folder)
    (folder / "plans.json").write_text(json.dumps(taught))
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = read_checkpoint(file)
    write_checkpoint(file, {**checkpoint, "init_args": {**checkpoint["init_args"], "configuration": name}})
    return folder


def test_first_stage_of_a_cascade_is_distilled_and_validated(nndistill, world):
    full = read_json(world.teacher / "plans.json")["configurations"]["3d_fullres"]
    own = {"3d_lowres": {**full, "next_stage": "3d_cascade_fullres"}}
    own["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    file = world.preprocessed / "nnUNetResEncUNetPlans.json"
    planned = read_json(file)
    planned["configurations"] |= own
    file.write_text(json.dumps(planned))
    teacher = _stock_teacher(world, "3d_lowres", own, plans_name="nnUNetResEncUNetPlans")
    result = nndistill("distill", teacher, "--workspace", world.workspace, "--name", "low", *TINY, "--epochs", 1)
    assert result.status == 0, result.err
    student = world.results / "nnUNetTrainerDistill__low__3d_lowres"
    assert (student / "fold_0" / "validation" / "summary.json").is_file()
    second = _stock_teacher(world, "3d_cascade_fullres", own, plans_name="nnUNetResEncUNetPlans")
    refused = nndistill("distill", second, "--workspace", world.workspace, *TINY, "--epochs", 1)
    assert refused.status == 2
    assert "3d_cascade_fullres" in refused.err
    assert "the second stage of a cascade" in refused.err


def test_configuration_that_inherits_is_distilled_on_the_data_of_its_parent(world, monkeypatch):
    for folder in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(folder, str(world.workspace / folder))
    own = {"3d_fullres_bs3": {"inherits_from": "3d_fullres", "batch_size": 3}}
    teacher = _stock_teacher(world, "3d_fullres_bs3", own, plans_name="nnUNetResEncUNetPlans_bs3")
    shutil.copy(teacher / "plans.json", world.preprocessed / "nnUNetResEncUNetPlans_bs3.json")
    run = prepare_student(teacher, fold="0", recipe="quick", name="own")
    stored = read_json(run.plans_file)["configurations"]
    assert list(stored) == ["3d_fullres_bs3"]
    assert stored["3d_fullres_bs3"]["batch_size"] == 3
    parent = read_json(world.teacher / "plans.json")["configurations"]["3d_fullres"]
    assert stored["3d_fullres_bs3"]["data_identifier"] == parent["data_identifier"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["M", "L", "XL"])
def test_presets_of_residual_encoders_are_distilled_exported_and_predict(nndistill, world, tmp_path, preset):
    """As planned, with fewer channels and a smaller patch."""

    def call(*arguments: object) -> None:
        result = nndistill(*arguments)
        assert result.status == 0, result.err

    workspace = ("--workspace", world.workspace)
    call(
        *("teach", "900", "--planner", f"nnUNetPlannerResEnc{preset}", "--features", 8, 16, 32),
        *("--patch-size", 16, 16, 16, "--batch-size", 2, *TINY, "--epochs", 1, "--no-validate", *workspace),
    )
    teacher = next(world.results.glob(f"*__nnUNetResEncUNet{preset}Plans_teacher__3d_fullres"))
    call("distill", teacher, "--name", "student_of_preset", *TINY, "--epochs", 1, "--no-validate", *workspace)
    student = next(world.results.glob("*__student_of_preset__3d_fullres"))
    assert read_json(student / "plans.json")["configurations"]["3d_fullres"]["architecture"][
        "network_class_name"
    ].endswith("ResidualEncoderUNet")
    call("export", student, "--format", "onnx", "--out", tmp_path / "export", *workspace)
    call("predict", tmp_path / "export", world.dataset / "imagesTs", tmp_path / "predicted")
    assert {file.name for file in (tmp_path / "predicted").glob("*.nii.gz")} == {
        file.name for file in (world.dataset / "labelsTs").glob("*.nii.gz")
    }
