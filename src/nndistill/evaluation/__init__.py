"""What a network costs and what it is worth."""

from .complexity import Complexity, network_complexity

__all__ = ["Complexity", "network_complexity"]
