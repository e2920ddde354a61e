"""A batch computed in parts makes the step of the whole batch, where the loss is a mean over its patches."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fixed_batches import KEPT, RECIPE, assert_close, fold_folder, train_on_fixed_batches
from nndistill.nnunet.training.batch_parts import parts_of


@given(size=st.integers(1, 4), parts=st.integers(1, 4), deep=st.booleans())
def test_parts_are_equal_and_make_the_batch(size, parts, deep):
    data = torch.arange(float(size * parts * 3)).view(size * parts, 3)
    target = [data * 2, data * 3] if deep else data * 2
    pieces = parts_of(data, target, parts)
    assert [len(piece) for piece, _ in pieces] == [size] * parts
    assert torch.equal(torch.cat([piece for piece, _ in pieces]), data)
    if deep:
        for number, whole in enumerate(target):
            assert torch.equal(torch.cat([given[number] for _, given in pieces]), whole)
    else:
        assert torch.equal(torch.cat([given for _, given in pieces]), target)


def test_a_number_that_does_not_divide_the_batch():
    with pytest.raises(ValueError, match="batch of 3 cannot be split into 2"):
        parts_of(torch.zeros(3, 1), torch.zeros(3, 1), 2)


@pytest.fixture
def train(world, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")

    def run(name: str, parts: int, method: str = "dcd") -> dict:
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(yaml.safe_dump({**RECIPE, "epochs": 1, "method": method}))
        train_on_fixed_batches(
            ["distill", str(world.teacher), "--workspace", str(world.workspace), "--recipe", str(recipe)]
            + ["--device", "cpu", "--no-validate", "--name", name, "--accumulate", str(parts), "--batch-size", "2"]
        )
        return torch.load(fold_folder(world, name) / KEPT.format(0), weights_only=False)

    return run


def test_a_training_in_parts_is_the_training_with_the_whole_batch(train, world):
    plans = json.loads((world.teacher / "plans.json").read_text())
    assert not plans["configurations"]["3d_fullres"]["batch_dice"]  # the one loss over which parts would differ
    whole, parts = train("whole", 1), train("parts", 2)
    assert_close(whole["weights"], parts["weights"])
    assert_close(whole["method"], parts["method"])
    for key in ("train_losses", "segmentation_losses", "distillation_losses", "distillation_weights"):
        assert whole["logging"][key] == pytest.approx(parts["logging"][key], rel=1e-3)


def test_parts_that_do_not_divide_the_batch_are_a_sentence(nndistill, world):
    result = nndistill(
        *["distill", world.teacher, "--workspace", world.workspace, "--batch-size", 2, "--accumulate", 3],
        *["--name", "uneven", "--device", "cpu"],
    )
    assert result.status == 2
    assert "a batch of 2 cannot be computed in 3 equal parts" in result.err
    assert "--accumulate" in result.err
