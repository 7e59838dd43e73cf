"""Actions are flat indices of (species, pixel); the mask tells which of them are legal."""

from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from asla_env.problem import Problem


def encode(species: int, pixel: int, problem: Problem) -> int:
    """Action index of placing an atom of a species (channel number) on a pixel (flat index).

    Raises
    ------
    ValueError
        If there is no such species or pixel.
    """
    if not 0 <= species < len(problem.species):
        raise ValueError(f"`species` is {species} but must lie in [0, {len(problem.species)})")
    if not 0 <= pixel < problem.grid.n_pixels:
        raise ValueError(f"`pixel` is {pixel} but must lie in [0, {problem.grid.n_pixels})")
    return species * problem.grid.n_pixels + pixel


def decode(action: int, problem: Problem) -> tuple[int, int]:
    """Species (channel number) and pixel (flat index) of an action.

    Raises
    ------
    ValueError
        If there is no such action.
    """
    if not 0 <= action < problem.n_actions:
        raise ValueError(f"`action` is {action} but must lie in [0, {problem.n_actions})")
    return divmod(action, problem.grid.n_pixels)


class ActionMask:
    """Which actions are legal, kept up to date while atoms are placed.

    An action is legal if an atom of its species is still to be placed, its pixel is free, no atom is closer than the
    minimum distance, and some atom is within the maximum distance.

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
        self._bond_lengths = problem.radii()[:, None] + problem.radii()  # [species, species], Å
        pixels = problem.template_sites % problem.grid.n_pixels
        self._blocked[:, pixels] = True
        distances = problem.grid.distances(problem.template.positions)
        for site, row in zip(problem.template_sites, distances, strict=True):
            self._add(int(site) // problem.grid.n_pixels, row)

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
        self._add(species, self._problem.grid.distances(self._problem.grid.pixel_positions[pixel, None])[0])

    def _add(self, species: int, distances: NDArray[np.float64]) -> None:
        """Apply the distance limits around an atom of a species at these distances from the pixels."""
        ratios = distances / self._bond_lengths[:, species, None]  # [species, pixel]
        if self._problem.minimum_distance is not None:
            self._blocked |= ratios < self._problem.minimum_distance
        if self._problem.maximum_distance is not None:
            self._near |= ratios <= self._problem.maximum_distance


def action_mask(placed: Iterable[int], problem: Problem) -> NDArray[np.bool_]:
    """Legal actions, shape (n_actions,), after atoms were placed by these actions."""
    mask = ActionMask(problem)
    for action in placed:
        mask.place(int(action))
    return mask.legal
