"""A data set's folder knows what it was made from: what is done is kept, and nobody else's files are touched."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from ..errors import UserError
from ..files import read_json, write_json
from .raw import FILE_ENDING

RECORD = "provenance.json"


def is_complete(folder: Path, files: Collection[Path], provenance: Mapping[str, object]) -> bool:
    """Whether the data set was made from just this, to its end, and holds just these files."""
    finished = (folder / "dataset.json").exists() and is_claimed(folder, provenance)
    return finished and set(_case_files(folder)) == set(files)


def is_claimed(folder: Path, provenance: Mapping[str, object]) -> bool:
    """Whether the folder was begun with just this provenance, so that the files in it can stay."""
    return (folder / RECORD).exists() and read_json(folder / RECORD) == dict(provenance)


def claim(folder: Path, files: Collection[Path], provenance: Mapping[str, object]) -> None:
    """Make the folder ready: its record says where it comes from, and files of something else are gone.

    `dataset.json` goes too, so that nnU-Net does not take an unfinished data set for a whole one.

    Args:
        folder: The data set's folder; made when missing.
        files: The cases' files that are going to be there.
        provenance: All that the files depend on, as JSON writes it.

    Raises:
        UserError: The folder holds something without a record, which was not made here, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / RECORD).exists():
        raise UserError(f"{folder} holds something that nndistill did not make: choose another place or number.")
    stay = set(files) if is_claimed(folder, provenance) else set()
    try:
        (folder / "dataset.json").unlink(missing_ok=True)
        for path in set(_case_files(folder)) - stay:
            path.unlink()
    except OSError as error:
        raise UserError(f"cannot clear {folder}: {error.strerror}.") from error
    if not is_claimed(folder, provenance):
        write_json(folder / RECORD, provenance)


def _case_files(folder: Path) -> Iterator[Path]:
    """Those of cases, the unfinished ones of killed processes too."""
    for part in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        yield from (folder / part).glob(f"*{FILE_ENDING}*")
