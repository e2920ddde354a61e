"""An export of several folds computes the mean of their logits, and says and costs as much as all of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from five_folds import add_folds
from nndistill.analysis.costs import model_costs
from nndistill.benchmark import models as benchmark_models
from nndistill.benchmark.candidates import Candidate
from nndistill.benchmark.commands import commands_for
from nndistill.export.export import export_model
from nndistill.runtime.loading import load_model


@pytest.fixture
def student(world):
    return add_folds(world.results / "nnUNetTrainerDistill__student__3d_fullres", [1])


@pytest.mark.parametrize("format", ["safetensors", pytest.param("nnunet", marks=pytest.mark.slow)])
def test_export_computes_the_mean_of_the_folds(student, format):
    exported = export_model(student, format=format, fold=["0", "1"])
    assert exported.folder == student / "exports" / f"{format}-float32-folds_0_1"
    assert exported.description.name.endswith("fold_0, fold_1")
    costs = model_costs(student)
    assert exported.description.parameters == 2 * costs["parameters"]
    assert exported.description.flops_patch == 2 * costs["flops_patch"]
    window = np.random.default_rng(0).standard_normal((4, *exported.description.patch_size), np.float32)
    mean = np.mean([load_model(student, fold=fold).backend.logits(window) for fold in "01"], axis=0)
    np.testing.assert_allclose(load_model(exported.folder).backend.logits(window), mean, atol=1e-4)


def test_export_for_stock_nnunet_has_a_checkpoint_per_fold(student):
    exported = export_model(student, format="nnunet", fold=["0", "1"])
    checkpoints = [torch.load(file, weights_only=True) for file in sorted(exported.folder.rglob("checkpoint_*.pth"))]
    assert [checkpoint["init_args"]["fold"] for checkpoint in checkpoints] == [0, 1]


def test_benchmark_counts_every_fold_and_calls_stock_nnunet_with_all(student):
    one, two = (benchmark_models._of_folder(student, fold) for fold in ("0", ["0", "1"]))
    assert two[1:] == (2 * one[1], 2 * one[2])
    assert two[0] - one[0] == (student / "fold_1" / "checkpoint_final.pth").stat().st_size
    stock, ours = commands_for([Candidate("A", student, "torch")], fold=["0", "1"], device="cpu")
    assert " -f 0 1 -chk checkpoint_final.pth" in " ".join(stock.arguments)
    assert " predict --fold 0 1 --any-orientation" in " ".join(ours.arguments)


@pytest.mark.slow
def test_benchmark_measures_folds_and_their_export_with_the_same_cost(nndistill, student, world, tmp_path):
    export_model(student, format="safetensors", fold=["0", "1"], out=tmp_path / "export")
    models = f"Export={tmp_path / 'export'}", f"Trained={student}", "--fold", 0, 1
    measured = nndistill(
        *("benchmark", *models, "--input", world.dataset / "imagesTs", "--device", "cpu", "--no-case"),
        *("--rounds", 1, "--out", tmp_path / "benchmark", "--json"),
    )
    assert measured.status == 0, measured.err
    numbers = json.loads(measured.out)
    expected = {name: 2 * model_costs(student)[name] for name in ("parameters", "flops_patch")}
    for name in ("Export", "Trained"):
        assert {key: numbers[name][key] for key in expected} == expected
        assert numbers[name]["model"].endswith("fold_0, fold_1")
