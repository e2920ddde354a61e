"""What the header of a NIfTI file says of its voxels and of their place in space, as ITK and so nnU-Net read it.

Every command takes size, voxel size and position from here or from ITK, which agree; see docs/reference/files.md.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .grid import RIGHT_ANGLE, Affine, Grid, is_same_grid

LENGTH = 348
"""Bytes of a header; four more follow before the first voxel."""

GZIP = b"\x1f\x8b"
"""How the content of a compressed file begins, whatever the file's name."""

SAME_SPACING = 0.01
"""Greatest relative difference of the two voxel sizes that a header states, in `pixdim` and in its sform."""


@dataclass(frozen=True)
class NiftiHeader:
    """The part of a NIfTI-1 header that decides which voxels a file has and where they are.

    Args:
        grid: Voxels along each axis, without trailing axes of one voxel after the third, and their position in mm.
        axes: Number of axes that the file states, trailing ones of one voxel included.
        form: The form that the position is taken from: `qform`, `sform`, or `neither` if both codes are 0.
        other: Position by the other form, if the file states both and they differ.
        length: Bytes of the unpacked file up to its last voxel.
        is_vector: Whether the file declares its voxels to be vectors or matrices, even if they have one value each.
    """

    grid: Grid
    axes: int
    form: str
    other: Affine | None
    length: int
    is_vector: bool

    @property
    def remark(self) -> str | None:
        """A sentence on two places that the header states; None if it states one."""
        if self.other is None:
            return None
        unused = "sform" if self.form == "qform" else "qform"
        return (
            f"{self.grid.path} states two places in space, in its qform and its sform, up to "
            f"{self.grid.apart(self.other):.3g} mm apart; the {self.form} is taken, as nnU-Net does, not the {unused}."
        )


_FIELDS = np.dtype(
    {
        "names": [
            *("sizeof_hdr", "dim", "intent_code", "datatype", "pixdim", "vox_offset", "scl_slope"),
            *("scl_inter", "xyzt_units", "qform_code", "sform_code", "quatern", "qoffset", "srow", "magic"),
        ],
        "formats": [
            *("i4", "8i2", "i2", "i2", "8f4", "f4", "f4"),
            *("f4", "u1", "i2", "i2", "3f4", "3f4", "(3,4)f4", "S4"),
        ],
        "offsets": [0, 40, 68, 70, 76, 108, 112, 116, 123, 252, 254, 256, 268, 280, 344],
        "itemsize": LENGTH,
    }
)
"""The fields of a NIfTI-1 header that are read, with their offsets in bytes (nifti1.h)."""

_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8, 1792: 16, 2304: 4}
"""Bytes per voxel by data type, of the types that ITK and nibabel read."""

_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres of NIfTI's units of length: metre, millimetre, micron. Without a unit it is the millimetre."""

_OTHERS = {
    GZIP: "it was compressed twice; decompress it once",
    b"PK\x03\x04": "it is a zip archive; unpack it",
    b"version https://git-lfs": "it is Git LFS's stand-in for the image; fetch the image with git lfs pull",
    b"/annex/objects/": "it is git-annex's stand-in for the image; fetch the image with git annex get",
    b"<!DOCTYPE": "it is a web page, as a download without a login leaves; download it again",
    b"<html": "it is a web page, as a download without a login leaves; download it again",
    b"\x00\x05\x16\x07": "it is what macOS keeps of a file on another disk (AppleDouble), not the file itself",
}
"""What stands in the place of an image in practice, by how it begins."""

_VECTORS = {1004, 1005, 1006, 1007, 1008, 1009, 1010, 2003, 2004}
"""Intent codes of matrices, vectors, points, quaternions and colours."""


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read the header of a NIfTI file, compressed or not, and none of its voxels.

    Raises:
        UserError: The file is missing, cannot be read, or has no header that says without doubt what it holds.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LENGTH)
            if content[:2] == GZIP:
                file.seek(0)
                with gzip.GzipFile(fileobj=file) as unpacked:
                    content = unpacked.read(LENGTH)
    except FileNotFoundError:
        raise UserError(missing(path)) from None
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path} is cut short or damaged: {error}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    return nifti_header(path, content)


