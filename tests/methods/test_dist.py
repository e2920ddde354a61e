"""DIST compares how predictions relate, between classes at a voxel and between voxels in a class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from activations import SPACE, labels, of_logits, volume
from nndistill.errors import StageMismatch, UserError
from nndistill.methods import DIST


def loss(student, teacher, target=None, **options):
    return DIST(**options)(of_logits(student), of_logits(teacher), target)


def probabilities(z: torch.Tensor, temperature: float, regions: bool) -> np.ndarray:
    """One row a class, one column a voxel of the batch."""
    rows = z.movedim(1, 0).flatten(1).numpy() / temperature
    return 1 / (1 + np.exp(-rows)) if regions else np.exp(rows) / np.exp(rows).sum(axis=0)


def plain_loss(s, t, *, inter=1.0, intra=1.0, temperature=1.0, regions=False) -> float:
    s, t = probabilities(s, temperature, regions), probabilities(t, temperature, regions)
    along_classes = np.mean([np.corrcoef(s[:, n], t[:, n])[0, 1] for n in range(s.shape[1])])
    along_voxels = np.mean([np.corrcoef(s[k], t[k])[0, 1] for k in range(s.shape[0])])
    return temperature**2 * (inter * (1 - along_classes) + intra * (1 - along_voxels))


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("options", [{}, {"temperature": 4}, {"inter": 2, "intra": 0}, {"inter": 0, "intra": 0.5}])
def test_loss_equals_the_plain_definition(options, regions):
    s, t = volume(2, 4, *SPACE), 2 * volume(2, 4, *SPACE, seed=1)
    expected = plain_loss(s, t, regions=regions, **options)
    assert loss(s, t, regions=regions, **options).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("regions", [False, True])
def test_gradients_are_exact(regions):
    s, t = volume(2, 3, 2, 3, 2).requires_grad_(), volume(2, 3, 2, 3, 2, seed=1)
    assert torch.autograd.gradcheck(lambda x: loss(x, t, regions=regions), (s,))


def test_equal_logits_cost_nothing():
    z = volume(2, 4, *SPACE)
    assert loss(z, z).abs() < 1e-12


def test_scale_and_offset_of_a_class_cost_nothing_along_voxels():
    """Of the sigmoid's value, that is: the teacher is made from the student's."""
    s = volume(2, 3, *SPACE)
    p = s.sigmoid() * torch.tensor([0.9, 0.5, 0.2]).view(3, 1, 1, 1) + torch.tensor([0.0, 0.3, 0.7]).view(3, 1, 1, 1)
    assert loss(s, p.logit(), inter=0, regions=True).abs() < 1e-12
    assert loss(s, p.logit(), intra=0, regions=True) > 0.01


def test_scale_and_offset_at_a_voxel_cost_nothing_along_classes():
    s = volume(2, 3, *SPACE)
    p = s.sigmoid() * (0.1 + 0.4 * torch.rand(2, 1, *SPACE)) + 0.4 * torch.rand(2, 1, *SPACE)
    assert loss(s, p.logit(), intra=0, regions=True).abs() < 1e-6
    assert loss(s, p.logit(), inter=0, regions=True) > 0.01


def test_voxels_left_out_by_the_target_do_not_count():
    s, t, target = volume(2, 3, *SPACE), volume(2, 3, *SPACE, seed=1), labels(3)
    target[:, :, 2:] = -1
    torch.testing.assert_close(loss(s, t, target), loss(s[:, :, :2], t[:, :, :2]))


def test_mistakes_are_told_in_a_sentence():
    z = volume(1, 3, *SPACE)
    with pytest.raises(UserError, match="temperature -1 is not possible"):
        DIST(temperature=-1)
    with pytest.raises(StageMismatch, match="logits of unequal shape"):
        loss(z, z[:, :2])
