"""φ is trained with the student or stays the random map that it starts as, in every method that has one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from activations import labels, of_network
from nndistill.methods import METHODS, build_method, option_names

CHANNELS = {"student_channels": [2, 4], "teacher_channels": [4, 8]}
WITH_PHI = [("dcd", {}), ("dcd-release", {}), ("feature", {}), ("freekd", {}), ("cwd", {"match": "encoder"})]
TEACHER = of_network([4, 8], seed=5)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_with_phi_has_the_option(name):
    variants = [build_method(name, **CHANNELS, **options) for options in ({}, dict(WITH_PHI).get(name, {}))]
    has_phi = any(key.startswith("phi.") for method in variants for key in method.state_dict())
    assert ("train_phi" in option_names(name)) == has_phi


@pytest.mark.parametrize(("name", "options"), WITH_PHI)
def test_it_is_trained_by_default_except_in_the_release(name, options):
    method = build_method(name, **CHANNELS, **options)
    assert {parameter.requires_grad for parameter in method.parameters()} == {name != "dcd-release"}


@pytest.mark.parametrize(("name", "options"), WITH_PHI)
def test_frozen_it_changes_neither_the_loss_nor_the_gradient_of_the_student(name, options):
    frozen, trained = (build_method(name, **CHANNELS, train_phi=t, **options).double() for t in (False, True))
    trained.load_state_dict(frozen.state_dict())
    results = []
    for method in (frozen, trained):
        student = of_network([2, 4], gradient=True)
        loss = method(student, TEACHER, labels(3, space=(8, 8, 8)))
        results.append([loss, *torch.autograd.grad(loss, student.encoder)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(("name", "options"), WITH_PHI)
def test_frozen_it_survives_an_optimiser_that_was_given_everything(name, options):
    method = build_method(name, **CHANNELS, train_phi=False, **options).double()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    student = of_network([2, 4], gradient=True)
    optimizer = torch.optim.SGD([*method.parameters(), *student.encoder], lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        method(student, TEACHER).backward()
        optimizer.step()
    after = method.state_dict()
    assert before.keys() == after.keys() >= {"phi.0.weight", "phi.0.bias", "phi.1.weight", "phi.1.bias"}
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not torch.equal(student.encoder[0], of_network([2, 4]).encoder[0])


def test_another_method_takes_the_frozen_map_over():
    first, second = (build_method("feature", **CHANNELS, train_phi=False) for _ in range(2))
    assert not torch.equal(first.phi[0].weight, second.phi[0].weight)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.phi[0].weight, second.phi[0].weight)
    assert not any(parameter.requires_grad for parameter in second.parameters())


@pytest.mark.parametrize("train_phi", [True, False])
def test_it_starts_as_pytorch_initialises_a_convolution(train_phi):
    torch.manual_seed(3)
    method = build_method("feature", student_channels=[16, 32], teacher_channels=[64, 128], train_phi=train_phi)
    torch.manual_seed(3)
    for phi, (student, teacher) in zip(method.phi, [(16, 64), (32, 128)], strict=True):
        fresh = nn.Conv3d(student, teacher, kernel_size=1)
        assert torch.equal(phi.weight, fresh.weight)
        assert torch.equal(phi.bias, fresh.bias)
        bound = 1 / math.sqrt(student)
        assert phi.weight.abs().max() <= bound
        assert phi.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_parts_of_a_combination_choose_for_themselves():
    method = build_method("dcd+feature", **CHANNELS, **{"dcd.train_phi": False})
    trained = {name for name, parameter in method.named_parameters() if parameter.requires_grad}
    assert {name.split(".phi")[0] for name in trained} == {"parts.feature"}
    assert {name.split(".phi")[0] for name in method.state_dict() if ".phi." in name} == {"parts.dcd", "parts.feature"}
