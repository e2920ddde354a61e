"""The shape of a student: in what its network differs from its teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from .architecture import FEWEST_STAGES, Architecture
from .plans import derive_plans, features_per_stage, reduced_features

REDUCTION = 4
"""By which the teacher's channels are divided if nothing else is said."""


@dataclass(frozen=True)
class StudentShape:
    """What a student has instead of what its teacher has.

    Args:
        reduction: The paper's r, by which the teacher's channels are divided. Default: 4, without `features`.
        features: Channels of each stage, instead of `reduction`; fewer entries than the teacher's stages leave out the
            deepest ones.
        stages: Number of stages; the teacher's deepest ones are left out. Default: all of them.
        blocks: Residual blocks of each encoder stage, or convolutions if the network is plain; or one number for all
            stages. Default: the teacher's, or two convolutions if only the student is plain.
        architecture: `teacher`, or `plain` for a network without residual connections.
    """

    reduction: int | None = None
    features: Sequence[int] | None = None
    stages: int | None = None
    blocks: Sequence[int] | None = None
    architecture: Architecture = "teacher"

    @property
    def divisor(self) -> int:
        """The reduction, or the default one."""
        return REDUCTION if self.reduction is None else self.reduction

    @property
    def name(self) -> str:
        """The shape in a word.

        Example:
            >>> StudentShape().name
            'r4'
            >>> StudentShape(features=[8, 16, 32], blocks=[1, 2, 2], architecture="plain").name
            'f8-16-32_blocks1-2-2_plain'
        """
        words = [f"f{_joined(self.features)}" if self.features else f"r{self.divisor}"]
        words += [f"stages{self.stages}"] if self.stages else []
        words += [f"blocks{_joined(self.blocks)}"] if self.blocks else []
        words += [self.architecture] if self.architecture != "teacher" else []
        return "_".join(words)

    def derived_plans(self, plans: dict[str, Any], configuration: str, **other: Any) -> dict[str, Any]:
        """Derive a student's plans from its teacher's.

        Args:
            plans: The teacher's.
            configuration: The configuration of both.
            **other: Further arguments of `derive_plans`, such as `name`.

        Raises:
            UserError: No student of this shape can be made of the teacher.
        """
        return derive_plans(
            plans,
            configuration,
            features=self._features(features_per_stage(plans, configuration)),
            blocks=self.blocks,
            architecture=self.architecture,
            **other,
        )

    def _features(self, teacher: Sequence[int]) -> list[int]:
        """The channels of each stage, given those of the teacher's."""
        if self.stages is not None and not FEWEST_STAGES <= self.stages <= len(teacher):
            raise UserError(
                f"a student of {self.stages} stages is not possible: the teacher has {len(teacher)}, and nnU-Net's "
                f"training with deep supervision needs at least {FEWEST_STAGES}.",
                option="stages",
            )
        if not self.features:
            return reduced_features(teacher, self.divisor)[: self.stages]
        if self.reduction is not None:
            raise UserError(
                f"the student's channels are given twice, as the features {_joined(self.features, ' ')} and as a "
                f"reduction of {self.reduction}; leave one of them out.",
                option=("features", "reduction"),
            )
        if len(self.features) != (self.stages or len(self.features)):
            raise UserError(
                f"the features {_joined(self.features, ' ')} are those of {len(self.features)} stages, and the student "
                f"is to have {self.stages}; leave one of them out.",
                option=("features", "stages"),
            )
        if len(self.features) > len(teacher):
            raise UserError(
                f"with the features {_joined(self.features, ' ')}, the student has {len(self.features)} stages and the "
                f"teacher {len(teacher)}; give at most as many as the teacher has.",
                option="features",
            )
        return list(self.features)


def _joined(numbers: Sequence[int], by: str = "-") -> str:
    return by.join(map(str, numbers))
