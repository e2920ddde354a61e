"""CIRKD: match how alike any two positions are, within an image and between the images of a batch."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize, pad

from ..errors import StageMismatch, UnknownName, UserError
from ..wavelets.without_autocast import without_autocast
from .base import Activations, Method, check_numbers_of_stages, check_sizes
from .parts.softening import checked_temperature
from .parts.target import counted
from .registry import register

Match = Literal["decoder", "encoder"]


@register
class CIRKD(Method):
    r"""Divergence of each position's distribution over the positions that are like it, in every image of the batch.

    Features are averaged over blocks and scaled to length one, which gives $f_{in}$ at each of the $N$ positions of
    image $i$. For every ordered pair of images, $i = j$ included,

    $$\mathcal L = \frac1{B^2}\sum_{i,j} \frac1N\sum_n
    \mathrm{KL}\big(p^{(t)}_{ijn} \,\Vert\, p^{(s)}_{ijn}\big),\qquad
    p_{ijn} = \operatorname*{softmax}_m\big(f_{in}^\top f_{jm} / T\big)$$

    Similarities have no channels, so there is no projection. This is the source's pixel-to-pixel term; a batch of one
    image compares it with itself alone.

    Args:
        temperature: $T$.
        match: `"decoder"` compares the last decoder stage, right before the classifier, as the source does;
            `"encoder"` all encoder stages, and averages over them.
        positions: The most positions per image. Blocks are the smallest cubes (in two dimensions squares) of 1, 2, 4,
            8, … voxels along an axis with which they suffice; memory grows with the square of their number.
        ignores: Whether targets may leave voxels out. Default: each is looked through, for which the device has to be
            waited for.

    Shape:
        Stages `(B, C_i, D_i, H_i, W_i)` of both networks, with equal sizes in space; returns a scalar. Voxels that a
        target leaves out are in no average, and a block without any other is no position.

    Raises:
        UserError: An option is out of range.
        UnknownName: `match` is neither.
        StageMismatch: The networks have no stage to compare or different numbers of them, or a stage's two features
            differ in space.

    Source:
        Yang et al., Cross-image relational knowledge distillation for semantic segmentation, CVPR 2022, and its public
        code (mini-batch pixel-to-pixel distillation).

    Example:
        >>> import torch
        >>> student, teacher = (Activations([], [torch.rand(2, channels, 8, 8, 8)]) for channels in (2, 8))
        >>> CIRKD()(student, teacher).ndim
        0
    """

    name = "cirkd"
    title = "CIRKD"
    matches = "how alike any two positions of the batch are"
    source_weight = 1.0

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        match: Match = "decoder",
        positions: int = 1024,
        ignores: bool | None = None,
    ) -> None:
        if match not in get_args(Match):
            raise UnknownName("value of match", str(match), get_args(Match))
        if positions < 1:
            raise UserError(f"positions must be at least 1, not {positions}.", option="option")
        super().__init__()
        self.needs = frozenset({match})
        self.source_weight = 1.0 if match == "decoder" else 0.1
        self.temperature = checked_temperature(temperature)
        self.positions = positions
        self.ignores = ignores

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        if "encoder" in self.needs:
            check_numbers_of_stages(student.encoder, teacher.encoder)
            students, teachers = student.encoder, teacher.encoder
        else:
            students, teachers = student.decoder[:1], teacher.decoder[:1]
        if not students or not teachers:
            raise StageMismatch(f"cirkd reads {' and '.join(self.needs)} stages, and the taps name none.")
        check_sizes(students, teachers)
        voxels = counted(target, ignores=self.ignores)
        with without_autocast(students[0].device):
            losses = [self._compare(s, t, voxels) for s, t in zip(students, teachers, strict=True)]
        return torch.stack(losses).mean()

    def _compare(self, student: Tensor, teacher: Tensor, voxels: Tensor | None) -> Tensor:
        size = block_size(student.shape[2:], self.positions)
        mask = None
        if voxels is not None:
            mask = interpolate(voxels.unsqueeze(1).float(), student.shape[2:], mode="nearest")
            student, teacher = student * mask, teacher * mask
        s, t = (_similarities(block_sums(x, size)) / self.temperature for x in (student, teacher))
        if mask is None:
            return _divergence(s, t).mean()
        there = block_sums(mask, size).flatten(1) > 0  # (B, N)
        lowest = torch.finfo(s.dtype).min  # not infinity: an image without any position gives zeros then, not NaN
        s, t = (x.masked_fill(~there, lowest) for x in (s, t))
        rows = there.to(s.dtype) / there.sum(1, keepdim=True).clamp_min(1)
        return (_divergence(s, t).mean(2) * rows).sum() / len(rows)


def block_size(space: torch.Size, positions: int) -> int:
    """The smallest power of two for which cubes of this size along an axis are no more than `positions`."""
    size = 1
    while math.prod(-(-axis // size) for axis in space) > positions:
        size *= 2
    return size


def block_sums(x: Tensor, size: int) -> Tensor:
    """Sum over cubes from the first voxel on; the last along an axis may be smaller. In single precision at least.

    Shape:
        `(B, C, D, H, W)` → `(B, C, ⌈D/size⌉, ⌈H/size⌉, ⌈W/size⌉)`, and so for images.
    """
    padded = pad(x, [end for axis in reversed(x.shape[2:]) for end in (0, -axis % size)])
    blocks = padded.reshape(*x.shape[:2], *(n for axis in padded.shape[2:] for n in (axis // size, size)))
    sums: Tensor = blocks.sum(tuple(range(3, blocks.dim(), 2)), dtype=torch.promote_types(x.dtype, torch.float32))
    return sums


def _similarities(features: Tensor) -> Tensor:
    """Cosines of every position of every image with every other: `(B, C, …)` → `(B, N, B, N)`."""
    directions = normalize(features.flatten(2), dim=1)  # of sums as of means
    return torch.einsum("icn,jcm->injm", directions, directions)


def _divergence(s: Tensor, t: Tensor) -> Tensor:
    """KL over the last axis, written as in `Logits`."""
    return s.logsumexp(-1) - t.logsumexp(-1) - (t.softmax(-1) * (s - t)).sum(-1)
