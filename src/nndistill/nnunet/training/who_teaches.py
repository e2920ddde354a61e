"""Which of several teachers teach each sample of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import UserError
from ..run_setup import TeacherNetwork, Together


class WhoTeaches:
    """The teachers of a training, by their numbers.

    It depends on the number of the batch and the names of its cases alone, so a resumed training continues as it would
    have.

    Args:
        networks: All that teach, in the order of their numbers.
        together: How they teach.
        held_out_by: Out-of-fold, the fold that has not seen a case, by the case's name.

    Example:
        >>> from nndistill.nnunet.run_setup import TeacherModel, TeacherNetwork
        >>> model = TeacherModel(folder="teacher", checkpoint="checkpoint_final.pth", channels=[8, 16])
        >>> networks = [TeacherNetwork(model, fold) for fold in ("0", "1", "2")]
        >>> WhoTeaches(networks, "mean")(["a", "b"], batch=7)
        [[0, 1, 2], [0, 1, 2]]
        >>> WhoTeaches(networks, "rotate")(["a", "b"], batch=7)
        [[1], [1]]
        >>> WhoTeaches(networks, "out-of-fold", held_out_by={"a": "2", "b": "0"})(["a", "b"], batch=7)
        [[2], [0]]
    """

    def __init__(
        self, networks: Sequence[TeacherNetwork], together: Together, *, held_out_by: Mapping[str, str] | None = None
    ) -> None:
        self._networks, self._together, self._held_out_by = networks, together, held_out_by or {}

    def __call__(self, cases: Sequence[str], *, batch: int) -> list[list[int]]:
        """Return the numbers of the teachers of each sample.

        Args:
            cases: The case of each sample.
            batch: Number of the batch in the whole training, from 0 on.

        Raises:
            UserError: Out-of-fold, no teacher is known not to have seen a case.
        """
        if self._together == "out-of-fold":
            return [self._who_have_not_seen(case) for case in cases]
        numbers = list(range(len(self._networks)))
        return [numbers if self._together != "rotate" else [numbers[batch % len(numbers)]] for _ in cases]

    def _who_have_not_seen(self, case: str) -> list[int]:
        fold = self._held_out_by.get(case)
        teachers = [number for number, network in enumerate(self._networks) if network.fold == fold]
        if not teachers:
            raise UserError(
                f"none of this student's teachers is known not to have seen the case {case}: its data set or its folds "
                "are no longer those with which the training was prepared. Prepare it again under another name.",
                option="name",
            )
        return teachers
