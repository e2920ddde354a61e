"""The distiller: a student, its teacher and a method, as one module that trains like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .errors import UserError
from .methods import Activations, Method, TeacherTask
from .methods.several_teachers import unprepared_by_teacher
from .taps import TappedNetwork, Taps, as_taps
from .teacher_engines import TeacherEngine, TeacherEnsemble, TorchEngine
from .volumes.grid import times

_NOTHING = Activations(encoder=[])


class DistillerOutput(NamedTuple):
    """What a `Distiller` returns: `output, loss = distiller(x, target)`.

    Example:
        >>> returned = DistillerOutput(output=torch.zeros(1, 2, 8, 8, 8), loss=torch.tensor(0.5))
        >>> output, loss = returned
        >>> loss is returned.loss
        True
    """

    output: Any
    """The student's own output, as the student returns it: logits, or a list of them under deep supervision."""
    loss: Tensor
    """The method's loss, a scalar without its weight μ."""


class Distiller(nn.Module):
    """Run the student, and the teacher as far as the method needs it; return the student's output and the loss.

    The teacher is frozen and always in eval mode. It is in neither `parameters()` nor `state_dict()`, but moves
    with the distiller to a device.

    Args:
        student: The network to train.
        teacher: A trained network, or `None` for a method that needs none. Or several that teach together; then the
            method is one that `nndistill.methods.for_several_teachers` returned.
        method: What to match; its parameters (the projections φ) are the distiller's too.
        student_taps: Where the student's stages are: module paths of the encoder's stages, fine to coarse, or
            `Taps`. Default: the stages of an nnU-Net. A method that reads logits alone needs none.
        teacher_taps: The same for the teacher, or for each of several.
        teacher_engine: What computes the activations of the teacher that the method needs. Default: PyTorch, which
            always computes what a method learns in `prepare`. Of several teachers, a `TeacherEnsemble`, which by
            default averages their softmax.

    Shape:
        `x` is whatever both networks take, `(B, C, D, H, W)`; returns a `DistillerOutput`, whose loss is a scalar.

    Raises:
        UserError: No taps were given, and the method reads stages of a network that is not built like an nnU-Net.
        UnknownName: A tap names no module.
        ValueError: The method needs a teacher and none was given.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from nndistill.methods import Feature
        >>> def network(width):
        ...     return nn.Sequential(nn.Conv3d(1, width, 3, padding=1), nn.ReLU(), nn.Conv3d(width, 2, 1))
        >>> distiller = Distiller(
        ...     network(4), network(16), Feature([4], [16]), student_taps=["1"], teacher_taps=["1"]
        ... )
        >>> x, target = torch.rand(1, 1, 8, 8, 8), torch.randint(2, (1, 1, 8, 8, 8))
        >>> output, loss = distiller(x, target)
        >>> output.shape
        torch.Size([1, 2, 8, 8, 8])
        >>> (nn.functional.cross_entropy(output, target[:, 0]) + 0.05 * loss).backward()
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | Sequence[nn.Module] | None,
        method: Method,
        *,
        student_taps: Taps | Sequence[str] | None = None,
        teacher_taps: Taps | Sequence[str] | None = None,
        teacher_engine: TeacherEngine | TeacherEnsemble | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.method = method
        self._teachers: list[TappedNetwork] = []
        needs = method.needs
        if not needs:
            self._student = TappedNetwork(student, Taps())
            return
        if teacher is None:
            raise ValueError(f"{type(method).__name__} compares with a teacher, but teacher is None.")
        self._student = TappedNetwork(student, as_taps(student_taps, student, needs=needs))
        networks = [teacher] if isinstance(teacher, nn.Module) else teacher
        in_pytorch = [
            TorchEngine.reading(network.eval().requires_grad_(False), needs, taps=teacher_taps) for network in networks
        ]
        self._teachers = [engine.tapped for engine in in_pytorch]
        together = in_pytorch[0] if isinstance(teacher, nn.Module) else TeacherEnsemble(in_pytorch)
        self._teacher_engine = teacher_engine or together

    def forward(
        self, x: Tensor, target: Tensor | None = None, *, teachers: Sequence[Sequence[int]] | None = None
    ) -> DistillerOutput:
        """Return the student's output and the method's loss.

        Args:
            x: `(B, C, D, H, W)`.
            target: As in `Method.forward`; it has a channel axis.
            teachers: Of several teachers, the numbers of those that teach each sample. Default: all teach all.

        Raises:
            UserError: The target is no tensor, or has other dimensions or another number of samples than `x`; or what
                is tapped cannot be read (`TappedNetwork`).
            ValueError: There is one teacher, and `teachers` are named.
        """
        if target is not None and not isinstance(target, Tensor):
            raise UserError(
                f"the target is a {type(target).__name__} instead of a tensor: of a list of targets for deep "
                "supervision, give the full-size one, target[0]."
            )
        if target is not None and (target.dim() != x.dim() or len(target) != len(x)):
            raise UserError(
                f"the target is {times(target.shape)} and the input {times(x.shape)}: a target has the samples and "
                "dimensions of its input. Give labels a channel axis, target[:, None]."
            )
        output, student = self._student(x)
        return DistillerOutput(output, self.method(student, self._teach(x, teachers), target))

    def prepare(
        self,
        batches: Iterable[tuple[Tensor, Any]],
        task_loss: Callable[[Any, Any], Tensor],
        *,
        report: Callable[[int, int], None] = lambda done, total: None,
        computing: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """Let the method learn from the teacher what it needs to know before the student is trained, if anything; once.

        Args:
            batches: Inputs and targets of the teacher's task, an endless sequence.
            task_loss: Compares the teacher's output with a target.
            report: Called with the number of steps done and the number of all steps.
            computing: Makes a context for each forward pass and its loss, such as `partial(torch.autocast, "cuda")`.

        Raises:
            UserError: The batches ended too soon, or the method learned nothing from them.
        """
        for teacher, part in unprepared_by_teacher(self.method):
            task = self.teacher_task(batches, task_loss, report=report, computing=computing, teacher=teacher)
            part.prepare(task)

    def teacher_task(
        self,
        batches: Iterable[tuple[Tensor, Any]],
        task_loss: Callable[[Any, Any], Tensor],
        *,
        report: Callable[[int, int], None] = lambda done, total: None,
        computing: Callable[[], AbstractContextManager[Any]] = nullcontext,
        teacher: int = 0,
    ) -> TeacherTask:
        """The frozen teacher and its task, from which a method may learn; the other arguments are those of `prepare`.

        Args:
            teacher: The number of one of several teachers.

        Raises:
            ValueError: The method needs no teacher.
        """
        if not self._teachers:
            raise ValueError(f"{type(self.method).__name__} needs no teacher, so there is none to learn from.")
        self._keep_teachers_in_eval_mode()
        return TeacherTask(self._teachers[teacher].run_filtered, batches, task_loss, report, computing)

    def _teach(self, x: Tensor, teachers: Sequence[Sequence[int]] | None) -> Activations:
        if not self._teachers:
            return _NOTHING
        self._keep_teachers_in_eval_mode()
        # no_grad, not inference_mode: losses such as mse_loss save the teacher's features for the backward pass,
        # which inference tensors forbid.
        with torch.no_grad():
            if isinstance(self._teacher_engine, TeacherEnsemble):
                return self._teacher_engine(x, teachers)
            if teachers is not None:
                raise ValueError("there is one teacher, which teaches every sample.")
            return self._teacher_engine(x)

    def _keep_teachers_in_eval_mode(self) -> None:
        """Again and again, since a module of the user's that holds a teacher too takes it along into training mode."""
        for teacher in self._teachers:
            if any(module.training for module in teacher.network.modules()):
                teacher.network.eval()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distiller:
        for teacher in self._teachers:
            teacher.network._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self
