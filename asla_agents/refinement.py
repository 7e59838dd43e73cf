"""Builds that are the best ones so far with atoms moved, as the Q-map or what pairs of atoms bring says."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asla_agents.explorer import Explorer
from asla_agents.pixel_moves import polished
from asla_agents.replay import BuildReplay
from asla_agents.symmetry import QMaps
from asla_env.action import legal_order, masks_without_each
from asla_env.observation import one_hot
from asla_env.problem import Problem

_PERIOD = 10  # builds since the lowest energy, of which the first ones are refined
_PARENTS = 5  # structures of lowest energy of which one is refined by the Q-map
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


def refined(explorer: Explorer, q_maps: QMaps, in_flight: Sequence[Sequence[int]] = (), n_begun: int = 0) -> list[int]:
    """Plan a structure that is not known yet: one of the best with atoms moved.

    The first, the third and so on of each ten builds since the lowest energy move atoms by a pixel, if that is
    predicted to lower the energy; see `asla_agents.pixel_moves`. Otherwise an atom goes where the Q-map gains most: an
    atom's gain is the Q-value of its new site minus that of its own, with all other atoms in place, and the first one
    is moved in that of the five structures of lowest energy where target and gain have the highest sum. As long as each
    build lowers the lowest energy, the next one may move twice as many atoms, each once and only where it is predicted
    to gain.

    Parameters
    ----------
    explorer
        The search: its builds and problem.
    q_maps
        The network's Q-values.
    in_flight
        Actions of builds whose energies are not known yet; they are not planned again.
    n_begun
        How many builds have no energy yet.

    Returns
    -------
    list
        Actions in a legal order; none if there is no such structure.
    """
    builds = explorer.builds
    if (builds.episodes_since_lowest + n_begun) % 2 == 0 and (build := polished(explorer, in_flight)):
        return build
    best, energies = builds.lowest(_PARENTS)
    n_moves = min(2 ** max(0, builds.lowered_in_a_row - 1), explorer.problem.n_to_place)
    return _moved_by_q_map(best, builds.targets(energies), explorer, q_maps, n_moves, in_flight) if len(best) else []


def _moved_by_q_map(
    structures: NDArray[np.int64],
    values: NDArray[np.float64],
    explorer: Explorer,
    q_maps: QMaps,
    n_moves: int,
    in_flight: Sequence[Sequence[int]],
) -> list[int]:
    """Actions in a legal order that make one of some structures (n, atoms), of values (n,), with atoms moved."""
    builds, problem, moved = explorer.builds, explorer.problem, list[int]()
    for _ in range(n_moves):
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
    structures: NDArray[np.int64],
    values: NDArray[np.float64],
    moved: Sequence[int],
    q_maps: QMaps,
    problem: Problem,
) -> _Moves:
    """Move each atom that was not moved yet of structures (n, atoms) whose values (n,) are known."""
    n, n_atoms = structures.shape
    all_of_each = np.broadcast_to(structures[:, None], (n, n_atoms, n_atoms))
    others = all_of_each[:, ~np.eye(n_atoms, dtype=bool)].reshape(n * n_atoms, n_atoms - 1)
    legal = np.concatenate([masks_without_each(sites.tolist(), problem) for sites in structures])
    own, each = structures.ravel(), np.arange(structures.size)
    legal[each, own] = False
    legal[np.isin(own, moved)] = False
    moved_values = np.repeat(values, n_atoms)[:, None] + _gains(others, own, q_maps, problem)
    return _Moves(others, np.where(legal, moved_values, -np.inf))


def _gains(others: NDArray[np.int64], own: NDArray[np.int64], q_maps: QMaps, problem: Problem) -> NDArray[np.float64]:
    """Q-value of each site minus that of an atom's own, shape (moving atoms, actions)."""
    parts = np.array_split(others, -(-len(others) // _IMAGES_AT_ONCE))
    q_values = np.concatenate(
        [q_maps(np.array([one_hot(sites.tolist(), problem) for sites in part])) for part in parts]
    )
    return np.asarray(q_values - q_values[np.arange(len(own)), own][:, None])


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
