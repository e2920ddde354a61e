"""What was found of a data set as it was downloaded, and what it is to become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..nnunet.data.case import Case, LabelValues

__all__ = ["Case", "LabelValues", "Source", "unique_cases"]


@dataclass(frozen=True)
class Source:
    """A data set before it is checked.

    Args:
        maker: What found it, such as `brats2024`.
        name: What nnU-Net shall call it, without `DatasetXXX_`.
        channels: Names of the channels, in nnU-Net's order.
        labels: Values by name, `background` 0.
        cases: Every case, in the order of their names.
        unusable: Cases and folders that could not even be listed, and why.
        onto: Channel onto whose grid the others are resampled; None when all have to be on one grid.
        drawn_on: Channel on whose grid the labels were drawn.
        empty_labels: Whether a label map may hold nothing but background.
        regions: Labels to train on in their stead, as `dataset.json` has them.
        extra: Further entries for `dataset.json`.
    """

    maker: str
    name: str
    channels: tuple[str, ...]
    labels: Mapping[str, int]
    cases: tuple[Case, ...]
    unusable: Mapping[str, str] = field(default_factory=dict)
    onto: int | None = None
    drawn_on: int = 0
    empty_labels: bool = False
    regions: LabelValues | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


def unique_cases(found: Iterable[Case]) -> tuple[tuple[Case, ...], dict[str, str]]:
    """One case a name, sorted; and a sentence on each folder that holds a case another folder holds too."""
    cases: dict[str, Case] = {}
    twice: dict[str, str] = {}
    for case in found:
        first, here = (of.images[0].parent for of in (cases.setdefault(case.name, case), case))
        if first.resolve() != here.resolve():  # else below two roots
            twice[str(here.resolve())] = f"{case.name} is there twice: in {first} and in {here}."
    return tuple(cases[name] for name in sorted(cases)), twice
