"""When batches without labels come, and what is in them."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nndistill.errors import UserError
from nndistill.methods import METHODS, Activations, build_method
from nndistill.nnunet.models.checkpoints import own_random_numbers, seed_everything
from nndistill.nnunet.training.unlabelled_batches import batches_at

SHARES = st.integers(0, 99).map(lambda percent: percent / 100)


@given(share=SHARES, steps=st.integers(1, 300))
def test_batches_without_labels_have_their_share_and_are_evenly_spaced(share, steps):
    per_step = [batches_at(step, share) for step in range(steps)]
    numbers = [number for batches in per_step for number in batches]
    assert numbers == list(range(len(numbers)))  # each once, in order
    exact = Fraction(round(100 * share), 100)
    assert 0 <= steps * exact / (1 - exact) - len(numbers) < 1
    assert max(map(len, per_step)) - min(map(len, per_step)) <= 1


@pytest.mark.parametrize(("share", "counts"), [(0, [0] * 6), (0.25, [0, 0, 1] * 2), (0.5, [1] * 6), (0.75, [3] * 6)])
def test_counts_per_step_worked_out_by_hand(share, counts):
    assert [len(batches_at(step, share)) for step in range(6)] == counts


def _drawn() -> tuple[float, float, float]:
    """One number of each generator that nnU-Net's loader and augmentation draw from."""
    return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002


@given(seed=st.integers(0, 2**32 - 1), number=st.integers(0, 5))
def test_own_random_numbers_depend_on_their_seed_and_leave_no_trace(seed, number):
    seed_everything(1)
    expected = [_drawn(), _drawn()]
    seed_everything(1)
    with own_random_numbers(seed):
        own = [_drawn() for _ in range(number)]
    first = _drawn()
    with own_random_numbers(seed):
        assert own == [_drawn() for _ in range(number)]
    assert [first, _drawn()] == expected


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_does_without_a_target_or_says_that_it_needs_one(name):
    channels = {"student_channels": [2, 4, 4, 8], "teacher_channels": [4, 8, 8, 16]}
    method = build_method(name, **channels, classes=3, ignores=True)
    if not method.prepared:
        method.load_learned_state(method.learned_state())
    student, teacher = (
        Activations(
            [torch.rand(1, width, 16 // 2**stage, 16, 16) for stage, width in enumerate(widths)],
            [torch.rand(1, width, 16 // 2**stage, 16, 16) for stage, width in enumerate(widths[:-1])],
            torch.rand(1, 3, 16, 16, 16),
        )
        for widths in channels.values()
    )
    if method.needs_target:
        with pytest.raises(UserError, match="needs the target"):
            method(student, teacher)
    else:
        assert method(student, teacher).ndim == 0
