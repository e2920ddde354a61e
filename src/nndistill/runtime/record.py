"""What the label maps of a folder were made with: kept with them, so that a restart cannot mix models or settings."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UserError
from ..files import locked, read_json, update_json, write_json
from .description import FILE_NAME, ModelDescription
from .probabilities import NIFTI_FOLDER, PROBABILITY_FORMATS, ProbabilityFormat, probability_files

RECORD = "nndistill_prediction.json"
LOCK = ".nndistill.lock"
FAILED = "failed"
"""Key of the sentence that says why a case has no label map."""


@dataclass(frozen=True, kw_only=True)
class CaseRecord:
    """How a label map is made; each stage of the prediction adds what it knows.

    Attributes:
        nndistill: The version that made it.
        device: The processor or GPU that computes the network.
        seconds: What each finished stage took.
        images: SHA-256 of each channel's file, by the file's name.
        remark: What to keep in mind about the label map.
        windows: How many windows were computed.
        windows_of_air: How many were left out, because they hold only background air.
    """

    nndistill: str = __version__
    device: str
    seconds: Mapping[str, float]
    images: Mapping[str, str]
    remark: str | None = None
    windows: int | None = None
    windows_of_air: int | None = None

    def as_json(self) -> dict[str, Any]:
        """What is known, as `nndistill_prediction.json` holds it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class PredictionRecord:
    """The file `nndistill_prediction.json` in a folder of label maps, which says how each was made.

    Args:
        folder: The folder; created if missing.
        description: The model's.
        made_with: What decides about every label map (model, runtime, settings), in JSON's types.
        cases: Names of the cases that are to be predicted.
        probabilities: The files of probabilities that a case is not finished without.
        overwrite: Remove their label maps of earlier runs.

    Raises:
        UserError: The folder holds label maps that were made otherwise, or something that would be lost or mixed up.
    """

    def __init__(
        self,
        folder: Path,
        *,
        description: ModelDescription,
        made_with: Mapping[str, Any],
        cases: Collection[str],
        probabilities: Collection[ProbabilityFormat] = (),
        overwrite: bool = False,
    ) -> None:
        self.path = folder / RECORD
        self._made_with = made_with
        self._ending = description.file_ending
        before = _read(self.path)
        _refuse_foreign(folder, dataset_json(description), ours=bool(before))
        made = {case: how for case, how in before.get("cases", {}).items() if FAILED not in how}
        self._cases = {case: how for case, how in made.items() if self.label_map(case).exists()}
        if overwrite:
            self._cases = {case: how for case, how in self._cases.items() if case not in cases}
        if self._cases and before["made_with"] != made_with:
            raise UserError(
                f"{folder} holds label maps{' of other cases' if overwrite else ''} that were made otherwise "
                f"({_difference(before['made_with'], made_with)}): choose another folder"
                + ("." if overwrite else ", or overwrite them."),
                option=() if overwrite else "overwrite",
            )
        lacking = [
            case
            for case in cases
            if case in self._cases and not all(file.exists() for file in probability_files(folder, case, probabilities))
        ]
        for case in lacking:
            del self._cases[case]
            _remove(self.label_map(case))
        self._make_way([case for case in cases if case not in self._cases], probabilities, before, overwrite=overwrite)
        self._write()
        update_json(folder / "dataset.json", dataset_json(description))

    def label_map(self, case: str) -> Path:
        """Where a case's label map is, or will be."""
        return self.path.with_name(case + self._ending)

    def made(self, case: str) -> dict[str, Any] | None:
        """How an existing label map was made; `None` if there is none."""
        how = self._cases.get(case, {FAILED: ""})
        return None if FAILED in how or not self.label_map(case).exists() else how

    def put(self, case: str, record: CaseRecord) -> None:
        """Write down how a label map is made, before it takes its place."""
        self._cases[case] = record.as_json()
        self._write()

    def put_failure(self, case: str, sentence: str) -> dict[str, Any]:
        """Write down why a case has no label map, unless it has one from an earlier run; return the entry."""
        failure = {FAILED: sentence}
        if self.made(case) is None:
            self._cases[case] = failure
            self._write()
        return failure

    def _make_way(
        self,
        cases: Collection[str],
        probabilities: Collection[ProbabilityFormat],
        before: Mapping[str, Any],
        *,
        overwrite: bool,
    ) -> None:
        """Remove the files that cases replace: what an earlier run left unfinished, and other files if they may go."""
        folder = self.path.parent
        earlier = str(before.get("made_with", {}).get("probabilities", "")).split(", ")
        unfinished = [
            file
            for case in cases
            if case in before.get("cases", {})
            for file in probability_files(folder, case, [name for name in PROBABILITY_FORMATS if name in earlier])
        ]
        wanted = [
            file for case in cases for file in (self.label_map(case), *probability_files(folder, case, probabilities))
        ]
        others = [file for file in wanted if file.exists() and file not in unfinished]
        if others and not overwrite:
            raise UserError(
                f"{others[0]} exists already, and no {RECORD} says how it was made: "
                "choose another folder, or overwrite it.",
                option="overwrite",
            )
        for file in {*others, *(file for file in unfinished if file.exists())}:
            _remove(file)

    def _write(self) -> None:
        write_json(self.path, {"made_with": self._made_with, "cases": self._cases})


def dataset_json(description: ModelDescription) -> dict[str, Any]:
    """What `dataset.json` says of label maps: their labels, for `nndistill evaluate` and nnU-Net's own evaluation."""
    content: dict[str, Any] = {
        "channel_names": {str(index): channel.name for index, channel in enumerate(description.channels)},
        "labels": description.labels,
        "file_ending": description.file_ending,
    }
    if description.regions_class_order is not None:
        content["regions_class_order"] = list(description.regions_class_order)
    return content


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other predictions out of a folder, created if missing; remove what a killed one left half written.

    Raises:
        UserError: Another process predicts into it, or it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot hold the label maps: {error.strerror}.") from error
    busy = f"another nndistill predict is writing into {folder}: wait until it ends, or choose another folder."
    with locked(folder / LOCK, busy):
        for leftover in (*folder.glob(".*.tmp"), *(folder / NIFTI_FOLDER).glob(".*.tmp")):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield


def _read(path: Path) -> dict[str, Any]:
    """The record of an earlier run; empty if there is none."""
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content.get("made_with"), dict) or not isinstance(content.get("cases"), dict):
        raise UserError(f"{path} is not a record of nndistill predict: choose another folder.")
    return content


def _refuse_foreign(folder: Path, labels: Mapping[str, Any], *, ours: bool) -> None:
    """Refuse to put label maps into an exported model, a data set, or what another program predicted."""
    if (folder / FILE_NAME).exists():
        raise UserError(f"{folder} is an exported model: choose another folder for the label maps.")
    file = folder / "dataset.json"
    if file.exists() and not ours and read_json(file) != labels:
        raise UserError(f"{file} belongs to something else: choose another folder for the label maps.")


def _remove(file: Path) -> None:
    try:
        file.unlink()
    except OSError as error:
        raise UserError(f"{file} cannot be overwritten: {error.strerror}.") from error


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, for people: `backend openvino, now onnxruntime; another model`."""
    names = sorted(name for name in {*before, *now} if name != "model" and before.get(name) != now.get(name))
    different = [f"{name.replace('_', ' ')} {before.get(name)}, now {now.get(name)}" for name in names]
    return "; ".join((["another model"] if before.get("model") != now.get("model") else []) + different)
