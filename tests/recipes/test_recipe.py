"""Recipes: what is shipped, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, AdamW

from nndistill.errors import UnknownName, UserError
from nndistill.recipes import load_recipe, recipe_names
from nndistill.recipes.recipe import Adamw, CosineRamp, Sgd


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


def test_descent_without_momentum_has_no_nesterov():
    optimizer = Sgd(learning_rate=0.01, momentum=0).build(nn.Linear(1, 1).parameters())
    assert (optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (0, False)


def test_quick_recipe_is_adamw_without_mirroring():
    recipe = load_recipe("quick")
    assert isinstance(recipe.optimizer.build(nn.Linear(1, 1).parameters()), AdamW)
    assert recipe.optimizer.learning_rate == 1e-3
    assert not recipe.mirroring


def test_adamw_takes_the_same_steps_as_pytorchs_plain_loop():
    torch.manual_seed(0)
    ours, plain = nn.Linear(30, 20), nn.Linear(30, 20)
    plain.load_state_dict(ours.state_dict())
    optimizers = (
        Adamw(name="adamw", learning_rate=1e-2).build(ours.parameters()),
        AdamW(plain.parameters(), lr=1e-2, weight_decay=1e-2, foreach=False),
    )
    for _ in range(20):
        x = torch.randn(4, 30)
        for network, optimizer in zip((ours, plain), optimizers, strict=True):
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, plain.weight, rtol=1e-5, atol=1e-6)
    assert optimizers[0].defaults["fused"]


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


def test_adjusting_the_method_drops_the_options_of_another():
    recipe = load_recipe("paper").adjusted(method_options={"level": 2})
    assert recipe.adjusted(epochs=3).method_options == {"level": 2}
    assert recipe.adjusted(method="feature").method_options == {}
    assert recipe.adjusted(method="logits", method_options={"temperature": 2}).method_options == {"temperature": 2}


@pytest.mark.parametrize(
    ("name", "weight", "flat_until", "full_at"),
    [("release-brats2024", 0.01, 150, 950), ("release-isles2022", 0.05, 100, 400)],
)
def test_release_recipes_do_what_the_release_does(name, weight, flat_until, full_at):
    recipe = load_recipe(name)
    assert recipe.method == "dcd-release"
    assert (recipe.epochs, recipe.iterations, recipe.seed) == (1000, 150, 1234)
    assert recipe.weight_averaging.decay == 0.999
    assert recipe.early_stopping.patience == 60
    assert recipe.checkpoint == recipe.teacher_checkpoint == "best"
    assert [recipe.weight_at(epoch) for epoch in (0, flat_until)] == [0, 0]
    assert recipe.weight_at(flat_until + 1) > 0
    assert recipe.weight_at((flat_until + full_at) // 2) == pytest.approx(weight / 2)
    assert [recipe.weight_at(epoch) for epoch in (full_at, 999)] == pytest.approx([weight, weight])


@given(start=st.floats(0, 0.99), length=st.floats(0.01, 1), shares=st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_ramp_never_falls_and_stays_between_nothing_and_all(start, length, shares):
    ramp = CosineRamp(name="cosine-ramp", start=start, length=length)
    factors = [ramp.factor(share) for share in sorted(shares)]
    assert factors == sorted(factors)
    assert all(0 <= factor <= 1 for factor in factors)
    assert ramp.factor(start) == 0
    assert start + length > 1 or ramp.factor(1) == pytest.approx(1)


def test_constant_weight_is_the_weight_in_every_epoch():
    recipe = load_recipe("paper")
    assert {recipe.weight_at(epoch) for epoch in range(1000)} == {0.05}


GOOD = """\
distillation_weight: 0.05
optimizer:
  name: sgd
  learning_rate: 0.01
epochs: 1
iterations: 1
validation_iterations: 1
"""


@pytest.mark.parametrize(
    ("replace", "by", "complaint"),
    [
        ("epochs: 1", "epochs: [", "not valid YAML"),
        ("epochs: 1", "epochs: ten", "line 5: epochs: .*integer.*'ten'"),
        ("epochs: 1", "epochs: 0", "line 5: epochs: .*greater than or equal to 1.*0"),
        ("epochs: 1", "epoch: 1", "line 5: there is no key 'epoch'. Did you mean 'epochs'"),
        ("epochs: 1", "", "the key epochs is missing"),
        ("epochs: 1", "epochs: 1\nepochs: 2", "line 6: the key epochs is given twice"),
        ("epochs: 1", "epochs: 010", "line 5: YAML reads 010 as the octal number 8; write 10"),
        ("name: sgd", "name: adam", "line 2: optimizer.name has to be one of 'sgd', 'adamw'"),
        ("name: sgd", "momentum: 0.9", "line 2: optimizer.name has to be one of 'sgd', 'adamw'"),
        ("learning_rate: 0.01", "learning_rate: -1", "line 4: optimizer.learning_rate: .*greater than 0.*-1"),
        ("learning_rate: 0.01", "learning_rat: 1", "line 4: .*'optimizer.learning_rat'.*learning_rate"),
        ("epochs: 1", "epochs: 1\ncheckpoint: last", "line 6: checkpoint: .*'final' or 'best'.*'last'"),
        ("epochs: 1", "epochs: 1\nprecision: half", "line 6: precision: .*'auto', 'float32' or 'bfloat16'.*'half'"),
        ("epochs: 1", "epochs: 1\nearly_stopping:\n  patience: 0", "line 7: early_stopping.patience: .*greater"),
        ("epochs: 1", "epochs: 1\nearly_stopping:\n  waiting: 3", "line 7: .*early_stopping.waiting.*patience"),
        ("epochs: 1", "epochs: 1\nweight_schedule: {name: linear}", "line 6: .*'constant', 'cosine-ramp'"),
        (GOOD, "just words", "has to be a list of keys and values"),
        (GOOD, "", "has to be a list of keys and values"),
    ],
)
def test_wrong_file_names_the_file_the_key_the_line_and_what_is_allowed(tmp_path, replace, by, complaint):
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    assert load_recipe(file).epochs == 1
    file.write_text(GOOD.replace(replace, by))
    with pytest.raises(UserError, match=complaint) as error:
        load_recipe(file)
    assert str(file) in str(error.value)


def test_missing_file_and_file_that_is_not_text_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no recipe file"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(tmp_path / "picture.yaml")


def test_printed_recipe_is_the_recipe(nndistill, tmp_path):
    for name in recipe_names():
        file = tmp_path / f"{name}.yaml"
        file.write_text(nndistill("recipes", name).out)
        assert load_recipe(file) == load_recipe(name)


def test_list_of_recipes_names_each(nndistill):
    listed = nndistill("recipes").out
    assert all(name in listed for name in recipe_names())
    assert set(json.loads(nndistill("recipes", "--json").out)) == set(recipe_names())
