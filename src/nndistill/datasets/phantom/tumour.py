"""A treated glioma: necrotic core, thin broken enhancing rim, finger-like oedema, satellites, resection cavity.

Level sets as in `anatomy`: mm of an adult head, below zero inside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .anatomy import Tissue
from .lattice import Field

LABELS = {"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}
"""Label values, as in BraTS 2024 GLI."""

LABEL_OF = np.zeros(len(Tissue), np.uint8)
"""The label of each tissue."""
for _tissue, _label in (("NECROSIS", "NETC"), ("OEDEMA", "SNFH"), ("ENHANCING", "ET"), ("CAVITY", "RC")):
    LABEL_OF[Tissue[_tissue]] = LABELS[_label]

NOWHERE = 1e3
"""Value in mm of the level set of an absent structure."""


@dataclass(frozen=True)
class Tumour:
    """Position of a tumour and size of its parts, in mm of an adult head."""

    centre: NDArray[np.float64]
    radius: float
    oedema: float
    cavity_centre: NDArray[np.float64]
    cavity_radius: float
    satellites: tuple[tuple[NDArray[np.float64], float], ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Tumour:
        """Draw a tumour somewhere in the white matter of one hemisphere."""
        side = rng.choice([-1, 1])
        turn, lift, deep = rng.uniform(-1.1, 1.1), rng.uniform(-0.1, 0.7), rng.uniform(0.4, 0.62)
        outwards = np.array([side * np.cos(lift) * np.cos(turn), np.cos(lift) * np.sin(turn), np.sin(lift)])
        centre = outwards * deep * np.array([66, 83, 57]) + [0, 0, 8]
        radius, cavity_radius = rng.uniform(13, 20), rng.uniform(11, 18)
        away = outwards + 0.7 * rng.standard_normal(3)
        away *= (0.8 * radius + 0.75 * cavity_radius) / np.linalg.norm(away)
        satellites = []
        for size in rng.uniform(2.2, 4.5, rng.integers(2, 6)):
            towards = rng.standard_normal(3)
            distance = radius + size + rng.uniform(3, 16)
            satellites.append((centre + distance * towards / np.linalg.norm(towards), float(size)))
        return cls(centre, radius, radius + rng.uniform(7, 18), centre + away, cavity_radius, tuple(satellites))

    def displace(self, x: Field, y: Field, z: Field) -> tuple[Field, Field, Field]:
        """Where the tissue at the given points would be if the tumour did not push it aside."""
        offset = [(p - c).astype(np.float32) for p, c in zip((x, y, z), self.centre, strict=True)]
        near = np.exp(-sum(o * o for o in offset) / np.float32(2 * (1.8 * self.radius) ** 2))
        return tuple(p - 0.3 * near * o for p, o in zip((x, y, z), offset, strict=True))  # type: ignore[return-value]

    def level_sets(
        self,
        rng: np.random.Generator,
        x: Field,
        y: Field,
        z: Field,
        *,
        noise: Callable[[float], Field],
        rim: float,
        lacks: Collection[str] = (),
    ) -> dict[str, Field]:
        """Draw the tumour's level sets at the given points.

        Args:
            rng: Source of the shape of the core.
            x: Positions to the right, in mm of an adult head, `(X, Y, Z)`.
            y: Positions to the front, likewise.
            z: Positions upwards, likewise.
            noise: Takes a correlation length in mm; returns a random field of unit variance at these points.
            rim: Mean thickness of the enhancing rim in mm.
            lacks: Labels that this tumour lacks.

        Returns:
            Level sets in mm, each `(X, Y, Z)`, for `invade`.
        """
        core = self._around(x, y, z, self.centre, rng.uniform(0.8, 1.25, 3))
        level = {
            "core": core - self.radius + 0.15 * self.radius * noise(self.radius) + noise(5),
            "oedema": core - self.oedema + 0.3 * self.oedema * noise(20) + 4.5 * noise(8),
            "rim": rim * np.clip(1 + 0.5 * noise(9), 0.6, 1.6) - 2 * rim * np.maximum(noise(15) - 0.7, 0),
            "strands": 4 * noise(7) + np.maximum(np.abs(core - self.radius + 3) - 4, 0),
            "cavity": self._around(x, y, z, self.cavity_centre, rng.uniform(0.8, 1.25, 3))
            - self.cavity_radius
            + 0.15 * self.cavity_radius * noise(self.cavity_radius)
            + noise(4),
            "margin": 0.8 * rim - rim * np.maximum(0.4 - noise(12), 0),
            "satellites": noise(4)
            + np.minimum.reduce([self._around(x, y, z, place) - size for place, size in self.satellites]),
        }
        absent = {
            "NETC": {"core": NOWHERE},
            "SNFH": {"oedema": NOWHERE},
            "ET": {"rim": -NOWHERE, "strands": NOWHERE, "margin": -NOWHERE, "satellites": NOWHERE},
            "RC": {"cavity": NOWHERE},
        }
        for label in lacks:
            level.update({name: np.full_like(x, value) for name, value in absent[label].items()})
        return {name: field.astype(np.float32) for name, field in level.items()}

    @staticmethod
    def _around(
        x: Field, y: Field, z: Field, centre: NDArray[np.float64], stretch: NDArray[np.float64] | float = 1.0
    ) -> Field:
        scale = np.broadcast_to(stretch, 3)
        squared = sum(((p - c) / s) ** 2 for p, c, s in zip((x, y, z), centre, scale, strict=True))
        return np.sqrt(np.asarray(squared, np.float32))


def invade(tissue: NDArray[np.uint8], level: Mapping[str, Field]) -> None:
    """Replace healthy tissue by the tumour, in place.

    Args:
        tissue: Values of `Tissue`, as `anatomy.tissues` returns them.
        level: Level sets of the anatomy and of the tumour at the same points.
    """
    brain = level["cerebrum"] < -1.5
    spared = (tissue == Tissue.CSF) | (tissue == Tissue.VESSEL) | ((tissue == Tissue.GREY) & (level["oedema"] > -9))
    tissue[brain & ~spared & (level["oedema"] < 0)] = Tissue.OEDEMA

    core, cavity = level["core"], level["cavity"]
    tissue[brain & (core < 0)] = Tissue.NECROSIS
    rim = (core < 0) & ((core > -level["rim"]) | (np.abs(level["strands"]) < 0.4 * level["rim"]))
    margin = (cavity >= 0) & (cavity < level["margin"])
    tissue[brain & (rim | margin | (level["satellites"] < 0))] = Tissue.ENHANCING
    tissue[brain & (cavity < 0)] = Tissue.CAVITY
