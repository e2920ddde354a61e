"""Names of the subbands, a letter L or H for each of the axes D, H, W, and the paper's groups A, D and S."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from ..errors import UnknownName, UserError

SUBBANDS: tuple[str, ...] = tuple("".join(letters) for letters in product("LH", repeat=3))
"""The eight bands of one level, `LLL` … `HHH`."""

GROUPS: dict[str, frozenset[str]] = {
    "A": frozenset({"LLL"}),
    "D": frozenset(SUBBANDS) - {"LLL", "HHH"},
    "S": frozenset({"HHH"}),
}
"""Approximation, directional details, and the band with the lowest signal-to-noise ratio (the paper, Eq. 3–5)."""


def parse_bands(bands: str | Iterable[str]) -> frozenset[str]:
    """Return the set of bands that a name, or a list of names, stands for.

    Args:
        bands: Groups joined with `+` (`"D"`, `"A+S"`), or an iterable of groups and bands (`["LLH", "HLL"]`).
            A band stands for itself at every level; `LLL`, and so `A`, exists at the deepest level only.

    Raises:
        UnknownName: A part is neither a group nor a band.
        UserError: There is no name.
    """
    parts = bands.split("+") if isinstance(bands, str) else list(bands)
    names = [part.strip().upper() for part in parts if part.strip()]
    if not names:
        raise UserError("no subband is chosen; name groups such as 'D' or 'A+D', or bands such as ['LLH', 'HLL'].")
    chosen: set[str] = set()
    for name in names:
        if name not in GROUPS and name not in SUBBANDS:
            raise UnknownName("subband", name, [*GROUPS, *SUBBANDS])
        chosen |= GROUPS.get(name, {name})
    return frozenset(chosen)


def pywavelets_key(band: str) -> str:
    """Return PyWavelets' name of a band, such as `aad` for `LLH`."""
    return band.translate(str.maketrans("LH", "ad"))
