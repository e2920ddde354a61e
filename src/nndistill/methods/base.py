"""What every distillation method is: a module that turns two networks' activations into one loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from ..errors import StageMismatch
from .parts.phi import CONVOLUTIONS, Phi, new_phi
from .teacher_task import TeacherTask

Kind = Literal["encoder", "decoder", "logits"]


@dataclass(frozen=True)
class Activations:
    """What was tapped from one network in one forward pass, fine to coarse.

    Args:
        encoder: Output of every encoder stage, each `(B, C_i, D_i, H_i, W_i)`; of a network of two dimensions
            `(B, C_i, H_i, W_i)`, and so wherever D is named.
        decoder: Output of every decoder stage, the finest (last computed) first.
        logits: The network's full-size output before softmax or sigmoid, `(B, classes, D, H, W)`.

    Example:
        >>> import torch
        >>> Activations([torch.rand(1, 8, 4, 4, 4)], logits=torch.rand(1, 2, 4, 4, 4)).logits.shape
        torch.Size([1, 2, 4, 4, 4])
    """

    encoder: list[Tensor]
    decoder: list[Tensor] = field(default_factory=list)
    logits: Tensor | None = None


class Method(nn.Module):
    """Base of all methods.

    A method holds everything that is used in training but thrown away with the teacher (the projections φ). What of it
    is not trained has `requires_grad` off, and no optimiser should get it.
    Subclasses set `needs` and implement `forward`. With the decorator `register`, which also asks for `name` and
    `title`, a subclass is known by its name; its options are the keyword-only parameters of its constructor.

    Example:
        >>> import torch
        >>> class SameLogits(Method):
        ...     needs = frozenset({"logits"})
        ...
        ...     def forward(self, student, teacher, target=None):
        ...         return (student.logits - teacher.logits).abs().mean()
        >>> ones, zeros = torch.ones(1, 2, 4, 4, 4), torch.zeros(1, 2, 4, 4, 4)
        >>> SameLogits()(Activations([], logits=ones), Activations([], logits=zeros))
        tensor(1.)
    """

    name: ClassVar[str] = ""
    """What `build_method` and the command line call it, such as `dcd-release`."""

    title: ClassVar[str] = ""
    """What tables and figures call it."""

    matches: ClassVar[str] = ""
    """What of the teacher the student is to match, in a few words."""

    source_weight: float | None = None
    """μ in its source, and `None` if the source has none. If options change it, the instance has its own value."""

    needs: frozenset[Kind] = frozenset()
    """Which activations `forward` reads; networks run only as far as this asks. Fixed once the method is built."""

    needs_target: bool = False
    """Whether `forward` compares by the target's classes, and so cannot do without it."""

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        """Return the distillation loss, a scalar.

        Args:
            student: Activations of the student, with gradient.
            teacher: Activations of the teacher, without.
            target: Reference labels `(B, 1, D, H, W)`, or one channel of zeros and ones per region `(B, R, D, H, W)`.
                Negative in all channels where a voxel is to be left out. `None` for an image without labels, of which
                all voxels count.
        """
        raise NotImplementedError

    @property
    def prepared(self) -> bool:
        """Whether nothing is left to be learned from the teacher before the student is trained (`prepare`)."""
        return True

    def prepare(self, task: TeacherTask) -> None:
        """Learn from the teacher what has to be known before the student is trained; most methods learn nothing.

        What is learned belongs in the state dictionary, so that a resumed training need not learn it again.

        Args:
            task: The teacher, and the task it was trained for.
        """

    def learning_key(self) -> Mapping[str, Any] | None:
        """What the learned state depends on as far as the method knows, in values that JSON can hold.

        Two methods with equal keys and the same teacher and data learn the same. `None` if nothing is ever learned;
        a method that learns has to return a key.
        """
        return None

    def learned_state(self) -> dict[str, Tensor]:
        """What `prepare` learned."""
        return {}

    def load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        """Take what another method with the same key has learned, instead of learning it.

        Raises:
            ValueError: The state is of another teacher, or of other options.
        """


