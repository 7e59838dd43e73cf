"""Symmetries of a problem that make one build several."""

import numpy as np
from numpy.typing import NDArray

from asla_env.problem import Problem

_TOLERANCE = 0.05  # Å; a relaxed template keeps its symmetry to a few hundredths of an Å, which is a few meV


def augmentations(problem: Problem) -> NDArray[np.int64]:
    """Pixel permutations that turn a build into an equally stable one, shape (n, n_pixels), identity first.

    Translations that move the template are left out: to a network of convolutions a moved image is the same image.
    """
    return problem.symmetries(_TOLERANCE)


def has_free_origin(problem: Problem) -> bool:
    """Whether any atom of the template's kind could as well be the template: it is one atom, all axes are periodic."""
    return len(problem.template) == 1 and problem.template_is_on_grid and all(problem.grid.periodic)


def move_origin(sites: NDArray[np.int64], problem: Problem) -> NDArray[np.int64]:
    """Translate a structure so that its first atom becomes the template.

    Parameters
    ----------
    sites
        Sites of all atoms, shape (atoms,); the first is of the template's species.
    problem
        A problem for which `has_free_origin` is true.

    Returns
    -------
    NDArray
        Sites of the moved atoms, shape (atoms,).
    """
    grid = problem.grid
    species, pixels = np.divmod(sites, grid.n_pixels)
    indices = np.stack(np.unravel_index(pixels, grid.shape))  # [axis, atom]
    origin = np.stack(np.unravel_index(problem.template_sites % grid.n_pixels, grid.shape))  # [axis, 1]
    moved = np.ravel_multi_index(tuple(indices - indices[:, :1] + origin), grid.shape, mode="wrap")
    return np.asarray(species * grid.n_pixels + moved, dtype=np.int64)
