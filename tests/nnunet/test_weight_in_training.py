"""The weight of the distillation in a training: measured without a trace, balanced, resumed, logged and said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from extensions import METHOD
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.models.history import read_history
from nndistill.nnunet.run_setup import RunSetup
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from nndistill.nnunet.training.distillation_weight import DistillationWeight
from nndistill.nnunet.training.log import GRADIENTS
from stopped_trainings import stopping_in_epoch
from tiny import TINY

WITHOUT_GRADIENT = METHOD.replace("return ", "return 0 * ")


@pytest.fixture
def distill(nndistill, world):
    """Distil in no time; return how it ended and the folder of the fold."""

    def call(name: str, *more: object):
        command = ["distill", world.teacher, "--workspace", world.workspace, *TINY, "--name", name, "--no-validate"]
        return nndistill(*command, *more), world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0"

    return call


def _final(folder: Path) -> dict:
    return read_checkpoint(folder / "checkpoint_final.pth")


def _equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def _setup(folder: Path) -> dict:
    return json.loads((folder.parent / "plans.json").read_text())["nndistill"]["distillation"]["weighting"]


@pytest.mark.slow
def test_measuring_changes_no_bit_of_a_training(distill, monkeypatch):
    measured, folder = distill("measured", "--epochs", 2)
    assert measured.status == 0, measured.err
    with monkeypatch.context() as patch:
        patch.setattr(DistillationWeight, "is_due", lambda self: False)
        _, without = distill("unmeasured", "--epochs", 2)
    a, b = _final(folder), _final(without)
    assert min(a["logging"]["gradient_shares"]) > 0
    assert max(b["logging"]["gradient_shares"]) == 0
    assert a["logging"]["train_losses"] == b["logging"]["train_losses"]
    assert _equal(a["network_weights"], b["network_weights"])
    assert _equal(a["nndistill"]["method"], b["nndistill"]["method"])
    states = [checkpoint["optimizer_state"]["state"] for checkpoint in (a, b)]
    assert all(_equal(states[0][i], states[1][i]) for i in states[1])
    assert torch.equal(a["nndistill"]["random_state"]["torch"], b["nndistill"]["random_state"]["torch"])


@pytest.mark.slow
def test_balanced_training_has_its_share_and_resumes_bit_for_bit(distill, monkeypatch):
    arguments = ["--method", "logits", "--balance", 0.2, "--epochs", 3]
    result, whole = distill("whole", *arguments)
    assert result.status == 0, result.err

    with stopping_in_epoch(2):
        stopped, parts = distill("parts", *arguments)
    assert stopped.status == 130
    resumed, _ = distill("parts", *arguments, "--resume")
    assert resumed.status == 0, resumed.err

    a, b = _final(whole), _final(parts)
    log = a["logging"]
    assert log["gradient_shares"][0] == pytest.approx(0.2)  # the first measurement sets μ
    for key in (*GRADIENTS, "train_losses", "distillation_losses"):
        assert log[key] == b["logging"][key]
        assert len(log[key]) == 3
    assert len(set(log["distillation_weights"])) == 3  # it follows the gradients
    assert a["nndistill"]["weight"] == b["nndistill"]["weight"]
    assert _equal(a["network_weights"], b["network_weights"])


def test_method_without_a_named_weight_takes_that_of_its_source_and_says_so(distill):
    result, folder = distill("cwd", "--method", "cwd", "--epochs", 1)
    assert "μ = 3, the source weight of CWD." in result.err
    assert _setup(folder) == {"weight": 3, "balance": None, "origin": "source", "parts": {}}
    log = next(folder.glob("training_log*.txt")).read_text()
    assert "μ = 3, the source weight of CWD" in log
    assert "distillation_weight 3" in log
    assert " gradient_share " in log
    history = read_history(folder.parent, "0")
    assert history.facts["μ"] == "3, the source weight of CWD, constant"
    assert history.facts["Share of the gradient"].startswith("distillation / segmentation ")
    assert list(history.log["distillation_weight"]) == [3]


def test_parts_of_a_combination_have_their_weights_in_the_setup_and_in_the_training(distill, monkeypatch):
    built = []
    epoch = nnUNetTrainerDistill.on_train_epoch_start
    monkeypatch.setattr(
        nnUNetTrainerDistill,
        "on_train_epoch_start",
        lambda self: built.append(self.method.named_weights) or epoch(self),
    )
    _, folder = distill("both", "--method", "dcd+cwd", "--option", "cwd.match=encoder", "--epochs", 1)
    assert _setup(folder)["parts"] == built[0] == {"dcd": 0.05, "cwd": 50}
    assert _final(folder)["logging"]["distillation_weights"] == [1]


@pytest.mark.parametrize(
    ("weight", "sentence"),
    [
        (1e6, "the task may drown in it"),
        (1e-9, "the distillation had almost no effect"),
        pytest.param(0.0, "", marks=pytest.mark.slow),
    ],
)
def test_share_that_is_far_off_is_said_once(distill, weight, sentence):
    result, _ = distill("extreme", "--weight", weight, "--epochs", 2)
    assert result.status == 0, result.err
    said = [words for words in ("the task may drown", "had almost no effect") if words in result.err]
    assert len(said) == bool(sentence)
    assert result.err.count(sentence) == 1 or not sentence


def test_gradient_of_zero_is_said_and_the_training_goes_on(distill, install):
    install("no-gradient", WITHOUT_GRADIENT, {"direction": "Direction"})
    result, folder = distill("zero", "--method", "direction", "--balance", 1, "--epochs", 1)
    assert result.status == 0, result.err
    assert "no weight can balance it; μ falls back to 0.25." in result.err
    assert _final(folder)["logging"]["distillation_weights"] == [0.25]


@pytest.mark.slow
def test_run_of_an_older_version_goes_on_with_the_weight_it_had(distill, world):
    """Its plans have no weighting, and the log in its checkpoint no shares."""
    with_weight = ["--weight", 0.5, "--epochs", 2]
    _, folder = distill("old", *with_weight)
    final = folder / "checkpoint_final.pth"
    checkpoint = torch.load(final, weights_only=False)
    for key in GRADIENTS:
        del checkpoint["logging"][key]
    checkpoint["logging"] = {key: values[:1] for key, values in checkpoint["logging"].items()}
    torch.save({**checkpoint, "current_epoch": 1}, folder / "checkpoint_latest.pth")
    final.unlink()
    (folder / "checkpoint_best.pth").unlink()  # of this version, and newer
    for plans_file in (world.preprocessed / "old.json", folder.parent / "plans.json"):
        plans = json.loads(plans_file.read_text())
        del plans["nndistill"]["distillation"]["weighting"], plans["nndistill"]["recipe"]["balance"]
        plans_file.write_text(json.dumps(plans))
    resumed, _ = distill("old", *with_weight, "--resume")
    assert resumed.status == 0, resumed.err
    assert _final(folder)["logging"]["distillation_weights"] == [0, 0.5]


def test_parts_of_a_combination_of_an_older_version_weigh_one_each(distill, world):
    _, folder = distill("old", "--method", "dcd+cwd", "--weight", 0.05, "--epochs", 1)
    plans = json.loads((folder.parent / "plans.json").read_text())
    del plans["nndistill"]["distillation"]["weighting"]
    weighting = RunSetup.of(plans).distillation.weighting
    assert (weighting.weight, weighting.origin, weighting.parts) == (0.05, "given", {"dcd": 1, "cwd": 1})


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--balance", 0], "balance"),
        (["--balance", 11], "less than or equal to 10"),
        (["--balance", 0.5, "--weight", 1], "leave out one of the two. See the options --weight, --balance."),
    ],
)
def test_wrong_balance_is_one_sentence(distill, arguments, complaint):
    result, _ = distill("wrong", *arguments)
    assert result.status == 2
    assert complaint in result.err
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_a_teacher_that_was_replaced_meanwhile_is_refused(distill, world):
    with stopping_in_epoch(1):
        distill("replaced", "--epochs", 2)
    file = world.teacher / "fold_0" / "checkpoint_final.pth"
    before, checkpoint = file.read_bytes(), torch.load(file, weights_only=False)
    next(iter(checkpoint["network_weights"].values()))[:] += 1
    torch.save(checkpoint, file)

    refused, _ = distill("replaced", "--epochs", 2, "--resume")

    assert refused.status == 2
    assert f"{file} is not the teacher with which this training began" in " ".join(refused.err.split())
    file.write_bytes(before)
    assert distill("replaced", "--epochs", 2, "--resume")[0].status == 0
