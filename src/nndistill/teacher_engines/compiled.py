"""An nnU-Net's encoder, compiled: it returns its stages by itself, so nothing in it is hooked or left early."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..methods import Activations
from ..taps import Taps, nnunet_taps, unwrapped


class CompiledEncoderEngine:
    """`torch.compile` of the encoder alone.

    Hooks and the exception that ends a run after the last tap would break the compiled graph; the encoder of an nnU-Net
    needs neither, since it returns the list of its stages.

    Args:
        network: An nnU-Net for which `returns_its_stages` holds.
        backend: Of `torch.compile`.

    Example:
        >>> from dynamic_network_architectures.architectures.unet import PlainConvUNet
        >>> teacher = PlainConvUNet(1, 2, [8, 16], nn.Conv3d, 3, [1, 2], 1, 2, 1).eval()
        >>> returns_its_stages(teacher, Taps(encoder=("encoder.stages.0", "encoder.stages.1")), logits=False)
        True
        >>> engine = CompiledEncoderEngine(teacher, backend="eager")
        >>> [feature.shape[1] for feature in engine(torch.rand(1, 1, 8, 8, 8)).encoder]
        [8, 16]
    """

    name = "torch"

    def __init__(self, network: nn.Module, *, backend: str = "inductor") -> None:
        self._encoder = torch.compile(unwrapped(network).get_submodule("encoder"), backend=backend)

    def __call__(self, x: Tensor) -> Activations:
        return Activations(encoder=list(self._encoder(x)))


def returns_its_stages(network: nn.Module, taps: Taps, *, logits: bool) -> bool:
    """Whether an encoder returns just what is read: all stages of an nnU-Net, and nothing of its decoder."""
    encoder = getattr(unwrapped(network), "encoder", None)
    if logits or taps.decoder or not getattr(encoder, "return_skips", False):
        return False
    return taps.encoder == nnunet_taps(network).encoder
