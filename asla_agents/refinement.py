"""Builds that are one of the lowest with atoms a pixel further, as energies of pairs of atoms say."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray

from asla_agents.explorer import Explorer
from asla_agents.pair_energies import PairEnergies
from asla_env.action import are_apart, legal_order
from asla_env.problem import Problem

_FITTED = 100  # structures of lowest energy that tell what pairs of atoms bring and from which atoms are moved
_MOST_RISE = 0.5  # eV that is predicted for a first move, which may be wrong by as much
_BONDED = 1.3  # sums of covalent radii up to which two atoms move at the same time


def is_due(explorer: Explorer, n_begun: int = 0) -> bool:
    """Whether the next build is to be a refined one: their share of all since the lowest energy, evenly spread.

    Parameters
    ----------
    explorer
        The search.
    n_begun
        How many builds have no energy yet.
    """
    if explorer.is_warming_up:
        return False
    share, since_lowest = explorer.exploration.refined_share, explorer.builds.episodes_since_lowest + n_begun
    return ceil((since_lowest + 1) * share) > ceil(since_lowest * share)


def refined(explorer: Explorer, in_flight: Sequence[Sequence[int]] = ()) -> list[int]:
    """Move atoms of one of the lowest structures by a pixel where the energy is predicted to fall most.

    It is the lowest one that may not be a minimum yet: no lower structure is known around it, where each atom is on its
    pixel or on one beside it, and it does not count as one (`Explorer.is_minimum`). If no fall is predicted, the next
    one has its turn. The first time all atoms may move, then each time half as many, as the prediction is the better
    the nearer it stays. One atom or two that are bonded move at a time, each atom once, and the first of them even
    where a fall is just not predicted.

    Parameters
    ----------
    explorer
        The search: its builds, its problem, and how often each structure had its turn, which is counted here.
    in_flight
        Actions of builds whose energies are not known yet.

    Returns
    -------
    list
        Actions of a structure that is not known yet, in a legal order; none if no move of the lowest structures is
        predicted to lower the energy.
    """
    problem, (known, energies) = explorer.problem, explorer.builds.lowest(_FITTED)
    for i, sites in enumerate(known if len(known) > 1 else ()):
        if explorer.is_minimum(sites) or _is_around(sites, known[:i], problem).any():
            continue
        key = explorer.builds.key(sites)
        n_before = explorer.turns[key]
        explorer.turns[key] += 1
        order = [i, *(j for j in range(len(known)) if j != i)]
        pairs = PairEnergies(problem, known[order], energies[order])
        if build := _moved(sites, max(1, problem.n_to_place >> n_before), pairs, explorer, in_flight):
            return build
    return []


def _is_around(sites: NDArray[np.int64], others: NDArray[np.int64], problem: Problem) -> NDArray[np.bool_]:
    """Whether each of some structures (n, atoms) has all atoms on the sites of one or beside them."""
    is_near = np.zeros(problem.n_actions, dtype=bool)
    is_near[[_sites_around(site, problem) for site in sites]] = True
    return np.asarray(is_near[others].all(axis=1))


def _moved(
    sites: NDArray[np.int64], n_moves: int, pairs: PairEnergies, explorer: Explorer, in_flight: Sequence[Sequence[int]]
) -> list[int]:
    """Actions in a legal order after some moves at most, of which each leads to a structure that is not known."""
    may_move, order = np.ones(len(sites), dtype=bool), list[int]()
    for _ in range(n_moves):
        for moved in _moves(sites, may_move, 0 if order else -_MOST_RISE, pairs, explorer.problem):
            if not are_apart(moved, explorer.problem) or explorer.builds.is_known(moved, in_flight):
                continue
            if possible := legal_order(moved.tolist(), explorer.problem):
                order, may_move, sites = possible, may_move & (moved == sites), moved
                break
        else:
            break
    return order


def _moves(
    sites: NDArray[np.int64], may_move: NDArray[np.bool_], least: float, pairs: PairEnergies, problem: Problem
) -> Iterator[NDArray[np.int64]]:
    """Sites after each move for which a fall above the least, in eV, is predicted, that of the largest fall first."""
    around = np.array([_sites_around(site, problem) for site in sites])
    bonded = _bonded(sites, problem)
    bonded = bonded[may_move[bonded].all(axis=1)]
    if_one, if_two = pairs.falls(around, bonded)
    if_one[:, 0] = if_two[:, 0] = if_two[:, :, 0] = -np.inf  # no step at all, or one of two: the other moves alone
    atoms, to = np.nonzero((if_one > least) & may_move[:, None])
    two_atoms, *to_both = np.nonzero(if_two > least)
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
