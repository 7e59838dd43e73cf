"""Builds that are the best ones so far with atoms moved: a local search in which the Q-map says what to move where."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asla_agents.explorer import Explorer
from asla_agents.replay import BuildReplay
from asla_agents.symmetry import QMaps
from asla_env.action import legal_order, masks_without_each
from asla_env.observation import one_hot
from asla_env.problem import Problem

_PERIOD = 10  # builds since the lowest energy, of which the first ones are refined
_PARENTS = 5  # structures of lowest energy of which one is refined
_IMAGES_AT_ONCE = 128


def is_due(explorer: Explorer, n_begun: int = 0) -> bool:
    """Whether the next build is to be a refined one: the first ones of each ten since the lowest energy are.

    Parameters
    ----------
    explorer
        The search.
    n_begun
        How many builds have no energy yet.
    """
    if explorer.is_warming_up:
        return False
    since_lowest = explorer.builds.episodes_since_lowest + n_begun
    return since_lowest % _PERIOD < round(_PERIOD * explorer.exploration.refined_share)


def refined(explorer: Explorer, q_maps: QMaps, in_flight: Sequence[Sequence[int]] = ()) -> list[int]:
    """Plan a structure that is not known yet: one of the best, its atoms moved where the Q-map gains most.

    An atom's gain is the Q-value of its new site minus that of its own, with all other atoms in place. The first one is
    moved in that of the five builds of lowest energy where target and gain have the highest sum. As long as each build
    lowers the lowest energy, the next one may move twice as many atoms, each once and only if it gains.

    Parameters
    ----------
    explorer
        The search: its builds and problem.
    q_maps
        The network's Q-values.
    in_flight
        Actions of builds whose energies are not known yet; they are not planned again.

    Returns
    -------
    list
        Actions in a legal order; none if there is no such structure.
    """
    builds, problem = explorer.builds, explorer.problem
    structures, energies = builds.lowest(_PARENTS)
    if not len(structures):
        return []
    values, moved = builds.targets(energies), list[int]()
    for _ in range(min(2 ** max(0, builds.lowered_in_a_row - 1), problem.n_to_place)):
        moves = _moves(structures, values, moved, q_maps, problem)
        best = _best_new(moves, builds, in_flight, problem)
        if best is None or (moved and moves.values[best] <= values[0]):
            break
        structures, values = np.append(moves.others[best[0]], best[1])[None], moves.values[best][None]
        moved.append(int(best[1]))
    return legal_order(structures[0], problem) if moved else []


class _Moves(NamedTuple):
    """Ways to move one atom."""

    others: NDArray[np.int64]
    """Sites of the atoms that stay, shape (moving atoms, atoms - 1)."""
    values: NDArray[np.float64]
    """Value of the structure with the moving atom at each site, -inf if it may not be there, shape (moving atoms,
    actions)."""


def _moves(
    structures: NDArray[np.int64], values: NDArray[np.float64], moved: Sequence[int], q_maps: QMaps, problem: Problem
) -> _Moves:
    """Move each atom that was not moved yet of structures (n, atoms) whose values (n,) are known."""
    n, n_atoms = structures.shape
    all_of_each = np.broadcast_to(structures[:, None], (n, n_atoms, n_atoms))
    others = all_of_each[:, ~np.eye(n_atoms, dtype=bool)].reshape(n * n_atoms, n_atoms - 1)
    legal = np.concatenate([masks_without_each(sites.tolist(), problem) for sites in structures])
    own, each = structures.ravel(), np.arange(structures.size)
    legal[each, own] = False
    legal[np.isin(own, moved)] = False
    parts = np.array_split(others, -(-len(others) // _IMAGES_AT_ONCE))
    q_values = np.concatenate(
        [q_maps(np.array([one_hot(sites.tolist(), problem) for sites in part])) for part in parts]
    )
    gains = q_values - q_values[each, own][:, None]
    return _Moves(others, np.where(legal, np.repeat(values, n_atoms)[:, None] + gains, -np.inf))


def _best_new(
    moves: _Moves, builds: BuildReplay, in_flight: Sequence[Sequence[int]], problem: Problem
) -> tuple[np.intp, np.intp] | None:
    """Moving atom and site of the most valuable structure that was not built and can be."""
    for flat in np.argsort(-moves.values, axis=None, kind="stable"):
        atom, site = np.unravel_index(flat, moves.values.shape)
        others = moves.others[atom]
        if np.isneginf(moves.values[atom, site]):
            break
        structure = [*others.tolist(), int(site)]
        if builds.is_known(structure, in_flight):
            continue
        if problem.maximum_distance is None or legal_order(structure, problem):
            return atom, site
    return None
