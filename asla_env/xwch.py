"""Tight-binding carbon of Xu, Wang, Chan and Ho: thousands of energies a second.

The energy of a structure is that of its electrons plus a repulsion::

    E = Σ_k 2 n_k ε_k + Σ_i f(Σ_j φ(r_ij))

ε_k are the eigenvalues of a Hamiltonian of one s and three p orbitals an atom, whose hopping
between two atoms is that of Slater and Koster times s(r); n_k are Fermi occupations at
`ELECTRONIC_TEMPERATURE`. Γ point only; every periodic image within `CUTOFF` counts, so a cell
may be narrower than a bond is long.

One structure is a batch of one: `energy_batch` and the calculator `XWCH` share their code.

References
----------
C. H. Xu, C. Z. Wang, C. T. Chan and K. M. Ho, J. Phys.: Condens. Matter 4, 6047 (1992).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.cell import Cell
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ELECTRONIC_TEMPERATURE = 0.0259  # eV
CUTOFF = 2.6  # Å
SHORTEST_BOND = 0.1  # Å; closer atoms are a mistake, and r = 0 has no direction
ONSITE = np.array([-2.99, 3.71, 3.71, 3.71])  # eV: s, px, py, pz
SS_SIGMA, SP_SIGMA, PP_SIGMA, PP_PI = -5.0, 4.7, 5.5, -1.55  # eV
EMBEDDING = (-2.5909765118191, 0.5721151498619, -1.7896349903996e-3, 2.3539221516757e-5, -1.24251169551587e-7)
EMBEDDING_LINEAR_ABOVE = 60.0  # eV; further on the quartic turns over and rewards overlap
MATRIX_ELEMENTS_AT_ONCE = 2**20  # 8 MB of Hamiltonians


@dataclass(frozen=True)
class Decay:
    """A function of distance that the model uses twice, as s(r) and as φ(r).

    A (r0/r)^n exp{n [-(r/rc)^nc + (r0/rc)^nc]} up to `tail_start`, then a cubic in
    r - `tail_start` that takes value and slope to zero at `CUTOFF`.
    """

    amplitude: float
    r0: float
    n: float
    rc: float
    nc: float
    tail_start: float
    tail: tuple[float, ...]

    def __call__(self, lengths: Floats) -> tuple[Floats, Floats]:
        """Values at `lengths` in Å, none above `CUTOFF`, and their derivatives by Å."""
        steep = (lengths / self.rc) ** self.nc
        core = self.amplitude * (self.r0 / lengths) ** self.n
        core *= np.exp(self.n * ((self.r0 / self.rc) ** self.nc - steep))
        core_slope = -core * self.n / lengths * (1 + self.nc * steep)
        tail, tail_slope = _polynomial(self.tail, lengths - self.tail_start)
        inner = lengths < self.tail_start
        return np.where(inner, core, tail), np.where(inner, core_slope, tail_slope)


HOPPING = Decay(
    amplitude=1.0, r0=1.536329, n=2.0, rc=2.18, nc=6.5, tail_start=2.45,
    tail=(6.7392620074314e-3, -8.1885359517898e-2, 0.1932365259144, 0.3542874332380),
)  # fmt: skip
REPULSION = Decay(
    amplitude=8.18555, r0=1.64, n=3.30304, rc=2.1052, nc=8.6655, tail_start=2.57,
    tail=(2.2504290109e-8, -1.4408640561e-6, 2.1043303374e-5, 6.6024390226e-5),
)  # fmt: skip


class XWCH(Calculator):
    """ASE calculator of the Xu-Wang-Chan-Ho model, for carbon at Γ.

    At a finite electronic temperature there are two energies: ``energy`` is E as written
    above, without the electrons' entropy S, the same number as `energy_batch` gives;
    ``free_energy`` is E - TS. As always in ASE the forces are minus the gradient of
    ``free_energy``. Eigenvectors are computed only when forces are asked for.

    Raises
    ------
    ValueError
        From ``calculate``, if an atom is not carbon or two are closer than `SHORTEST_BOND`.
    """

    implemented_properties = ["energy", "free_energy", "forces"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results`` with both energies and, if in `properties`, forces (atoms, 3)."""
        Calculator.calculate(self, atoms, properties, system_changes)
        self.results = {}
        carbon = _carbon(self.atoms)
        bonds = _bonds(_checked(carbon.positions[None]), carbon.cell, carbon.pbc)
        if "forces" in properties:
            eigenvalues, eigenvectors = np.linalg.eigh(_hamiltonian(bonds))
            occupations = _occupations(eigenvalues)
            self.results["forces"] = _forces(bonds, eigenvectors[0], occupations[0])
        else:
            eigenvalues = _eigenvalues(bonds)
            occupations = _occupations(eigenvalues)
        energy = _energies(bonds, eigenvalues, occupations).item()
        self.results |= {"energy": energy, "free_energy": energy - _entropy_term(occupations).item()}


