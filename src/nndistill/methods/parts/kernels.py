"""Which kernels compute a loss: PyTorch's, or Triton's where they can run."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal, get_args

import torch

from ...errors import UnknownName, UserError

Kernels = Literal["torch", "triton"]


def checked_kernels(value: str) -> Kernels:
    """Return the name.

    Raises:
        UnknownName: There are no such kernels.
    """
    if value not in get_args(Kernels):
        raise UnknownName("kernels", str(value), get_args(Kernels), option="option")
    return value  # type: ignore[return-value]


def refuse_where_triton_cannot_run(device: torch.device, *dtypes: torch.dtype) -> None:
    """Triton runs on CUDA, and on a processor in its interpreter; on `meta`, where nothing runs, all is counted.

    Raises:
        UserError: The device is another one, Triton is not installed, or a type is double precision.
    """
    if torch.float64 in dtypes:
        raise UserError(
            "kernels 'triton' compute in float32, and these features are float64; choose kernels 'torch'.",
            option="option",
        )
    if device.type == "meta":
        return
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if device.type not in (("cuda", "cpu") if interpreted else ("cuda",)):
        raise UserError(
            f"kernels 'triton' need CUDA, and these features are on {device.type}; choose kernels 'torch'.",
            option="option",
        )
    if importlib.util.find_spec("triton") is None:
        raise UserError(
            "kernels 'triton' need the package triton, which is not installed: run pip install triton, or choose "
            "kernels 'torch'.",
            option="option",
        )
