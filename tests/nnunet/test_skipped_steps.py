"""A step whose loss or gradient is not a finite number leaves no trace, and too many of them end a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from nndistill.nnunet.training.recipe_trainer import nnUNetTrainerRecipe
from nndistill.nnunet.training.skipped_steps import MOST_IN_A_ROW, MOST_IN_ALL, Finite, SkippedSteps, finite_everywhere
from tiny import TINY

GOOD = Finite(loss=True, gradient=True)
LOST = Finite(loss=False, gradient=False)
OVERFLOW = Finite(loss=True, gradient=False)
NUMBERS = [0.0, float("nan"), float("inf"), -float("inf")]


class Steps:
    """An optimiser that steps as a trainer does, on one weight."""

    def __init__(self, *, scaled: bool) -> None:
        self.network = nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1, momentum=0.99, nesterov=True)
        self.grad_scaler = torch.amp.GradScaler("cpu") if scaled else None

    def _clip_gradients(self) -> list[Tensor]:
        return nnUNetTrainerRecipe._clip_gradients(self)

    def step(self, loss) -> Finite:
        self.optimizer.zero_grad()
        value = loss(self.network(torch.ones(1, 3)).sum())
        nnUNetTrainerRecipe._backward(self, value)
        return nnUNetTrainerRecipe._update(self, value.detach())

    def weights(self) -> list[float]:
        return [value for parameter in self.network.parameters() for value in parameter.flatten().tolist()]


BAD = {
    "a loss that is NaN": (lambda y: y * float("nan"), LOST),
    "a loss that is infinite": (lambda y: y * float("inf"), LOST),
    "a gradient that is infinite": (lambda y: (y - y.detach()).sqrt(), OVERFLOW),
}


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("bad", BAD)
def test_training_goes_on_as_if_the_step_had_not_been(bad, scaled):
    loss, expected = BAD[bad]
    torch.manual_seed(0)
    with_it = Steps(scaled=scaled)
    torch.manual_seed(0)
    without = Steps(scaled=scaled)
    for steps in (with_it, without):
        assert steps.step(torch.square) == GOOD
    assert with_it.step(loss) == expected
    for steps in (with_it, without):
        assert steps.step(torch.square) == GOOD
    assert with_it.weights() == pytest.approx(without.weights(), rel=1e-6)


def test_scaler_halves_its_scale_as_in_stock_nnunet():
    steps = Steps(scaled=True)
    before = steps.grad_scaler.get_scale()
    steps.step(lambda y: y * float("nan"))
    assert steps.grad_scaler.get_scale() == before / 2
    steps.step(torch.square)
    assert steps.grad_scaler.get_scale() == before / 2


@pytest.mark.parametrize("loss", NUMBERS)
@pytest.mark.parametrize("norm", NUMBERS)
def test_finite_is_what_math_calls_finite(loss, norm):
    finite = finite_everywhere(torch.tensor(loss), [torch.tensor(1.0), torch.tensor(norm)])
    assert finite == Finite(loss=loss == 0, gradient=norm == 0)


def _counted(steps: SkippedSteps, outcomes: list[Finite], *, scaled: bool) -> int | None:
    """After how many steps there are too many."""
    for number, finite in enumerate(outcomes, start=1):
        steps.count(finite, scaled=scaled)
        if steps.too_many:
            return number
    return None


@pytest.mark.parametrize(
    ("outcomes", "scaled", "iterations", "ends_after"),
    [
        ([LOST] * 30, False, 250, MOST_IN_A_ROW),
        ([OVERFLOW] * 30, False, 250, MOST_IN_A_ROW),
        ([OVERFLOW] * 30, True, 250, MOST_IN_A_ROW),
        ([LOST] * 30, True, 4, 4),  # an epoch of nothing else
        ([OVERFLOW] * 19, True, 4, None),  # a scaler that looks for its scale
        ([LOST, GOOD] * 300, False, 250, 2 * MOST_IN_ALL - 1),
        ([OVERFLOW, GOOD] * 300, False, 250, 2 * MOST_IN_ALL - 1),
        ([OVERFLOW, GOOD] * 300, True, 250, None),  # a scaler at work
        (([LOST] * 19 + [GOOD]) * 2, True, 250, None),
    ],
)
def test_too_many_are_a_number_in_a_row_or_in_all(outcomes, scaled, iterations, ends_after):
    assert _counted(SkippedSteps(iterations=iterations), outcomes, scaled=scaled) == ends_after


@pytest.fixture
def distill(nndistill, world, monkeypatch):
    """Distil with losses that are NaN in these steps, counted from 0 and through all epochs."""

    def call(*bad: int, name: str = "nan", more: tuple[object, ...] = ()):
        steps = iter(range(1000))
        losses = nnUNetTrainerDistill.losses

        def sometimes_nan(trainer, data, target):
            terms = losses(trainer, data, target)
            return {**terms, "segmentation": terms["segmentation"] * (float("nan") if next(steps) in bad else 1.0)}

        with monkeypatch.context() as patch:
            patch.setattr(nnUNetTrainerDistill, "losses", sometimes_nan)
            result = nndistill(
                *["distill", world.teacher, "--workspace", world.workspace, *TINY, "--no-validate"],
                *["--epochs", 2, "--name", name, *more],
            )
        return result, world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0"

    return call


def test_one_loss_that_is_no_number_is_skipped_counted_and_logged(distill):
    result, folder = distill(1)
    assert result.status == 0, result.err
    checkpoint = read_checkpoint(folder / "checkpoint_final.pth")
    assert checkpoint["logging"]["skipped_steps"] == [1, 0]
    assert checkpoint["logging"]["gradient_scales"] == [1, 1]
    assert checkpoint["nndistill"]["skipped_steps"] == 1
    assert all(torch.isfinite(weight).all() for weight in checkpoint["network_weights"].values())
    assert torch.isfinite(torch.tensor(checkpoint["logging"]["train_losses"])).all()
    assert torch.isfinite(torch.tensor(checkpoint["logging"]["segmentation_losses"])).all()
    log = next(Path(folder).glob("training_log*")).read_text()
    assert "a step was skipped: its loss is not a finite number (segmentation nan, distillation" in log
    assert "skipped_steps 1 of 2" in log


@pytest.mark.slow
def test_an_epoch_of_nothing_else_ends_the_run_with_the_last_good_state(distill):
    result, folder = distill(2, 3)
    assert result.status == 2
    assert "the loss is no longer a finite number in epoch 1" in result.err
    assert "after 2 skipped steps in a row, and 2 in all, training stopped" in result.err
    kept = read_checkpoint(folder / "checkpoint_best.pth")
    assert kept["current_epoch"] == 1
    assert all(torch.isfinite(weight).all() for weight in kept["network_weights"].values())
    assert not (folder / "checkpoint_final.pth").exists()