def energy_batch(positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike) -> Floats:
    """Energies of carbon structures that share a cell.

    Parameters
    ----------
    positions : array_like, shape (batch, atoms, 3)
        Positions in Å; atoms may lie outside the cell.
    cell : array_like, shape (3, 3), or (3,) for an orthorhombic cell
        Cell vectors in Å, in rows; one may be zero where `pbc` is false.
    pbc : array_like, shape (3,) or ()
        Along which cell vectors the structures are periodic.

    Returns
    -------
    ndarray, shape (batch,)
        Energies in eV: Fermi occupations, no entropy (the ``energy`` of `XWCH`).

    Raises
    ------
    ValueError
        If two atoms of a structure, or an atom and its image, are closer than `SHORTEST_BOND`.
    """
    structures = _checked(positions)
    batch, atoms = structures.shape[:2]
    at_once = max(1, MATRIX_ELEMENTS_AT_ONCE // (4 * atoms) ** 2)
    energies = np.empty(batch)
    for start in range(0, batch, at_once):
        part = slice(start, start + at_once)
        bonds = _bonds(structures[part], cell, pbc)
        eigenvalues = _eigenvalues(bonds)
        energies[part] = _energies(bonds, eigenvalues, _occupations(eigenvalues))
    return energies


class _Bonds(NamedTuple):
    """All m bonds within `CUTOFF` of a batch of structures, each once."""

    shape: tuple[int, int]  # structures, atoms
    structure: Ints  # [m]
    first: Ints  # [m]
    second: Ints  # [m], equal to `first` where an atom meets its own image
    lengths: Floats  # [m], Å
    directions: Floats  # [m, 3], unit vectors from first to second


def _carbon(atoms: Atoms | None) -> Atoms:
    if atoms is None:
        raise ValueError("`atoms` is None but must be a structure of C")
    foreign = sorted(set(atoms.symbols) - {"C"})
    if foreign:
        raise ValueError(f"`atoms` has {', '.join(foreign)} but must be all C: XWCH is a model of carbon")
    return atoms


def _checked(positions: ArrayLike) -> Floats:
    structures = np.asarray(positions, dtype=np.float64)
    if structures.ndim != 3 or structures.shape[1] == 0 or structures.shape[2] != 3:
        raise ValueError(f"`positions` has shape {structures.shape} but must be (batch, atoms, 3)")
    if not np.isfinite(structures).all():
        raise ValueError("`positions` has entries that are inf or nan but must be finite")
    return structures


def _bonds(positions: Floats, cell: ArrayLike, pbc: ArrayLike) -> _Bonds:
    """Find the bonds of structures (batch, atoms, 3)."""
    periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), 3)
    vectors, inverse = _cell_and_inverse(cell, periodic)
    widths = 1 / np.linalg.norm(inverse, axis=0)  # Å between opposite faces
    reach = np.floor(CUTOFF / widths + 0.5).astype(int) * periodic
    first, second, shifts = _candidates(positions.shape[1], tuple(reach.tolist()))

    separations = positions[:, second] - positions[:, first]  # [batch, candidate, 3]
    separations += (shifts - np.rint(separations @ inverse) * periodic) @ vectors
    squares = np.einsum("bcx,bcx->bc", separations, separations)
    structure, candidate = np.nonzero(squares < CUTOFF**2)  # [m], [m]
    lengths = np.sqrt(squares[structure, candidate])
    if lengths.size and lengths.min() < SHORTEST_BOND:
        worst = structure[lengths.argmin()]
        raise ValueError(
            f"`positions` has two atoms {lengths.min():.3g} Å apart in structure {worst} "
            f"but must keep them at least {SHORTEST_BOND} Å apart"
        )
    directions = separations[structure, candidate] / lengths[:, None]
    return _Bonds(positions.shape[:2], structure, first[candidate], second[candidate], lengths, directions)


