"""Predict many cases: while the network computes one, the next is read and the last one is written."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from .. import __version__
from ..errors import UserError
from ..files import digest
from .backends.base import Array
from .cases import InputCase, channel_files
from .image import Geometry, read_image, write_labels
from .loading import LoadedModel
from .postprocessing import labels_of
from .preprocessing import Preprocessed, preprocess, small_volume
from .record import FAILED, REMARK, PredictionRecord, alone_in
from .sliding_window import predict_logits, windows

FAULTS = "nndistill_faults.log"
Outcome = Literal["done", "kept", "failed"]


class Progress(Protocol):
    """Who is told how far a batch is, from several threads."""

    def windows(self, case: str, done: int, total: int) -> None:
        """So many windows of the case that is computed are done."""

    def settled(self, case: str, outcome: Outcome, how: Mapping[str, Any]) -> None:
        """A case has come to its end; `how` is what `nndistill_prediction.json` says of it."""


@dataclass
class Predictions:
    """What became of the cases of a batch.

    Args:
        done: Predicted now.
        kept: Predicted by an earlier run.
        failed: The sentence that says why there is no label map.
        faults: Of those that failed, the ones that nnDistill is to blame for.
    """

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def predict_cases(
    model: LoadedModel,
    cases: Sequence[InputCase],
    output: Path,
    *,
    overlap: float | None = None,
    mirror: bool = True,
    skip_air: bool = True,
    any_orientation: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Predictions:
    """Write a label map a case; a case that cannot be predicted is told, and the others go on.

    At most three cases are in memory: one read, one computed, one written. Every label map is whole or not there, and
    those that an earlier run with the same model and settings made of the same images are kept.

    Args:
        model: From `load_model`.
        cases: From `find_cases`.
        output: Folder for `CASE.nii.gz`, `dataset.json` and `nndistill_prediction.json`.
        overlap: Share of a window that its neighbour covers too; default: the model's.
        mirror: Whether to average over mirrorings, along the axes the model was trained with.
        skip_air: Whether windows that hold only background air are left out.
        any_orientation: Whether images in another orientation than the training's are predicted all the same.
        overwrite: Predict cases that have a label map already, too.
        progress: Is told how far it is.

    Raises:
        UserError: Before anything is computed: `output` is no place for the label maps, or holds some that were made
            otherwise. Later: nothing can be written there any more.
    """
    if any(file.resolve().parent == output.resolve() for case in cases for file in case.files.values()):
        raise UserError(f"{output} holds the images: choose another folder for the label maps.")
    settings = _Settings(model.description.overlap if overlap is None else overlap, mirror, skip_air, any_orientation)
    with alone_in(output):
        record = PredictionRecord(
            output,
            description=model.description,
            made_with=settings.made_with(model),
            cases=[case.name for case in cases],
            overwrite=overwrite,
        )
        batch = _Batch(model, settings, record, progress)
        batch.run(cases)
    return batch.predictions


@dataclass(frozen=True)
class _Settings:
    overlap: float
    mirror: bool
    skip_air: bool
    any_orientation: bool

    def made_with(self, model: LoadedModel) -> dict[str, Any]:
        """What decides about the label maps, beside the images."""
        description = model.description
        return {
            "model": description.model_dump(mode="json", exclude={"check", "versions"}),
            "backend": model.backend.name,
            "precision": description.precision,
            "overlap": self.overlap,
            "mirroring_axes": list(description.mirroring_axes) if self.mirror else [],
            "all_windows": not self.skip_air,
            "any_orientation": self.any_orientation,
        }


@dataclass(frozen=True)
class _Read:
    """A case that waits for the network; `how` tells how its label map is made, as far as that is known."""

    name: str
    how: dict[str, Any]
    preprocessed: Preprocessed
    geometry: Geometry


@dataclass(frozen=True)
class _Computed:
    """A case that waits to be written."""

    case: _Read
    logits: Array


class _Batch:
    """The three stages that a case goes through. Where it fails, that is told, and it goes no further."""

    def __init__(
        self, model: LoadedModel, settings: _Settings, record: PredictionRecord, progress: Progress | None
    ) -> None:
        self.predictions = Predictions()
        self._model = model
        self._settings = settings
        self._record = record
        self._progress = progress
        self._settling = threading.Lock()
        self._stopped = False

    def run(self, cases: Sequence[InputCase]) -> None:
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            try:
                writing = writer.submit(lambda: None)
                for case in _one_ahead(reader, self._read, cases):
                    computed = self._compute(case) if case else None
                    writing.result()
                    if computed:
                        writing = writer.submit(self._write, computed)
                    del case, computed  # while the next one is computed, this thread holds nothing of the last
                writing.result()
            finally:
                self._stopped = True

    def _read(self, case: InputCase) -> _Read | None:
        """First stage; None where nothing is to be computed."""
        with self._told(case.name):
            how: dict[str, Any] = {"nndistill": __version__, "device": self._model.backend.device, "seconds": {}}
            with _timed(how, "reading"):
                files = channel_files(case, self._model.description)
                how["images"] = _digests(files)
                if self._is_kept(case.name, how["images"]):
                    return None
                image = read_image(files, self._model.description, any_orientation=self._settings.any_orientation)
                if self._stopped:
                    return None
                preprocessed = preprocess(image, self._model.description)
                if remark := small_volume(preprocessed.array.shape[1:], self._model.description.patch_size):
                    how[REMARK] = remark
            return _Read(case.name, how, preprocessed, image.geometry)
        return None

    def _is_kept(self, case: str, images: Mapping[str, str]) -> bool:
        made = self._record.made(case)
        if made is None:
            return False
        if made["images"] != images:
            raise UserError(
                f"{self._record.label_map(case)} was made from other images than those that are given now: "
                "choose another folder, or --overwrite it."
            )
        self._settle(case, "kept", made)
        return True

    def _compute(self, case: _Read) -> _Computed | None:
        """Second stage, in the main thread."""
        with self._told(case.name):
            with _timed(case.how, "network"):
                logits = predict_logits(
                    case.preprocessed,
                    self._model.backend,
                    self._model.description,
                    overlap=self._settings.overlap,
                    mirror=self._settings.mirror,
                    skip_air=self._settings.skip_air,
                    progress=partial(self._tell_windows, case),
                )
            everywhere = _window_count(logits.shape[1:], self._model.description.patch_size, self._settings.overlap)
            case.how["windows_of_air"] = everywhere - case.how["windows"]
            # What is still needed is where the voxels lie.
            light = replace(case.preprocessed, array=case.preprocessed.array[..., :0].copy(), mask=None)
            return _Computed(replace(case, preprocessed=light), logits)
        return None

    def _tell_windows(self, case: _Read, done: int, total: int) -> None:
        case.how["windows"] = total
        if self._progress:
            self._progress.windows(case.name, done, total)

    def _write(self, computed: _Computed) -> None:
        """Third stage."""
        case = computed.case
        with self._told(case.name):
            with _timed(case.how, "labels"):
                labels = labels_of(computed.logits, case.preprocessed, self._model.description)
            with self._settling:
                self._record.put(case.name, case.how)  # first: a label map of which nothing is known is not kept
            write_labels(labels, case.geometry, self._record.label_map(case.name))
            self._settle(case.name, "done", case.how)

    @contextmanager
    def _told(self, case: str) -> Iterator[None]:
        """Whatever goes wrong with a case is told of that case, and not raised."""
        try:
            yield
        except UserError as error:
            self._settle(case, "failed", {FAILED: str(error)})
        except MemoryError as error:
            sentence = f"{case} needs more memory than this machine has free ({error})."
            self._settle(case, "failed", {FAILED: sentence})
        except Exception as error:
            log = self._record.path.with_name(FAULTS)
            with self._settling, log.open("a") as file:
                file.write(f"{case}\n{traceback.format_exc()}\n")
            self.predictions.faults.append(case)
            sentence = f"a fault of nnDistill, not yours: {type(error).__name__}, {error}. Please report it with {log}."
            self._settle(case, "failed", {FAILED: sentence})

    def _settle(self, case: str, outcome: Outcome, how: dict[str, Any]) -> None:
        with self._settling:
            if outcome == "failed":
                self.predictions.failed[case] = how[FAILED]
                if self._record.made(case) is None:
                    self._record.put(case, how)
            else:
                (self.predictions.done if outcome == "done" else self.predictions.kept).append(case)
            if self._progress:
                self._progress.settled(case, outcome, how)


Item = TypeVar("Item")
Result = TypeVar("Result")


def _one_ahead(thread: ThreadPoolExecutor, stage: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results in order; the next is made in the thread while the caller works on one, and no more than that."""
    ahead: deque[Future[Result]] = deque()
    for item in items:
        ahead.append(thread.submit(stage, item))
        if len(ahead) > 1:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _window_count(shape: Sequence[int], patch_size: Sequence[int], overlap: float) -> int:
    return len(windows([max(lengths) for lengths in zip(shape, patch_size, strict=True)], patch_size, overlap))


def _digests(files: Iterable[Path]) -> dict[str, str]:
    digests = {}
    for file in files:
        try:
            digests[file.name] = digest(file)
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    return digests


@contextmanager
def _timed(how: dict[str, Any], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    how["seconds"][stage] = round(time.perf_counter() - started, 3)
