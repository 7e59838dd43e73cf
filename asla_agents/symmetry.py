"""Symmetries of a problem that make one build several."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def move_origin(placed: ArrayLike, problem: Problem, rng: np.random.Generator) -> NDArray[np.int64]:
    """Translate a build so that a random atom of the template's kind becomes the template.

    Parameters
    ----------
    placed
        Actions of the build.
    problem
        A problem for which `has_free_origin` is true.
    rng
        Source of randomness.

    Returns
    -------
    NDArray
        Actions of the moved build, the old template among them; the order is the old one but for the exchanged atoms.
    """
    grid = problem.grid
    sites = np.concatenate([problem.template_sites, np.asarray(placed, dtype=np.int64)])
    species, pixels = np.divmod(sites, grid.n_pixels)
    chosen = rng.choice(np.flatnonzero(species == species[0]))
    indices = np.stack(np.unravel_index(pixels, grid.shape))  # [axis, atom]
    moved = (indices + indices[:, :1] - indices[:, chosen, None]) % np.array(grid.shape)[:, None]
    sites = species * grid.n_pixels + np.ravel_multi_index(tuple(moved), grid.shape)
    sites[chosen] = sites[0]
    return np.asarray(sites[1:], dtype=np.int64)
