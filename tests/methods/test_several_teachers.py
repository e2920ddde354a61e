"""Several teachers: each sample is compared with its own teachers, and each teacher has its own φ."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nndistill import Distiller
from nndistill.methods import Activations, Lesson, Lessons, Method, build_method, for_several_teachers
from nndistill.taps import Taps

STUDENT, TEACHERS = 2, (4, 6, 4)
TAPS = Taps(encoder=("0",))


def _network(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv3d(1, width, 3, padding=1), nn.ReLU(), nn.Conv3d(width, 3, 1)).double()


def _method(name: str) -> Method:
    torch.manual_seed(0)
    built = [
        build_method(name, student_channels=[STUDENT], teacher_channels=[width], **OPTIONS[name]) for width in TEACHERS
    ]
    return for_several_teachers(built).double()


OPTIONS = {"feature": {}, "feature+logits": {"weights": [0.5, 2]}}


def _distiller(name: str) -> Distiller:
    teachers = [_network(width, seed) for seed, width in enumerate(TEACHERS)]
    return Distiller(_network(STUDENT, 9), teachers, _method(name), student_taps=TAPS, teacher_taps=TAPS)


def _plain_feature(distiller: Distiller, x: Tensor, teachers: Sequence[Sequence[int]]) -> Tensor:
    """One sample and one teacher at a time: the mean over samples of the mean over their teachers."""
    student, losses, feature = distiller.student[0](x), [], distiller.method.parts["feature"]
    for b, of_sample in enumerate(teachers):
        for k in of_sample:
            theirs = distiller._teachers[k].network[0](x[b : b + 1])
            ours = feature.per_teacher[k].phi[0](student[b : b + 1])
            losses.append((ours - theirs).square().mean() / len(of_sample) / len(teachers))
    return torch.stack(losses).sum()


def _plain_logits(distiller: Distiller, x: Tensor, teachers: Sequence[Sequence[int]]) -> Tensor:
    """KL at temperature 4 from the mean of the probabilities of each sample's teachers."""
    mean = torch.cat(
        [
            torch.stack([distiller._teachers[k].network(x[b : b + 1]).softmax(1) for k in of_sample]).mean(0)
            for b, of_sample in enumerate(teachers)
        ]
    )
    p = (mean.log() / 4).softmax(1)
    q = (distiller.student(x) / 4).log_softmax(1)
    return 16 * (p * (p.log() - q)).sum(1).mean()


who_teaches = st.tuples(st.integers(1, 3), st.integers(1, 4)).flatmap(
    lambda sizes: st.lists(
        st.sets(st.integers(0, 2), min_size=sizes[0], max_size=sizes[0]).map(sorted),
        min_size=sizes[1],
        max_size=sizes[1],
    )
)
"""Equally many teachers for each sample."""


