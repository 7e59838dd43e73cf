"""Tight-binding carbon of Xu, Wang, Chan and Ho: thousands of energies a second.

The energy of a structure is that of its electrons plus a repulsion::

    E = Σ_k 2 n_k ε_k + Σ_i f(Σ_j φ(r_ij))

ε_k are the eigenvalues of a Hamiltonian of one s and three p orbitals an atom, whose hopping
between two atoms is that of Slater and Koster times s(r); n_k are Fermi occupations at
`ELECTRONIC_TEMPERATURE`. Γ point only; every periodic image within `CUTOFF` counts, so a cell
may be narrower than a bond is long.

One structure is a batch of one: `energy_batch` and the calculator `XWCH` share their code. Energies are computed with
the library of the arrays that hold the positions, numpy or torch; only forces are numpy's alone.

References
----------
C. H. Xu, C. Z. Wang, C. T. Chan and K. M. Ho, J. Phys.: Condens. Matter 4, 6047 (1992).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.cell import Cell
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Array: TypeAlias = Any
"""Of numpy or torch; types for arrays of any library are not agreed on yet."""

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

    def __call__(self, lengths: Array) -> tuple[Array, Array]:
        """Values at `lengths` in Å, none above `CUTOFF`, and their derivatives by Å."""
        xp = array_namespace(lengths)
        steep = (lengths / self.rc) ** self.nc
        core = self.amplitude * (self.r0 / lengths) ** self.n
        core = core * xp.exp(self.n * ((self.r0 / self.rc) ** self.nc - steep))
        core_slope = -core * self.n / lengths * (1 + self.nc * steep)
        tail, tail_slope = _polynomial(self.tail, lengths - self.tail_start)
        inner = lengths < self.tail_start
        return xp.where(inner, core, tail), xp.where(inner, core_slope, tail_slope)


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
        carbon = check_carbon(self.atoms)
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


def energy_batch(positions: Array, cell: ArrayLike, pbc: ArrayLike) -> Array:
    """Energies of carbon structures that share a cell.

    Parameters
    ----------
    positions : array_like or torch.Tensor, shape (batch, atoms, 3)
        Positions in Å; atoms may lie outside the cell. A tensor is computed with on its device.
    cell : array_like, shape (3, 3), or (3,) for an orthorhombic cell
        Cell vectors in Å, in rows; one may be zero where `pbc` is false.
    pbc : array_like, shape (3,) or ()
        Along which cell vectors the structures are periodic.

    Returns
    -------
    ndarray or torch.Tensor, shape (batch,)
        Energies in eV: Fermi occupations, no entropy (the ``energy`` of `XWCH`).

    Raises
    ------
    ValueError
        If two atoms of a structure, or an atom and its image, are closer than `SHORTEST_BOND`.
    """
    structures = _checked(positions)
    xp = array_namespace(structures)
    batch, atoms = structures.shape[:2]
    at_once = max(1, MATRIX_ELEMENTS_AT_ONCE // (4 * atoms) ** 2)
    parts = [structures[start : start + at_once] for start in range(0, batch, at_once)]
    none = xp.zeros(0, dtype=xp.float64, device=device(structures))
    return xp.concat([none, *(_total_energies(_bonds(part, cell, pbc)) for part in parts)])


class _Bonds(NamedTuple):
    """All m bonds within `CUTOFF` of a batch of structures, each once."""

    shape: tuple[int, int]  # structures, atoms
    structure: Array  # [m]
    first: Array  # [m]
    second: Array  # [m], equal to `first` where an atom meets its own image
    lengths: Array  # [m], Å
    directions: Array  # [m, 3], unit vectors from first to second


def check_carbon(atoms: Atoms | None) -> Atoms:
    """Return a structure of carbon; raises ValueError if it is another one."""
    if atoms is None:
        raise ValueError("`atoms` is None but must be a structure of C")
    foreign = sorted(set(atoms.symbols) - {"C"})
    if foreign:
        raise ValueError(f"`atoms` has {', '.join(foreign)} but must be all C: XWCH is a model of carbon")
    return atoms


def _checked(positions: Array) -> Array:
    structures = positions if hasattr(positions, "device") else np.asarray(positions, dtype=np.float64)
    xp = array_namespace(structures)
    structures = xp.astype(structures, xp.float64, copy=False)
    if structures.ndim != 3 or structures.shape[1] == 0 or structures.shape[2] != 3:
        raise ValueError(f"`positions` has shape {tuple(structures.shape)} but must be (batch, atoms, 3)")
    if not xp.all(xp.isfinite(structures)):
        raise ValueError("`positions` has entries that are inf or nan but must be finite")
    return structures


def _bonds(positions: Array, cell: ArrayLike, pbc: ArrayLike) -> _Bonds:
    """Find the bonds of structures (batch, atoms, 3)."""
    xp = array_namespace(positions)
    periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), 3)
    cell_vectors, inverse_cell = _cell_and_inverse(cell, periodic)
    widths = 1 / np.linalg.norm(inverse_cell, axis=0)  # Å between opposite faces
    reach = np.floor(CUTOFF / widths + 0.5).astype(int) * periodic
    constants = (cell_vectors, inverse_cell * periodic, *_candidates(positions.shape[1], tuple(reach.tolist())))
    vectors, inverse, first, second, shifts = (xp.asarray(x, device=device(positions)) for x in constants)

    separations = positions[:, second] - positions[:, first]  # [batch, candidate, 3]
    separations = separations + (shifts - xp.round(separations @ inverse)) @ vectors
    squares = xp.sum(separations**2, axis=-1)
    structure, candidate = xp.nonzero(squares < CUTOFF**2)  # [m], [m]
    lengths = xp.sqrt(squares[structure, candidate])
    if len(lengths) and xp.min(lengths) < SHORTEST_BOND:
        worst = int(structure[xp.argmin(lengths)])
        raise ValueError(
            f"`positions` has two atoms {float(xp.min(lengths)):.3g} Å apart in structure {worst} "
            f"but must keep them at least {SHORTEST_BOND} Å apart"
        )
    directions = separations[structure, candidate] / lengths[:, None]
    return _Bonds(tuple(positions.shape[:2]), structure, first[candidate], second[candidate], lengths, directions)


def _cell_and_inverse(cell: ArrayLike, periodic: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Cell vectors in rows, those that are zero replaced, and the inverse matrix."""
    given = Cell.ascell(cell)
    if not given.array.any(axis=1)[periodic].all():
        raise ValueError(f"`cell` is {given.tolist()} but must have a vector wherever `pbc` is true")
    vectors = given.complete().array
    return vectors, np.linalg.inv(vectors)


