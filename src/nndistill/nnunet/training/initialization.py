"""A student that starts from its teacher's most important channels: filters with the largest L1 norm, by stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.residual import BasicBlockD, BottleneckD
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ...errors import UserError

_IMAGE, _CLASSES = "image", "classes"
_WHOLE = {_IMAGE, _CLASSES}
"""Channels of which none is left out."""


def initialize_from_teacher(student: nn.Module, teacher: nn.Module) -> list[str]:
    r"""Give every convolution and normalisation of a student the values of the teacher's most important channels.

    Channels that the network adds or carries on belong together and form a group: the output of an encoder stage and
    of every block in it (and of the next stage, if its residual connection has no projection), the first convolution of
    a block, a transposed convolution, a convolution of the decoder. A channel's importance is the sum over all
    convolutions $p$ that write to its group of

    $$\frac{\lVert W_p[c]\rVert_1}{\frac1C\sum_{c'}\lVert W_p[c']\rVert_1},$$

    the norm of its filter over all inputs, relative to the mean, so that a convolution with a larger kernel does not
    outvote the others. The most important channels are kept, in the teacher's order. Every weight between kept channels
    is copied as it is. Image channels and classes are all kept.

    A student with the teacher's widths becomes the teacher. Nothing is random.

    Args:
        student: Network to fill, with the teacher's architecture and at most its channels.
        teacher: Trained network.

    Returns:
        Paths of the teacher's projections that the student lacks, as its two stages have equal channels: there it adds
        channels that come from different ones of the teacher.

    Raises:
        UserError: The networks differ in more than their channels, or are not nnU-Net's `ResidualEncoderUNet` or
            `PlainConvUNet`.

    Example:
        >>> import torch
        >>> from nndistill.nnunet.plans import build_network, derive_plans
        >>> from nndistill.nnunet.models.model_folder import ModelFolder
        >>> folder = ModelFolder.read(teacher_folder)
        >>> teacher = folder.network(folder.checkpoint_file("0"))
        >>> plans = derive_plans(folder.plans, "3d_fullres", features=[4, 8, 16], name="half")
        >>> student = build_network(plans, "3d_fullres", folder.dataset_json)
        >>> initialize_from_teacher(student, teacher)
        []
        >>> value = student.decoder.seg_layers[-1].bias
        >>> torch.equal(value, teacher.decoder.seg_layers[-1].bias)
        True

    Source:
        Li et al., Pruning filters for efficient ConvNets, ICLR 2017 (the L1 norm of filters; weights copied unchanged).
        There a residual block's output follows its projection alone; here all convolutions that are added up vote.
    """
    refuse_unlike_networks(student, teacher)
    ours, theirs = dict(student.named_modules()), dict(teacher.named_modules())
    layers = list(_layers(teacher))
    importance = _importance(layers, theirs)

    def kept(group: str, width: int) -> Tensor:
        if group in _WHOLE:
            return torch.arange(width)
        order = torch.argsort(importance[group], descending=True, stable=True)
        return order[:width].sort().values

    for layer in layers:
        if layer.path not in ours:
            continue
        source, target = _convolution(theirs[layer.path]), _convolution(ours[layer.path])
        width = target.in_channels // len(layer.reads)
        whole = source.in_channels // len(layer.reads)
        inputs = torch.cat([kept(group, width) + place * whole for place, group in enumerate(layer.reads)])
        _copy(theirs[layer.path], ours[layer.path], inputs, kept(layer.writes, target.out_channels))
    return [layer.path for layer in layers if layer.path not in ours]


def refuse_unlike_networks(student: nn.Module, teacher: nn.Module) -> None:
    """Check that a student can start from a teacher; networks on the `meta` device will do.

    Raises:
        UserError: It cannot; the message says why.
    """
    if not isinstance(teacher, (PlainConvUNet, ResidualEncoderUNet)) or type(student) is not type(teacher):
        raise UserError(
            f"a student cannot start from this teacher: it is a {type(student).__name__} and the teacher a "
            f"{type(teacher).__name__}, and only a PlainConvUNet or a ResidualEncoderUNet can be cut out of one of its "
            "own kind. Let it start from random weights.",
            option=("architecture", "init"),
        )
    ours, theirs = (dict(network.named_modules()) for network in (student, teacher))
    few, many = (_stages(network) for network in (student, teacher))
    if few != many:
        raise UserError(
            f"a student of {few} stages cannot start from a teacher of {many}: give it {many} stages, or let it start "
            "from random weights.",
            option=("features", "stages", "init"),
        )
    here, there = ({layer.path: layer for layer in _layers(network)} for network in (student, teacher))
    unlike = sorted(path for path in here.keys() ^ there.keys() if ".skip." not in path)  # these follow from the widths
    unlike += [path for path in there if path in here and not _fits(there[path], ours[path], theirs[path])]
    if unlike:
        raise UserError(
            f"a student cannot start from this teacher: they differ at {unlike[0]} in more than having fewer channels. "
            "Choose at most the teacher's channels and just its blocks at each stage, or let it start from random "
            "weights.",
            option=("features", "blocks", "init"),
        )


@dataclass(frozen=True)
class _Layer:
    """A convolution, with its normalisation if it has one: the group it writes to, and those it reads, concatenated."""

    path: str
    reads: tuple[str, ...]
    writes: str


def _layers(network: nn.Module) -> Iterator[_Layer]:
    """All convolutions of an nnU-Net; groups have the name of a convolution that writes to them."""
    stages: list[str] = []
    previous = _IMAGE
    if isinstance(network, ResidualEncoderUNet):
        for path in _paths(network, "encoder.stem", ConvDropoutNormReLU):
            yield _Layer(path, (previous,), path)
            previous = path
    for index in range(_stages(network)):
        place = f"encoder.stages.{index}"
        if isinstance(network, ResidualEncoderUNet):
            for path in _paths(network, place, BasicBlockD, BottleneckD):
                layers = _block_layers(network, path, previous)
                yield from layers
                previous = layers[-1].writes
        else:
            for path in _paths(network, place, ConvDropoutNormReLU):
                yield _Layer(path, (previous,), path)
                previous = path
        stages.append(previous)
    for index, skip in enumerate(reversed(stages[:-1])):
        up = f"decoder.transpconvs.{index}"
        yield _Layer(up, (previous,), up)
        reads: tuple[str, ...] = (up, skip)  # in the order in which the decoder concatenates them
        for path in _paths(network, f"decoder.stages.{index}", ConvDropoutNormReLU):
            yield _Layer(path, reads, path)
            reads, previous = (path,), path
        yield _Layer(f"decoder.seg_layers.{index}", (previous,), _CLASSES)


def _stages(network: nn.Module) -> int:
    return len(list(network.get_submodule("encoder.stages").children()))


def _block_layers(network: nn.Module, block: str, stream: str) -> list[_Layer]:
    """The convolutions of a residual block; the last one writes to what the block adds up."""
    convolutions = [f"{block}.{name}" for name in ("conv1", "conv2", "conv3") if _has(network, f"{block}.{name}")]
    projection = _paths(network, f"{block}.skip", ConvDropoutNormReLU)
    added = projection[0] if projection else stream  # without a projection, the block adds to what it reads
    layers = [_Layer(path, (stream,), added) for path in projection]
    reads = stream
    for path in convolutions[:-1]:
        layers.append(_Layer(path, (reads,), path))
        reads = path
    return [*layers, _Layer(convolutions[-1], (reads,), added)]


def _paths(network: nn.Module, place: str, *kinds: type[nn.Module]) -> list[str]:
    """Paths of the modules of these kinds below a place, in the order of the forward pass."""
    if not _has(network, place):
        return []
    found = network.get_submodule(place).named_modules(prefix=place)
    return [path for path, module in found if isinstance(module, kinds)]


def _has(network: nn.Module, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    return isinstance(getattr(network.get_submodule(parent), name, None), nn.Module)


def _convolution(layer: nn.Module) -> _ConvNd:
    convolution = layer.conv if isinstance(layer, ConvDropoutNormReLU) else layer
    assert isinstance(convolution, _ConvNd)
    return convolution


def _fits(layer: _Layer, ours: nn.Module, theirs: nn.Module) -> bool:
    """Whether a layer of the student can be cut out of the teacher's."""
    small, large = _convolution(ours), _convolution(theirs)
    same = ["kernel_size", "stride", "padding", "dilation", "groups"]
    same += ["in_channels"] * (_IMAGE in layer.reads) + ["out_channels"] * (layer.writes == _CLASSES)
    shapes = [{key: value.ndim for key, value in module.state_dict().items()} for module in (ours, theirs)]
    return (
        all(getattr(small, name) == getattr(large, name) for name in same)
        and shapes[0] == shapes[1]
        and small.in_channels <= large.in_channels
        and small.out_channels <= large.out_channels
    )


