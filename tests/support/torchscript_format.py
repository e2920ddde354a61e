"""A format as another package adds it, whole in one file: TorchScript, which programs in C++ load."""

from __future__ import annotations

from pathlib import Path

import torch

from nndistill.export.job import ExportJob
from nndistill.runtime.description import ModelDescription
from nndistill.runtime.formats import ModelFormat

FILE = "model.pt"

TORCHSCRIPT = ModelFormat(
    name="torchscript",
    purpose="programs in C++ that use LibTorch",
    file=FILE,
    precisions=("float32",),
    backends=("torch",),
    packages=("torch",),
    writer="torchscript_format:write_torchscript",
    reader="torchscript_format:read_torchscript",
)


def write_torchscript(job: ExportJob, output: Path) -> list[str]:
    torch.jit.trace(job.copy_of_network(), torch.zeros(1, *job.window)).save(str(output / FILE))
    return [FILE]


def read_torchscript(model: Path, description: ModelDescription, fold: str | None):
    return description, torch.jit.load(model / FILE)
