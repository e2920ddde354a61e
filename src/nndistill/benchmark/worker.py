"""A model in a process of its own, which measures the seconds and the memory that the model takes.

In a process of its own the peak memory is the model's alone, without what this process and other models hold.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, TracebackType
from typing import Any, ParamSpec, TypeVar

from ..errors import UserError
from ..idle_threads import idle_threads_sleep
from ..runtime.cases import InputCase
from ..runtime.formats import RUNTIMES

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """One computation: its seconds, and the processor seconds of all threads together."""

    seconds: float
    processor_seconds: float


@dataclass(frozen=True)
class ModelAndCase:
    """What a process has loaded.

    Args:
        facts: Name, format, backend, precision, device, patch, versions, and seconds to load the model.
        case: The case that the model is measured on.
        case_voxels: Of one channel.
        file_ending: Of the case's files.
        warnings: What was logged as a warning while loading.
    """

    facts: dict[str, Any]
    case: InputCase
    case_voxels: int
    file_ending: str
    warnings: list[str]


class MeasuredModel:
    """A model in its own process, for use in a `with` statement; it takes no processor time while it waits.

    Args:
        model: An exported folder, or a model folder of nnU-Net.
        input: A case, as `nndistill predict` takes it.
        backend, device, fold: As in `load_model`.

    Attributes:
        loaded: The model and the case.
        pid: Of the process.

    Raises:
        UserError: The model or the case is missing or does not fit, or the memory is not enough.
        ModuleNotFoundError: The runtime is not installed.
    """

    def __init__(
        self,
        model: Path,
        input: Path,
        *,
        backend: str | None,
        device: str = "auto",
        fold: str | Sequence[str] | None = None,
    ) -> None:
        self._model = model
        self._folder = TemporaryDirectory()
        self._printed = Path(self._folder.name) / "printed.txt"
        self._pool = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_process, initargs=(self._printed,)
        )
        others = multiprocessing.active_children()
        with _without_main_module():
            started = self._pool.submit(os.getpid)
        self._process = next(child for child in multiprocessing.active_children() if child not in others)
        try:
            self.pid = started.result()
            self.loaded = self._run(_load, model, input, backend, device, fold)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> MeasuredModel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()  # it may be in the middle of a long computation
        self._pool.shutdown()
        self._folder.cleanup()

    def measure_patch(self) -> Run:
        """Compute one window of the case: the network alone, without mirroring."""
        return self._run(_measure_patch)

    def measure_case(self, *, mirror: bool) -> Run:
        """Predict the case from NIfTI to NIfTI, as `nndistill predict` does."""
        return self._run(_measure_case, mirror)

    def peak_memory(self) -> int:
        """The most bytes of memory that the process ever held."""
        return self._run(_peak_memory)

    def _run(self, compute: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Let the process compute something."""
        try:
            return self._pool.submit(compute, *args, **kwargs).result()
        except BrokenProcessPool as error:
            self._pool.shutdown()  # the exit code is known once the process has been waited for
            if self._process.exitcode == -signal.SIGKILL:
                raise UserError(
                    f"the process that measured {self._model} was killed, most likely because the machine's memory was "
                    "not enough. Measure fewer models at a time, or on a larger machine."
                ) from None
            printed = self._printed.read_text(errors="replace")
            raise RuntimeError(f"measuring {self._model} failed:\n{printed}") from error


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Let a process start without importing this one's main module.

    `multiprocessing` imports it for the sake of functions defined in it. Here it would only add what it imports, the
    whole command line or a user's PyTorch, to the measured memory.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _prepare_process(printed: Path) -> None:
    """In the process: send everything printed to a file, and let idle threads sleep."""
    with printed.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(idle_threads_sleep(os.environ))  # read by a runtime's libraries when they are loaded


def _load(model: Path, input: Path, backend: str | None, device: str, fold: str | Sequence[str] | None) -> ModelAndCase:
    """In the process: load the model and the case, and keep them for the measurements."""
    held = _Model(model, input, backend, device, fold)
    _held.append(held)
    return held.loaded


def _measure_patch() -> Run:
    return _held[0].measure_patch()


def _measure_case(mirror: bool) -> Run:
    return _held[0].measure_case(mirror)


class _Model:
    def __init__(
        self, model: Path, input: Path, backend: str | None, device: str, fold: str | Sequence[str] | None
    ) -> None:
        from ..runtime.cases import channel_files, find_cases
        from ..runtime.image import read_image
        from ..runtime.loading import load_model
        from ..runtime.preprocessing import preprocess
        from ..runtime.sliding_window import sample_windows

        warnings: list[str] = []
        logging.getLogger("nndistill").addHandler(_Collector(warnings))
        start = time.perf_counter()
        self._model = load_model(model, backend=backend, device=device, fold=fold)
        seconds = time.perf_counter() - start
        description = self._model.description
        cases = find_cases(input, description)
        if len(cases) > 1:
            first = next(iter(cases[0].files.values()))
            raise UserError(f"{input} holds {len(cases)} cases; measure one of them, such as {first}.", option="input")
        self._case = cases[0]
        image = read_image(channel_files(self._case, description), description, any_orientation=True)
        prepared = preprocess(image, description)
        self._window = next(sample_windows(prepared.array, description.patch_size))
        self.loaded = ModelAndCase(
            facts={
                "model": description.name,
                "format": description.format,
                "backend": self._model.backend.name,
                "precision": self._model.backend.precision,
                "device": self._model.backend.device,
                "patch": list(description.patch_size),
                "load_s": seconds,
                "versions": _versions(self._model.backend.name),
            },
            case=self._case,
            case_voxels=prod(prepared.shape_before_cropping),
            file_ending=description.file_ending,
            warnings=warnings,
        )

    def measure_patch(self) -> Run:
        return _timed(lambda: self._model.backend.logits(self._window))

    def measure_case(self, mirror: bool) -> Run:
        from ..runtime.predictor import predict_cases

        with TemporaryDirectory() as output:

            def predict() -> None:
                made = predict_cases(self._model, [self._case], Path(output), mirror=mirror, any_orientation=True)
                for sentence in made.failed.values():
                    raise UserError(sentence)

            return _timed(predict)


_held: list[_Model] = []
"""In the process: the model, once it is loaded."""


class _Collector(logging.Handler):
    """Keeps the sentences of warnings."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._sentences = sentences

    def emit(self, record: logging.LogRecord) -> None:
        self._sentences.append(record.getMessage())


def _timed(compute: Callable[[], object]) -> Run:
    processor, start = time.process_time(), time.perf_counter()
    compute()
    return Run(seconds=time.perf_counter() - start, processor_seconds=time.process_time() - processor)


def _versions(backend: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("nndistill", "numpy", *RUNTIMES[backend].packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a runtime under another name, such as onnxruntime-gpu
            found[package] = getattr(sys.modules[package], "__version__", "unknown")
    return found


def _peak_memory() -> int:
    """Of this process alone: `ru_maxrss` would count what the process that started it held at that moment."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):  # not Linux
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
