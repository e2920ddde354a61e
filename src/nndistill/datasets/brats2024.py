"""BraTS 2024 GLI, gliomas after treatment, as the challenge ships it.

One folder per case: `BraTS-GLI-00005-100` is patient 5 at time point 100 and holds `BraTS-GLI-00005-100-t1n.nii.gz`,
`-t1c`, `-t2w`, `-t2f` and `-seg`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..nnunet.data.raw_format import FILE_ENDING
from .folders import find_folders, image_file
from .registry import ALLOW_EMPTY, Option, register
from .source import Case, LabelValues, Source, unique_cases

CHANNELS = {"T1N": "t1n", "T1C": "t1c", "T2W": "t2w", "T2F": "t2f"}
"""Ending of the file name of each channel, in nnU-Net's order."""

LABELS = {"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}
"""Necrotic core, oedema and infiltration, enhancing tumour, resection cavity."""

REGIONS: LabelValues = {"background": 0, "whole tumour": [1, 2, 3], "tumour core": [1, 3], "ET": [3], "RC": [4]}
"""What the challenge scores in addition to the labels."""

REGION_ORDER = [2, 1, 3, 4]
"""The label that a voxel of each region gets; later regions overwrite earlier ones."""

FOLDER = re.compile(r"(BraTS-GLI-\d{5})-\d{3}")


@register(
    "brats2024",
    title="BraTS 2024",
    summary="BraTS 2024 GLI: gliomas after treatment, four contrasts.",
    source="Unpacked archives: the training data, the additional training data, or both.",
    options={
        "regions": Option("Train on whole tumour, tumour core, ET and RC instead of the labels."),
        "empty_labels": ALLOW_EMPTY,
    },
    usual_id=226,
)
def find_brats2024(roots: Sequence[Path], *, regions: bool = False, empty_labels: bool = False) -> Source:
    """Find the cases of the training data, the additional training data, or both.

    Args:
        roots: Unpacked archives, or any folders that contain the folders of the cases.
        regions: Train on overlapping regions instead of labels.
        empty_labels: Accept label maps that hold only background.

    Raises:
        UserError: One of the folders is missing, or holds no case.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from nndistill.datasets import find_brats2024, generate_phantom
        >>> small = {"shape": (32, 32, 32), "spacing": (5, 5, 5), "jobs": 1}
        >>> download = generate_phantom(Path(mkdtemp()), layout="brats2024", cases=2, **small)
        >>> [case.name for case in find_brats2024([download]).cases]
        ['BraTS-GLI-00000-100', 'BraTS-GLI-00000-101']
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
        found_by="brats2024",
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
        return image_file(folder / f"{folder.name}-{part}{FILE_ENDING}")

    patient = FOLDER.fullmatch(folder.name)[1]  # type: ignore[index]
    return Case(folder.name, patient, tuple(map(file, CHANNELS.values())), file("seg"))
