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
"""Key of the sentence that says why a case was not predicted the last time."""

OUTDATED = "outdated"
"""Key of the names of a case's files that its prediction replaces, and has not replaced yet."""


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

    Until `remove_leftovers` and `begin`, nothing in the folder changes. Then each case goes through `put` and `finish`,
    or `put_failure`. The files of an earlier run stay until a case's new ones are complete.

    Args:
        folder: The folder; it exists.
        description: The model's.
        made_with: What decides about every label map (model, runtime, settings), in JSON's types.
        cases: Names of the cases that are to be predicted.
        probabilities: The files of probabilities that a case is not finished without.
        overwrite: Replace their label maps of earlier runs.

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
        self._wanted = cases
        self._dataset_json = dataset_json(description)
        self._ending = description.file_ending
        self._probabilities = probabilities
        before = _read(self.path)
        _refuse_foreign(folder, self._dataset_json, ours=bool(before))
        earlier = before.get("cases", {})
        made = {
            case: {key: value for key, value in how.items() if key != FAILED}
            for case, how in earlier.items()
            if self._is_made(case, how) and not (overwrite and case in cases)
        }
        if made and before["made_with"] != made_with:
            raise UserError(
                f"{folder} holds label maps{' of other cases' if overwrite else ''} that were made otherwise "
                f"({_difference(before['made_with'], made_with)}): choose another folder"
                + ("." if overwrite else ", or overwrite them."),
                option=() if overwrite else "overwrite",
            )
        lacking = {
            case
            for case in cases
            if case in made and not all(file.exists() for file in probability_files(folder, case, probabilities))
        }
        replaced = {
            case: self._replaced_files(case, before, overwrite=overwrite)
            for case in cases
            if case not in made or case in lacking
        }
        self._cases = {
            **{case: how for case, how in earlier.items() if OUTDATED in how and case not in cases},
            **{case: how for case, how in made.items() if case not in lacking},
            **{case: {OUTDATED: files} for case, files in replaced.items() if files},
        }

    def remove_leftovers(self) -> None:
        """Remove what a killed prediction of these cases, or of those in the record, left half written."""
        folder = self.path.parent
        files = [self.path, self.path.with_name("dataset.json")]
        for case in {*self._wanted, *self._cases}:
            files += [self.label_map(case), *probability_files(folder, case, PROBABILITY_FORMATS)]
        names = {file.name for file in files}
        for leftover in (*folder.glob(".*.tmp"), *(folder / NIFTI_FOLDER).glob(".*.tmp")):
            name, _, _ = leftover.name.removeprefix(".").removesuffix(".tmp").rpartition(".")
            if name in names:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def begin(self) -> None:
        """Write down what the label maps are made with, and which files are going to be replaced."""
        self._write()
        update_json(self.path.with_name("dataset.json"), self._dataset_json)

    def label_map(self, case: str) -> Path:
        """Where a case's label map is, or will be."""
        return self.path.with_name(case + self._ending)

    def made(self, case: str) -> dict[str, Any] | None:
        """How an existing label map was made; `None` if there is none."""
        how = self._cases.get(case, {})
        return how if self._is_made(case, how) else None

    def put(self, case: str, record: CaseRecord) -> None:
        """Write down how a label map is made, before it takes its place."""
        self._cases[case] = {**record.as_json(), **self._outdated(case)}
        self._write()

    def finish(self, case: str) -> None:
        """Once a case has all its files: remove what is left of those that they replace.

        Raises:
            UserError: A file cannot be removed.
        """
        if OUTDATED not in self._cases[case]:
            return
        folder, outdated = self.path.parent, self._cases[case][OUTDATED]
        written = probability_files(folder, case, self._probabilities)
        for file in probability_files(folder, case, PROBABILITY_FORMATS):
            if file not in written and self._name(file) in outdated:
                _remove(file)
        del self._cases[case][OUTDATED]
        self._write()

    def put_failure(self, case: str, sentence: str) -> dict[str, Any]:
        """Write down why a case was not predicted, besides how the label map that it keeps was made.

        Returns:
            An entry with the reason only.
        """
        failure = {FAILED: sentence}
        self._cases[case] = {**(self.made(case) or self._outdated(case)), **failure}
        self._write()
        return failure

    def _is_made(self, case: str, how: Mapping[str, Any]) -> bool:
        return "images" in how and OUTDATED not in how and self.label_map(case).exists()

    def _outdated(self, case: str) -> dict[str, Any]:
        return {key: value for key, value in self._cases.get(case, {}).items() if key == OUTDATED}

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path.parent).as_posix()

    def _replaced_files(self, case: str, before: Mapping[str, Any], *, overwrite: bool) -> list[str]:
        """Names of the files that a case replaces: what an earlier run left, and other files if they may go."""
        folder, ours = self.path.parent, []
        known = [self.label_map(case), *probability_files(folder, case, PROBABILITY_FORMATS)]
        if (how := before.get("cases", {}).get(case)) is not None:
            earlier = str(before["made_with"].get("probabilities", "")).split(", ")
            ours += probability_files(folder, case, [name for name in PROBABILITY_FORMATS if name in earlier])
            ours += [file for file in known if self._name(file) in how.get(OUTDATED, [])]
            if "images" in how:
                ours.append(self.label_map(case))
        wanted = [self.label_map(case), *probability_files(folder, case, self._probabilities)]
        others = [file for file in wanted if file.exists() and file not in ours]
        if others and not overwrite:
            raise UserError(
                f"{others[0]} exists already, and no {RECORD} says how it was made: "
                "choose another folder, or overwrite it.",
                option="overwrite",
            )
        return sorted({self._name(file) for file in (*others, *ours) if file.exists()})

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
    """Keep other predictions out of a folder, created if missing.

    Raises:
        UserError: Another process predicts into it, or it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot hold the label maps: {error.strerror}.") from error
    busy = f"another nndistill predict is writing into {folder}: wait until it ends, or choose another folder."
    with locked(folder / LOCK, busy):
        yield


def _read(path: Path) -> dict[str, Any]:
    """The record of an earlier run; empty if there is none."""
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content.get("made_with"), dict) or not isinstance(content.get("cases"), dict):
        raise UserError(f"{path} is not a record of nndistill predict: choose another folder.")
    if isinstance(model := content["made_with"].get("model"), dict):
        model.pop("orientations", None)  # which earlier versions wrote
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
        file.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{file}, of an earlier run, cannot be removed: {error.strerror}.") from error


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, for people: `backend openvino, now onnxruntime; another model`."""
    names = sorted(name for name in {*before, *now} if name != "model" and before.get(name) != now.get(name))
    different = [f"{name.replace('_', ' ')} {before.get(name)}, now {now.get(name)}" for name in names]
    return "; ".join((["another model"] if before.get("model") != now.get("model") else []) + different)
