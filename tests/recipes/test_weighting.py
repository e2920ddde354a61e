"""The weight of a run: the recipe's or the command's, or else the method's own, or a balance."""

from __future__ import annotations

import pytest

from nndistill.errors import UserError
from nndistill.methods import METHODS, build_method
from nndistill.recipes import Balance, load_recipe, weighting_of

CHANNELS = {"student_channels": [2, 4], "teacher_channels": [4, 8]}


def _weighting(method: str, options: dict | None = None, **changes):
    recipe = load_recipe("paper").adjusted(method=method, method_options=options, **changes)
    return weighting_of(recipe, build_method(method, **CHANNELS, **recipe.method_options))


@pytest.mark.parametrize("method", [name for name in METHODS if name not in {"dcd", "none"}])
def test_another_method_brings_the_weight_of_its_source(method):
    """Not the recipe's, which is that of DCD; without a weight in its source it is balanced."""
    weighting = _weighting(method)
    own = METHODS[method].source_weight
    assert weighting.origin == "source"
    assert weighting.weight == (1 if own is None else own)
    assert weighting.balance == (Balance(share=0.5) if own is None else None)


def test_options_may_change_the_weight_of_the_source():
    assert _weighting("cwd").weight == 3
    assert _weighting("cwd", {"match": "encoder"}).weight == 50


def test_recipe_keeps_its_weight_for_its_own_method():
    recipe = load_recipe("paper")
    assert recipe.adjusted(epochs=3).distillation_weight == recipe.adjusted(method="dcd").distillation_weight == 0.05
    assert _weighting("dcd").origin == "given"


def test_weight_that_is_given_with_the_method_counts():
    assert _weighting("cwd", distillation_weight=7).weight == 7
    assert _weighting("logits", distillation_weight=0).is_nothing
    assert _weighting("logits", distillation_weight=0.1).balance is None


def test_schedule_of_the_recipe_stays_with_another_method():
    recipe = load_recipe("release-isles2022").adjusted(method="cwd")
    assert recipe.weight_at(50, 3.0) == 0
    assert recipe.weight_at(250, 3.0) == pytest.approx(1.5)
    with pytest.raises(ValueError, match="leaves the weight to the method"):
        recipe.weight_at(0)


def test_no_distillation_has_no_weight():
    assert _weighting("none").is_nothing


def test_parts_of_a_combination_bring_the_weights_of_their_sources():
    weighting = _weighting("dcd+cwd", {"cwd.match": "encoder"})
    assert weighting.parts == {"dcd": 0.05, "cwd": 50}
    assert (weighting.weight, weighting.balance) == (1, None)
    assert weighting.described("dcd+cwd") == "μ = 1; weights of the parts: dcd 0.05, cwd 50"


def test_combination_with_a_part_without_source_weight_is_balanced_as_a_whole():
    weighting = _weighting("dcd+logits")
    assert weighting.parts == {"dcd": 0.05, "logits": 1}
    assert weighting.balance == Balance(share=0.5)


def test_weights_of_the_parts_that_are_given_are_absolute():
    weighting = _weighting("dcd+logits", {"weights": [2, 20]})
    assert weighting.parts == {"dcd": 2, "logits": 20}
    assert (weighting.weight, weighting.balance) == (1, None)


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        ("dcd", {}, "μ = 0.05"),
        ("cwd", {}, "μ = 3, the source weight of CWD"),
        ("dcd", {"balance": 2}, "μ keeps the gradient of the distillation at 2 of the segmentation's"),
        (
            "logits",
            {},
            "μ keeps the gradient of the distillation at 0.5 of the segmentation's, since Logits has no source weight",
        ),
    ],
)
def test_weighting_in_words(method, changes, words):
    assert _weighting(method, **changes).described(method) == words


def test_balance_and_weight_replace_each_other():
    balanced = load_recipe("paper").adjusted(balance=0.3)
    assert (balanced.distillation_weight, balanced.balance) == (None, Balance(share=0.3))
    fine = load_recipe("paper").adjusted(balance=Balance(share=1, every=10, smoothing=0))
    assert fine.adjusted(balance=2).balance == Balance(share=2, every=10, smoothing=0)
    assert fine.adjusted(method="cwd").balance == fine.balance
    weighted = balanced.adjusted(distillation_weight=0.1)
    assert (weighted.distillation_weight, weighted.balance) == (0.1, None)


@pytest.mark.parametrize("share", [0, -1, 10.01, float("inf"), float("nan")])
def test_share_out_of_range_is_refused(share):
    with pytest.raises(UserError, match=r"balance.*than"):
        load_recipe("paper").adjusted(balance=share)


def test_weight_and_balance_together_are_refused():
    with pytest.raises(UserError, match="leave out one of the two") as error:
        load_recipe("paper").adjusted(distillation_weight=0.1, balance=0.5)
    assert error.value.flags == ["--weight", "--balance"]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("distillation_weight: 1\nbalance: 0.5", "line 2: balance: distillation_weight is given as well"),
        ("balance: 11", "line 1: balance.*less than or equal to 10.*11"),
        ("balance: {share: 0}", "line 1: balance.share: .*greater than 0"),
        ("balance: {share: 1, evry: 2}", "line 1: .*'balance.evry'. Did you mean 'every'"),
        ("balance: half", "line 1: balance"),
    ],
)
def test_wrong_balance_in_a_file_is_named_with_its_line(tmp_path, lines, complaint):
    rest = "optimizer: {name: sgd, learning_rate: 0.01}\nepochs: 1\niterations: 1\nvalidation_iterations: 1\n"
    file = tmp_path / "mine.yaml"
    file.write_text(f"balance: 0.5\n{rest}")
    assert load_recipe(file).balance == Balance(share=0.5)
    file.write_text(f"{lines}\n{rest}")
    with pytest.raises(UserError, match=complaint):
        load_recipe(file)
