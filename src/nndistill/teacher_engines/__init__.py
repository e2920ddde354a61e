"""Teacher engines: what computes the activations of a frozen teacher. Each gives what PyTorch would give."""

from .base import TeacherEngine
from .channels_last import ChannelsLastEngine
from .compiled import CompiledEncoderEngine
from .ensemble import TeacherEnsemble
from .pytorch import TorchEngine

__all__ = ["ChannelsLastEngine", "CompiledEncoderEngine", "TeacherEngine", "TeacherEnsemble", "TorchEngine"]
