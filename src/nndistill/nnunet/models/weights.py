"""The weights of a checkpoint under the names of the network, whatever the network was wrapped in when it was saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import UserError

_WRAPPERS = frozenset({"module", "_orig_mod"})
"""What `DistributedDataParallel` and `torch.compile` put in front of a name, each time that they wrap."""


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], *, source: Path, plans: Path) -> None:
    """Give a network the weights of a checkpoint, which may be in half precision and named by wrappers.

    Args:
        network: As the plans describe it; it keeps its precision.
        weights: Tensors by name.
        source: The checkpoint's file, for the message.
        plans: The plans' file, for the message.

    Raises:
        UserError: The weights are another network's, stored in a way that nnU-Net does not read, or not finite; the
            message names the first of them.

    Example:
        >>> from pathlib import Path
        >>> network = nn.Sequential(nn.Linear(2, 1, bias=False))
        >>> weights = {"_orig_mod.module.0.weight": Tensor([[1, 2]]).half()}
        >>> load_weights(network, weights, source=Path("checkpoint.pth"), plans=Path("plans.json"))
        >>> network[0].weight.tolist()
        [[1.0, 2.0]]
    """
    expected = {name: value.shape for name, value in network.state_dict().items()}
    named = weights if weights.keys() == expected.keys() else {_unwrapped(key): value for key, value in weights.items()}
    refuse_other_network(expected, {name: value.shape for name, value in named.items()}, source=source, plans=plans)
    for name, value in named.items():
        _refuse_values(name, value, source)
    network.load_state_dict(named)


def refuse_other_network(
    expected: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]], *, source: Path, plans: Path
) -> None:
    """Compare the names and shapes of weights with those of a network.

    Args:
        expected: Shapes by name, of the network.
        found: Shapes by name, of the file.
        source: The file, for the message.
        plans: The plans' file, for the message.

    Raises:
        UserError: They differ; the message names the first difference and says how many there are.
    """
    other = [name for name in expected if name in found and tuple(found[name]) != tuple(expected[name])]
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    if other:
        first = f"{other[0]} is {_size(found[other[0]])} and has to be {_size(expected[other[0]])}"
    elif missing:
        first = f"{missing[0]} is missing"
    elif unknown:
        first = f"{unknown[0]} is unknown to the network"
    else:
        return
    count = len({*other, *missing, *unknown})
    more = f", and {count - 1} more of {len(expected)} do not fit" if count > 1 else ""
    raise UserError(
        f"{source} does not fit {plans}: {first}{more}. Were the plans or dataset.json changed after the training, or "
        "do they belong to another model?"
    )


def _refuse_values(name: str, value: Tensor, source: Path) -> None:
    if value.layout is not torch.strided or value.is_meta or value.is_quantized:
        kind = "sparse" if value.layout is not torch.strided else "without values" if value.is_meta else "quantised"
        raise UserError(f"{source} holds weights that are {kind} ({name}): save the network's own, in floating point.")
    if value.is_floating_point() and not value.isfinite().all():
        raise UserError(
            f"{source} holds weights that are not finite ({name}): the training has diverged. Take an earlier "
            "checkpoint, or train again with a smaller learning rate."
        )


def _unwrapped(name: str) -> str:
    """A name without the wrappers in front; `torch.compile` may also have wrapped a part of the network."""
    parts = name.split(".")
    while parts[0] in _WRAPPERS and len(parts) > 1:
        parts = parts[1:]
    return ".".join(part for part in parts if part != "_orig_mod")


def _size(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a single value"
