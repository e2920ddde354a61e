"""A format as another package adds it, all in one file: TorchScript, which programs in C++ load."""

from __future__ import annotations

from pathlib import Path

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


def write_torchscript(job, output: Path) -> list[str]:
    import torch

    torch.jit.trace(job.copy_of_network(), torch.zeros(1, *job.window)).save(str(output / FILE))
    return [FILE]


def read_torchscript(model: Path, description, fold):
    import torch

    return description, torch.jit.load(model / FILE)
