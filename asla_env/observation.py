"""The image of an unfinished structure: one channel a species, 1 where an atom is drawn."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asla_env.problem import Problem


def one_hot(placed: Sequence[int], problem: Problem) -> NDArray[np.int8]:
    """Draw the template and the placed atoms.

    Parameters
    ----------
    placed
        Action indices of the atoms placed so far.
    problem
        The problem whose template and grid are drawn.

    Returns
    -------
    NDArray
        Image of 0 and 1, shape (species, x, y[, z]).

    Raises
    ------
    ValueError
        If one is not the index of an action.
    """
    sites = problem.sites(placed)
    image = np.zeros(problem.n_actions, dtype=np.int8)
    image[problem.template_sites] = 1
    image[sites] = 1
    return image.reshape(len(problem.species), *problem.grid.shape)


def placed_sites(image: NDArray[np.generic], problem: Problem) -> NDArray[np.int64]:
    """Read the placed atoms off an image: their action indices, ascending; the inverse of `one_hot`.

    Raises
    ------
    ValueError
        If the image is not one of this problem.
    """
    expected = (len(problem.species), *problem.grid.shape)
    if np.shape(image) != expected:
        raise ValueError(f"`image` has shape {np.shape(image)} but must have shape {expected}")
    sites = np.flatnonzero(np.asarray(image))
    if not np.all(np.isin(problem.template_sites, sites)):
        raise ValueError("`image` lacks atoms of the template but must show all of them")
    return np.setdiff1d(sites, problem.template_sites)
