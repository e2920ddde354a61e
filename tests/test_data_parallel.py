"""Several processes: student and φ get the mean of all processes' gradients, as one process with all data would."""

from __future__ import annotations

import pytest
import torch

from data_parallel import (
    METHODS,
    distiller,
    distiller_of_two_teachers,
    draw_phi,
    gradients,
    phi_gradients,
    work,
    work_with_one_teacher_each,
)


def test_gradients_of_two_processes_are_those_of_one_with_all_data(tmp_path):
    x = torch.randn(2, 1, 16, 16, 16)
    torch.multiprocessing.spawn(work, (str(tmp_path), x), nprocs=2)
    expected = gradients(distiller(lambda module: module), x)
    for rank in range(2):
        got = torch.load(tmp_path / f"{rank}.pth")
        assert got.keys() == expected.keys()
        assert any(name.startswith("method.phi") for name in got)
        for name, gradient in expected.items():
            torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
def test_each_process_may_have_the_samples_of_another_teacher(tmp_path):
    x = torch.randn(2, 1, 16, 16, 16)
    torch.multiprocessing.spawn(work_with_one_teacher_each, (str(tmp_path), x), nprocs=2)
    alone = distiller_of_two_teachers(lambda module: module, wrapped_method=lambda method: method)
    expected = phi_gradients(alone, x, [[0], [1]])
    assert len(expected) == 2 * 2 * 2  # teachers, stages, weight and bias
    for rank in range(2):
        got = torch.load(tmp_path / f"{rank}.pth")
        for name, gradient in expected.items():
            assert gradient.any()
            torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_every_process_has_the_same_phi_and_only_what_is_trained_is_wrapped(tmp_path):
    torch.multiprocessing.spawn(draw_phi, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in range(2))
    assert {key: first[key][2] for key in METHODS} == {
        "trained": True,
        "frozen": False,
        "one of each": True,
        "without": False,
    }
    for key in METHODS:
        (drawn, shared, _), (others_drawn, others_shared, _) = first[key], second[key]
        for name, phi in drawn.items():
            assert not torch.equal(phi, others_drawn[name])
            assert torch.equal(phi, shared[name])
            assert torch.equal(phi, others_shared[name])
