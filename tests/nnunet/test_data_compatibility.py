"""A teacher and data that were preprocessed otherwise than those on which it was trained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nndistill.errors import UserError
from nndistill.nnunet.models.data_compatibility import refuse_incompatible_data
from nndistill.nnunet.models.model_folder import ModelFolder
from several_folds import copy_of_model
from tiny import TINY

CT = {"normalization_schemes": ["CTNormalization"] + ["ZScoreNormalization"] * 3}
PER_CHANNEL = "foreground_intensity_properties_per_channel"


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def to_ct(plans: dict[str, Any]) -> None:
    plans["configurations"]["3d_fullres"].update(CT)


def shift_mean(plans: dict[str, Any]) -> None:
    plans[PER_CHANNEL]["0"]["mean"] += 40


@pytest.fixture
def data_plans(world) -> Path:
    """The plans beside the preprocessed data, with a CT as their first channel; and so are the teacher's."""
    (file,) = world.preprocessed.glob("*Plans.json")
    for plans in (file, world.teacher / "plans.json"):
        edit(plans, to_ct)
    return file


def check(world) -> None:
    refuse_incompatible_data(ModelFolder.read(world.teacher), "3d_fullres", world.preprocessed)


def test_ct_of_the_same_statistics_is_accepted(world, data_plans):
    check(world)
    edit(data_plans, lambda plans: plans[PER_CHANNEL]["1"].update(mean=-5))  # of a channel that does not look at it
    check(world)


def test_ct_of_other_statistics_is_refused_with_both_and_the_plans_file(world, data_plans):
    edit(data_plans, shift_mean)
    named = r"CT intensities \(mean, std, percentile_00_5, percentile_99_5 per channel\) \[[-\d., e]+\], but those in"
    with pytest.raises(UserError, match=rf"{named} .* have \[[-\d., e]+\], according to {re.escape(data_plans.name)}"):
        check(world)


def test_plans_of_older_versions_name_the_statistics_otherwise(world, data_plans):
    edit(
        data_plans, lambda plans: plans.update({"foreground_intensity_properties_by_modality": plans.pop(PER_CHANNEL)})
    )
    check(world)


def test_of_several_plans_that_name_the_data_any_may_have_made_them(world, data_plans):
    """As nnU-Net's plans for its two encoders do; a teacher's are copied there to preprocess."""
    before, after = data_plans.with_name("aPlans.json"), data_plans.with_name("zPlans.json")
    for other in (before, after):
        other.write_bytes(data_plans.read_bytes())
        edit(other, shift_mean)
    check(world)
    edit(data_plans, shift_mean)
    with pytest.raises(UserError, match=r"according to aPlans\.json"):
        check(world)


def test_further_teachers_are_compared_with_the_data_too(nndistill, world, data_plans):
    further = copy_of_model(world.teacher, "further")
    edit(further / "plans.json", shift_mean)
    result = nndistill("distill", world.teacher, "--also-teacher", further, "--workspace", world.workspace, *TINY)
    assert result.status == 2
    assert f"the teacher in {further} was trained on data with CT intensities" in " ".join(result.err.split())
