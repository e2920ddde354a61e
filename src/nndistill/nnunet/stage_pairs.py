"""Which encoder stages of two networks are compared: those of equal resolution."""

from __future__ import annotations

from collections.abc import Sequence


def stage_pairs(student: Sequence[tuple[int, ...]], teacher: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Pair each of the student's stages with the next one of the teacher's that has the same resolution, if any.

    Args:
        student: By how much each stage is coarser than the image along each axis, fine to coarse, as
            `nndistill.nnunet.plans.stage_factors` returns it.
        teacher: The same of the teacher.

    Returns:
        Student's and teacher's stage of each pair, counted from 0, fine to coarse.

    Example:
        >>> stage_pairs([(1, 1, 1), (1, 2, 2), (1, 4, 4)], [(1, 1, 1), (1, 4, 4), (2, 8, 8)])
        [(0, 0), (2, 1)]
    """
    pairs: list[tuple[int, int]] = []
    following = 0
    for ours, factors in enumerate(student):
        if factors in teacher[following:]:
            theirs = list(teacher).index(factors, following)
            pairs.append((ours, theirs))
            following = theirs + 1
    return pairs
