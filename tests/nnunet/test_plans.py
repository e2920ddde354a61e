"""Student plans are the teacher's with fewer channels and no other change."""

from __future__ import annotations

import json

import pytest

from nndistill.errors import UserError
from nndistill.nnunet.plans import build_network, derive_plans, features_per_stage, reduced_features
from nndistill.nnunet.run_setup import RunSetup
from nndistill.recipes import load_recipe

CONFIGURATION = "3d_fullres"


@pytest.fixture
def plans(world) -> dict:
    return json.loads((world.preprocessed / "nnUNetResEncUNetPlans.json").read_text())


def test_paper_reduces_by_four():
    assert reduced_features([32, 64, 128, 256, 320, 320], 4) == [8, 16, 32, 64, 80, 80]


def test_small_stages_keep_the_floor_but_never_grow():
    assert reduced_features([16, 32, 64], 4) == [8, 8, 16]
    assert reduced_features([6, 12, 24], 4) == [6, 8, 8]
    assert reduced_features([16, 32, 64], 4, floor=1) == [4, 8, 16]


def test_reduction_of_one_changes_nothing():
    assert reduced_features([32, 64], 1) == [32, 64]


def test_only_name_and_features_change(plans):
    before = json.dumps(plans)
    features = features_per_stage(plans, CONFIGURATION)
    student = derive_plans(plans, CONFIGURATION, features=[f // 2 for f in features], name="half")
    assert json.dumps(plans) == before
    assert student.pop("plans_name") == "half"
    expected = {**plans, "configurations": {CONFIGURATION: plans["configurations"][CONFIGURATION]}}
    expected.pop("plans_name")
    student["configurations"][CONFIGURATION]["architecture"]["arch_kwargs"]["features_per_stage"] = features
    assert student == json.loads(json.dumps(expected))


def test_inherited_values_are_resolved(plans):
    plans["configurations"]["child"] = {"inherits_from": CONFIGURATION, "batch_size": 7}
    student = derive_plans(plans, "child", name="of a child")
    assert student["configurations"]["child"]["batch_size"] == 7
    assert student["configurations"]["child"]["spacing"] == plans["configurations"][CONFIGURATION]["spacing"]
    assert "inherits_from" not in student["configurations"]["child"]


def test_fewer_features_make_a_shallower_network(plans, world):
    dataset_json = json.loads((world.dataset / "dataset.json").read_text())
    shallow = derive_plans(plans, CONFIGURATION, features=[8, 16, 32], name="shallow")
    network = build_network(shallow, CONFIGURATION, dataset_json)
    assert len(network.encoder.stages) == 3
    assert len(network.decoder.stages) == 2


def test_patch_size_has_to_fit_the_strides(plans):
    with pytest.raises(UserError, match="axis 1"):
        derive_plans(plans, CONFIGURATION, patch_size=[32, 33, 32], name="odd")


def test_setup_that_cannot_be_read_names_the_key(plans):
    recipe = load_recipe("quick")
    stored = RunSetup(recipe=recipe).into(plans)
    assert RunSetup.of(stored).recipe == recipe
    stored["nndistill"]["recipe"]["epochs"] = -1
    with pytest.raises(UserError, match=r"under 'nndistill'.*recipe\.epochs: .*greater"):
        RunSetup.of(stored)
