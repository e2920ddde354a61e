"""EMKD: match the prediction, where two stages are active, and how alike their classes are."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate, normalize

from ..errors import StageMismatch, UserError
from ..wavelets.without_autocast import without_autocast
from .base import Activations, Method, check_numbers_of_stages, check_sizes
from .logits import Logits
from .parts.reductions import channel_energy, widened
from .parts.target import memberships
from .registry import register

EPSILON = 1e-8


@register
class EMKD(Method):
    r"""Divergence of the softened predictions, and squared distances of importance maps and of region affinities.

    $$\mathcal L = \alpha\,\mathcal L_{PMD} + \sum_{i \in \{low,\,high\}} \big(\beta_1 \ell_{IMD}(F_i)
    + \beta_2 \ell_{RAD}(F_i)\big)$$

    $\mathcal L_{PMD}$ is the loss of `Logits`. The importance map of a feature sums its fourth powers over channels
    and has length one in each sample:

    $$\ell_{IMD} = \frac1B\sum_b \Big\lVert \frac{Q^{(s)}}{\lVert Q^{(s)}\rVert_2}
    - \frac{Q^{(t)}}{\lVert Q^{(t)}\rVert_2} \Big\rVert_2^2,\qquad Q = \sum_c F_c^4$$

    The affinity of two classes is the cosine of their mean features. With $P$ the pairs of classes that a sample has,

    $$\ell_{RAD} = \frac1B\sum_b \frac1{|P|}\sum_{(j,k)\in P} \big(\rho_{jk}^{(s)} - \rho_{jk}^{(t)}\big)^2,\qquad
    \rho_{jk} = \cos\Big(\frac1{|\Omega_j|}\sum_{n\in\Omega_j} F_n,\ \frac1{|\Omega_k|}\sum_{n\in\Omega_k} F_n\Big)$$

    The background is a class. Maps and affinities have no channels, so there is no projection.

    Args:
        prediction: $\alpha$.
        importance: $\beta_1$.
        affinity: $\beta_2$.
        temperature: $T$ of the predictions.
        low: The encoder stage of low-level features, counted from 0, the finest.
        high: The stage of high-level features. Where a network has fewer stages, its last is taken.
        regions: The networks predict regions; a run of nnU-Net sets this itself.
        classes: Number of classes, the background included. Default: the highest label of each target plus one, for
            which the device has to be waited for.
        ignores: Whether targets may leave voxels out. Default: each is looked through, with the same wait.

    Shape:
        Logits `(B, classes, D, H, W)` and stages `(B, C_i, D_i, H_i, W_i)` of both networks, with equal sizes in space,
        and the target, which is brought to a stage's size by nearest neighbour; returns a scalar. Voxels that the
        target leaves out are in no class, and their predictions are not averaged over.

    Raises:
        UserError: There is no target, or an option is out of range.
        StageMismatch: There is no encoder stage, the logits differ in shape, or two features differ in space.

    Source:
        Qin et al., Efficient medical image segmentation based on knowledge distillation, IEEE TMI 2021, and its public
        code, which has two classes.

    Example:
        >>> import torch
        >>> student, teacher = (
        ...     Activations([torch.rand(1, channels, 8, 8, 8)], logits=torch.rand(1, 3, 8, 8, 8)) for channels in (2, 8)
        ... )
        >>> EMKD()(student, teacher, torch.randint(3, (1, 1, 8, 8, 8))).ndim
        0
    """

    name = "emkd"
    title = "EMKD"
    matches = "the softened prediction, where two stages are active, and how alike their classes are"
    source_weight = 1.0
    needs = frozenset({"encoder", "logits"})
    needs_target = True

    def __init__(
        self,
        *,
        prediction: float = 0.1,
        importance: float = 0.9,
        affinity: float = 0.9,
        temperature: float = 4.0,
        low: int = 1,
        high: int = 3,
        regions: bool = False,
        classes: int | None = None,
        ignores: bool | None = None,
    ) -> None:
        super().__init__()
        weights = {"prediction": prediction, "importance": importance, "affinity": affinity}
        for option, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise UserError(f"{option} is a weight, a number of at least 0, not {weight}.", option="option")
        if not 0 <= low < high:
            raise UserError(
                f"low and high are encoder stages, counted from 0; low has to come first, not {low} and {high}.",
                option="option",
            )
        self.prediction, self.importance, self.affinity = prediction, importance, affinity
        self.logits = Logits(temperature=temperature, regions=regions, ignores=ignores)
        self.low, self.high = low, high
        self.classes = classes

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        if target is None:
            raise UserError("emkd compares classes and needs the target: call distiller(x, target).")
        check_numbers_of_stages(student.encoder, teacher.encoder)
        if not student.encoder:
            raise StageMismatch("emkd reads two encoder stages, and the taps name none.")
        last = len(student.encoder) - 1
        stages = sorted({min(self.low, last), min(self.high, last)})
        students, teachers = ([network.encoder[i] for i in stages] for network in (student, teacher))
        check_sizes(students, teachers)
        loss: Tensor = self.prediction * self.logits(student, teacher, target)
        with without_autocast(loss.device):  # sums over a class's voxels overflow half precision
            for s, t in zip(students, teachers, strict=True):
                s, t = widened(s), widened(t)
                loss = loss + self.importance * _difference_of_importance(s, t)
                loss = loss + self.affinity * _difference_of_affinities(s, t, self._belongs(target, s))
        return loss

    def _belongs(self, target: Tensor, features: Tensor) -> Tensor:
        """To which classes the positions of a stage belong, `(B, K, N)`."""
        if target.shape[2:] != features.shape[2:]:
            target = interpolate(target.float(), features.shape[2:], mode="nearest")
        return memberships(target, features.dtype, classes=self.classes).flatten(2)


def _difference_of_importance(student: Tensor, teacher: Tensor) -> Tensor:
    squares = (_importance(student) - _importance(teacher)).square()
    return squares.sum(1).mean()


def _importance(features: Tensor) -> Tensor:
    """`(B, C, *space)` → `(B, N)`, of length one."""
    largest = features.detach().abs().amax(tuple(range(1, features.dim())), keepdim=True)
    scaled = features / largest.clamp_min(EPSILON)  # so that eighth powers fit; the scale drops out
    return normalize(channel_energy(scaled.square()).flatten(1), dim=1)


def _difference_of_affinities(student: Tensor, teacher: Tensor, belongs: Tensor) -> Tensor:
    there = belongs.any(2)
    pairs = (there.unsqueeze(1) & there.unsqueeze(2)).triu(1)
    squares = (_affinities(student, belongs) - _affinities(teacher, belongs)).square() * pairs
    return (squares.sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)).mean()


def _affinities(features: Tensor, belongs: Tensor) -> Tensor:
    """Cosine between the classes' mean features: `(B, C, *space)`, `(B, K, N)` → `(B, K, K)`."""
    sums = belongs.to(features.dtype) @ features.flatten(2).mT  # instead of means: a cosine does not see the length
    directions = normalize(sums, dim=2, eps=EPSILON)
    return directions @ directions.mT