@settings(max_examples=10)
@given(who_teaches)
def test_loss_is_the_mean_over_samples_and_their_teachers(teachers):
    distiller = _distiller("feature+logits")
    x = torch.randn(len(teachers), 1, 4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = 0.5 * _plain_feature(distiller, x, teachers) + 2 * _plain_logits(distiller, x, teachers)
    torch.testing.assert_close(distiller(x, teachers=teachers).loss, expected)


def test_all_teach_every_sample_unless_it_is_said_who_does():
    distiller, x = _distiller("feature"), torch.randn(2, 1, 4, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(distiller(x).loss, distiller(x, teachers=[[0, 1, 2]] * 2).loss)


def test_one_teacher_in_turn_has_the_gradient_of_the_mean_on_average():
    """Of the student and of every φ; that of a teacher whose turn it is not is zero, not absent."""
    distiller, x = _distiller("feature"), torch.randn(2, 1, 4, 6, 5, dtype=torch.float64)
    parameters = list(distiller.parameters())

    def gradients(teachers: list[int]) -> list[Tensor]:
        distiller.zero_grad()
        distiller(x, teachers=[teachers] * 2).loss.backward()
        return [p.grad.clone() for p in parameters if p.grad is not None]

    in_turn = [gradients([k]) for k in range(3)]
    means = [torch.stack(each).mean(0) for each in zip(*in_turn, strict=True)]
    together = gradients([0, 1, 2])
    assert len(together) == len(means) == 2 + 2 * 3  # the tapped layer of the student, and three φ
    for mean, expected in zip(means, together, strict=True):
        torch.testing.assert_close(mean, expected)
    first_phi = distiller.method.per_teacher[0].phi[0].weight
    gradients([1])
    assert first_phi.grad is not None
    assert not first_phi.grad.any()


def test_a_part_that_reads_logits_alone_is_there_once_and_others_once_per_teacher():
    method = _method("feature+logits")
    assert len(method.parts["feature"].per_teacher) == 3
    assert [phi.phi[0].out_channels for phi in method.parts["feature"].per_teacher] == list(TEACHERS)
    assert type(method.parts["logits"]).__name__ == "Logits"
    assert method.named_weights == {"feature": 0.5, "logits": 2}
    assert method.needs == {"encoder", "logits"}


def test_a_method_for_one_teacher_stays_as_it_is():
    method = build_method("dcd+logits", student_channels=[2], teacher_channels=[8])
    assert for_several_teachers([method]) is method


@pytest.mark.parametrize("name", ["emkd", "ifvd", "cirkd", "dist", "cwd", "at"])
def test_every_kind_of_method_takes_lessons(name):
    built = [build_method(name, student_channels=[2, 2], teacher_channels=[4, 4]) for _ in range(2)]
    method, logits = for_several_teachers(built), torch.rand(2, 3, 8, 8, 8)

    def activations(width: int) -> Activations:
        stages = [torch.rand(2, width, 8, 8, 8), torch.rand(2, width, 4, 4, 4)]
        return Activations(stages, stages[:1], logits=logits)

    lessons = Lessons([], logits=logits, of_teachers=[Lesson(k, None, 0.5, activations(4)) for k in range(2)])
    assert method(activations(2), lessons, torch.randint(0, 3, (2, 1, 8, 8, 8))).isfinite()


def test_activations_of_one_teacher_are_refused():
    feature = Activations([torch.rand(1, 2, 4, 4, 4)])
    with pytest.raises(TypeError, match="one per teacher"):
        _method("feature")(feature, feature)


class _Learns(Method):
    """Keeps what its teacher answers."""

    needs = frozenset({"encoder"})

    def __init__(self) -> None:
        super().__init__()
        self.answer: Tensor | None = None

    @property
    def prepared(self) -> bool:
        return self.answer is not None

    def prepare(self, task) -> None:
        x, _ = next(iter(task.batches))
        self.answer = task.run_teacher(x, [lambda feature: feature])


def test_each_copy_learns_from_its_own_teacher():
    teachers = [_network(4, seed) for seed in range(3)]
    method = for_several_teachers([_Learns() for _ in teachers])
    distiller = Distiller(_network(2, 9), teachers, method, student_taps=TAPS, teacher_taps=TAPS)
    x = torch.randn(1, 1, 4, 6, 5, dtype=torch.float64)
    distiller.prepare([(x, None)], lambda output, target: output.mean())
    assert all(torch.equal(copy.answer, teacher(x)) for copy, teacher in zip(method.per_teacher, teachers, strict=True))


def test_all_teachers_are_frozen_and_move_with_the_distiller():
    distiller = _distiller("feature")
    networks = [tapped.network for tapped in distiller._teachers]
    assert not any(p.requires_grad for network in networks for p in network.parameters())
    distiller.float()
    assert all(p.dtype == torch.float32 for network in networks for p in network.parameters())


@pytest.mark.parametrize(("name", "needed"), [("ifvd", True), ("ifvd+dcd", True), ("dcd", False)])
def test_labels_are_needed_if_the_method_of_one_teacher_needs_them(name, needed):
    method = for_several_teachers(
        [build_method(name, student_channels=[2, 4], teacher_channels=[8, 16]) for _ in range(2)]
    )
    assert method.needs_target == needed