def _importance(layers: Sequence[_Layer], modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    importance: dict[str, Tensor] = {}
    for layer in layers:
        convolution = _convolution(modules[layer.path])
        filters = convolution.weight.detach().cpu().double().abs()
        if isinstance(convolution, _ConvTransposeNd):  # stores inputs first
            filters = filters.transpose(0, 1)
        norms = filters.flatten(1).sum(dim=1)
        relative = norms / norms.mean().clamp_min(torch.finfo(norms.dtype).tiny)
        importance[layer.writes] = importance.get(layer.writes, torch.zeros_like(relative)) + relative
    return importance


@torch.no_grad()
def _copy(theirs: nn.Module, ours: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
    """Copy the values of some inputs and outputs of a convolution, and of its normalisation."""
    source, target = _convolution(theirs), _convolution(ours)
    rows, columns = (inputs, outputs) if isinstance(source, _ConvTransposeNd) else (outputs, inputs)
    weight = source.weight.detach().cpu()
    target.weight.copy_(weight[rows][:, columns])
    if target.bias is not None and source.bias is not None:
        target.bias.copy_(source.bias.detach().cpu()[outputs])
    if isinstance(theirs, ConvDropoutNormReLU) and hasattr(theirs, "norm"):
        values = theirs.get_submodule("norm").state_dict()  # running statistics too, if it has them
        for name, value in ours.get_submodule("norm").state_dict().items():
            value.copy_(values[name].cpu()[outputs] if value.ndim else values[name])
