"""NIfTI files as people have them, drawn by Hypothesis: headers, types, scales, units, endings, names and damage.

What they hold is read by nibabel and ITK, not by nnDistill.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK
from hypothesis import strategies as st

SHAPES = [(5, 6, 7), (8, 8, 8), (1, 9, 8), (9, 4, 11)]
NAMES = st.from_regex(r"[aB1é][aB1 ._\[\]'äé-]{0,8}[aB1]", fullmatch=True)
"""Of cases: with spaces, dots, brackets, quotation marks and accents."""


@dataclass(frozen=True)
class Layout:
    """How voxels are stored: everything of a file but the voxels."""

    dtype: str = "<f4"
    units: int = 2
    qform_code: int = 1
    sform_code: int = 1
    shift: float = 0.0
    turn: float = 0.0
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    slope: float = float("nan")
    intercept: float = float("nan")
    trailing: int = 0
    compressed: bool = True

    def plain(self, array: np.ndarray) -> bytes:
        """The unpacked file, with qform and sform apart by `shift` in mm and `turn` in radians."""
        scaled = array if np.isnan(self.slope) else np.rint((array - self.intercept) / self.slope)
        header = nib.Nifti1Header(endianness=self.dtype[0])
        header.set_data_dtype(self.dtype)
        header.set_data_shape(array.shape + (1,) * self.trailing)
        qform = np.diag([*self.spacing, 1.0])
        qform[:3, 3] = 10, -20, 30
        turned = np.eye(4)
        turned[:2, :2] = [[np.cos(self.turn), -np.sin(self.turn)], [np.sin(self.turn), np.cos(self.turn)]]
        sform = turned @ qform + self.shift * np.eye(4, k=3)
        header.set_qform(qform, 1)
        header.set_sform(sform, 1)
        header["qform_code"], header["sform_code"] = self.qform_code, self.sform_code
        header["xyzt_units"], header["scl_slope"], header["scl_inter"] = self.units, self.slope, self.intercept
        header["vox_offset"] = 352
        return header.binaryblock + bytes(4) + scaled.astype(self.dtype).tobytes(order="F")

    def packed(self, plain: bytes) -> bytes:
        """The file's bytes."""
        return gzip.compress(plain, 1, mtime=0) if self.compressed else plain

    def content(self, array: np.ndarray) -> bytes:
        """The file's bytes, whole."""
        return self.packed(self.plain(array))


LAYOUTS = st.builds(
    Layout,
    dtype=st.sampled_from(["<u1", "<i1", "<i2", ">i2", "<u2", "<i4", "<u4", "<i8", "<f4", ">f4", "<f8"]),
    units=st.sampled_from([0, 1, 2, 3, 10]),
    qform_code=st.sampled_from([0, 1, 2]),
    sform_code=st.sampled_from([0, 1, 2, 4]),
    shift=st.sampled_from([0.0, 0.0, 0.01, 12.0]),
    turn=st.sampled_from([0.0, 0.0, 1e-5, 0.2]),
    spacing=st.sampled_from([(1.0, 1.0, 1.0), (0.5, 1.5, 3.0), (100.0, 100.0, 100.0)]),
    trailing=st.sampled_from([0, 0, 1, 2]),
    compressed=st.booleans(),
)

SCALES = st.sampled_from([(float("nan"), float("nan")), (1.0, 0.0), (2.0, 1.0), (1 / 3, 0.0), (0.0, 5.0), (1.0, -2.0)])


@st.composite
def any_file(draw: st.DrawFn, layout: Layout, array: np.ndarray) -> bytes:
    """A file's bytes: most often whole, else cut short or with some bits turned, in the header or anywhere."""
    kind = draw(st.sampled_from([*["whole"] * 6, "cut", "packed bits", "header bits", "voxel bits"]))
    plain = layout.plain(array)
    if kind == "header bits":
        return layout.packed(_with_turned_bits(draw, plain, 0, 352))
    if kind == "voxel bits":
        return layout.packed(_with_turned_bits(draw, plain, 352, len(plain)))
    content = layout.packed(plain)
    if kind == "packed bits":
        return _with_turned_bits(draw, content, 0, len(content))
    return content[: draw(st.integers(0, len(content) - 1))] if kind == "cut" else content


def _with_turned_bits(draw: st.DrawFn, content: bytes, first: int, end: int) -> bytes:
    changed = bytearray(content)
    for place in draw(st.lists(st.integers(first, end - 1), min_size=1, max_size=3)):
        changed[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def voxels_by_nibabel(content: bytes) -> np.ndarray:
    """Scaled voxels, without trailing axes of one voxel after the third."""
    plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    image = nib.Nifti1Image.from_bytes(plain)
    array = np.asarray(image.dataobj)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return array


def voxels_by_itk(path: Path) -> np.ndarray:
    """Voxels `(x, y, z)` as nnU-Net's default reader sees them."""
    return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))).T


def place_by_itk(content: bytes, folder: Path) -> tuple[tuple[float, ...], np.ndarray]:
    """Voxel size in mm, and the affine to the right, front and top."""
    plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    (folder / "place.nii").write_bytes(plain)
    image = SimpleITK.ReadImage(str(folder / "place.nii"))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return image.GetSpacing(), np.diag([-1.0, -1, 1, 1]) @ affine
