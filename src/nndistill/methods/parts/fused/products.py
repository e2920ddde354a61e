r"""Products of channels, the part of DCD's distance that $\mathcal P$ has no share in, and the same of coefficients.

Of a teacher's $T$, a student's $S$ and a partner $Z$ with the student's channels, each `(channels, places)`, one pass
makes the four things that the distance needs:

$$W^\top T - W^\top W S - Q,\qquad T Z^\top,\qquad S Z^\top,\qquad \lVert T\rVert^2$$

where $Q$, if asked for, is synthesised on the way from the coefficients of the finest level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ....wavelets.fused.launches import Launch, announce
from ....wavelets.fused.pyramid import TILE, Pyramid
from ....wavelets.fused.windows import Windows, padded

TEACHER_BLOCK = 16
MOST_OWN = 32
"""Channels that a program takes of the teacher at a time, and that it makes of the student."""


@dataclass(frozen=True)
class Products:
    """Sums over all samples and places, in double precision.

    Args:
        of_teacher: $T Z^\\top$, `(C_t, C_s)`.
        of_student: $S Z^\\top$, `(C_s, C_s)`.
        energy: $\\lVert T\\rVert^2$.
    """

    of_teacher: Tensor
    of_student: Tensor
    energy: Tensor

    def __add__(self, other: Products) -> Products:
        return Products(
            self.of_teacher + other.of_teacher, self.of_student + other.of_student, self.energy + other.energy
        )

    def __sub__(self, other: Products) -> Products:
        return Products(
            self.of_teacher - other.of_teacher, self.of_student - other.of_student, self.energy - other.energy
        )


def products(
    teacher: Tensor,
    student: Tensor,
    partner: Tensor,
    weight: Tensor,
    *,
    mixed_type: torch.dtype = torch.float32,
    centres: tuple[Tensor, Tensor] | None = None,
    synthesis: tuple[Pyramid, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Products]:
    """Return $W^\\top T - W^\\top W S - Q$ and the products.

    Args:
        teacher: $T$.
        student: $S$.
        partner: $Z$; it may be the student itself, which is then read once.
        weight: $W$, float32.
        mixed_type: Type of the first result.
        centres: Subtracted from each channel of each sample of the teacher, the student and the partner first.
        synthesis: What makes $Q$, and the two bands of the finest level that it is made from.

    Shape:
        `(B, C_t, *space)`, `(B, C_s, *space)` twice, `(C_t, C_s)` → `(B, C_s, *space)`; centres `(B * C_t,)` and
        `(B * C_s,)`. All of them contiguous.
    """
    samples, teacher_channels, *space = teacher.shape
    student_channels, volume = student.shape[1], math.prod(space)
    own = min(MOST_OWN, padded(student_channels))
    tile = TILE if synthesis else (1, 1, math.prod(TILE))
    size = tuple(space) if synthesis else (1, 1, volume)
    blocks = [-(-along // step) for along, step in zip(size, tile, strict=True)]
    tiles, own_blocks = math.prod(blocks), -(-student_channels // own)
    itself = partner is student and own_blocks == 1

    mixed = torch.empty_like(student, dtype=mixed_type)
    of_teacher = weight.new_empty(samples * tiles, teacher_channels, student_channels)
    of_student = weight.new_empty(samples * tiles, student_channels, student_channels)
    energy = weight.new_empty(samples * tiles)
    square = weight.mT @ weight
    written = (mixed, of_teacher, of_student, energy)
    features = (teacher, student) if partner is student else (teacher, student, partner)
    once = (*features, weight, *written) if synthesis is None else (*features, weight, *written, *synthesis[1:])
    loops = -(-teacher_channels // TEACHER_BLOCK) * TEACHER_BLOCK + own_blocks * own
    announce(
        Launch(
            "products",
            bytes=sum(map(_size, once)),
            loaded=_loaded(teacher, student, partner, centres, synthesis, tiles, own_blocks, itself),
            stored=sum(map(_size, written)),
            flops=samples
            * own_blocks
            * (
                4 * tiles * math.prod(tile) * own * loops
                + (0 if synthesis is None else _synthesis_flops(synthesis[0].finest, own))
            ),
        )
    )
    if not teacher.is_meta and teacher.numel():
        from .products_kernel import products_kernel

        _, low, high = synthesis or (None, student, student)
        finest = synthesis[0].finest if synthesis else ()
        tables = [part for axis in finest for part in axis.on(teacher.device)] or [weight] * 9
        widths = [axis.table.shape[3] for axis in finest] or [16, 16, 16]
        products_kernel[(tiles, samples, own_blocks)](
            teacher,
            centres[0] if centres else weight,
            student,
            centres[1] if centres else weight,
            partner,
            weight,
            square,
            low,
            high,
            *written,
            teacher_channels,
            student_channels,
            *size,
            *low.shape[-3:],
            *tables,
            *blocks,
            CENTRED=centres is not None,
            ITSELF=itself,
            SYNTHESIS=synthesis is not None,
            CB=TEACHER_BLOCK,
            SB=own,
            TZ=tile[0],
            WZ=widths[0],
            TY=tile[1],
            WY=widths[1],
            TX=tile[2],
            WX=widths[2],
            num_warps=8,
        )
    sums = [x.sum(0, dtype=torch.float64) for x in (of_teacher, of_student, energy)]
    return mixed, Products(*sums)


def _loaded(
    teacher: Tensor,
    student: Tensor,
    partner: Tensor,
    centres: object,
    synthesis: tuple[Pyramid, Tensor, Tensor] | None,
    tiles: int,
    own_blocks: int,
    itself: bool,
) -> int:
    samples, of_teacher, of_student = len(teacher), teacher.shape[1], student.shape[1]
    passes = 0 if itself else own_blocks
    features = own_blocks * _size(teacher) + passes * _size(student) + _size(partner)
    matrices = (of_teacher + of_student) * of_student
    means = (own_blocks * of_teacher + (1 + passes) * of_student) * (centres is not None)
    loaded = features + 4 * samples * tiles * (matrices + means)
    if synthesis is not None:
        finest, *bands = synthesis[0].finest, *synthesis[1:]
        windows = math.prod(sum(axis.lengths) for axis in finest)
        loaded += samples * of_student * windows * sum(band.element_size() for band in bands)
        loaded += 8 * samples * own_blocks * _tables(finest)
    return loaded


def _tables(finest: tuple[Windows, Windows, Windows]) -> int:
    """Numbers that the programs load of the matrices of one band, for one sample and one block of channels."""
    z, y, x = finest
    in_plane: int = sum(axis.table[0, 0].size for axis in (y, x))
    return y.blocks * x.blocks * (z.blocks * in_plane + sum(z.lengths) * TILE[0])


def _synthesis_flops(finest: tuple[Windows, Windows, Windows], own: int) -> int:
    z, y, x = finest
    (rows_y, window_y), (rows_x, window_x) = y.table.shape[2:], x.table.shape[2:]
    of_plane: int = own * (window_y * window_x * rows_x + rows_x * window_y * rows_y)
    return 2 * 2 * of_plane * sum(z.lengths) * y.blocks * x.blocks


def _size(x: Tensor) -> int:
    return x.numel() * x.element_size()


def scaled(x: Tensor, factor: Tensor) -> Tensor:
    """Return `x` times a scalar in float32, rounded once, to the type of `x`."""
    if x.dtype == torch.float32:
        return x * factor
    made = torch.empty_like(x)
    announce(Launch("scaled", bytes=2 * _size(x), loaded=_size(x), stored=_size(x), flops=0))
    if not x.is_meta and x.numel():
        from .products_kernel import scaled_kernel

        scaled_kernel[(-(-x.numel() // 1024),)](x, factor, made, x.numel(), BLOCK=1024)
    return made
