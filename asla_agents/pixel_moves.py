"""Builds that are the lowest one with one or two atoms a pixel further, as energies of pairs of atoms say."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from asla_agents.explorer import Explorer
from asla_agents.pair_energies import PairEnergies
from asla_env.action import legal_order
from asla_env.problem import Problem

_BONDED = 1.3  # sums of covalent radii up to which two atoms move at the same time


def polished(
    explorer: Explorer,
    structures: NDArray[np.int64],
    energies: NDArray[np.float64],
    n_moves: int,
    in_flight: Sequence[Sequence[int]] = (),
) -> list[int]:
    """Move atoms of the lowest structure by a pixel where the energy is predicted to fall most.

    Parameters
    ----------
    explorer
        The search: its builds and problem.
    structures, energies
        Sites (structures, atoms) and energies (structures,) in eV of known structures, two at least, the lowest first.
    n_moves
        How often one atom, or two that are bonded, are moved, each atom once.
    in_flight
        Actions of builds whose energies are not known yet.

    Returns
    -------
    list
        Actions of a structure that is not known yet, in a legal order; none if no move is predicted to lower the
        energy.
    """
    problem, pairs = explorer.problem, PairEnergies(explorer.problem, structures, energies)
    sites, may_move, order = structures[0], np.ones(problem.n_to_place, dtype=bool), list[int]()
    for _ in range(n_moves):
        for moved in _moves(sites, may_move, pairs, problem):
            is_known = explorer.builds.is_known(moved, in_flight)
            if not is_known and (possible := legal_order(moved.tolist(), problem)):
                order, may_move, sites = possible, may_move & (moved == sites), moved
                break
        else:
            break
    return order


def _moves(
    sites: NDArray[np.int64], may_move: NDArray[np.bool_], pairs: PairEnergies, problem: Problem
) -> Iterator[NDArray[np.int64]]:
    """Sites after each move that is predicted to lower the energy, the one of the largest fall first."""
    around = np.array([_sites_around(site, problem) for site in sites])
    bonded = _bonded(sites, problem)
    bonded = bonded[may_move[bonded].all(axis=1)]
    if_one, if_two = pairs.falls(around, bonded)
    if_two[:, 0] = if_two[:, :, 0] = 0  # no step of one of them: the other one moves alone
    atoms, to = np.nonzero((if_one > 0) & may_move[:, None])
    two_atoms, *to_both = np.nonzero(if_two > 0)
    singly, jointly = np.tile(sites, (len(atoms), 1)), np.tile(sites, (len(two_atoms), 1))
    singly[np.arange(len(atoms)), atoms] = around[atoms, to]
    for atom, step in zip(bonded[two_atoms].T, to_both, strict=True):
        jointly[np.arange(len(two_atoms)), atom] = around[atom, step]
    falls = np.concatenate([if_one[atoms, to], if_two[two_atoms, *to_both]])
    yield from np.concatenate([singly, jointly])[np.argsort(-falls, kind="stable")]


def _sites_around(site: np.int64, problem: Problem) -> NDArray[np.int64]:
    """A site and those beside it, diagonally too; beyond an open end it is the site itself."""
    species, pixel = divmod(int(site), problem.grid.n_pixels)
    steps = sorted(product((-1, 0, 1), repeat=problem.grid.ndim), key=any)  # none first
    around = problem.grid.shifted(pixel, steps)
    return np.asarray(species * problem.grid.n_pixels + np.where(around < 0, pixel, around))


def _bonded(sites: NDArray[np.int64], problem: Problem) -> NDArray[np.int64]:
    """Numbers of each two atoms that are near enough to be bonded, shape (pairs, 2)."""
    species, pixels = np.divmod(sites, problem.grid.n_pixels)
    distances = np.array([problem.distances_from(int(pixel))[pixels] for pixel in pixels])
    radii = problem.radii()[species]
    return np.argwhere(np.triu(distances <= _BONDED * (radii[:, None] + radii), k=1))
