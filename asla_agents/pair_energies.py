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
        self._to_fixed = problem.distances_to_fixed  # [fixed atom, pixel]
        self._set_kinds([atomic_numbers[symbol] for symbol in problem.species], fixed.numbers)
        first, *others = self._counts(np.sort(structures, axis=1))  # sorted, the species are the same for all
        counts, changes = np.array(others) - first, energies[1:] - energies[0]
        weighted = counts.T * (_LEAST_ERROR + _ERROR_OF_CHANGE * np.abs(changes)) ** -2
        coefficients = np.linalg.solve(weighted @ counts + self._prior(), weighted @ changes)
        self._energies = np.pad(coefficients.reshape(-1, _N_DISTANCES), [(0, 0), (0, 2)])  # [kind, distance], eV

    def falls(
        self, around: NDArray[np.int64], pairs: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """By how many eV the energy falls if one or two atoms of a structure go elsewhere.

        Parameters
        ----------
        around
            Sites to which each of the placed atoms may go, shape (atoms, sites); the first is where it is.
        pairs
            Numbers of two atoms that go at the same time, shape (pairs, 2).

        Returns
        -------
        tuple
            Falls if one atom goes, shape (atoms, sites), and if two do, shape (pairs, sites, sites).
        """
        atoms, (one, other) = np.arange(len(around)), pairs.T
        to_others = self._between(around[:, :, None], around[:, 0])  # [atom, site, other atom where it is]
        to_others[atoms, :, atoms] = 0
        energies = to_others.sum(axis=2) + self._to_all_fixed(around)
        falls = energies[:, :1] - energies
        between = self._between(around[one][:, :, None], around[other][:, None, :])
        counted = to_others[one, :, other][:, :, None] + to_others[other, :, one][:, None, :] - between[:, :1, :1]
        return falls, falls[one][:, :, None] + falls[other][:, None, :] + counted - between

    def _set_kinds(self, species: list[int], fixed: NDArray[np.int64]) -> None:
        """Number the kinds of pairs of elements, given by atomic numbers."""
        elements, numbered = np.unique([*species, *fixed], return_inverse=True)
        self._of_species, self._of_fixed = numbered[: len(species)], numbered[len(species) :]
        one, other = np.triu_indices(len(elements))
        self._kinds = np.empty((len(elements), len(elements)), dtype=np.int64)
        self._kinds[one, other] = self._kinds[other, one] = np.arange(len(one))
        self._bond_lengths = covalent_radii[elements][:, None] + covalent_radii[elements]

    def _between(self, sites: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Energy in eV of an atom on each site with one on another, of shapes that are broadcast."""
        one, other = (self._of_species[each // self._problem.grid.n_pixels] for each in (sites, others))
        return self._looked_up(one, other, self._distances(sites, others))

    def _to_all_fixed(self, sites: NDArray[np.int64]) -> NDArray[np.float64]:
        """Energy in eV of an atom on each site with all that are fixed, of the same shape."""
        species, pixels = np.divmod(sites[..., None], self._problem.grid.n_pixels)
        distances = self._to_fixed.T[pixels[..., 0]]
        return np.asarray(self._looked_up(self._of_species[species], self._of_fixed, distances).sum(axis=-1))

    def _looked_up(
        self, one: NDArray[np.int64], other: NDArray[np.int64], distances: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Energy in eV of pairs of elements at some distances."""
        lower, upper_part = _places(distances / self._bond_lengths[one, other])
        kinds = self._kinds[one, other]
        below, above = self._energies[kinds, lower], self._energies[kinds, lower + 1]
        return np.asarray(below + upper_part * (above - below))

    def _counts(self, structures: NDArray[np.int64]) -> NDArray[np.float64]:
        """How many pairs there are of each kind and distance, shape (structures, kinds * distances)."""
        n_placed, n_fixed = structures.shape[1], len(self._to_fixed)
        n_pairs = n_placed * (n_placed - 1) // 2 + n_placed * n_fixed
        n_parts = max(1, -(-len(structures) * n_pairs // _PAIRS_AT_ONCE))
        return np.concatenate([self._counts_of_part(part) for part in np.array_split(structures, n_parts)])

    def _counts_of_part(self, structures: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same for a few: a pair between two of the distances counts for both, the nearer one more."""
        n, n_placed = structures.shape
        species, pixels = np.divmod(structures, self._problem.grid.n_pixels)
        i, j = np.triu_indices(n_placed, k=1)
        elements = self._of_species[species[0]]
        one = np.concatenate([elements[i], np.repeat(elements, len(self._of_fixed))])
        other = np.concatenate([elements[j], np.tile(self._of_fixed, n_placed)])
        to_fixed = self._to_fixed.T[pixels].reshape(n, -1)
        distances = np.concatenate([self._distances(structures[:, i], structures[:, j]), to_fixed], axis=1)
        shape = (n, self._kinds.max() + 1, _N_DISTANCES + 2)  # two more, which count as infinitely far
        lower, upper_part = _places(distances / self._bond_lengths[one, other])
        counts = np.zeros(shape)
        for distance, part in ((lower, 1 - upper_part), (lower + 1, upper_part)):
            flat = np.ravel_multi_index((np.arange(n)[:, None], self._kinds[one, other], distance), shape)
            counts += np.bincount(flat.ravel(), part.ravel(), minlength=counts.size).reshape(shape)
        return counts[..., :_N_DISTANCES].reshape(n, -1)

    def _distances(self, sites: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distance in Å from each site to another, of shapes that are broadcast."""
        n_pixels = self._problem.grid.n_pixels
        return self._problem.distances_between(sites % n_pixels, others % n_pixels)

    def _prior(self) -> NDArray[np.float64]:
        """Inverse covariance of the coefficients: small ones that bend little, on to the zeros beyond them too."""
        bends = np.diff(np.eye(_N_DISTANCES + 2), 2, axis=0)[:, :_N_DISTANCES]
        of_a_kind = np.eye(_N_DISTANCES) + _BENDING * bends.T @ bends
        return np.asarray(np.kron(np.eye(self._kinds.max() + 1), of_a_kind) / _SCALE**2)


def _places(distances: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The next lower one of the distances that are told apart, and which part of the way to the next one it is on."""
    scaled = (distances - _NEAREST) / _STEP
    lower = np.clip(scaled, 0, _N_DISTANCES).astype(np.int64)
    return lower, np.where(scaled < 0, 0, scaled - lower)
