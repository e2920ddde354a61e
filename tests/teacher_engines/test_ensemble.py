"""The logits of several teachers are those of the mean of their probabilities, and samples stay in their places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, softmax

from nndistill.methods import Activations
from nndistill.teacher_engines import TeacherEnsemble
from nndistill.teacher_engines.average import mean_of_classes, mean_of_logits, mean_of_regions

logits_of_networks = st.integers(1, 5).flatmap(
    lambda networks: arrays(np.float64, (networks, 2, 3, 2, 1, 2), elements=st.floats(-80, 80))
)


@given(logits_of_networks)
def test_softmax_of_the_mean_is_the_mean_of_the_softmax(logits):
    found = mean_of_classes(list(torch.from_numpy(logits))).softmax(1)
    np.testing.assert_allclose(found.numpy(), softmax(logits, axis=2).mean(0), rtol=1e-10, atol=1e-12)


@given(logits_of_networks)
def test_sigmoid_of_the_mean_is_the_mean_of_the_sigmoid(logits):
    found = mean_of_regions(list(torch.from_numpy(logits))).sigmoid()
    np.testing.assert_allclose(found.numpy(), expit(logits).mean(0), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("average", [mean_of_classes, mean_of_regions, mean_of_logits])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_networks_that_agree_give_their_own_logits(average, dtype):
    logits = (10 * torch.randn(2, 4, 3, 3, 3)).to(dtype)
    found = average([logits] * 5)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, logits.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("average", [mean_of_classes, mean_of_regions])
def test_networks_that_are_sure_of_opposites_give_finite_logits(average):
    one = torch.tensor([[500.0, -500.0]])
    assert average([one, -one]).isfinite().all()


class _Engine:
    """Answers with its number, and remembers what it was asked."""

    name = "numbered"

    def __init__(self, number: int) -> None:
        self.number, self.asked = number, []

    def __call__(self, x: torch.Tensor) -> Activations:
        self.asked.append(x)
        return Activations([x + 100 * self.number], logits=torch.cat([x, x + self.number], 1))


who_teaches = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda sizes: st.lists(
        st.sets(st.integers(0, 3), min_size=sizes[0], max_size=sizes[0]).map(sorted),
        min_size=sizes[1],
        max_size=sizes[1],
    )
)
"""Equally many teachers for each sample."""


@given(who_teaches)
def test_each_teacher_is_asked_for_its_samples_alone_and_what_it_says_stays_with_them(teachers):
    engines = [_Engine(number) for number in range(4)]
    x = torch.arange(float(len(teachers))).view(-1, 1, 1, 1, 1)
    lessons = TeacherEnsemble(engines, average=mean_of_logits)(x, teachers)
    for number, engine in enumerate(engines):
        rows = [b for b, of_sample in enumerate(teachers) if number in of_sample]
        assert [asked.flatten().tolist() for asked in engine.asked] == ([[float(b) for b in rows]] if rows else [])
    for lesson in lessons.of_teachers:
        rows = list(range(len(x))) if lesson.rows is None else lesson.rows
        assert lesson.activations.encoder[0].flatten().tolist() == [b + 100.0 * lesson.teacher for b in rows]
        assert torch.equal(lesson.activations.logits, lessons.logits[rows])
    assert sum(lesson.weight for lesson in lessons.of_teachers) == pytest.approx(1)
    for b, of_sample in enumerate(teachers):
        expected = [b, b + sum(of_sample) / len(of_sample)]
        assert lessons.logits[b].flatten().tolist() == pytest.approx(expected)


def test_methods_that_read_no_logits_get_none():
    engines = [lambda x: Activations([x]), lambda x: Activations([x])]
    lessons = TeacherEnsemble(engines)(torch.zeros(2, 1, 1, 1, 1))
    assert lessons.logits is None
    assert all(lesson.activations.logits is None for lesson in lessons.of_teachers)


@pytest.mark.parametrize("teachers", [[[0], []], [[0], [0, 1]], [[0]]])
def test_samples_without_teachers_or_with_different_numbers_of_them_are_refused(teachers):
    with pytest.raises(ValueError, match="equally many"):
        TeacherEnsemble([_Engine(0), _Engine(1)])(torch.zeros(2, 1, 1, 1, 1), teachers)
