"""The formats in which a network is exported and the runtimes that compute it: one entry each.

Everything else derives from these two tables: what `export_model` and `load_model` do, the choices and help of the
command line, the lists in error messages, the packages to install, and the table in `docs/how-to/export.md`.

Another package adds an entry through the entry-point group `nndistill.formats` or `nndistill.runtimes`. Every command
imports the module of such an entry, so it should import PyTorch only in its writer and reader.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

if TYPE_CHECKING:
    from .backends.base import Backend
    from .description import ModelDescription

logger = logging.getLogger(__name__)

Precision = Literal["float32", "float16", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Runtime:
    """A program that computes networks.

    Attributes:
        name: On the command line (`--backend`).
        title: For people.
        packages: Python packages that it consists of; a measurement reports their versions.
        extra: Of this distribution, which installs them; `None` for a runtime of another distribution.
        loader: `"module:function"`, called as `loader(network, description, device=device)`; returns a `Backend`.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    extra: str | None
    loader: str

    def load(self, network: Any, description: ModelDescription, *, device: str) -> Backend:
        """Make a network ready to compute.

        Args:
            network: What the format's reader returns.
            description: The model's.
            device: As in `load_model`.
        """
        backend: Backend = resolve_name(self.loader)(network, description, device=device)
        return backend


@dataclass(frozen=True)
class ModelFormat:
    """A kind of files that hold a network.

    Attributes:
        name: On the command line (`--format`), and in the names of exported folders.
        purpose: What it is good for, as a phrase.
        precisions: In which a network can be exported.
        backends: Names of the runtimes that compute it, the default first. An INT8 network is calibrated for the first
            one only.
        writer: `"module:function"`, called as `writer(job, output)` with an `ExportJob` and an empty folder; returns
            the paths of the written files, relative to that folder.
        file: Name of the main file; `None` if a model is a tree of files.
        reader: `"module:function"`, called as `reader(model, description, fold)`; returns the description and the
            network, as the loader of a runtime takes it. `None` if the runtime itself reads the file. Only a trained
            nnU-Net's folder, which is not an export, comes with a fold or several, and with `None` as description.
        packages: Python packages that write it; an export records their versions.
        extra: Of this distribution, which installs them; `None` for a format of another distribution.
        checked: Whether an export is compared with PyTorch. If not, the trained network is kept as it is.
    """

    name: str
    purpose: str
    precisions: tuple[Precision, ...]
    backends: tuple[str, ...]
    writer: str
    file: str | None = None
    reader: str | None = None
    packages: tuple[str, ...] = ()
    extra: str | None = None
    checked: bool = True

    @property
    def extra_to_predict(self) -> str | None:
        """The extra that installs what the default runtime needs to predict."""
        return self.extra if self.reader else RUNTIMES[self.backends[0]].extra

    def write(self, job: Any, output: Path) -> list[str]:
        """Write a network; see `writer`."""
        files: list[str] = resolve_name(self.writer)(job, output)
        return files

    def read(
        self, model: Path, description: ModelDescription | None, fold: str | Sequence[str] | None
    ) -> tuple[ModelDescription, Any]:
        """Read a model; see `reader`.

        Returns:
            Its description, and what the loader of a runtime takes.
        """
        if self.reader is not None:
            described, network = resolve_name(self.reader)(model, description, fold)
            return described, network
        assert description is not None
        assert self.file is not None
        return description, model / self.file


Entry = TypeVar("Entry", ModelFormat, Runtime)


class Table(Mapping[str, Entry]):
    """Entries by name: those of this file, then those of installed packages, which are imported when they are needed.

    Args:
        entries: Those of this file.
        group: The entry-point group of the others.
    """

    def __init__(self, entries: Iterable[Entry], *, group: str) -> None:
        self._own: dict[str, Entry] = {entry.name: entry for entry in entries}
        self._group = group

    def __getitem__(self, name: str) -> Entry:
        return self._own[name] if name in self._own else self._installed[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._own, **self._installed})

    def __len__(self) -> int:
        return len({**self._own, **self._installed})

    @cached_property
    def _installed(self) -> dict[str, Entry]:
        loaded: list[Entry] = []
        for point in entry_points(group=self._group):
            try:
                loaded.append(point.load())
            except Exception as error:  # a broken package must not stop what does not need it
                logger.warning("%s, which another package adds to %s, is left out: %s", point.value, self._group, error)
        return {entry.name: entry for entry in loaded}


_FORMATS = (
    ModelFormat(
        name="openvino",
        purpose="the fastest on Intel and AMD processors",
        file="model.xml",
        precisions=("float32", "float16", "bfloat16", "int8"),
        backends=("openvino",),
        packages=("openvino", "onnx", "onnxscript"),
        extra="export",
        writer="nndistill.export.openvino:export_openvino",
    ),
    ModelFormat(
        name="onnx",
        purpose="NVIDIA's GPUs and nearly every other runtime",
        file="model.onnx",
        precisions=("float32", "float16", "int8"),
        backends=("onnxruntime", "openvino"),
        packages=("onnx", "onnxscript"),
        extra="export",
        writer="nndistill.export.onnx:export_onnx",
    ),
    ModelFormat(
        name="safetensors",
        purpose="weights to archive or publish, in a file that cannot run code",
        file="model.safetensors",
        precisions=("float32",),
        backends=("torch",),
        packages=("safetensors",),
        extra="export",
        writer="nndistill.export.safetensors:export_safetensors",
        reader="nndistill.nnunet.models.readers:read_safetensors",
    ),
    ModelFormat(
        name="nnunet",
        purpose="stock nnU-Net, as a model folder and the zip that installs it",
        precisions=("float32",),
        backends=("torch",),
        extra="train",
        writer="nndistill.export.stock:export_stock",
        reader="nndistill.nnunet.models.readers:read_trained",
        checked=False,
    ),
)

_RUNTIMES = (
    Runtime(
        name="openvino",
        title="OpenVINO",
        packages=("openvino",),
        extra="openvino",
        loader="nndistill.runtime.backends.openvino:OpenVinoBackend",
    ),
    Runtime(
        name="onnxruntime",
        title="ONNX Runtime",
        packages=("onnxruntime",),
        extra="onnxruntime",
        loader="nndistill.runtime.backends.onnxruntime:OnnxRuntimeBackend",
    ),
    Runtime(
        name="torch",
        title="PyTorch",
        packages=("torch", "nnunetv2"),
        extra="train",
        loader="nndistill.runtime.backends.torch:load_torch",
    ),
)

FORMATS = Table(_FORMATS, group="nndistill.formats")
RUNTIMES = Table(_RUNTIMES, group="nndistill.runtimes")


def formats_for(backend: str, precision: Precision = "float32") -> list[str]:
    """Names of the formats to export for a runtime: those that it computes by default, or else all that it can compute.

    Args:
        backend: The runtime's name.
        precision: In which the network is to compute.
    """
    able = [kind for kind in FORMATS.values() if backend in kind.backends and precision in kind.precisions]
    own = [kind.name for kind in able if kind.backends[0] == backend]
    return own or [kind.name for kind in able]


def packages_and_extras() -> dict[str, str]:
    """Which extra of this distribution installs a package; a runtime's rather than a format's."""
    entries: list[ModelFormat | Runtime] = [*FORMATS.values(), *RUNTIMES.values()]
    return {package: entry.extra for entry in entries if entry.extra for package in entry.packages}
