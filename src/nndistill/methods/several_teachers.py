"""Several teachers: a copy of a method for each, with φ of its own, and the mean of their losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from .base import Activations, Method, unprepared_methods
from .combination import Combination
from .lessons import Lesson, Lessons


class SeveralTeachers(Method):
    r"""Mean of a method's losses over the teachers of each sample.

    $$\mathcal L = \sum_k w_k\, \mathcal L_k\big(F^{(s)}_{S_k}, F^{(t_k)}_{S_k}\big),\qquad \sum_k w_k = 1$$

    $S_k$ are the samples of the batch that teacher $k$ teaches, and $w_k$ is the part of the batch that they are, each
    shared among its teachers (`Lesson`). Features of two networks have nothing to do with each other, so each teacher
    has its own $\phi$. What a method compares across the samples of a batch, it compares within $S_k$.

    A $\phi$ whose teacher does not teach in a batch has a gradient of zero there, as if its loss counted nothing. So
    one teacher per batch in turn is the mean over teachers with one term drawn at a time, whatever the optimiser, and
    processes that train together exchange the gradients of all.

    Args:
        per_teacher: The same method, built for each of the teachers.

    Shape:
        The student's activations and the target of the whole batch, and `Lessons`; returns a scalar.

    Raises:
        TypeError: The activations are those of one teacher.

    Example:
        >>> import torch
        >>> from nndistill.methods import Feature
        >>> student, one, other = (Activations([torch.rand(2, channels, 8, 8, 8)]) for channels in (2, 8, 16))
        >>> method = SeveralTeachers([Feature([2], [8]), Feature([2], [16])])
        >>> lessons = [Lesson(0, None, 0.5, one), Lesson(1, None, 0.5, other)]
        >>> method(student, Lessons([], of_teachers=lessons)).ndim
        0
    """

    def __init__(self, per_teacher: Sequence[Method]) -> None:
        super().__init__()
        self.per_teacher = nn.ModuleList(per_teacher)
        self.source_weight = per_teacher[0].source_weight
        self.needs = per_teacher[0].needs
        self.needs_target = per_teacher[0].needs_target

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        if not isinstance(teacher, Lessons):
            raise TypeError("a method for several teachers compares with lessons, one per teacher")
        losses = [lesson.weight * self._loss(lesson, student, target) for lesson in teacher.of_teachers]
        total: Tensor = sum(losses)  # type: ignore[assignment]
        for parameter in self._idle({lesson.teacher for lesson in teacher.of_teachers}):
            total = total + 0 * parameter.sum()
        return total

    def _loss(self, lesson: Lesson, student: Activations, target: Tensor | None) -> Tensor:
        loss: Tensor = self.per_teacher[lesson.teacher](
            _samples(student, lesson.rows),
            lesson.activations,
            target if target is None or lesson.rows is None else target[lesson.rows],
        )
        return loss

    def _idle(self, teaching: set[int]) -> Iterator[nn.Parameter]:
        for teacher, method in enumerate(self.per_teacher):
            if teacher not in teaching:
                yield from (parameter for parameter in method.parameters() if parameter.requires_grad)


def for_several_teachers(per_teacher: Sequence[Method]) -> Method:
    """Join a method that was built once per teacher into one for all of them.

    What reads the logits alone compares with all teachers together, once. In a combination this is decided for each
    part. For a single teacher, the method stays as it is.

    Args:
        per_teacher: The same method, built for each of the teachers.

    Example:
        >>> from nndistill.methods import build_method
        >>> built = [build_method("dcd+logits", student_channels=[2], teacher_channels=[8]) for _ in range(5)]
        >>> {name: type(part).__name__ for name, part in for_several_teachers(built).parts.items()}
        {'dcd': 'SeveralTeachers', 'logits': 'Logits'}
    """
    first = per_teacher[0]
    if len(per_teacher) == 1:
        return first
    if isinstance(first, Combination):
        parts = {name: for_several_teachers([_part(method, name) for method in per_teacher]) for name in first.parts}
        joined = Combination(parts, weights=first.weights)
        joined.source_weight = first.source_weight
        return joined
    if first.needs <= {"logits"} and first.prepared:
        return first
    return SeveralTeachers(per_teacher)


def _part(combination: Method, name: str) -> Method:
    part: Method = combination.get_submodule(f"parts.{name}")  # type: ignore[assignment]
    return part


def unprepared_by_teacher(method: Method) -> Iterator[tuple[int, Method]]:
    """The methods in a method that have yet to learn, itself included, each with the number of the teacher it learns
    from."""
    teacher_of = {
        part: teacher
        for several in method.modules()
        if isinstance(several, SeveralTeachers)
        for teacher, copy in enumerate(several.per_teacher)
        for part in copy.modules()
    }
    return ((teacher_of.get(part, 0), part) for part in unprepared_methods(method))


def _samples(activations: Activations, rows: list[int] | None) -> Activations:
    if rows is None:
        return activations
    return Activations(
        encoder=[feature[rows] for feature in activations.encoder],
        decoder=[feature[rows] for feature in activations.decoder],
        logits=None if activations.logits is None else activations.logits[rows],
    )
