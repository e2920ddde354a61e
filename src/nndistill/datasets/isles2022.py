"""ISLES 2022, acute ischaemic stroke, in the layout of the public archive and in that of the challenge's sample.

In the archive: `sub-strokecase0001/ses-0001/anat/sub-strokecase0001_ses-0001_FLAIR.nii.gz` and `…/dwi/…_dwi.nii.gz`,
`…_adc.nii.gz`. In the sample: `rawdata/sub-strokecase0001/ses-0001/…_flair.nii.gz`, `…_dwi.nii.gz`, `…_adc.nii.gz`.
In both: `derivatives/sub-strokecase0001/ses-0001/…_msk.nii.gz`, on the grid of DWI and ADC; FLAIR has its own grid.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from ..errors import UserError
from ..nnunet.data.raw_format import FILE_ENDING
from .folders import find_folders, image_file, subfolders
from .registry import Option, register
from .source import Case, Source, unique_cases

CHANNELS = ("FLAIR", "DWI", "ADC")
"""In the order of the paper's release."""

IN_ARCHIVE = {"FLAIR": "anat/{}_FLAIR", "DWI": "dwi/{}_dwi", "ADC": "dwi/{}_adc"}

LABELS = {"background": 0, "lesion": 1}

SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")


@register(
    "isles2022",
    title="ISLES 2022",
    summary="ISLES 2022: acute strokes, FLAIR, DWI and ADC.",
    source="The unpacked archive, or the challenge's sample.",
    options={"grid": Option("Image onto whose voxels the others are resampled.")},
    usual_id=229,
)
def find_isles2022(root: Path, *, grid: Literal["flair", "dwi"] = "flair") -> Source:
    """Find the cases of the training data.

    Args:
        root: The unpacked archive.
        grid: The image onto whose voxels the others are resampled: FLAIR's, as in the paper's release, or DWI's,
            on which the lesions were drawn.

    Raises:
        UserError: The folder is missing, or holds no case.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from nndistill.datasets import find_isles2022, generate_phantom
        >>> small = {"shape": (32, 32, 32), "spacing": (5, 5, 5), "jobs": 1}
        >>> download = generate_phantom(Path(mkdtemp()), layout="isles2022", cases=2, **small)
        >>> [case.name for case in find_isles2022(download).cases]
        ['sub-strokecase0001_ses-0001', 'sub-strokecase0002_ses-0001']
    """
    cases: list[Case] = []
    subjects, unusable = find_folders(root, SUBJECT)
    for subject in subjects:
        for session in _sessions(subject):
            try:
                cases.append(_case(subject, session))
            except UserError as error:
                unusable[_name(subject, session)] = str(error)
            except OSError as error:
                unusable[_name(subject, session)] = f"{error.filename} cannot be read: {error.strerror}."
    if not cases and not unusable:
        raise UserError(f"{root} holds no folder sub-strokecase0000: is this the archive of ISLES 2022?")
    unique, twice = unique_cases(cases)
    return Source(
        found_by="isles2022",
        name="ISLES2022",
        channels=CHANNELS,
        labels=LABELS,
        cases=unique,
        unusable=unusable | twice,
        onto=CHANNELS.index(grid.upper()),
        drawn_on=CHANNELS.index("DWI"),
        empty_labels=True,  # some patients have no visible lesion
        extra={
            "description": f"Acute ischaemic stroke, ISLES 2022, on the grid of {grid.upper()}.",
            "reference": "Hernandez Petzsche et al., Sci. Data 9, 762 (2022)",
        },
    )


def _sessions(subject: Path) -> list[Path]:
    return [path for path in subfolders(subject) if path.name.startswith("ses-")] or [subject]


def _name(subject: Path, session: Path) -> str:
    return subject.name if session == subject else f"{subject.name}_{session.name}"


def _case(subject: Path, session: Path) -> Case:
    """The files of a session; of a missing file, the path that it should have."""
    name = _name(subject, session)
    archive = any(path.name in {"anat", "dwi"} for path in subfolders(session))
    present = [path for folder in (session, *subfolders(session)) for path in folder.iterdir()]

    def image(channel: str) -> Path:
        ending = f"_{channel.lower()}{FILE_ENDING}"
        named = [path for path in present if not path.name.startswith(".")]
        found = [path for path in named if path.name.lower().endswith(ending)]
        found = found or [path for path in named if path.name.lower().endswith(ending.removesuffix(".gz"))]
        if len(found) > 1:
            raise UserError(f"{session} holds more than one {channel}: {', '.join(sorted(p.name for p in found))}.")
        if found:
            return found[0]
        return session / (f"{IN_ARCHIVE[channel].format(name)}{FILE_ENDING}" if archive else f"{name}{ending}")

    return Case(name, subject.name, tuple(map(image, CHANNELS)), _mask(subject, session))


def _mask(subject: Path, session: Path) -> Path:
    """In `derivatives`, which is next to the subjects or next to their folder `rawdata`."""
    inside = session.relative_to(subject.parent) / f"{_name(subject, session)}_msk{FILE_ENDING}"
    parents = subject.parent, subject.parent.parent
    sibling, above = (image_file(parent / "derivatives" / inside) for parent in parents)
    return above if above.exists() or subject.parent.name == "rawdata" else sibling
