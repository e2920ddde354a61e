"""BraTS 2024 GLI, gliomas after treatment, as the challenge ships it.

A folder a case, `BraTS-GLI-00005-100` being patient 5 at time point 100, with `BraTS-GLI-00005-100-t1n.nii.gz`, `-t1c`,
`-t2w`, `-t2f` and `-seg`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..nnunet.data.raw import FILE_ENDING
from .folders import find_folders
from .source import Case, LabelValues, Source, unique_cases

CHANNELS = {"T1N": "t1n", "T1C": "t1c", "T2W": "t2w", "T2F": "t2f"}
"""Ending of the file name of each channel, in nnU-Net's order."""

LABELS = {"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}
"""Necrotic core, oedema and infiltration, enhancing tumour, resection cavity."""

REGIONS: LabelValues = {"background": 0, "whole tumour": [1, 2, 3], "tumour core": [1, 3], "ET": [3], "RC": [4]}
"""What the challenge scores beside the labels."""

REGION_ORDER = [2, 1, 3, 4]
"""The label that a voxel of each region gets, later ones winning."""

FOLDER = re.compile(r"(BraTS-GLI-\d{5})-\d{3}")


def find_brats2024(roots: Sequence[Path], *, regions: bool = False, empty_labels: bool = False) -> Source:
    """Find the cases of the training data, the additional training data, or both.

    Args:
        roots: Unpacked archives, or any folders around the cases' own.
        regions: Train on overlapping regions instead of labels.
        empty_labels: Let pass label maps with nothing but background.

    Raises:
        UserError: One of the folders is missing, or holds no case.
    """
    cases: list[Case] = []
    unusable: dict[str, str] = {}
    for root in roots:
        folders, unreadable = find_folders(root, FOLDER)
        if not folders and not unreadable:
            raise UserError(f"{root} holds no folder BraTS-GLI-00000-000: is this the challenge's training data?")
        cases += map(_case, folders)
        unusable |= unreadable
    unique, twice = unique_cases(cases)
    return Source(
        maker="brats2024",
        name="BraTS2024",
        channels=tuple(CHANNELS),
        labels=LABELS,
        cases=unique,
        unusable=unusable | twice,
        empty_labels=empty_labels,
        regions=REGIONS if regions else None,
        extra={
            **({"regions_class_order": REGION_ORDER} if regions else {}),
            "description": "Gliomas after treatment, the adult glioma task of BraTS 2024.",
            "reference": "https://www.synapse.org/Synapse:syn53708249",
        },
    )


def _case(folder: Path) -> Case:
    def file(part: str) -> Path:
        return folder / f"{folder.name}-{part}{FILE_ENDING}"

    patient = FOLDER.fullmatch(folder.name)[1]  # type: ignore[index]
    return Case(folder.name, patient, tuple(map(file, CHANNELS.values())), file("seg"))
