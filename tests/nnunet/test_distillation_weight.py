"""The weight in a training: gradients are measured as a hand calculation has them, and measuring disturbs nothing."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import nn

from data_parallel import measure
from networks import residual_unet
from nndistill import Distiller
from nndistill.methods import METHODS, build_method
from nndistill.nnunet.training.distillation_weight import DistillationWeight, EpochGradients, gradient_norms
from nndistill.recipes import Balance, Weighting

SAID: list[str] = []


def _balanced(share: float = 0.5, **more) -> DistillationWeight:
    SAID.clear()
    weighting = Weighting(weight=3, balance=Balance(share=share, **more), origin="given")
    return DistillationWeight(weighting, iterations=250, say=SAID.append)


def _fixed(weight: float = 0.05, *, iterations: int = 250) -> DistillationWeight:
    return DistillationWeight(Weighting(weight=weight, origin="given"), iterations=iterations, say=SAID.append)


def test_norms_are_those_of_the_gradients_that_backward_gives():
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2), nn.Linear(7, 1))  # the last is not used
    x = torch.randn(4, 3)
    hidden = network[1](network[0](x))
    losses = [network[2](hidden).square().mean(), hidden.abs().sum(), torch.zeros(())]
    measured = gradient_norms(losses, list(network.parameters()), scale=1024.0)
    for loss, norm in zip(losses[:2], measured, strict=False):
        network.zero_grad()
        loss.backward(retain_graph=True)
        flat = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        assert norm == pytest.approx(float(flat.norm()), rel=1e-5)
    assert measured[2] == 0


def test_norms_of_several_processes_are_their_root_mean_square(tmp_path):
    x = torch.randn(2, 4)
    torch.multiprocessing.spawn(measure, (str(tmp_path), x), nprocs=2)
    norms = [x[rank].norm() for rank in range(2)]  # the gradients of the sums of weight × x
    expected = float(torch.stack(norms).square().mean().sqrt())
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pth") == pytest.approx([expected, 2 * expected])


@pytest.mark.parametrize("method", [name for name in METHODS if name not in {"none", "freekd"}])
def test_measuring_changes_no_bit_of_what_backward_gives(method):
    """Every method with a backward pass of its own must survive running twice."""

    def gradients(measured: bool) -> list[torch.Tensor]:
        torch.manual_seed(3)
        student, teacher = residual_unet((4, 8)), residual_unet((8, 16))
        distiller = Distiller(student, teacher, build_method(method, student_channels=(4, 8), teacher_channels=(8, 16)))
        output, loss = distiller(torch.randn(1, 1, 16, 16, 16), torch.randint(0, 2, (1, 1, 16, 16, 16)))
        segmentation = output.square().mean()
        if measured:
            state = torch.get_rng_state()
            assert all(norm > 0 for norm in gradient_norms([segmentation, loss], list(student.parameters())))
            assert torch.equal(state, torch.get_rng_state())
            assert all(p.grad is None for p in distiller.parameters())
        (segmentation + 0.05 * loss).backward()
        return [p.grad for p in distiller.parameters() if p.grad is not None]

    for a, b in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(a, b)


def test_balanced_weight_gives_the_distillation_its_share_of_the_gradient():
    """On a network: after weighing, the ratio of the two gradients is ρ."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    y = network(torch.randn(8, 3))
    task, distillation = y.square().mean(), 1e-4 * (y - 1).abs().mean()
    weight = _balanced(0.3)
    weight.take(*gradient_norms([task, distillation], list(network.parameters())))
    mu = weight.use(1.0)
    norms = gradient_norms([task, mu * distillation], list(network.parameters()))
    assert norms[1] / norms[0] == pytest.approx(0.3, rel=1e-5)


def test_ratio_is_smoothed_in_its_logarithm():
    weight = _balanced(2.0, smoothing=0.75)
    measured = [(1.0, 4.0), (1.0, 100.0), (2.0, 0.5)]
    for norms in measured:
        weight.take(*norms)
    ratio = log(4)
    for segmentation, distillation in measured[1:]:
        ratio = 0.75 * ratio + 0.25 * log(distillation / segmentation)
    assert weight.use(1.0) == pytest.approx(2 / exp(ratio))


def test_measured_is_every_so_many_batches_and_first_in_every_epoch():
    for weight, every in (
        (_balanced(every=3), 3),
        (_fixed(), 50),
        (_fixed(iterations=7), 4),
        (_fixed(iterations=1), 1),
    ):
        for _ in range(2):
            weight.start_epoch()
            due = []
            for batch in range(2 * every + 1):
                if weight.is_due():
                    due.append(batch)
                    weight.take(1.0, 1.0)
                weight.use(1.0)
            assert due == [0, every, 2 * every]


def test_schedule_multiplies_and_means_are_over_the_epoch():
    weight = _fixed(0.5)
    weight.take(2.0, 8.0)
    assert weight.use(1.0) == 0.5
    assert weight.use(0.5) == 0.25
    weight.take(4.0, 8.0)
    assert weight.use(1.0) == 0.5
    # norms 2 and 4; 0.5 · 8 twice; shares 2 and 1; weights 0.5, 0.25, 0.5
    assert weight.epoch() == pytest.approx(EpochGradients(3.0, 4.0, 1.5, 1.25 / 3))
    assert not weight.drowns_the_task()  # the second share is not above 1
    weight.start_epoch()
    assert weight.epoch() == EpochGradients(0, 0, 0, 0)
    weight.take(2.0, 8.0)
    weight.use(1.0)
    assert weight.drowns_the_task()


def test_gradient_of_zero_falls_back_to_the_source_weight_and_is_said_once():
    weight = _balanced()
    for _ in range(2):
        weight.take(1.0, 0.0)
        assert weight.use(1.0) == 3
    assert len(SAID) == 1
    assert "no weight can balance it; μ falls back to 3." in SAID[0]


@pytest.mark.parametrize("norms", [(float("inf"), 1.0), (1.0, float("nan")), (0.0, 1.0)])
def test_gradients_that_are_no_numbers_are_passed_over_and_the_next_batch_is_measured(norms):
    weight = _balanced(every=10)
    weight.take(*norms)
    assert weight.use(1.0) == 3
    assert weight.is_due()
    weight.take(1.0, 2.0)
    assert weight.use(1.0) == 0.25
    assert not weight.is_due()
    assert weight.epoch().gradient_shares == 0.5


def test_state_continues_the_balance_and_a_fixed_weight_has_none():
    first, second = _balanced(), _balanced()
    first.take(1.0, 7.0)
    second.load_state(first.state())
    for weight in (first, second):
        weight.start_epoch()
        weight.take(1.0, 3.0)
    assert first.use(1.0) == second.use(1.0)
    assert _fixed().state() == {}