class StagewiseMethod(Method):
    r"""A loss per stage, summed over the encoder stages, with a projection φ per stage.

    $$\mathcal L = \sum_i \ell\big(\phi_i(F_i^{(s)}),\, F_i^{(t)}\big)$$

    φ is a 1×1×1 convolution (in two dimensions 1×1) from the student's to the teacher's channels, used in training
    only. It starts as PyTorch initialises a convolution, weight and bias uniform in $\pm1/\sqrt{C_i^{(s)}}$. A subclass
    with a constructor of its own has the option `train_phi`, and works in two dimensions, if it takes `train_phi` and
    `ndim` and passes them on.

    Args:
        student_channels: Channels of each student stage, fine to coarse.
        teacher_channels: Channels of each teacher stage, fine to coarse.
        train_phi: Whether φ is trained with the student. If not, it stays the random map that it starts as: a student
            can then meet its teacher only by changing itself. Either way φ is in the state dictionary.
        ndim: Number of dimensions of the networks.

    Raises:
        StageMismatch: The networks have different numbers of stages, or, in `forward`, features have other channels or
            dimensions than the method was built for.

    Example:
        >>> import torch
        >>> from torch.nn.functional import l1_loss
        >>> class AbsoluteDifference(StagewiseMethod):
        ...     def stage_loss(self, student, teacher):
        ...         return l1_loss(student, teacher)
        >>> student, teacher = Activations([torch.rand(1, 2, 4, 4, 4)]), Activations([torch.rand(1, 8, 4, 4, 4)])
        >>> AbsoluteDifference([2], [8])(student, teacher).ndim
        0
    """

    needs = frozenset({"encoder"})

    def __init__(
        self, student_channels: Sequence[int], teacher_channels: Sequence[int], *, train_phi: bool = True, ndim: int = 3
    ) -> None:
        super().__init__()
        check_numbers_of_stages(student_channels, teacher_channels)
        self.phi = nn.ModuleList(
            new_phi(s, t, ndim=ndim) for s, t in zip(student_channels, teacher_channels, strict=True)
        ).requires_grad_(train_phi)

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        self._check(student.encoder, teacher.encoder)
        return sum(  # type: ignore[return-value]
            self.projected_stage_loss(phi, s, t)
            for phi, s, t in zip(self.phi, student.encoder, teacher.encoder, strict=True)
        )

    def projected_stage_loss(self, phi: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
        """Apply φ and compare. Override if applying φ first is not the cheapest way to the same number."""
        return self.stage_loss(phi(student), teacher)

    def stage_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare one stage: both `(B, C_i^{(t)}, D_i, H_i, W_i)`, the student's already through φ."""
        raise NotImplementedError

    def _check(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
        if not len(student) == len(teacher) == len(self.phi):
            raise StageMismatch(
                f"this method was built for {len(self.phi)} stages, but the student gives {len(student)} "
                f"and the teacher {len(teacher)}."
            )
        check_sizes(student, teacher)
        for i, (phi, s, t) in enumerate(zip(self.phi, student, teacher, strict=True)):
            if isinstance(phi, CONVOLUTIONS):
                _check_fit(i, phi, s, t)


def unprepared_methods(module: nn.Module) -> Iterator[Method]:
    """The methods in a module, itself included, that have yet to learn from the teacher."""
    return (part for part in module.modules() if isinstance(part, Method) and not part.prepared)


def check_numbers_of_stages(student: Sequence[object], teacher: Sequence[object]) -> None:
    """Refuse networks whose stages cannot be paired.

    Raises:
        StageMismatch: They have different numbers of stages.
    """
    if len(student) != len(teacher):
        raise StageMismatch(
            f"the student has {len(student)} stages and the teacher {len(teacher)}; "
            "stages are compared one by one, so both need the same number."
        )


def check_sizes(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    """Refuse pairs of features that differ in anything but channels.

    Raises:
        StageMismatch: A stage's two features do; the message names the stage.
    """
    for i, (s, t) in enumerate(zip(student, teacher, strict=True)):
        if s.shape[0] != t.shape[0] or s.shape[2:] != t.shape[2:]:
            raise StageMismatch(
                f"features of unequal size at stage {i}: student {tuple(s.shape)}, teacher {tuple(t.shape)}. "
                "Student and teacher need the same strides; check the student's plans or the taps."
            )


def _check_fit(stage: int, phi: Phi, student: Tensor, teacher: Tensor) -> None:
    """Refuse features that are not of the kind for which φ was built."""
    ndim, found = phi.weight.dim() - 2, student.dim() - 2
    if ndim != found:
        raise StageMismatch(
            f"stage {stage}: this method was built for networks of {ndim} dimensions, but the features have {found}; "
            f"build it with ndim={found}."
        )
    built, given = (phi.in_channels, phi.out_channels), (student.shape[1], teacher.shape[1])
    if built != given:
        raise StageMismatch(
            f"stage {stage}: this method was built for {built[0]} and {built[1]} channels, but the features of student "
            f"and teacher have {given[0]} and {given[1]}; check student_channels, teacher_channels and the taps."
        )
