"""Protocols: everything that decides what a metric means, under one name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UnknownName, UserError
from .case import BothEmpty, EmptyPolicy, Measures
from .dataset_labels import defines_regions, label_values
from .lesion_wise import REGIONS, LesionRules
from .matched_lesions import MatchedLesions
from .surfaces import Definition


@dataclass(frozen=True)
class Protocol:
    """How label maps are measured. Overall values are means of labels in all protocols.

    Args:
        name: What users write.
        remark: What its users have to know.
        definition: Definition of a surface.
        tolerance: Tolerance of NSD in mm.
        empty: HD95 if one mask is empty.
        both_empty: What counts if both masks are empty.
        distances: Whether HD95 and NSD are measured.
        regions_by_default: Whether the regions of `dataset.json` are measured if it defines any.
        lesion_rules: The rules of lesion-wise metrics of the BraTS regions; `None` for metrics of whole masks.
        fixed: The settings that cannot be changed.
    """

    name: str
    remark: str = ""
    definition: Definition = "surface_elements"
    tolerance: float = 1.0
    empty: EmptyPolicy = "diagonal"
    both_empty: BothEmpty = "leave_out"
    distances: bool = True
    regions_by_default: bool = False
    lesion_rules: LesionRules | MatchedLesions | None = None
    fixed: frozenset[str] = frozenset()

    def changed(
        self,
        *,
        tolerance: float | None = None,
        definition: Definition | None = None,
        empty: EmptyPolicy | None = None,
        both_empty: BothEmpty | None = None,
    ) -> Protocol:
        """The protocol with other settings, where they are given.

        Raises:
            UserError: The protocol fixes a setting that is given.
        """
        given = {"tolerance": tolerance, "definition": definition, "empty": empty, "both_empty": both_empty}
        given = {name: value for name, value in given.items() if value is not None}
        if fixed := given.keys() & self.fixed:
            raise UserError(
                f"the protocol {self.name} fixes how surfaces and empty masks are measured; leave these settings out.",
                option=("protocol", *sorted(fixed)),
            )
        return replace(self, **given)  # type: ignore[arg-type]

    def labels(self, dataset_json: Mapping[str, Any], *, regions: bool = False) -> dict[str, tuple[int, ...]]:
        """The values of each class or region that the protocol measures, by name.

        Args:
            dataset_json: Content of nnU-Net's `dataset.json`.
            regions: Whether to measure its regions instead of its single values.

        Raises:
            UserError: The data set's labels are not those of the protocol.
        """
        if self.lesion_rules is None:
            by_default = self.regions_by_default and defines_regions(dataset_json)
            return label_values(dataset_json, regions=regions or by_default)
        values = label_values(dataset_json)
        numbers = sorted(value for label in values.values() for value in label)
        if numbers != [1, 2, 3, 4] or any(REGIONS.get(name.upper(), label) != label for name, label in values.items()):
            listed = ", ".join(f"{label[0]} {name}" for name, label in values.items())
            raise UserError(
                f"the protocol {self.name} is about 1 NETC, 2 SNFH, 3 ET and 4 RC; this data set has {listed}.",
                option="protocol",
            )
        return dict(REGIONS)

    def measures(
        self, labels: Mapping[str, Sequence[int]], *, lesions: Collection[str] = (), ignore: int | None = None
    ) -> Measures:
        """What to measure of these labels.

        Args:
            labels: Values in the label maps, by the name of the class or region.
            lesions: Names of the labels whose lesions are counted as well.
            ignore: A value in the reference whose voxels do not count.

        Raises:
            UserError: A setting is not allowed.
        """
        return Measures(
            labels={name: tuple(values) for name, values in labels.items()},
            tolerance=self.tolerance,
            definition=self.definition,
            empty=self.empty,
            both_empty=self.both_empty,
            lesions=tuple(lesions),
            ignore=ignore,
            distances=self.distances,
            lesion_rules=self.lesion_rules,
            protocol=self.name,
        )

    @property
    def description(self) -> str:
        """What the metrics mean, for the reader of a report."""
        return f"{self._meaning} {self.remark}".strip()

    @property
    def _meaning(self) -> str:
        if isinstance(self.lesion_rules, MatchedLesions):
            return (
                f"Protocol {self.name}: Dice, HD95 and NSD (at {self.tolerance:g} mm) of BraTS's regions, means over "
                "lesions matched one to one. Missed and false lesions are only counted; if none is matched, Dice and "
                f"NSD are 0 and HD95 is {self.lesion_rules.penalty:g} mm, and if there is none, the case is left out."
            )
        if self.lesion_rules is not None:
            return (
                f"Protocol {self.name}: Dice, HD95 and NSD (at {self.tolerance:g} mm) of BraTS's regions, averaged "
                "over lesions. A missed and a false lesion have Dice and NSD 0 and HD95 "
                f"{self.lesion_rules.penalty:g} mm; if there is none, Dice and NSD are 1 and HD95 is 0."
            )
        dice = "Dice: overlap of prediction and reference"
        if not self.distances:
            of_both = "Dice is 1" if self.both_empty == "one" else _BOTH_EMPTY["leave_out"]
            return (
                f"{dice}, as in nnU-Net's summary. If only one of the two is empty, Dice is 0; if both are, {of_both}."
            )
        surfaces = {
            "surface_elements": "surfaces are made of elements weighted by their area (Nikolov et al., 2021)",
            "boundary_voxels": "surfaces are the voxels at the border of a mask, all with the same weight, as in MONAI",
        }
        one = {"diagonal": "HD95 is the diagonal of the image", "leave_out": "HD95 is left out"}
        of_one = one[self.empty] if isinstance(self.empty, str) else f"HD95 is {self.empty:g} mm"
        return (
            f"{dice}. HD95: the distance in mm within which 95 % of each surface "
            f"is from the other. NSD: the share of both surfaces that is within {self.tolerance:g} mm of the other; "
            f"{surfaces[self.definition]}. If only one of the two is empty, Dice and NSD are 0 and "
            f"{of_one}; if both are, {_BOTH_EMPTY[self.both_empty]}."
        )


_BOTH_EMPTY = {
    "leave_out": "the case is left out",
    "one": "Dice and NSD are 1 and HD95 is 0",
    "nsd_one": "NSD is 1 and the case is left out of Dice and HD95",
}

_OF_LESIONS = frozenset({"definition", "empty", "both_empty"})

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("default"),
        Protocol(
            "laboratory",
            remark="Inferred from the second repository of the paper's authors; the paper does not state its protocol.",
            definition="boundary_voxels",
            tolerance=2.0,
            empty="leave_out",
            both_empty="nsd_one",
        ),
        Protocol(
            "nnunet",
            distances=False,
            regions_by_default=True,
            fixed=frozenset({"tolerance", "definition", "empty"}),
        ),
        Protocol(
            "brats2024",
            remark="NSD was no metric of the challenge in 2024; it is formed by the same rules.",
            empty=374.0,
            both_empty="one",
            lesion_rules=LesionRules(
                dilation=dict.fromkeys(REGIONS, 3),
                smallest={**dict.fromkeys(REGIONS, 20), "ET": 10, "RC": 10},
                penalty=374.0,
                grows_predictions=False,
            ),
            fixed=_OF_LESIONS,
        ),
        Protocol(
            "brats2025",
            empty=337.0,
            both_empty="one",
            lesion_rules=LesionRules(
                dilation={**dict.fromkeys(REGIONS, 3), "NETC": 5, "RC": 5},
                smallest={**dict.fromkeys(REGIONS, 20), "ET": 10},
                penalty=337.0,
                grows_predictions=True,
            ),
            fixed=_OF_LESIONS,
        ),
        Protocol("brats2026", empty=373.0, lesion_rules=MatchedLesions(penalty=373.0), fixed=_OF_LESIONS),
    )
}
"""Every protocol, by name."""


def protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        UnknownName: There is none.

    Example:
        >>> protocol("laboratory").tolerance
        2.0
    """
    if name not in PROTOCOLS:
        raise UnknownName("protocol", name, PROTOCOLS, option="protocol")
    return PROTOCOLS[name]
