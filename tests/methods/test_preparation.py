"""What a method learns from its teacher before the student is trained: a teacher that runs on filtered features."""

from __future__ import annotations

from functools import partial
from itertools import repeat

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from networks import residual_unet
from nndistill import Distiller
from nndistill.errors import UserError
from nndistill.methods import FreeKD, Method
from nndistill.taps import TappedNetwork, Taps, nnunet_taps
from nndistill.wavelets import wavedec3, waverec3

TEACHER, STUDENT = (4, 8, 8), (2, 4, 4)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 1, 8, 12, 8)


def transformed_and_back(feature: torch.Tensor) -> torch.Tensor:
    return waverec3(wavedec3(feature, "haar", mode="zero"), "haar", mode="zero", shape=feature.shape[-3:])


def plain_network() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 3, padding=1))


def test_keeping_every_band_in_full_changes_nothing(x):
    network = plain_network()
    tapped = TappedNetwork(network, Taps(encoder=("1",)))
    torch.testing.assert_close(tapped.run_filtered(x, [transformed_and_back]), network(x))


def test_two_prompts_that_have_learned_nothing_change_nothing(x):
    """Their masks are one half each, everywhere."""
    network = residual_unet(TEACHER).eval()
    method = FreeKD(STUDENT, TEACHER, prompts=2)
    filters = [lambda feature, stage=stage: stage(feature)[0] for stage in method.prompts]
    with torch.no_grad():
        filtered = TappedNetwork(network, nnunet_taps(network)).run_filtered(x, filters)
        torch.testing.assert_close(filtered, network(x))


def test_the_network_goes_on_with_what_the_filters_give(x):
    network = plain_network()
    tapped = TappedNetwork(network, Taps(encoder=("1",)))
    expected = network[2](3 * network[1](network[0](x)))
    torch.testing.assert_close(tapped.run_filtered(x, [lambda feature: 3 * feature]), expected)
    torch.testing.assert_close(tapped(x)[0], network(x))  # and afterwards with its own again


def distiller(**options: object) -> Distiller:
    torch.manual_seed(0)
    teacher, student = residual_unet(TEACHER), residual_unet(STUDENT)
    return Distiller(student, teacher, FreeKD(STUDENT, TEACHER, **{"prompts": 2, "prompt_iterations": 20, **options}))


def test_prompts_learn_the_task_and_differ_and_the_teacher_stays(x):
    trained = distiller()
    teacher = trained._teachers[0].network
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    target = torch.randn(2, 2, 8, 12, 8)
    losses = []

    def task_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        losses.append(mse_loss(output, target))
        return losses[-1]

    trained.prepare(repeat((x, target)), task_loss)
    assert losses[-1] < losses[0]
    assert len(losses) == 20
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    prompts = list(trained.method.learned_state().values())
    assert all((p[:, 0] - p[:, 1]).abs().max() > 0.01 for p in prompts)
    assert not any(p.requires_grad for p in prompts)

    trained.prepare(repeat((x, target)), task_loss)  # has been done
    assert len(losses) == 20


def test_the_same_random_numbers_give_the_same_prompts(x):
    target = torch.randn(2, 2, 8, 12, 8)
    results = []
    for _ in range(2):
        trained = distiller(prompt_iterations=3)
        trained.prepare(repeat((x, target)), mse_loss)
        results.append(list(trained.method.learned_state().values()))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_prompts_that_diverge_are_refused(x):
    trained = distiller(prompt_iterations=2)
    with pytest.raises(UserError, match="prompt_learning_rate"):
        trained.prepare(repeat((x, torch.zeros(1))), lambda output, target: output.mean() / 0)
    assert not trained.method.prepared
    assert not any(prompts.any() for prompts in trained.method.learned_state().values())


@pytest.mark.parametrize("batches", [0, 3])
def test_batches_that_end_too_soon_are_refused(x, batches):
    trained = distiller(prompt_iterations=5)
    with pytest.raises(UserError, match=f"only {batches} of 5 batches"):
        trained.prepare([(x, torch.zeros(2, 2, 8, 12, 8))] * batches, mse_loss)
    assert not trained.method.prepared
    assert not any(prompts.any() for prompts in trained.method.learned_state().values())


def test_the_teacher_runs_in_the_precision_asked_for_and_its_backward_pass_outside(x):
    trained = distiller(prompt_iterations=1)
    types, in_backward = [], []

    def task_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        types.append(output.dtype)
        output.register_hook(lambda _: in_backward.append(torch.is_autocast_enabled("cpu")))
        return mse_loss(output.float(), target)

    in_bfloat16 = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    trained.prepare(repeat((x, torch.zeros(2, 2, 8, 12, 8))), task_loss, computing=in_bfloat16)
    assert types == [torch.bfloat16]
    assert in_backward == [False]
    assert trained.method.prepared


def test_prompts_whose_every_step_a_gradient_scaler_skipped_are_refused(x, monkeypatch):
    """A scaler is there for CUDA alone; here it is asked for on the processor, with gradients that are not finite."""
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, *, enabled: scaler(device))
    trained = distiller(prompt_iterations=2)
    with pytest.raises(UserError, match="none of 2 batches gave the frequency prompts a finite gradient"):
        trained.prepare(repeat((x, torch.zeros(1))), lambda output, target: output.mean() / 0)
    assert not trained.method.prepared


def test_a_method_inside_another_learns_too(x):
    class Whole(Method):
        needs = frozenset({"encoder"})

        def __init__(self) -> None:
            super().__init__()
            self.part = FreeKD(STUDENT, TEACHER, prompts=1, prompt_iterations=1)

    whole = Whole()
    batches = repeat((x, torch.zeros(2, 2, 8, 12, 8)))
    Distiller(residual_unet(STUDENT), residual_unet(TEACHER), whole).prepare(batches, mse_loss)
    assert whole.part.prepared


def test_the_student_learns_from_the_teachers_encoder_alone(x):
    trained = distiller(prompt_iterations=1)
    teacher = trained._teachers[0].network
    trained.prepare(repeat((x, torch.zeros(2, 2, 8, 12, 8))), mse_loss)
    trained(x)  # learns which tap is the last
    calls = {"encoder": 0, "decoder": 0}
    for part in calls:
        stage = getattr(teacher, part).stages[-1]
        stage.register_forward_pre_hook(lambda *_, part=part: calls.__setitem__(part, calls[part] + 1))
    trained(x)
    assert calls == {"encoder": 1, "decoder": 0}