@lru_cache(maxsize=16)
def _candidates(atoms: int, reach: tuple[int, int, int]) -> tuple[Ints, Ints, Floats]:
    """Every pair of atoms in every image that a bond might reach, each once.

    Separations are first reduced to half a cell or less along each periodic axis, so a bond
    of length r needs no image further than r / width + 1/2. Of an atom's own images one of
    every two that point in opposite directions is kept.
    """
    images = np.array(list(product(*(range(-n, n + 1) for n in reach))))  # [image, 3], opposites mirrored
    image, pair = np.indices((len(images), atoms * (atoms + 1) // 2)).reshape(2, -1)
    first, second = (index[pair] for index in np.triu_indices(atoms))
    kept = (first != second) | (image > len(images) // 2)
    return first[kept], second[kept], images[image[kept]].astype(np.float64)


def _hamiltonian(bonds: _Bonds) -> Array:
    """Γ-point Hamiltonians (batch, 4 atoms, 4 atoms) in eV; orbitals s, px, py, pz of all atoms in turn."""
    xp = array_namespace(bonds.lengths)
    batch, atoms = bonds.shape
    blocks = _slater_koster(bonds.directions) * HOPPING(bonds.lengths)[0][:, None, None]  # [m, 4, 4]
    size = 4 * atoms
    orbital = atoms * xp.arange(4, device=device(bonds.lengths))
    row = orbital[:, None] + (size * bonds.structure + bonds.first)[:, None, None]
    column = orbital + bonds.second[:, None, None]
    half = xp.zeros(batch * size**2, dtype=xp.float64, device=device(bonds.lengths))
    half = xp.reshape(
        _add_at(half, xp.reshape(size * row + column, (-1,)), xp.reshape(blocks, (-1,))), (batch, size, size)
    )
    onsite = xp.asarray(np.diag(np.repeat(ONSITE, atoms)), device=device(bonds.lengths))
    return half + half.swapaxes(1, 2) + onsite


def _add_at(sums: Array, indices: Array, values: Array) -> Array:
    """Add each value to the entry that its index names, in place; the standard of arrays has no such function."""
    if hasattr(sums, "index_add_"):
        sums.index_add_(0, indices, values)
    else:
        np.add.at(sums, indices, values)
    return sums


def _slater_koster(directions: Array) -> Array:
    """Hopping blocks [m, 4, 4] in eV, before s(r), from the first atom's orbitals to the second's."""
    xp = array_namespace(directions)
    blocks = xp.empty((len(directions), 4, 4), dtype=xp.float64, device=device(directions))
    blocks[:, 0, 0] = SS_SIGMA
    blocks[:, 0, 1:] = SP_SIGMA * directions
    blocks[:, 1:, 0] = -SP_SIGMA * directions
    blocks[:, 1:, 1:] = (PP_SIGMA - PP_PI) * directions[:, :, None] * directions[:, None, :]
    for p in (1, 2, 3):
        blocks[:, p, p] += PP_PI
    return blocks


def _eigenvalues(bonds: _Bonds) -> Array:
    """Eigenvalues (batch, 4 atoms) in eV, ascending."""
    xp = array_namespace(bonds.lengths)
    hamiltonian = _hamiltonian(bonds)
    parts = [slice(None)]
    if not xp.any(bonds.directions[:, 2] != 0):  # flat: pz mixes with no other orbital, which saves 30 % of the time
        sigma = 3 * bonds.shape[1]
        parts = [slice(sigma), slice(sigma, None)]
    eigenvalues = [xp.linalg.eigvalsh(hamiltonian[:, part, part]) for part in parts]
    return xp.sort(xp.concat(eigenvalues, axis=1), axis=1)


def _occupations(eigenvalues: Array) -> Array:
    """Fermi occupations (batch, 4 atoms) that fill half of the states.

    The Fermi level is found by Newton's method, with bisection where that would leave the bracket.
    """
    xp = array_namespace(eigenvalues)
    half = eigenvalues.shape[1] // 2
    low, high = eigenvalues[:, 0], eigenvalues[:, -1]
    level = 0.5 * (eigenvalues[:, half - 1] + eigenvalues[:, half])
    for _ in range(100):
        scaled = (eigenvalues - level[:, None]) / ELECTRONIC_TEMPERATURE
        occupations = 0.5 - 0.5 * xp.tanh(0.5 * scaled)  # Fermi's function in a form that cannot overflow
        excess = xp.sum(occupations, axis=1) - half
        is_found = xp.abs(excess) < 1e-14 * half
        if xp.all(is_found):
            break
        low, high = xp.where(excess < 0, level, low), xp.where(excess > 0, level, high)
        slope = xp.sum(occupations * (1 - occupations), axis=1) / ELECTRONIC_TEMPERATURE
        newton = level - excess / xp.clip(slope, min=1e-30)
        better = xp.where((low < newton) & (newton < high), newton, 0.5 * (low + high))
        level = xp.where(is_found, level, better)  # what is found does not depend on the rest of the batch
    return occupations


def _total_energies(bonds: _Bonds) -> Array:
    """Energies (batch,) in eV."""
    eigenvalues = _eigenvalues(bonds)
    return _energies(bonds, eigenvalues, _occupations(eigenvalues))


def _energies(bonds: _Bonds, eigenvalues: Array, occupations: Array) -> Array:
    """Energies (batch,) in eV of electrons and repulsion."""
    xp = array_namespace(eigenvalues)
    return 2 * xp.sum(occupations * eigenvalues, axis=1) + _repulsion(bonds)[0]


def _entropy_term(occupations: Floats) -> Floats:
    """T S of the electrons (batch,) in eV: -2 kT Σ n ln n + (1 - n) ln(1 - n)."""
    parts = np.stack((occupations, 1 - occupations))
    entropies: Floats = -2 * (parts * np.log(np.maximum(parts, 1e-300))).sum(axis=(0, 2))
    return ELECTRONIC_TEMPERATURE * entropies


def _repulsion(bonds: _Bonds) -> tuple[Array, Array]:
    """Repulsive energies (batch,) in eV, and their derivatives by the length of each bond [m]."""
    xp = array_namespace(bonds.lengths)
    batch, atoms = bonds.shape
    first, second = (atoms * bonds.structure + end for end in (bonds.first, bonds.second))
    phi, phi_slope = REPULSION(bonds.lengths)
    crowding = xp.zeros(batch * atoms, dtype=xp.float64, device=device(phi))  # Σ_j φ(r_ij)
    crowding = _add_at(_add_at(crowding, first, phi), second, phi)
    capped = xp.clip(crowding, max=EMBEDDING_LINEAR_ABOVE)
    embedding, slope = _polynomial(EMBEDDING, capped)
    embedding = embedding + slope * (crowding - capped)
    return xp.sum(xp.reshape(embedding, (batch, atoms)), axis=1), phi_slope * (slope[first] + slope[second])


def _polynomial(coefficients: tuple[float, ...], x: Array) -> tuple[Array, Array]:
    """Σ c_i x^i and its derivative, by Horner's rule."""
    value, slope = 0 * x, 0 * x
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