def missing(path: Path) -> str:
    """The sentence on a file that is not there, and on one of almost its name."""
    try:
        near = [other for other in sorted(path.parent.iterdir()) if _stem(other) == _stem(path) and other != path]
    except OSError:
        near = []
    there = f" There is a {'folder' if near[0].is_dir() else 'file'} {near[0].name}: is that it?" if near else ""
    return f"{path} is missing.{there}"


def _stem(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").removesuffix(".nii")


def nifti_header(path: Path, content: bytes) -> NiftiHeader:
    """Interpret the header of an unpacked NIfTI file.

    Without doubt means: ITK, nibabel and the standard agree, or ITK's choice is documented (two forms).

    Args:
        path: The file, for messages.
        content: The file, or its first 348 bytes.

    Raises:
        UserError: It is no NIfTI-1 header, or one that contradicts itself.

    Example:
        >>> import nibabel as nib
        >>> image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([100.0, 100.0, 100.0, 1.0]))
        >>> image.header.set_xyzt_units("micron")
        >>> nifti_header(Path("mouse.nii"), image.to_bytes()).grid.spacing.tolist()
        [0.1, 0.1, 0.1]
    """
    fields = _fields(path, content)
    axes = int(fields["dim"][0])
    shape = [int(size) for size in fields["dim"][1 : axes + 1]]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    offset = float(fields["vox_offset"])
    if not (offset == 0 or (352 <= offset < 2**31)):
        raise _refused(path, f"its voxels begin at byte {offset:g}, within the header")
    _check_scale(path, float(fields["scl_slope"]), float(fields["scl_inter"]))
    grid, form, other = _place(path, tuple(shape), fields)
    voxels = prod(shape) * _BYTES[int(fields["datatype"])]
    return NiftiHeader(grid, axes, form, other, max(352, int(offset)) + voxels, int(fields["intent_code"]) in _VECTORS)


def refuse_other_file(path: Path, content: bytes) -> None:
    """Refuse what is known to lie in the place of images, and say what it is.

    Args:
        path: The file, for messages.
        content: The unpacked file, or how it begins.

    Raises:
        UserError: It is one of these.
    """
    for start, what in _OTHERS.items():
        if content.startswith(start):
            raise _refused(path, what)


def _fields(path: Path, content: bytes) -> np.void:
    """The fields in the byte order of the file."""
    if not content:
        raise UserError(f"{path} is cut short or damaged: it is empty.")
    refuse_other_file(path, content)
    if len(content) < LENGTH:
        raise _refused(path, f"it has {len(content)} bytes, fewer than a header")
    for layout in (_FIELDS.newbyteorder("<"), _FIELDS.newbyteorder(">")):
        fields: np.void = np.frombuffer(content, layout, 1)[0]
        if fields["sizeof_hdr"] == 540:
            raise UserError(f"{path} is a NIfTI-2 file, which ITK and so nnU-Net do not read: save it as NIfTI-1.")
        if fields["sizeof_hdr"] == LENGTH:
            break
    else:
        raise _refused(path, "it does not begin with a NIfTI header")
    if fields["magic"] not in (b"n+1", b"ni1"):
        raise _refused(path, f"its header is marked {bytes(fields['magic'])!r}, not as NIfTI-1 (Analyze, perhaps)")
    axes = int(fields["dim"][0])
    if not 1 <= axes <= 7 or (fields["dim"][1 : axes + 1] < 1).any():
        raise _refused(path, f"its header states the sizes {fields['dim'][1 : max(axes, 0) + 1].tolist()}")
    if int(fields["datatype"]) not in _BYTES:
        raise _refused(path, f"its header states the data type {fields['datatype']}, which is not known")
    for code in ("qform_code", "sform_code"):
        if not 0 <= fields[code] <= 5:
            raise _refused(path, f"its header states the {code} {fields[code]}, which is not known")
    return fields


def _check_scale(path: Path, slope: float, intercept: float) -> None:
    """Refuse a scale that readers understand differently: nibabel ignores an intercept without a slope, ITK adds it."""
    scaled = bool(np.isfinite(slope)) and slope != 0
    if not (np.isfinite(intercept) if scaled else not np.isfinite(intercept) or intercept == 0):
        raise _refused(
            path, f"its scale is not clear (scl_slope {slope:g}, scl_inter {intercept:g}); save it without a scale"
        )


def _place(path: Path, shape: tuple[int, ...], fields: np.void) -> tuple[Grid, str, Affine | None]:
    """The position by ITK's choice of form, the form's name, and the position by the other form if it differs."""
    scale = np.array([_MM.get(int(fields["xyzt_units"]) & 7, 1.0)] * 3 + [1.0])[:, None]
    pixdim = np.abs(fields["pixdim"].astype(np.float64))
    spacing = pixdim[1:4]
    usual = np.where(np.isfinite(spacing) & (spacing > 0), spacing, 1.0)
    if (usual != spacing)[: len(shape)].any():
        raise UserError(f"{path} has no valid position in space (its voxel size is {spacing.tolist()}).")
    has_qform, has_sform = (fields[code] > 0 for code in ("qform_code", "sform_code"))
    qform, sform = _qform(fields, usual), np.vstack([fields["srow"].astype(np.float64), [0, 0, 0, 1]])
    straight = _is_valid(sform) and _is_straight(sform)
    if not (has_qform or has_sform):
        return Grid(path, shape, scale * np.diag([-usual[0], -usual[1], usual[2], 1.0])), "neither", None
    if has_sform and (not has_qform or (straight and fields["sform_code"] == 1)):
        chosen, form = _with_spacing(path, sform, usual, shape) if straight else sform, "sform"
    else:
        chosen, form = qform, "qform"
    chosen = scale * chosen
    if not _is_valid(chosen):
        raise UserError(f"{path} has no valid position in space (its affine is {np.round(chosen[:3], 3).tolist()}).")
    grid = Grid(path, shape, chosen)
    other = scale * (qform if form == "sform" else sform)
    both = has_qform and has_sform and np.isfinite(other).all()
    return grid, form, other if both and not is_same_grid(Grid(path, shape, other), grid) else None


def _qform(fields: np.void, spacing: NDArray[np.float64]) -> Affine:
    """The affine of the quaternion, whose real part is what is left of length 1 (nifti1.h, method 2)."""
    vector = np.nan_to_num(fields["quatern"].astype(np.float64), posinf=0, neginf=0)
    rest = 1 - float(vector @ vector)
    real, (b, c, d) = (np.sqrt(rest), vector) if rest > 1e-7 else (0.0, vector / np.linalg.norm(vector))
    rotation = np.array(
        [
            [real**2 + b**2 - c**2 - d**2, 2 * (b * c - real * d), 2 * (b * d + real * c)],
            [2 * (b * c + real * d), real**2 + c**2 - b**2 - d**2, 2 * (c * d - real * b)],
            [2 * (b * d - real * c), 2 * (c * d + real * b), real**2 + d**2 - b**2 - c**2],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing * [1, 1, -1 if fields["pixdim"][0] < 0 else 1]
    affine[:3, 3] = fields["qoffset"]
    return affine


def _with_spacing(path: Path, sform: Affine, spacing: NDArray[np.float64], shape: tuple[int, ...]) -> Affine:
    """The sform with the voxel size that `pixdim` states, which ITK takes."""
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    if (np.abs(lengths - spacing) > SAME_SPACING * lengths)[: len(shape)].any():
        raise UserError(
            f"{path} states two voxel sizes: {_listed(spacing)} in pixdim and {_listed(lengths)} in its sform. "
            "Correct its header."
        )
    exact = np.allclose(lengths, spacing, rtol=1e-6, atol=0)
    return sform if exact else sform * np.append(spacing / lengths, 1.0)


def _is_valid(affine: Affine) -> bool:
    """Whether an affine maps voxels to places, each to one of its own."""
    if not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool((lengths > 0).all() and abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-6)


def _is_straight(affine: Affine) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= RIGHT_ANGLE)


def _refused(path: Path, why: str) -> UserError:
    return UserError(f"{path} cannot be read as NIfTI: {why}.")


def _listed(numbers: NDArray[np.float64]) -> str:
    return f"({', '.join(f'{number:.6g}' for number in numbers)})"
