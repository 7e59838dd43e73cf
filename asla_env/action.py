"""Actions are flat indices of (species, pixel); the mask tells which of them are legal."""

from collections.abc import Iterable
from typing import Self

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import ArrayLike, NDArray

from asla_env.checks import SAME, whole_number
from asla_env.problem import Problem


def encode(species: int, pixel: int, problem: Problem) -> int:
    """Action index of placing an atom of a species (channel number) on a pixel (flat index).

    Raises
    ------
    TypeError
        If one is no whole number.
    ValueError
        If there is no such species or pixel.
    """
    species, pixel = whole_number("species", species), whole_number("pixel", pixel)
    if not 0 <= species < len(problem.species):
        raise ValueError(f"`species` is {species} but must lie in [0, {len(problem.species)})")
    if not 0 <= pixel < problem.grid.n_pixels:
        raise ValueError(f"`pixel` is {pixel} but must lie in [0, {problem.grid.n_pixels})")
    return species * problem.grid.n_pixels + pixel


def decode(action: int, problem: Problem) -> tuple[int, int]:
    """Species (channel number) and pixel (flat index) of an action.

    Raises
    ------
    TypeError
        If it is no whole number.
    ValueError
        If there is no such action.
    """
    action = whole_number("action", action)
    if not 0 <= action < problem.n_actions:
        raise ValueError(f"`action` is {action} but must lie in [0, {problem.n_actions})")
    return divmod(action, problem.grid.n_pixels)


class ActionMask:
    """Which actions are legal, kept up to date while atoms are placed.

    An action is legal if an atom of its species is still to be placed, no atom or image of one is on its pixel or
    closer than the minimum distance, and some atom but those of the surroundings is within the maximum distance.

    Parameters
    ----------
    problem
        The problem; its template counts with its true positions.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        shape = (len(problem.species), problem.grid.n_pixels)
        self._left = problem.counts.copy()
        self._blocked = np.zeros(shape, dtype=bool)
        no_limit = problem.maximum_distance is None or not len(problem.template)
        self._near = np.full(shape, no_limit)
        self._radii = problem.radii()[:, None]  # [species, 1], Å
        pixels = problem.template_sites % problem.grid.n_pixels
        self._blocked[:, pixels] = True
        fixed = (*problem.template.symbols, *problem.surroundings.symbols)
        for i, (symbol, distances) in enumerate(zip(fixed, problem.distances_to_fixed, strict=True)):
            self._keep_off(symbol, distances)
            if i < len(problem.template):
                self._hold_on(symbol, distances)

    @property
    def legal(self) -> NDArray[np.bool_]:
        """Whether each action is legal, shape (n_actions,), a new array."""
        free = self._near & ~self._blocked & (self._left > 0)[:, None]
        return np.asarray(free.ravel())

    def copy(self) -> Self:
        """Return a mask that can be changed without changing this one."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._left, twin._blocked, twin._near = self._left.copy(), self._blocked.copy(), self._near.copy()
        return twin

    def place(self, action: int) -> None:
        """Account for an atom placed by an action."""
        species, pixel = decode(action, self._problem)
        if not len(self._problem.template) and np.array_equal(self._left, self._problem.counts):
            self._near[:] = self._problem.maximum_distance is None
        self._left[species] -= 1
        self._blocked[:, pixel] = True
        symbol, distances = self._problem.species[species], self._problem.distances_from(pixel)
        self._keep_off(symbol, distances)
        self._hold_on(symbol, distances)

    def _keep_off(self, symbol: str, distances: NDArray[np.float64]) -> None:
        """Block the pixels that are too close to an atom at these distances from the pixels."""
        self._blocked |= distances < _least_distance(self._bond_lengths(symbol), self._problem)

    def _hold_on(self, symbol: str, distances: NDArray[np.float64]) -> None:
        """Allow the pixels that are close enough to an atom at these distances from the pixels."""
        if self._problem.maximum_distance is not None:
            self._near |= distances <= self._problem.maximum_distance * self._bond_lengths(symbol)

    def _bond_lengths(self, symbol: str) -> NDArray[np.float64]:
        """Sum of the covalent radii of each species and of an atom in Å, shape (species, 1)."""
        return np.asarray(self._radii + covalent_radii[atomic_numbers[symbol]])


def action_mask(placed: Iterable[int], problem: Problem) -> NDArray[np.bool_]:
    """Legal actions, shape (n_actions,), after atoms were placed by these actions."""
    mask = ActionMask(problem)
    for action in placed:
        mask.place(action)
    return mask.legal


def are_apart(actions: ArrayLike, problem: Problem) -> bool:
    """Whether atoms placed by these actions are as far from each other and from fixed ones as legal ones are."""
    species, pixels = np.divmod(np.asarray(actions), problem.grid.n_pixels)
    if np.isin(pixels, problem.template_sites % problem.grid.n_pixels).any():
        return False
    radii = problem.radii()[species]
    one, other = np.triu_indices(len(radii), k=1)
    between = problem.distances_between(pixels[one], pixels[other])
    if (between < _least_distance(radii[one] + radii[other], problem)).any():
        return False
    fixed = np.array([covalent_radii[number] for number in (*problem.template.numbers, *problem.surroundings.numbers)])
    to_fixed = problem.distances_to_fixed[:, pixels]
    return not (to_fixed < _least_distance(fixed[:, None] + radii, problem)).any()


def _least_distance(bond_lengths: NDArray[np.float64], problem: Problem) -> NDArray[np.float64]:
    """Distance in Å that atoms keep whose covalent radii have these sums, in Å."""
    if problem.minimum_distance is None:
        return np.full(bond_lengths.shape, SAME)
    return np.maximum(SAME, problem.minimum_distance * bond_lengths)


def legal_order(actions: Iterable[int], problem: Problem) -> list[int]:
    """The same actions in an order in which each is legal; none if there is no such order."""
    mask, left, ordered = ActionMask(problem), [whole_number("action", action) for action in actions], list[int]()
    while left:
        legal = mask.legal
        possible = next((action for action in left if legal[action]), None)
        if possible is None:
            return []
        mask.place(possible)
        left.remove(possible)
        ordered.append(possible)
    return ordered
