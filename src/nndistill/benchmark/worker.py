"""A model in a process of its own, which computes when it is asked and tells how long that took and what memory.

A process of its own makes its peak memory its own, without what the asking process and other models hold.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import TracebackType
from typing import IO, Any

import numpy as np

from ..errors import UserError

_PACKAGES = {"torch": ("torch", "nnunetv2"), "onnxruntime": ("onnxruntime",), "openvino": ("openvino",)}
_KILLED = -9


@dataclass(frozen=True)
class Lap:
    """One computation: its seconds, and the processor seconds of all threads together."""

    seconds: float
    processor_seconds: float


class MeasuredModel:
    """A model that waits in its own process, for use in a `with` statement; while it waits it takes no processor time.

    Args:
        model: An exported folder, or a model folder of nnU-Net.
        input: A case, as `nndistill predict` takes it.
        backend, device, fold: As in `load_model`.

    Attributes:
        facts: What it is: name, format, backend, precision, device, patch, versions, and seconds to load it.
        pid: Of the process.
        case_facts: Name, voxels, files and their ending of the case.
        warnings: What loading it warned of.

    Raises:
        UserError: The model or the case is not there or does not fit, or the memory is not enough.
        ModuleNotFoundError: The runtime is not installed.
    """

    def __init__(
        self, model: Path, input: Path, *, backend: str | None, device: str = "auto", fold: str | None = None
    ) -> None:
        self._model = model
        self._errors: IO[bytes] = TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
            text=True,
        )
        self.pid = self._process.pid
        try:
            told = self._ask(
                {"model": str(model), "input": str(input), "backend": backend, "device": device, "fold": fold}
            )
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.facts: dict[str, Any] = told["facts"]
        self.case_facts: dict[str, Any] = told["case"]
        self.warnings: list[str] = told["warnings"]

    def __enter__(self) -> MeasuredModel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def patch(self) -> Lap:
        """Compute one window of the case: the network alone, without mirroring."""
        return Lap(**self._ask({"do": "patch"}))

    def case(self, *, mirror: bool) -> Lap:
        """Predict the case from NIfTI to NIfTI, as `nndistill predict` does."""
        return Lap(**self._ask({"do": "case", "mirror": mirror}))

    def peak_memory(self) -> int:
        """The most bytes of memory that the process ever held."""
        return int(self._ask({"do": "memory"})["bytes"])

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended; why, is told below
            print(json.dumps(question), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise self._end()
        content: dict[str, Any] = json.loads(answer)
        if "error" in content:
            raise UserError(content["error"])
        if "missing" in content:
            raise ModuleNotFoundError(f"No module named {content['missing']!r}", name=content["missing"])
        return content

    def _end(self) -> Exception:
        """Why there is no answer."""
        if self._process.wait() == _KILLED:
            return UserError(
                f"the process that measured {self._model} was killed, most likely because the machine's memory was not "
                "enough. Measure fewer models at a time, or on a larger machine."
            )
        self._errors.seek(0)
        return RuntimeError(f"measuring {self._model} failed:\n{self._errors.read().decode(errors='replace')}")


def _serve() -> None:
    """In the process: make the model that the first line of standard input names, then answer every line with one."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints, does not print between the answers
    model: _Model | None = None
    answer: dict[str, Any]
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if model is None:
                model = _Model(**question)
                answer = {"facts": model.facts, "case": model.case_facts, "warnings": model.warnings}
            else:
                answer = getattr(model, question.pop("do"))(**question)
        except UserError as error:
            answer = {"error": str(error)}
        except ModuleNotFoundError as error:
            answer = {"missing": error.name}
        print(json.dumps(answer), file=answers, flush=True)


class _Model:
    def __init__(self, model: str, input: str, backend: str | None, device: str, fold: str | None) -> None:
        from ..runtime.cases import channel_files, find_cases
        from ..runtime.image import read_image
        from ..runtime.loading import load_model
        from ..runtime.preprocessing import preprocess
        from ..runtime.sliding_window import sample_windows

        warnings: list[str] = []
        logging.getLogger("nndistill").addHandler(_Collector(warnings))
        start = time.perf_counter()
        self._loaded = load_model(Path(model), backend=backend, device=device, fold=fold)
        seconds = time.perf_counter() - start
        description = self._loaded.description
        cases = find_cases(Path(input), description)
        if len(cases) > 1:
            first = next(iter(cases[0].files.values()))
            raise UserError(f"{input} holds {len(cases)} cases; measure one of them, such as --input {first}.")
        self._case = cases[0]
        image = read_image(channel_files(self._case, description), description, any_orientation=True)
        prepared = preprocess(image, description)
        self._window = next(sample_windows(prepared.array, description.patch_size))
        self.facts = {
            "model": description.name,
            "format": description.format,
            "backend": self._loaded.backend.name,
            "precision": description.precision,
            "device": self._loaded.backend.device,
            "patch": list(description.patch_size),
            "load_s": seconds,
            "versions": _versions(self._loaded.backend.name),
        }
        self.case_facts = {
            "name": self._case.name,
            "files": {channel: str(file) for channel, file in self._case.files.items()},
            "file_ending": description.file_ending,
            "voxels": int(np.prod(prepared.shape_before_cropping)),
        }
        self.warnings = warnings

    def patch(self) -> dict[str, Any]:
        return _lap(lambda: self._loaded.backend.logits(self._window))

    def case(self, mirror: bool) -> dict[str, Any]:
        from ..runtime.predictor import predict_cases

        with TemporaryDirectory() as output:

            def predict() -> None:
                made = predict_cases(self._loaded, [self._case], Path(output), mirror=mirror, any_orientation=True)
                for sentence in made.failed.values():
                    raise UserError(sentence)

            return _lap(predict)

    def memory(self) -> dict[str, Any]:
        return {"bytes": _peak_memory()}


class _Collector(logging.Handler):
    """Keeps the sentences of warnings."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._sentences = sentences

    def emit(self, record: logging.LogRecord) -> None:
        self._sentences.append(record.getMessage())


def _lap(compute: Callable[[], object]) -> dict[str, Any]:
    processor, start = time.process_time(), time.perf_counter()
    compute()
    return {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - processor}


def _versions(backend: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("nndistill", "numpy", *_PACKAGES[backend]):
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
    except (OSError, StopIteration):  # no Linux
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    try:
        _serve()
    except Exception:
        traceback.print_exc()
        sys.exit(1)
