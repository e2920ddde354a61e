"""What a folder of label maps was made with: kept beside them, so that a restart cannot mix two models or settings."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import UserError
from ..files import read_json, update_json, write_json
from .description import FILE_NAME, ModelDescription

RECORD = "nndistill_prediction.json"
LOCK = ".nndistill.lock"
FAILED = "failed"
"""Key of the sentence that says why a case has no label map."""
REMARK = "remark"
"""Key of a sentence that says what to keep in mind about a label map."""


class PredictionRecord:
    """The file `nndistill_prediction.json` in a folder of label maps, of which it knows how each was made.

    Args:
        folder: The folder; made when missing.
        description: The model's.
        made_with: What decides about every label map: model, runtime, settings; as JSON has it.
        cases: Names of the cases that are to be predicted.
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
                + ("." if overwrite else ", or --overwrite them.")
            )
        replaced = [file for case in cases if case not in self._cases and (file := self.label_map(case)).exists()]
        if replaced and not overwrite:
            raise UserError(
                f"{replaced[0]} is there already, and no {RECORD} says how it was made: "
                "choose another folder, or --overwrite it."
            )
        for file in replaced:
            _remove(file)
        self._write()
        update_json(folder / "dataset.json", dataset_json(description))

    def label_map(self, case: str) -> Path:
        """Where a case's label map is, or will be."""
        return self.path.with_name(case + self._ending)

    def made(self, case: str) -> dict[str, Any] | None:
        """How a label map that is there was made; None where it is not there."""
        how = self._cases.get(case, {FAILED: ""})
        return None if FAILED in how or not self.label_map(case).exists() else how

    def put(self, case: str, how: dict[str, Any]) -> None:
        """Write down how a label map was made, before it takes its place; or, as `failed`, why there is none."""
        self._cases[case] = how
        self._write()

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
    """Keep other predictions out of a folder, which is made when missing; clear what a killed one left half written.

    Raises:
        UserError: Another process predicts into it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot hold the label maps: {error.strerror}.") from error
    with _locked(folder):
        for leftover in folder.glob(".*.tmp"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield


def _locked(folder: Path) -> AbstractContextManager[object]:
    """A lock that ends with the process, however that ends."""
    try:
        return FileLock(folder / LOCK, blocking=False).acquire()
    except Timeout:
        raise UserError(
            f"another nndistill predict is writing into {folder}: wait for its end, or choose another folder."
        ) from None
    except OSError:  # a network disk that knows no locks
        return nullcontext()


def _read(path: Path) -> dict[str, Any]:
    """The record that is there; empty where there is none."""
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
