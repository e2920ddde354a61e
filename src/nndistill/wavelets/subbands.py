"""Names of the subbands, a letter L or H for each axis (D, H, W in a volume), and the paper's groups A, D and S."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from ..errors import UnknownName, UserError

SUBBANDS: dict[int, tuple[str, ...]] = {
    ndim: tuple("".join(letters) for letters in product("LH", repeat=ndim)) for ndim in (1, 2, 3)
}
"""The bands of one level by the number of dimensions: in three the eight from `LLL` to `HHH`."""


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


def pywavelets_key(band: str) -> str:
    """Return PyWavelets' name of a band, such as `aad` for `LLH`."""
    return band.translate(str.maketrans("LH", "ad"))
