"""What small moves of atoms do to the energy: a sum over pairs of atoms, fitted to builds that are much alike."""

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import NDArray

from asla_env.problem import Problem

_NEAREST, _STEP, _N_DISTANCES = 0.6, 0.07, 22  # distances that are told apart, in sums of covalent radii
_SCALE = 5.0  # eV that a pair may bring
_BENDING = 4.0  # how much more a function that bends is held back
_PAIRS_AT_ONCE = 2_000_000  # what is more costs memory
_LEAST_ERROR, _ERROR_OF_CHANGE = 0.5, 0.25  # of the fit: in eV, and for each eV of difference to the first structure


class PairEnergies:
    """Differences of energies, fitted to finished builds that are compared with one of them.

    The energy is taken as a sum over the pairs of atoms of a function of their species and distance that is piecewise
    linear, smooth, and zero from 2.14 sums of covalent radii on. That says little about how stable a structure is, but
    a hundred builds that are much alike tell which bonds are too long and which too short.

    Parameters
    ----------
    problem
        What is built.
    structures
        Sites of the placed atoms, shape (structures, atoms), in any order, of two structures at least; the others are
        compared with the first.
    energies
        Energies in eV, shape (structures,), finite.
    """

    def __init__(self, problem: Problem, structures: NDArray[np.int64], energies: NDArray[np.float64]) -> None:
        self._problem = problem
        fixed = problem.template + problem.surroundings
        self._to_fixed = problem.distances(fixed.positions)  # [fixed atom, pixel]
        placed = [atomic_numbers[problem.species[site // problem.grid.n_pixels]] for site in np.sort(structures[0])]
        self._set_pairs(np.array(placed, dtype=np.int64), fixed.numbers)
        self._first = self._counts(structures[:1])
        counts, changes = self._counts(structures[1:]) - self._first, energies[1:] - energies[0]
        weighted = counts.T * (_LEAST_ERROR + _ERROR_OF_CHANGE * np.abs(changes)) ** -2
        self._coefficients = np.linalg.solve(weighted @ counts + self._prior(), weighted @ changes)

    def changes(self, structures: NDArray[np.int64]) -> NDArray[np.float64]:
        """Energies in eV above the first structure, shape (structures,), of sites (structures, atoms)."""
        return np.asarray((self._counts(structures) - self._first) @ self._coefficients)

    def _set_pairs(self, placed: NDArray[np.int64], fixed: NDArray[np.int64]) -> None:
        """Number the kinds of pairs: of placed atoms first, then of each placed one with each that is fixed."""
        self._one, self._other = np.triu_indices(len(placed), k=1)
        firsts = np.concatenate([placed[self._one], np.repeat(placed, len(fixed))])
        seconds = np.concatenate([placed[self._other], np.tile(fixed, len(placed))])
        species = np.sort([firsts, seconds], axis=0)
        kinds, self._kind_of_pair = np.unique(species, axis=1, return_inverse=True)
        self._n_kinds, self._bond_lengths = kinds.shape[1], covalent_radii[species].sum(axis=0)

    def _counts(self, structures: NDArray[np.int64]) -> NDArray[np.float64]:
        """How many pairs there are of each kind and distance, shape (structures, kinds * distances)."""
        n_parts = max(1, -(-len(structures) * len(self._bond_lengths) // _PAIRS_AT_ONCE))
        return np.concatenate([self._counts_of_part(part) for part in np.array_split(structures, n_parts)])

    def _counts_of_part(self, structures: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same for a few: a pair between two of the distances counts for both, the nearer one more."""
        scaled = (self._distances(structures) / self._bond_lengths - _NEAREST) / _STEP
        lower = np.clip(scaled, 0, _N_DISTANCES).astype(np.int64)
        upper_part = np.where(scaled < 0, 0, scaled - lower)
        shape = (len(structures), self._n_kinds, _N_DISTANCES + 2)  # two more, which count as infinitely far
        rows = np.arange(len(structures))[:, None]
        counts = np.zeros(shape)
        for distance, part in ((lower, 1 - upper_part), (lower + 1, upper_part)):
            flat = np.ravel_multi_index((rows, self._kind_of_pair, distance), shape)
            counts += np.bincount(flat.ravel(), part.ravel(), minlength=counts.size).reshape(shape)
        return counts[..., :_N_DISTANCES].reshape(len(structures), -1)

    def _distances(self, structures: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distance of each pair in Å, shape (structures, pairs)."""
        grid = self._problem.grid
        pixels = np.sort(structures, axis=1) % grid.n_pixels  # sorted, the species are the same for all
        indices = np.stack(np.unravel_index(pixels, grid.shape))  # [axis, structure, atom]
        middle = np.reshape(grid.shape, (-1, 1, 1)) - 1
        among = self._problem.pixel_distances[tuple(indices[..., self._one] - indices[..., self._other] + middle)]
        to_fixed = (
            self._to_fixed[:, pixels].transpose(1, 2, 0).reshape(len(pixels), pixels.shape[1] * len(self._to_fixed))
        )
        return np.concatenate([among, to_fixed], axis=1)

    def _prior(self) -> NDArray[np.float64]:
        """Inverse covariance of the coefficients: small ones that bend little, on to the zeros beyond them too."""
        bends = np.diff(np.eye(_N_DISTANCES + 2), 2, axis=0)[:, :_N_DISTANCES]
        of_a_kind = np.eye(_N_DISTANCES) + _BENDING * bends.T @ bends
        return np.asarray(np.kron(np.eye(self._n_kinds), of_a_kind) / _SCALE**2)
