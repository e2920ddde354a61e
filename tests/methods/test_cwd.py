"""CWD is the divergence of where each channel is active."""

from __future__ import annotations

import math

import pytest
import torch

from activations import SPACE, of_logits, of_network, volume
from nndistill.errors import StageMismatch, UnknownName, UserError
from nndistill.methods import CWD, Activations


def loss(student, teacher, **options):
    return CWD(**options)(of_logits(student), of_logits(teacher))


def plain_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> float:
    samples = []
    for s, t in zip(student, teacher, strict=True):
        channels = 0.0
        for a, b in zip(s.flatten(1).tolist(), t.flatten(1).tolist(), strict=True):
            of_a, of_b = (sum(math.exp(v / temperature) for v in values) for values in (a, b))
            for x, y in zip(a, b, strict=True):
                p = math.exp(y / temperature) / of_b
                channels += p * math.log(p / (math.exp(x / temperature) / of_a))
        samples.append(temperature**2 / len(s) * channels)
    return sum(samples) / len(samples)


@pytest.mark.parametrize("temperature", [4, 1])
def test_loss_on_logits_equals_the_plain_definition(temperature):
    s, t = volume(2, 3, *SPACE), 3 * volume(2, 3, *SPACE, seed=1)
    expected = plain_loss(s, t, temperature)
    assert loss(s, t, temperature=temperature).item() == pytest.approx(expected, rel=1e-10)


def test_loss_on_the_encoder_is_summed_over_projected_stages():
    method = CWD([2, 4], [4, 8], match="encoder").double()
    student, teacher = of_network([2, 4]), of_network([4, 8], seed=5)
    expected = sum(
        plain_loss(phi(s), t, 4) for phi, s, t in zip(method.phi, student.encoder, teacher.encoder, strict=True)
    )
    assert method(student, teacher).item() == pytest.approx(expected, rel=1e-10)
    assert method.needs == {"encoder"}


def test_logits_need_no_projection():
    method = CWD([2, 4], [4, 8])
    assert method.needs == {"logits"}
    assert not list(method.parameters())


@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_gradients_are_exact_whatever_the_chunks(chunk, monkeypatch):
    monkeypatch.setattr("nndistill.methods.cwd.CHUNK_ELEMENTS", chunk)
    s, t = volume(2, 3, 2, 3, 2).requires_grad_(), volume(2, 3, 2, 3, 2, seed=1)
    assert torch.autograd.gradcheck(lambda x: loss(x, t), (s,))
    assert loss(s, t).item() == pytest.approx(plain_loss(s.detach(), t, 4), rel=1e-10)


def test_gradient_reaches_every_projection():
    method = CWD([2, 4], [4, 8], match="encoder").double()
    method(of_network([2, 4], gradient=True), of_network([4, 8], seed=5)).backward()
    assert all(phi.weight.grad.abs().sum() > 0 for phi in method.phi)


def test_equal_maps_cost_nothing():
    z = 20 * volume(2, 3, *SPACE).float()
    assert loss(z, z) == 0


def test_constant_added_to_a_channel_costs_nothing():
    s, t = volume(2, 3, *SPACE), volume(2, 3, *SPACE, seed=1)
    constant = 100 * volume(2, 3, 1, 1, 1, seed=2)
    torch.testing.assert_close(loss(s + constant, t), loss(s, t))
    torch.testing.assert_close(loss(s, t + constant), loss(s, t))


def test_order_of_the_positions_does_not_matter():
    s, t = (volume(1, 3, 24, 1, 1, seed=i) for i in range(2))
    order = torch.randperm(24)
    torch.testing.assert_close(loss(s[:, :, order], t[:, :, order]), loss(s, t))


def test_half_precision_features_are_compared_in_single():
    method = CWD([2], [4], match="encoder")
    student, teacher = (volume(1, c, 16, 16, 16).bfloat16() for c in (2, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = method(Activations([student.requires_grad_()]), Activations([teacher]))
    half.backward()
    assert half.dtype == torch.float32
    assert student.grad.abs().sum() > 0
    whole = method(Activations([student.detach().float()]), Activations([teacher.float()]))
    torch.testing.assert_close(half, whole, rtol=1e-2, atol=1e-4)


def test_mistakes_are_told_in_a_sentence():
    with pytest.raises(UnknownName, match="Did you mean 'encoder'"):
        CWD(match="encodr")
    with pytest.raises(UserError, match="temperature 0 is not possible"):
        CWD(temperature=0)
    with pytest.raises(StageMismatch, match="1 stages and the teacher 2"):
        CWD([2], [4, 8], match="encoder")
