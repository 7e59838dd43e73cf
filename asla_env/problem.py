"""A search problem: what is there, what is to be placed where, and when the structure counts as found."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import blake2b
from math import prod
from typing import Self

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import find_mic
from numpy.typing import ArrayLike, NDArray

from asla_env.checks import check_finished, check_parts, check_problem, indices_to_place, whole_numbers
from asla_env.grid import MOST_PIXELS, Grid, Symmetry, checked_shape, is_number, minimum_image

_EXACT = 1e-4  # Å; closer than this, two positions count as the same under a symmetry


@dataclass(frozen=True)
class Problem:
    """Atoms to place on a grid around a template, and the structure that is looked for.

    Of `ase.Atoms` elements, positions, cell, periodicity and ``info`` are kept. What else atoms may have, such as tags
    and constraints, those that are placed would not have, and energies would not compare.

    Parameters
    ----------
    name
        What pictures and files call the problem.
    grid
        The pixels on which atoms may be placed.
    template
        Atoms that are there from the start, with the simulation cell and its periodicity. Energies use their true
        positions; images show each at its nearest pixel.
    to_place
        How many atoms of each species are to be placed.
    reference
        A finished structure: success and scaled rewards are measured from its energy. Without one no structure is
        ever a success.
    success_window
        A structure whose energy lies less than this many eV above the reference counts as found.
    minimum_distance
        Least distance between an atom to place and any other, as a multiple of the sum of the two covalent radii.
        ``None`` switches the limit off; a pixel still holds one atom only.
    maximum_distance
        An atom must be placed within this multiple of the sum of covalent radii of some atom that is there already.
        ``None`` switches the limit off; without any atom there it does not apply.
    surroundings
        Atoms outside the image that only take part in the energy.

    Raises
    ------
    ValueError
        If the parts contradict each other.
    """

    name: str
    grid: Grid
    template: Atoms
    to_place: Mapping[str, int]
    reference: Atoms | None = None
    success_window: float = 3.0
    minimum_distance: float | None = 0.7
    maximum_distance: float | None = None
    surroundings: Atoms = field(default_factory=Atoms)

    def __post_init__(self) -> None:
        check_parts(self)
        for part in fields(self):  # atoms are mutable: keep copies of our own
            if isinstance(getattr(self, part.name), Atoms):
                object.__setattr__(self, part.name, _bare(getattr(self, part.name)))
        check_problem(self)
        object.__setattr__(self, "to_place", {symbol: int(count) for symbol, count in self.to_place.items()})
        for name in ("success_window", "minimum_distance", "maximum_distance"):  # numbers that files can hold
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms,
        place: Sequence[int],
        *,
        spacing: float = 0.2,
        shape: tuple[int, ...] | None = None,
        margin: float = 1.0,
        name: str = "",
        success_window: float = 3.0,
        minimum_distance: float | None = 0.7,
        maximum_distance: float | None = None,
    ) -> Self:
        """Make a problem from a finished structure: some of its atoms are taken away and have to be found.

        A structure flat in z, to 0.0001 Å, becomes a problem with two axes, any other one with three.

        Parameters
        ----------
        atoms
            The finished structure, in an orthorhombic cell along its periodic axes.
        place
            Indices of the atoms that are taken away and are to be placed.
        spacing
            Wanted distance in Å between pixels; along a periodic axis the nearest one that divides the cell is taken.
        shape
            Pixels along each axis, instead of `spacing`.
        margin
            How far in Å the grid reaches beyond the outermost atoms along open axes; one with a single pixel in `shape`
            has it in the middle of the atoms.
        name, success_window, minimum_distance, maximum_distance
            As for the class.

        Raises
        ------
        ValueError
            If an index is out of range or repeated, or the cell is not orthorhombic along its periodic axes.
        """
        check_finished(atoms)
        atoms = _bare(atoms)
        taken = indices_to_place(place, len(atoms))
        symbols = [atoms.symbols[i] for i in sorted(taken)]
        return cls(
            name=name or atoms.get_chemical_formula(),
            grid=_grid_around(atoms, spacing, shape, margin),
            template=atoms[[i for i in range(len(atoms)) if i not in taken]],
            to_place={symbol: symbols.count(symbol) for symbol in dict.fromkeys(symbols)},
            reference=atoms,
            success_window=success_window,
            minimum_distance=minimum_distance,
            maximum_distance=maximum_distance,
        )

    @cached_property
    def species(self) -> tuple[str, ...]:
        """Chemical symbols in the order of the image channels: the template's first, then those to place."""
        return tuple(dict.fromkeys([*self.template.symbols, *self.to_place]))

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How many atoms of each species are to be placed, shape (species,)."""
        return np.array([self.to_place.get(symbol, 0) for symbol in self.species], dtype=np.int64)

    @property
    def n_to_place(self) -> int:
        """How many atoms are to be placed: the steps of a whole build."""
        return int(self.counts.sum())

    @property
    def n_actions(self) -> int:
        """Number of actions, one for each species and pixel."""
        return len(self.species) * self.grid.n_pixels

    @cached_property
    def template_sites(self) -> NDArray[np.int64]:
        """The template as action indices ``species * n_pixels + pixel``, in the order of its atoms."""
        channels = np.array([self.species.index(symbol) for symbol in self.template.symbols], dtype=np.int64)
        return channels * self.grid.n_pixels + self.grid.pixels(self.template.positions.reshape(-1, 3))

    def sites(self, placed: Sequence[int]) -> NDArray[np.int64]:
        """Action indices of placed atoms as an array.

        Raises
        ------
        TypeError
            If one is no whole number.
        ValueError
            If one is not the index of an action.
        """
        sites = whole_numbers("placed", placed)
        if np.count_nonzero(sites.view(np.uint64) >= self.n_actions):  # what is negative is large without its sign
            raise ValueError(f"`placed` is {sites.tolist()} but must hold action indices in [0, {self.n_actions})")
        return sites

    def distances(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Distances in Å, shape (n, n_pixels), from positions of shape (n, 3) to the nearest image of every pixel.

        Images are those of the simulation cell, which may be periodic along an open axis of the grid too.
        """
        pixels = self.grid.pixel_positions
        each = [self._lengths(pixels - position) for position in np.asarray(positions, dtype=float)]  # saves memory
        return np.array(each).reshape(len(each), len(pixels))

    @cached_property
    def distances_to_fixed(self) -> NDArray[np.float64]:
        """Distances in Å, shape (n, n_pixels), of the template's atoms, then of the surroundings, as `distances`."""
        return self.distances([*self.template.positions, *self.surroundings.positions])

    @cached_property
    def pixel_distances(self) -> NDArray[np.float64]:
        """Distance in Å between the nearest images of two pixels by their steps (i, j[, k]) along each axis.

        Shape (2 x - 1, 2 y - 1[, 2 z - 1]); no step is in the middle.
        """
        steps = [np.arange(1 - n, n) * spacing for n, spacing in zip(self.grid.shape, self.grid.spacing, strict=True)]
        steps += [np.zeros(1)] * (3 - self.grid.ndim)
        lengths = self._lengths(np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1))
        return lengths.reshape([2 * n - 1 for n in self.grid.shape])

    def distances_from(self, pixel: int) -> NDArray[np.float64]:
        """Distances in Å, shape (n_pixels,), from a pixel to the nearest image of every pixel."""
        shape = self.grid.shape
        index = np.unravel_index(pixel, shape)
        window = tuple(slice(n - 1 - i, 2 * n - 1 - i) for n, i in zip(shape, index, strict=True))
        return np.ravel(self.pixel_distances[window])

    def distances_between(self, pixels: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distance in Å from each pixel to the nearest image of another, of shapes that are broadcast."""
        shape = self.grid.shape
        each, other = np.unravel_index(pixels, shape), np.unravel_index(others, shape)
        steps = [i - j + n - 1 for i, j, n in zip(each, other, shape, strict=True)]
        return np.asarray(self.pixel_distances[tuple(steps)])

    def radii(self) -> NDArray[np.float64]:
        """Covalent radii in Å, shape (species,)."""
        return np.array([covalent_radii[atomic_numbers[symbol]] for symbol in self.species])

    def structure(self, placed: Sequence[int]) -> Atoms:
        """Return template, placed atoms and surroundings as one structure with the template's cell.

        Parameters
        ----------
        placed
            Action indices of the atoms placed so far.

        Raises
        ------
        TypeError, ValueError
            If one is not the index of an action.
        """
        channels, pixels = np.divmod(self.sites(placed), self.grid.n_pixels)
        symbols = [self.species[channel] for channel in channels]
        atoms: Atoms = self.template + Atoms(symbols, positions=self.grid.positions(pixels)) + self.surroundings
        return atoms

    def symmetries(self, tolerance: float = _EXACT) -> NDArray[np.int64]:
        """Symmetries of the grid that keep the template, as pixel permutations of shape (n, n_pixels), identity first.

        Without a template the translations, being as many as pixels, are left out.

        Parameters
        ----------
        tolerance
            How far in Å an atom of the template may be from an atom's image. A symmetry must map the drawn template
            onto itself whatever the tolerance.
        """
        found = [s for point in self.grid.point_symmetries for s in self._onto_template(point)]
        kept = [s for s in found if self._keeps_cell(s) and self._keeps_atoms(s, tolerance)]
        return self._permutations(kept)

    def canonical_key(self, placed: Sequence[int]) -> bytes:
        """Key of a structure that is equal for structures equal by an exact symmetry and differs between problems.

        Parameters
        ----------
        placed
            Action indices of all placed atoms, in any order.

        Raises
        ------
        TypeError, ValueError
            If one is not the index of an action.
        """
        sites = self.sites(placed)
        if not self.template_is_on_grid:
            return self.fingerprint + min(map(bytes, self._images(sites)))
        images = self._images(np.concatenate([self.template_sites, sites]))
        return self.fingerprint + min(bytes(row) for image in images for row in self._anchored(image))

    @cached_property
    def fingerprint(self) -> bytes:
        """Digest, 8 bytes, of everything that, beside the placed atoms and the calculator, fixes the energy."""
        text = repr((self.grid, self.species)) + _text_of(self.template) + _text_of(self.surroundings)
        return blake2b(text.encode(), digest_size=8).digest()

    @cached_property
    def reference_key(self) -> bytes:
        """Key of the reference structure, as `canonical_key` is of others; it need not lie on the grid."""
        return b"reference" + (_text_of(self.reference).encode() if self.reference is not None else b"")

    @cached_property
    def _exact_permutations(self) -> NDArray[np.int64]:
        """Pixel permutations under which the energy is exactly the same; translations of a template on pixels aside."""
        if self.template_is_on_grid:
            return self._permutations([s for s in self.grid.point_symmetries if self._keeps_cell(s)])
        return self.symmetries()

    @cached_property
    def template_is_on_grid(self) -> bool:
        """Whether every atom sits exactly on a pixel, so that all symmetries of the grid keep the energy."""
        drawn = self.grid.positions(self.template_sites % self.grid.n_pixels)
        off = self.grid.minimum_image(self.template.positions - drawn)
        return len(self.surroundings) == 0 and bool(np.all(np.abs(off) < _EXACT))

    def _permutations(self, symmetries: Sequence[Symmetry]) -> NDArray[np.int64]:
        """Pixel permutations of symmetries, each once: along an axis of one pixel a reflection moves none."""
        permutations = [self.grid.permutation(symmetry) for symmetry in symmetries]
        return np.array(list({permutation.tobytes(): permutation for permutation in permutations}.values()))

    def _lengths(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lengths in Å, shape (...), of the shortest images of vectors (..., 3), rounded so that mirror images tie."""
        cell, pbc = self.template.cell.array, self.template.pbc
        if np.any(cell[pbc] != np.diag(np.diag(cell))[pbc]):
            _, lengths = find_mic(vectors.reshape(-1, 3), self.template.cell, pbc)
            return np.asarray(lengths.reshape(vectors.shape[:-1]).round(9))
        nearest = minimum_image(vectors, np.diag(cell), pbc)  # along axes: no neighbouring cell need be looked at
        return np.asarray(np.linalg.norm(nearest, axis=-1).round(9))

    def _images(self, sites: NDArray[np.int64]) -> NDArray[np.int32]:
        """Sorted sites under each exact permutation, shape (n_permutations, n_sites)."""
        channels, pixels = np.divmod(sites, self.grid.n_pixels)
        images = channels * self.grid.n_pixels + self._exact_permutations[:, pixels]
        return np.sort(images, axis=1).astype(np.int32)

    def _anchored(self, sites: NDArray[np.int32]) -> NDArray[np.int32]:
        """Sorted sites after each translation that brings an atom of the first kind to pixel 0 of the periodic axes."""
        channels, pixels = np.divmod(sites, self.grid.n_pixels)
        indices = _indices(self.grid, pixels)  # [atom, axis]
        anchors = indices[channels == channels[0]] * np.asarray(self.grid.periodic)
        moved = (indices - anchors[:, None]) % np.asarray(self.grid.shape)  # [anchor, atom, axis]
        flat = np.ravel_multi_index(tuple(np.moveaxis(moved, -1, 0)), self.grid.shape)
        return np.asarray(np.sort(channels * self.grid.n_pixels + flat, axis=1), dtype=np.int32)

    def _onto_template(self, point: Symmetry) -> list[Symmetry]:
        """Follow a point symmetry by each translation that may bring the first template atom onto another."""
        if not len(self.template):
            return [point]
        pixels = self.template_sites % self.grid.n_pixels
        start = self.grid.permutation(point)[pixels[0]]
        shifts = np.unique((_indices(self.grid, pixels) - _indices(self.grid, start)) % self.grid.shape, axis=0)
        return [point.then_shift(shift) for shift in shifts if not np.any(shift[~np.asarray(self.grid.periodic)])]

    def _keeps_cell(self, symmetry: Symmetry) -> bool:
        """Whether the simulation cell, which may differ from the grid along open axes, has the symmetry."""
        axes = [*symmetry.axes, *range(self.grid.ndim, 3)]
        signs = np.array([*symmetry.signs, 1, 1])[:3]
        cell, pbc = self.template.cell.array, self.template.pbc
        moved = np.outer(signs, signs) * cell[np.ix_(axes, axes)]
        return bool(np.allclose(moved, cell, atol=1e-6) and np.array_equal(pbc[axes], pbc))

    def _keeps_atoms(self, symmetry: Symmetry, tolerance: float) -> bool:
        """Whether the drawn template, its true positions and the surroundings are mapped onto themselves."""
        channels, pixels = np.divmod(self.template_sites, self.grid.n_pixels)
        drawn = channels * self.grid.n_pixels + self.grid.permutation(symmetry)[pixels]
        atoms = self.template + self.surroundings
        images = self.grid.transform(symmetry, atoms.positions)
        gaps = np.linalg.norm(self.grid.minimum_image(images[:, None] - atoms.positions), axis=-1)
        close = (gaps < tolerance) & (atoms.numbers[:, None] == atoms.numbers)
        return set(drawn) == set(self.template_sites) and bool(np.all(close.any(axis=1)))


def _bare(atoms: Atoms) -> Atoms:
    """A copy that has what is part of a problem and nothing else."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=atoms.info)


def _text_of(atoms: Atoms) -> str:
    """Everything of a structure that fixes its energy; some calculators read charge and spin in ``info``."""
    text = repr((atoms.numbers.tolist(), atoms.positions.tolist(), atoms.cell.tolist(), atoms.pbc.tolist()))
    if not atoms.info:
        return text
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):  # arrays in full
        return text + repr(sorted(atoms.info.items(), key=repr))


def _indices(grid: Grid, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index along each axis, shape (..., axis), of flat pixel indices."""
    return np.stack(np.unravel_index(pixels, grid.shape), axis=-1)


def _grid_around(atoms: Atoms, spacing: float, shape: tuple[int, ...] | None, margin: float) -> Grid:
    """Grid over the cell along periodic axes and over the atoms and a margin along open ones."""
    if not is_number(spacing) or spacing <= 0:
        raise ValueError(f"`spacing` is {spacing!r} Å but must be positive and finite")
    if not is_number(margin) or margin < 0:
        raise ValueError(f"`margin` is {margin!r} Å but must be at least 0 and finite")
    ndim = 2 if np.ptp(atoms.positions[:, 2]) < _EXACT else 3
    shape = None if shape is None else checked_shape(shape)
    if shape is not None and len(shape) != ndim:
        raise ValueError(f"`shape` is {shape} but must have {ndim} entries, one for each axis of the grid")
    periodic = atoms.pbc[:ndim]
    if np.any(np.abs(atoms.cell[:ndim] - np.diag(np.diag(atoms.cell))[:ndim])[periodic] > 1e-6):
        raise ValueError(f"`atoms` has the cell {atoms.cell.tolist()} but it must be orthorhombic")
    span = np.where(periodic, np.diag(atoms.cell)[:ndim], np.ptp(atoms.positions, axis=0)[:ndim] + 2 * margin)
    if np.any(span == 0):
        raise ValueError(f"`margin` is {margin!r} Å but must be positive along an open axis without extent")
    if shape is None:
        with np.errstate(over="ignore"):
            pixels = np.maximum(np.rint(span / spacing), 1) + ~periodic
        if not prod(pixels.tolist()) <= MOST_PIXELS:
            raise ValueError(
                f"`spacing` is {spacing} Å but must make at most {MOST_PIXELS} pixels of {span.tolist()} Å"
            )
        shape = tuple(int(n) for n in pixels)
    cell = np.where(periodic, span, span / np.maximum(np.asarray(shape) - 1, 1) * np.asarray(shape))
    lowest, highest = (end(atoms.positions, axis=0)[:ndim] for end in (np.min, np.max))
    low = np.where(np.asarray(shape) > 1, lowest - margin, (lowest + highest) / 2)  # a pixel alone is in the middle
    low[periodic] = 0.0
    origin = (*low, atoms.positions[0, 2]) if ndim == 2 else tuple(low)
    return Grid(shape, tuple(cell), tuple(periodic), origin)
