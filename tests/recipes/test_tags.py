"""Tags for the names of runs: short where nothing is special, and different wherever the trainings are."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndistill.recipes import load_recipe, recipe_names
from nndistill.recipes.tags import tags_of

SHIPPED = [load_recipe(name) for name in recipe_names()]


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_is_tagged_by_its_name_alone_and_paper_goes_without_saying(name):
    assert tags_of(load_recipe(name)) == ([] if name == "paper" else [name])


@pytest.mark.parametrize(
    ("changes", "tags"),
    [
        ({"method_options": {"bands": "S"}}, ["bands-S"]),
        ({"method_options": {"bands": "D"}}, []),  # the default
        ({"method_options": {"bands": ["LLH", "LHL"]}}, ["bands-LLH-LHL"]),
        ({"method_options": {"train_phi": False}}, ["no-train-phi"]),
        ({"method": "dcd+cwd", "method_options": {"dcd.level": 2}}, ["dcd-level2"]),
        ({"method": "none"}, []),
        ({"distillation_weight": 0.1}, ["weight0.1"]),
        ({"distillation_weight": 0.05}, []),  # the recipe's
        ({"method": "cwd", "distillation_weight": 3}, ["weight3"]),
        ({"balance": 0.5}, ["balance0.5"]),
        ({"seed": 7, "epochs": 10}, ["epochs10", "seed7"]),
    ],
)
def test_what_differs_from_the_paper_s_recipe_is_a_short_tag(changes, tags):
    assert tags_of(load_recipe("paper").adjusted(**changes)) == tags


def test_a_random_start_is_not_named_after_a_recipe_from_the_teacher():
    best = load_recipe("best")
    assert tags_of(best.adjusted(epochs=7)) == ["best", "epochs7"]
    assert "best" not in tags_of(best.adjusted(init="random", epochs=7))
    assert tags_of(load_recipe("quick").adjusted(init="teacher", epochs=7)) == ["quick", "epochs7"]


changed = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 2000),
        "iterations": st.integers(1, 500),
        "learning_rate": st.floats(1e-6, 1, allow_nan=False),
        "seed": st.integers(0, 9999),
        "distillation_weight": st.floats(0, 100, allow_nan=False),
        "mirroring": st.booleans(),
        "checkpoint": st.sampled_from(["final", "best"]),
        "early_stopping": st.fixed_dictionaries({"patience": st.integers(1, 99)}),
        "method_options": st.fixed_dictionaries(
            {},
            optional={
                "level": st.integers(1, 5),
                "bands": st.sampled_from(["A", "D", "S", "A+D", "D+S"]),
                "mode": st.sampled_from(["symmetric", "periodization", "zero"]),
            },
        ),
    },
)
recipes = st.builds(
    lambda recipe, changes: recipe.adjusted(**changes), st.sampled_from(SHIPPED[:2]), changed
)  # paper and quick, which are of one method and its options


def _setting(recipe):
    options = {"level": 3, "bands": "D", "mode": "symmetric"} | recipe.method_options
    return recipe.model_dump(exclude={"description", "method_options"}) | {"options": options}


@settings(max_examples=30, deadline=None)
@given(st.lists(recipes, min_size=2, max_size=4))
def test_tags_are_equal_exactly_if_the_trainings_are(several):
    for one, other in pairwise(several):
        assert (tags_of(one) == tags_of(other)) == (_setting(one) == _setting(other))


@settings(max_examples=60, deadline=None)
@given(recipes)
def test_tags_need_no_quotes_and_can_be_joined_by_underscores(recipe):
    assert all(re.fullmatch(r"[A-Za-z0-9.+-]+", tag) for tag in tags_of(recipe))
