"""A batch of cases: while the network computes one, the next is read and the last one is written."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from ..errors import UserError
from ..files import digest
from .backends.base import Array
from .cases import InputCase, channel_files
from .image import Geometry, read_image, write_labels
from .loading import LoadedModel
from .postprocessing import labels_and_probabilities_of, labels_of
from .preprocessing import Mask, Preprocessed, preprocess, small_volume
from .probabilities import copies_in_memory, write_probabilities
from .record import CaseRecord, PredictionRecord
from .settings import PredictionSettings
from .sliding_window import covered_voxels, predict_logits, windows

FAULTS = "nndistill_faults.log"
Outcome = Literal["done", "kept", "failed"]


class Progress(Protocol):
    """Receives how far a batch is, from several threads."""

    def windows(self, case: str, done: int, total: int) -> None:
        """Of the case that is computed, `done` of `total` windows are finished."""

    def settled(self, case: str, outcome: Outcome, how: Mapping[str, Any]) -> None:
        """A case is finished; `how` is its entry in `nndistill_prediction.json`."""


@dataclass
class Predictions:
    """What became of the cases of a batch.

    Attributes:
        done: Predicted now.
        kept: Predicted by an earlier run.
        failed: By case, the sentence that says why it was not predicted.
        faults: Of the failed cases, those that nnDistill is to blame for.
        options: Options that the sentences are about; see `UserError`.
    """

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _ReadCase:
    """A case that waits for the network."""

    name: str
    record: CaseRecord
    preprocessed: Preprocessed
    geometry: Geometry


@dataclass(frozen=True)
class _ComputedCase:
    """A case that waits to be written."""

    case: _ReadCase
    logits: Array
    covered: Mask | None


class Batch:
    """The three stages that each case goes through; a case that fails in one is recorded and goes no further.

    Args:
        model: The network.
        settings: How to predict.
        record: Of the folder for the label maps.
        progress: Receives how far the batch is.
    """

    def __init__(
        self,
        model: LoadedModel,
        settings: PredictionSettings,
        record: PredictionRecord,
        progress: Progress | None,
    ) -> None:
        self._predictions = Predictions()
        self._model = model
        self._settings = settings
        self._record = record
        self._progress = progress
        self._settling = threading.Lock()
        self._stopped = False

    def run(self, cases: Sequence[InputCase]) -> Predictions:
        """Predict the cases.

        Raises:
            UserError: Nothing can be written any more.
        """
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
        return self._predictions

    def _read(self, case: InputCase) -> _ReadCase | None:
        """First stage; `None` if there is nothing to compute."""
        with self._recording_failure(case.name):
            start = time.perf_counter()
            files = channel_files(case, self._model.description)
            images = _digests(files)
            if self._is_kept(case.name, images):
                return None
            image = read_image(
                files,
                self._model.description,
                any_orientation=self._settings.any_orientation,
                allow_empty_channel=self._settings.allow_empty_channel,
                probability_copies=copies_in_memory(self._settings.probabilities),
            )
            if self._stopped:
                return None
            preprocessed = preprocess(image, self._model.description)
            small = small_volume(preprocessed.array.shape[1:], self._model.description.patch_size)
            record = CaseRecord(
                device=self._model.backend.device,
                images=images,
                remark=" ".join(filter(None, [small, *image.remarks])) or None,
                seconds={"reading": _seconds_since(start)},
            )
            return _ReadCase(case.name, record, preprocessed, image.geometry)
        return None

    def _is_kept(self, case: str, images: Mapping[str, str]) -> bool:
        made = self._record.made(case)
        if made is None:
            return False
        if made["images"] != images:
            raise UserError(
                f"{self._record.label_map(case)} was made from other images than those that are given now: "
                "choose another folder, or overwrite it.",
                option="overwrite",
            )
        self._settle(case, "kept", made)
        return True

    def _compute(self, case: _ReadCase) -> _ComputedCase | None:
        """Second stage, in the main thread."""
        computed = 0

        def report(done: int, total: int) -> None:
            nonlocal computed
            computed = total
            if self._progress:
                self._progress.windows(case.name, done, total)

        with self._recording_failure(case.name):
            start = time.perf_counter()
            logits = predict_logits(
                case.preprocessed,
                self._model.backend,
                self._model.description,
                overlap=self._settings.overlap,
                mirror=self._settings.mirror,
                skip_air=self._settings.skip_air,
                progress=report,
            )
            seconds = _seconds_since(start)
            everywhere = len(windows(logits.shape[1:], self._model.description.patch_size, self._settings.overlap))
            record = replace(
                case.record,
                windows=computed,
                windows_of_air=everywhere - computed,
                seconds={**case.record.seconds, "network": seconds},
            )
            covered = None
            if self._settings.probabilities and self._settings.skip_air:
                covered = covered_voxels(case.preprocessed, self._model.description, overlap=self._settings.overlap)
            # Of the image, only the places of its voxels are still needed.
            light = replace(case.preprocessed, array=case.preprocessed.array[..., :0].copy(), mask=None)
            return _ComputedCase(replace(case, record=record, preprocessed=light), logits, covered)
        return None

    def _write(self, computed: _ComputedCase) -> None:
        """Third stage."""
        case, formats = computed.case, self._settings.probabilities
        of_case = computed.logits, case.preprocessed, self._model.description
        with self._recording_failure(case.name):
            start = time.perf_counter()
            labels, probabilities = (
                labels_and_probabilities_of(*of_case, covered=computed.covered)
                if formats
                else (labels_of(*of_case), None)
            )
            record = replace(case.record, seconds={**case.record.seconds, "labels": _seconds_since(start)})
            with self._settling:
                self._record.put(case.name, record)  # first: a label map without a record is not kept
            if probabilities is not None:  # before the label map, which says that the case is finished
                folder = self._record.path.parent
                write_probabilities(probabilities, case.preprocessed, case.geometry, folder, case.name, formats)
            write_labels(labels, case.geometry, self._record.label_map(case.name))
            with self._settling:
                self._record.finish(case.name)
            self._settle(case.name, "done", record.as_json())

    @contextmanager
    def _recording_failure(self, case: str) -> Iterator[None]:
        """Record whatever goes wrong with a case as its failure, instead of raising it."""
        try:
            yield
        except UserError as error:
            options = [error.option] if isinstance(error.option, str) else error.option
            self._predictions.options += [name for name in options if name not in self._predictions.options]
            self._fail(case, str(error))
        except MemoryError as error:
            self._fail(case, f"{case} needs more memory than this machine has free ({error}).")
        except Exception as error:
            log = self._record.path.with_name(FAULTS)
            with self._settling, log.open("a") as file:
                file.write(f"{case}\n{traceback.format_exc()}\n")
            self._predictions.faults.append(case)
            cause = f"{type(error).__name__}, {error}"
            self._fail(case, f"a fault of nnDistill, not yours: {cause}. Please report it with {log}.")

    def _fail(self, case: str, sentence: str) -> None:
        with self._settling:
            self._predictions.failed[case] = sentence
            failure = self._record.put_failure(case, sentence)
            if self._progress:
                self._progress.settled(case, "failed", failure)

    def _settle(self, case: str, outcome: Literal["done", "kept"], how: Mapping[str, Any]) -> None:
        with self._settling:
            (self._predictions.done if outcome == "done" else self._predictions.kept).append(case)
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


def _digests(files: Iterable[Path]) -> dict[str, str]:
    digests = {}
    for file in files:
        try:
            digests[file.name] = digest(file)
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    return digests


def _seconds_since(start: float) -> float:
    return round(time.perf_counter() - start, 3)