def _cell_and_inverse(cell: ArrayLike, periodic: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Cell vectors in rows, those that are zero replaced, and the inverse matrix."""
    given = Cell.ascell(cell)
    if not given.array.any(axis=1)[periodic].all():
        raise ValueError(f"`cell` is {given.tolist()} but must have a vector wherever `pbc` is true")
    vectors = given.complete().array
    return vectors, np.linalg.inv(vectors)


@lru_cache(maxsize=16)
def _candidates(atoms: int, reach: tuple[int, int, int]) -> tuple[Ints, Ints, Ints]:
    """Every pair of atoms in every image that a bond might reach, each once.

    Separations are first reduced to half a cell or less along each periodic axis, so a bond
    of length r needs no image further than r / width + 1/2. Of an atom's own images one of
    every two that point in opposite directions is kept.
    """
    images = np.array(list(product(*(range(-n, n + 1) for n in reach))))  # [image, 3], opposites mirrored
    image, pair = np.indices((len(images), atoms * (atoms + 1) // 2)).reshape(2, -1)
    first, second = (index[pair] for index in np.triu_indices(atoms))
    kept = (first != second) | (image > len(images) // 2)
    return first[kept], second[kept], images[image[kept]]


def _hamiltonian(bonds: _Bonds) -> Floats:
    """Γ-point Hamiltonians (batch, 4 atoms, 4 atoms) in eV; orbitals s, px, py, pz of all atoms in turn."""
    batch, atoms = bonds.shape
    blocks = _slater_koster(bonds.directions) * HOPPING(bonds.lengths)[0][:, None, None]  # [m, 4, 4]
    orbital = atoms * np.arange(4)
    row = orbital[:, None] + (4 * atoms * bonds.structure + bonds.first)[:, None, None]
    column = orbital + bonds.second[:, None, None]
    size = 4 * atoms
    half = np.zeros((batch, size, size))
    np.add.at(half.reshape(-1), (size * row + column).ravel(), blocks.ravel())
    hamiltonian = half + half.swapaxes(1, 2)
    np.einsum("bii->bi", hamiltonian)[:] += np.repeat(ONSITE, atoms)
    return hamiltonian


def _slater_koster(directions: Floats) -> Floats:
    """Hopping blocks [m, 4, 4] in eV, before s(r), from the first atom's orbitals to the second's."""
    blocks = np.empty((len(directions), 4, 4))
    blocks[:, 0, 0] = SS_SIGMA
    blocks[:, 0, 1:] = SP_SIGMA * directions
    blocks[:, 1:, 0] = -SP_SIGMA * directions
    blocks[:, 1:, 1:] = (PP_SIGMA - PP_PI) * directions[:, :, None] * directions[:, None, :]
    blocks[:, (1, 2, 3), (1, 2, 3)] += PP_PI
    return blocks


def _eigenvalues(bonds: _Bonds) -> Floats:
    """Eigenvalues (batch, 4 atoms) in eV, ascending."""
    hamiltonian = _hamiltonian(bonds)
    parts = [slice(None)]
    if not bonds.directions[:, 2].any():  # flat: pz mixes with no other orbital, which saves 30 % of the time
        sigma = 3 * bonds.shape[1]
        parts = [slice(sigma), slice(sigma, None)]
    eigenvalues = [np.linalg.eigvalsh(hamiltonian[:, part, part]) for part in parts]
    return np.sort(np.concatenate(eigenvalues, axis=1), axis=1)


def _occupations(eigenvalues: Floats) -> Floats:
    """Fermi occupations (batch, 4 atoms) that fill half of the states.

    The Fermi level is found by Newton's method, with bisection where that would leave the bracket.
    """
    half = eigenvalues.shape[1] // 2
    low, high = eigenvalues[:, 0], eigenvalues[:, -1]
    level = 0.5 * (eigenvalues[:, half - 1] + eigenvalues[:, half])
    for _ in range(100):
        scaled = (eigenvalues - level[:, None]) / ELECTRONIC_TEMPERATURE
        occupations = 0.5 - 0.5 * np.tanh(0.5 * scaled)  # Fermi's function in a form that cannot overflow
        excess = occupations.sum(axis=1) - half
        if np.abs(excess).max() < 1e-14 * half:
            break
        low, high = np.where(excess < 0, level, low), np.where(excess > 0, level, high)
        slope = (occupations * (1 - occupations)).sum(axis=1) / ELECTRONIC_TEMPERATURE
        newton = level - excess / np.maximum(slope, 1e-30)
        level = np.where((low < newton) & (newton < high), newton, 0.5 * (low + high))
    return occupations


def _energies(bonds: _Bonds, eigenvalues: Floats, occupations: Floats) -> Floats:
    """Energies (batch,) in eV of electrons and repulsion."""
    electrons: Floats = 2 * (occupations * eigenvalues).sum(axis=1)
    return electrons + _repulsion(bonds)[0]


def _entropy_term(occupations: Floats) -> Floats:
    """T S of the electrons (batch,) in eV: -2 kT Σ n ln n + (1 - n) ln(1 - n)."""
    parts = np.stack((occupations, 1 - occupations))
    entropies: Floats = -2 * (parts * np.log(np.maximum(parts, 1e-300))).sum(axis=(0, 2))
    return ELECTRONIC_TEMPERATURE * entropies


def _repulsion(bonds: _Bonds) -> tuple[Floats, Floats]:
    """Repulsive energies (batch,) in eV, and their derivatives by the length of each bond [m]."""
    batch, atoms = bonds.shape
    first, second = (atoms * bonds.structure + end for end in (bonds.first, bonds.second))
    phi, phi_slope = REPULSION(bonds.lengths)
    crowding = np.zeros(batch * atoms)  # Σ_j φ(r_ij)
    np.add.at(crowding, first, phi)
    np.add.at(crowding, second, phi)
    capped = np.minimum(crowding, EMBEDDING_LINEAR_ABOVE)
    embedding, slope = _polynomial(EMBEDDING, capped)
    embedding += slope * (crowding - capped)
    return embedding.reshape(batch, atoms).sum(axis=1), phi_slope * (slope[first] + slope[second])


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> tuple[Floats, Floats]:
    """Σ c_i x^i and its derivative, by Horner's rule."""
    value, slope = np.zeros_like(x), np.zeros_like(x)
    for coefficient in reversed(coefficients):
        slope = slope * x + value
        value = value * x + coefficient
    return value, slope


def _forces(bonds: _Bonds, eigenvectors: Floats, occupations: Floats) -> Floats:
    """Minus the gradient of one structure's free energy (atoms, 3), in eV/Å."""
    gradient = _band_gradient(bonds, eigenvectors, occupations)  # [m, 3]
    gradient += _repulsion(bonds)[1][:, None] * bonds.directions
    forces = np.zeros((bonds.shape[1], 3))
    np.add.at(forces, bonds.first, gradient)
    np.subtract.at(forces, bonds.second, gradient)
    return forces


def _band_gradient(bonds: _Bonds, eigenvectors: Floats, occupations: Floats) -> Floats:
    """Gradient of the electrons' free energy by each bond vector [m, 3], by Hellmann and Feynman.

    The electrons' share of a bond is s(r) Q(u), where u is its direction and Q the sum of the
    Slater-Koster block weighted by the density matrix.
    """
    atoms, u = bonds.shape[1], bonds.directions
    density = 4 * (eigenvectors * occupations) @ eigenvectors.T  # two spins; a bond and its reverse
    weights = density.reshape(4, atoms, 4, atoms)[:, bonds.first, :, bonds.second]  # [m, 4, 4]
    scale, slope = HOPPING(bonds.lengths)
    total = np.einsum("mab,mab->m", weights, _slater_koster(u))
    p_block = weights[:, 1:, 1:] + weights[:, 1:, 1:].swapaxes(1, 2)
    turn = SP_SIGMA * (weights[:, 0, 1:] - weights[:, 1:, 0])
    turn += (PP_SIGMA - PP_PI) * np.einsum("mab,mb->ma", p_block, u)
    turn -= u * np.einsum("ma,ma->m", turn, u)[:, None]  # turning keeps the length
    gradient: Floats = u * (slope * total)[:, None] + turn * (scale / bonds.lengths)[:, None]
    return gradient
