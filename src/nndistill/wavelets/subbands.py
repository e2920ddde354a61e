"""Names of the subbands, a letter L or H for each axis (D, H, W in a volume), and the paper's groups A, D and S."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from math import isfinite
from numbers import Real
from typing import TypeAlias

from ..errors import UnknownName, UserError

SUBBANDS: dict[int, tuple[str, ...]] = {
    ndim: tuple("".join(letters) for letters in product("LH", repeat=ndim)) for ndim in (1, 2, 3)
}
"""The bands of one level by the number of dimensions: in three the eight from `LLL` to `HHH`."""

Bands: TypeAlias = str | Iterable[str] | Mapping[str, float]
"""What names bands: groups joined with `+`, a list of groups and bands, or the weight of each of them."""


def checked_ndim(ndim: int) -> int:
    """Return the number of dimensions.

    Raises:
        UserError: It is not 1, 2 or 3.
    """
    if isinstance(ndim, bool) or ndim not in SUBBANDS:
        raise UserError(f"wavelets are transformed in 1, 2 or 3 dimensions, not in {ndim!r}.")
    return ndim


def parse_bands(bands: str | Iterable[str], *, ndim: int = 3) -> frozenset[str]:
    """Return the set of bands that a name, or a list of names, stands for.

    The paper's groups (Eq. 3–5): `A`, the approximation, is the band that is low along every axis; `S`, the band with
    the lowest signal-to-noise ratio, is high along every axis; `D`, the directional details, are all others.

    Args:
        bands: Groups joined with `+` (`"D"`, `"A+S"`), or an iterable of groups and bands (`["LLH", "HLL"]`).
            A band stands for itself at every level; `LLL`, and so `A`, exists at the deepest level only.
        ndim: Number of dimensions, and of letters of a band.

    Raises:
        UnknownName: A part is neither a group nor a band.
        UserError: There is no name, or one that is not text, or no band has it, as there are no directional details in
            one dimension.

    Example:
        >>> sorted(parse_bands("D", ndim=2))
        ['HL', 'LH']
    """
    if isinstance(bands, Mapping):
        raise UserError("subbands cannot have weights here; name them without.")
    known = SUBBANDS[checked_ndim(ndim)]
    groups = {"A": {known[0]}, "D": set(known[1:-1]), "S": {known[-1]}}
    parts = bands.split("+") if isinstance(bands, str) else list(bands)
    if unreadable := [part for part in parts if not isinstance(part, str)]:
        raise UserError(f"a subband is named by text, such as 'D' or 'LLH', not by {unreadable[0]!r}.")
    names = [part.strip().upper() for part in parts if part.strip()]
    if not names:
        examples = list(known[1:3])
        raise UserError(f"no subband is chosen; name groups such as 'D' or 'A+D', or bands such as {examples}.")
    chosen: set[str] = set()
    for name in names:
        if name not in groups and name not in known:
            raise UnknownName("subband", name, [*groups, *known])
        chosen |= groups.get(name, {name})
    if not chosen:
        raise UserError("in one dimension there are no directional details D; choose the subbands L or H.")
    return frozenset(chosen)


def parse_band_weights(bands: Bands, *, ndim: int = 3) -> dict[str, float]:
    """Return the weight of each band that is named: 1, or what a mapping says.

    Args:
        bands: As in `parse_bands`, or weights above 0 by group or band, such as `{"A": 1, "D": 0.9}`.
        ndim: Number of dimensions, and of letters of a band.

    Raises:
        UnknownName: A part is neither a group nor a band.
        UserError: There is no name, or one that is not text, a weight is not a finite number above 0, or a band has
            two.

    Example:
        >>> parse_band_weights({"A": 1, "D": 0.5}, ndim=2)
        {'LL': 1.0, 'HL': 0.5, 'LH': 0.5}
    """
    if not isinstance(bands, Mapping):
        return dict.fromkeys(sorted(parse_bands(bands, ndim=ndim)), 1.0)
    weights: dict[str, float] = {}
    named_by: dict[str, str] = {}
    for name, weight in bands.items():
        if isinstance(weight, bool) or not isinstance(weight, Real) or not isfinite(weight) or weight <= 0:
            raise UserError(f"the weight of subband {name} has to be a number above 0, not {weight!r}.")
        for band in sorted(parse_bands([name], ndim=ndim)):
            if (other := named_by.setdefault(band, name)) != name:
                raise UserError(f"subband {band} has a weight from {other} and one from {name}; give it one.")
            weights[band] = float(weight)
    if not weights:
        parse_bands([], ndim=ndim)  # says what to name
    return weights


def pywavelets_key(band: str) -> str:
    """Return PyWavelets' name of a band, such as `aad` for `LLH`."""
    return band.translate(str.maketrans("LH", "ad"))
