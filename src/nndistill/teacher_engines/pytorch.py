"""The teacher in PyTorch, read by hooks: works for every network, on every device."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from ..methods import Activations
from ..taps import TappedNetwork, Taps, as_taps


class TorchEngine:
    """Run the teacher as far as its last tap, or to its end if its logits are read.

    Under autocast it computes in autocast's precision.

    Args:
        network: The teacher, in eval mode.
        taps: The modules to read.
        logits: Whether the logits are read too.

    Raises:
        UnknownName: A tap names no module.

    Example:
        >>> import torch
        >>> teacher = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, 2, 1)).eval()
        >>> engine = TorchEngine(teacher, Taps(encoder=("1",)))
        >>> [feature.shape[1] for feature in engine(torch.rand(1, 1, 8, 8, 8)).encoder]
        [16]
    """

    name = "torch"

    def __init__(self, network: nn.Module, taps: Taps, *, logits: bool = False) -> None:
        self.tapped = TappedNetwork(network, taps)
        self.logits = logits

    @classmethod
    def reading(
        cls, network: nn.Module, needs: Collection[str], *, taps: Taps | Sequence[str] | None = None
    ) -> TorchEngine:
        """Return the engine for a method with these `needs`; `taps` are those of `Distiller`."""
        return cls(network, as_taps(taps, network, needs=needs), logits="logits" in needs)

    def __call__(self, x: Tensor) -> Activations:
        return self.tapped(x)[1] if self.logits else self.tapped.run_for_taps(x)

    @property
    def outputs(self) -> list[str]:
        """Names of what is read: module paths, and `logits`."""
        return [*self.tapped.taps.encoder, *self.tapped.taps.decoder, *(["logits"] if self.logits else [])]
