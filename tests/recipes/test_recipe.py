"""Recipes: what is shipped, and what is refused."""

from __future__ import annotations

import pytest
from torch import nn
from torch.optim import SGD, AdamW

from nndistill.errors import UnknownName, UserError
from nndistill.recipes import load_recipe, recipe_names


def test_paper_recipe_is_the_papers():
    recipe = load_recipe("paper")
    optimizer = recipe.optimizer.build(nn.Linear(1, 1).parameters())
    assert isinstance(optimizer, SGD)
    assert {k: optimizer.defaults[k] for k in ("lr", "momentum", "nesterov", "weight_decay")} == {
        "lr": 0.01,
        "momentum": 0.99,
        "nesterov": True,
        "weight_decay": 3e-5,
    }
    assert recipe.distillation_weight == 0.05
    assert recipe.mirroring


def test_quick_recipe_is_adamw_without_mirroring():
    recipe = load_recipe("quick")
    assert isinstance(recipe.optimizer.build(nn.Linear(1, 1).parameters()), AdamW)
    assert recipe.optimizer.learning_rate == 1e-3
    assert not recipe.mirroring


def test_every_shipped_recipe_loads():
    assert {"paper", "quick"} <= set(recipe_names())
    for name in recipe_names():
        load_recipe(name)


def test_adjusting_replaces_what_is_given_and_nothing_else():
    recipe = load_recipe("quick")
    assert recipe.adjusted(epochs=3, iterations=None) == recipe.model_copy(update={"epochs": 3})


def test_adjusting_the_learning_rate_keeps_the_rest_of_the_optimiser():
    recipe = load_recipe("paper").adjusted(learning_rate=0.1)
    assert recipe.optimizer.learning_rate == 0.1
    assert recipe.optimizer.momentum == 0.99
    with pytest.raises(UserError, match="learning_rate"):
        recipe.adjusted(learning_rate=-1)


def test_adjusting_out_of_range_names_the_key():
    with pytest.raises(UserError, match="epochs"):
        load_recipe("quick").adjusted(epochs=0)


def test_unknown_recipe_suggests_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'paper'"):
        load_recipe("papr")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("epochs: [", "not valid YAML"),
        ("epochs: ten", "epochs"),
        ("epoch: 10", "epoch"),
        ("optimizer: {name: adam, learning_rate: 1}", "adam"),
    ],
)
def test_wrong_file_names_the_file_and_the_key(tmp_path, text, complaint):
    file = tmp_path / "mine.yaml"
    good = "distillation_weight: 0.05\niterations: 1\nvalidation_iterations: 1\n"
    rest = good + ("" if "optimizer" in text else "optimizer: {name: sgd, learning_rate: 0.01}\n")
    file.write_text(rest + ("epochs: 1\n" if "epochs" not in text and "epoch:" not in text else "") + text + "\n")
    with pytest.raises(UserError, match=complaint) as error:
        load_recipe(file)
    assert str(file) in str(error.value)
