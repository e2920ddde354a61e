"""Where subbands are compared: as the volumes that they synthesise, or as coefficients."""

from __future__ import annotations

from typing import Literal, get_args

from ...errors import UnknownName

Domain = Literal["spatial", "coefficients"]


def checked_domain(value: str) -> Domain:
    """Return the domain.

    Raises:
        UnknownName: It is neither.
    """
    if value not in get_args(Domain):
        raise UnknownName("domain", str(value), get_args(Domain))
    return value  # type: ignore[return-value]
