"""The pixel grid: where atoms may be placed, how far apart pixels are, and which moves leave the grid as it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations, product
from math import prod
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_PIXELS = 10**8  # arrays of numbers, one a pixel, fit into memory


@dataclass(frozen=True)
class Grid:
    """Pixels on two or three orthogonal axes, each periodic or open.

    Pixel ``(i, j[, k])`` sits at ``origin + (i, j[, k]) * spacing``; the spacing of an axis is its length divided by
    its number of pixels. Pixels are addressed by their flat index, the last axis running fastest.

    Parameters
    ----------
    shape
        Pixels along each axis, two or three numbers of at least 1.
    cell
        Length of each axis in Å, or the matrix of the cell vectors. Only orthorhombic cells are supported.
    periodic
        Whether the structure repeats along each axis.
    origin
        Cartesian position in Å of pixel 0. Two axes span the plane ``z = origin[2]``.

    Raises
    ------
    ValueError
        If the numbers do not describe an orthorhombic grid.
    """

    shape: tuple[int, ...]
    cell: tuple[float, ...]
    periodic: tuple[bool, ...]
    origin: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))

    def __post_init__(self) -> None:
        shape = checked_shape(self.shape)
        flags = _entries(self.periodic)
        if len(flags) != len(shape) or not all(
            isinstance(flag, Integral | np.bool_) and flag in (0, 1) for flag in flags
        ):
            raise ValueError(f"`periodic` is {self.periodic!r} but must have one entry for each axis, true or false")
        periodic = tuple(bool(flag) for flag in flags)
        origin = tuple(_entries(self.origin))
        if len(origin) != 3 or not all(is_number(x) for x in origin):
            raise ValueError(f"`origin` is {self.origin!r} but must be three finite numbers in Å")
        origin = tuple(float(x) for x in origin)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "periodic", periodic)
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "cell", _orthorhombic_lengths(self.cell, len(shape)))

    @property
    def ndim(self) -> int:
        """Number of axes, 2 or 3."""
        return len(self.shape)

    @cached_property
    def n_pixels(self) -> int:
        """Number of pixels."""
        return prod(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance in Å between neighbouring pixels along each axis."""
        return tuple(length / n for length, n in zip(self.cell, self.shape, strict=True))

    @cached_property
    def pixel_positions(self) -> NDArray[np.float64]:
        """Cartesian positions in Å of all pixels, shape (n_pixels, 3)."""
        return self.positions(np.arange(self.n_pixels))

    def positions(self, pixels: ArrayLike) -> NDArray[np.float64]:
        """Cartesian positions in Å, shape (..., 3), of flat pixel indices of shape (...)."""
        pixels = _array("pixels", pixels, "iu")
        if np.any((pixels < 0) | (pixels >= self.n_pixels)):
            raise ValueError(f"`pixels` holds {pixels} but a pixel must lie in [0, {self.n_pixels})")
        indices = np.stack(np.unravel_index(pixels, self.shape), axis=-1)  # [..., axis]
        positions = np.broadcast_to(np.asarray(self.origin), (*pixels.shape, 3)).copy()
        positions[..., : self.ndim] += indices * np.asarray(self.spacing)
        return positions

    def pixels(self, positions: ArrayLike) -> NDArray[np.int64]:
        """Flat indices, shape (...), of the pixels nearest to Cartesian positions in Å of shape (..., 3).

        Raises
        ------
        ValueError
            If a position lies more than half a pixel beyond an open axis, or is not finite.
        """
        positions = _coordinates("positions", positions)
        if not np.all(np.isfinite(positions)):
            raise ValueError("`positions` holds a number that is not finite but must be Cartesian coordinates in Å")
        offsets = (positions - np.asarray(self.origin))[..., : self.ndim] / np.asarray(self.spacing)
        nearest = np.rint(offsets)
        nearest = np.where(self.periodic, np.mod(nearest, self.shape), np.clip(nearest, -1, self.shape))
        indices = nearest.astype(np.int64)  # [..., axis]
        for axis, (n, periodic) in enumerate(zip(self.shape, self.periodic, strict=True)):
            if not periodic and np.any((indices[..., axis] < 0) | (indices[..., axis] >= n)):
                low, high = self.origin[axis], self.origin[axis] + (n - 1) * self.spacing[axis]
                raise ValueError(
                    f"`positions` {positions.round(3).tolist()} reach outside the grid: along the open axis {axis} "
                    f"they must lie between {low:.3f} and {high:.3f} Å"
                )
        flat = np.ravel_multi_index(tuple(np.moveaxis(indices, -1, 0)), self.shape)
        return np.asarray(flat, dtype=np.int64)

    def shifted(self, pixels: ArrayLike, steps: ArrayLike) -> NDArray[np.int64]:
        """Flat indices, shape (...), of the pixels that are some steps further along each axis, -1 beyond an open end.

        Parameters
        ----------
        pixels
            Flat indices, shape (...).
        steps
            Whole numbers of pixels, shape (..., axes); the shapes before the axes are broadcast.
        """
        indices = np.stack(np.unravel_index(np.asarray(pixels), self.shape), axis=-1) + np.asarray(steps)
        inside = np.all(np.array(self.periodic) | ((indices >= 0) & (indices < self.shape)), axis=-1)
        flat = np.ravel_multi_index(tuple(np.moveaxis(indices, -1, 0)), self.shape, mode="wrap")
        return np.where(inside, flat, -1)

    def minimum_image(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """Shortest periodic images of Cartesian vectors in Å, shape (..., 3)."""
        return minimum_image(vectors, self.cell, self.periodic)

    def distances(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Minimum-image distances in Å, shape (n, n_pixels), from positions of shape (n, 3) to every pixel."""
        positions = _coordinates("positions", positions).reshape(-1, 1, 3)  # [n, 1, 3]
        return np.asarray(np.linalg.norm(self.minimum_image(self.pixel_positions - positions), axis=-1))

    def permutation(self, symmetry: "Symmetry") -> NDArray[np.int64]:
        """Flat indices, shape (n_pixels,), of the pixels to which a symmetry moves each pixel."""
        indices = np.stack(np.unravel_index(np.arange(self.n_pixels), self.shape))  # [axis, pixel]
        moved = np.array(symmetry.signs)[:, None] * indices[list(symmetry.axes)] + np.array(symmetry.shift)[:, None]
        return np.asarray(np.ravel_multi_index(tuple(moved), self.shape, mode="wrap"), dtype=np.int64)

    def transform(self, symmetry: "Symmetry", positions: ArrayLike) -> NDArray[np.float64]:
        """Cartesian positions in Å, shape (..., 3), to which a symmetry moves positions of shape (..., 3)."""
        offsets = np.array(positions, dtype=float) - np.asarray(self.origin)
        shift = np.asarray(symmetry.shift) * np.asarray(self.spacing)
        offsets[..., : self.ndim] = np.asarray(symmetry.signs) * offsets[..., list(symmetry.axes)] + shift
        return np.asarray(offsets + np.asarray(self.origin))

    @cached_property
    def point_symmetries(self) -> tuple["Symmetry", ...]:
        """Reflections and swaps of like axes, the identity first.

        A periodic axis is reflected about pixel 0, an open axis about its middle. Together with the translations
        along periodic axes these are all exact symmetries of an orthorhombic grid.
        """
        return tuple(
            Symmetry(axes, signs, self._shift_of(signs))
            for axes in permutations(range(self.ndim))
            if all(self._kind(new) == self._kind(old) for old, new in enumerate(axes))
            for signs in product((1, -1), repeat=self.ndim)
        )

    def symmetries(self) -> Iterator["Symmetry"]:
        """Yield every exact symmetry of the grid, the identity first."""
        shifts = [range(n if periodic else 1) for n, periodic in zip(self.shape, self.periodic, strict=True)]
        for shift in product(*shifts):
            for point in self.point_symmetries:
                yield point.then_shift(shift)

    def _kind(self, axis: int) -> tuple[int, float, bool]:
        """What two axes must share to be swapped."""
        return self.shape[axis], round(self.cell[axis], 9), self.periodic[axis]

    def _shift_of(self, signs: tuple[int, ...]) -> tuple[int, ...]:
        """Shift in pixels that brings a reflected open axis back onto itself."""
        lasts = (0 if periodic else n - 1 for n, periodic in zip(self.shape, self.periodic, strict=True))
        return tuple(last if sign < 0 else 0 for sign, last in zip(signs, lasts, strict=True))


@dataclass(frozen=True)
class Symmetry:
    """A move of the grid onto itself: pixel index ``i`` becomes ``signs * i[axes] + shift``, modulo periodic axes."""

    axes: tuple[int, ...]
    signs: tuple[int, ...]
    shift: tuple[int, ...]

    def then_shift(self, shift: Sequence[int]) -> "Symmetry":
        """Return this move followed by a translation in pixels along each axis."""
        return Symmetry(self.axes, self.signs, tuple(int(a + b) for a, b in zip(self.shift, shift, strict=True)))


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Pixels along each axis; raises ValueError unless they are those of a grid of decent size."""
    entries = _entries(shape)
    if len(entries) not in (2, 3) or not all(isinstance(n, Integral) and int(n) >= 1 for n in entries):
        raise ValueError(f"`shape` is {shape!r} but must be two or three whole numbers of at least 1")
    pixels = tuple(int(n) for n in entries)
    if prod(pixels) > MOST_PIXELS:
        raise ValueError(f"`shape` is {shape!r} but must have at most {MOST_PIXELS} pixels in all")
    return pixels


def minimum_image(
    vectors: ArrayLike, lengths: Sequence[float] | NDArray[np.float64], periodic: Sequence[bool] | NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Shortest images, shape (..., 3), of Cartesian vectors in Å where the first axes may be periodic.

    Parameters
    ----------
    vectors
        Shape (..., 3).
    lengths, periodic
        Period in Å of each of these axes, and whether it repeats.
    """
    vectors = np.array(vectors, dtype=float)
    for axis, (length, repeats) in enumerate(zip(lengths, periodic, strict=True)):
        if repeats:
            vectors[..., axis] -= length * np.rint(vectors[..., axis] / length)
    return vectors


def is_number(value: Any) -> bool:
    """Whether a value is a real number that is finite, also when it is held with double precision."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return bool(np.isfinite(float(value)))
    except OverflowError:
        return False


def _array(name: str, values: ArrayLike, kinds: str) -> NDArray[Any]:
    """Numbers as an array; raises TypeError if they are of another kind, as numpy calls it."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise TypeError(f"`{name}` is {values!r} but must be an array of numbers") from error
    if array.dtype.kind not in kinds and array.size:
        raise TypeError(f"`{name}` is {values!r} but must be an array of {'whole ' if 'f' not in kinds else ''}numbers")
    return array if array.size else array.astype(float if "f" in kinds else int)


def _coordinates(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Cartesian coordinates, shape (..., 3)."""
    array = _array(name, values, "iuf")
    if array.shape[-1:] != (3,):
        raise ValueError(f"`{name}` has the shape {array.shape} but must have three coordinates in Å for each position")
    return array.astype(float)


def _entries(values: Any) -> tuple[Any, ...]:
    """Entries of a sequence; none of what is no sequence."""
    is_sequence = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    return tuple(values) if is_sequence or (isinstance(values, np.ndarray) and values.ndim > 0) else ()


def _orthorhombic_lengths(cell: ArrayLike, ndim: int) -> tuple[float, ...]:
    """Lengths in Å of `ndim` orthogonal axes, from lengths or from a matrix of cell vectors."""
    try:
        matrix = np.asarray(cell, dtype=float)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"`cell` is {cell!r} but must be {ndim} positive lengths in Å") from error
    if matrix.ndim == 2:
        if matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, np.diag(np.diag(matrix)), atol=1e-9):
            raise ValueError(f"`cell` is {matrix.tolist()} but must be orthorhombic, with vectors along x, y and z")
        matrix = np.diag(matrix)[:ndim]
    if matrix.shape != (ndim,) or not np.all(np.isfinite(matrix)) or np.any(matrix <= 0):
        raise ValueError(f"`cell` is {cell!r} but must be {ndim} positive lengths in Å")
    return tuple(float(length) for length in matrix)
