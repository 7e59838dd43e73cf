"""Symmetries of a problem that make one build several."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asla_env.problem import Problem

QMaps = Callable[[NDArray[np.int8]], NDArray[np.floating]]
"""Q-values (structures, actions), or what of them differs between actions, of one-hot images (structures, species, x,
y[, z])."""

_MOST_IMAGES = 8  # in space a problem may have dozens
_OWN_WEIGHT = 1.01  # of the structure itself, or else rounding would decide between placements that mirror each other
_TOLERANCE = 0.05  # Å; a relaxed template keeps its symmetry to a few hundredths of an Å, which is a few meV


def augmentations(problem: Problem) -> NDArray[np.int64]:
    """Pixel permutations that turn a build into an equally stable one, shape (n, n_pixels), identity first.

    Translations that move the template are left out: to a network of convolutions a moved image is the same image.
    """
    return problem.symmetries(_TOLERANCE)


def site_maps(pixel_maps: NDArray[np.int64], n_species: int) -> NDArray[np.int64]:
    """Pixel permutations as permutations of sites (species, pixel), shape (n, n_actions)."""
    n_pixels = pixel_maps.shape[1]
    return np.concatenate([pixel_maps + species * n_pixels for species in range(n_species)], axis=1)


class SymmetricMean:
    """Q-values averaged over the symmetric images of a structure.

    A network of convolutions knows of translations alone: that it judges a structure and its mirror image differently
    is error, of which the mean has less.

    Parameters
    ----------
    problem
        What is built.
    only_identity
        Whether there is no image but the structure itself.
    """

    def __init__(self, problem: Problem, only_identity: bool = False) -> None:
        pixel_maps = _without_translations(augmentations(problem), problem)[: 1 if only_identity else _MOST_IMAGES]
        self._site_maps = site_maps(pixel_maps, len(problem.species))
        self._origins = np.argsort(self._site_maps, axis=1)

    def images(self, images: NDArray[Any]) -> NDArray[Any]:
        """Symmetric images of one-hot images (batch, species, x, y[, z]), as (n, batch, ...)."""
        sites = images.reshape(len(images), -1)
        return np.stack([sites[:, origins].reshape(images.shape) for origins in self._origins])

    def mean(self, q_values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Q-values of structures, (batch, actions), as the mean of those of their `images`, (n, batch, actions)."""
        moved_back = [q[:, site_map] for q, site_map in zip(q_values, self._site_maps, strict=True)]
        weights = np.where(np.arange(len(moved_back)), 1, _OWN_WEIGHT)
        return np.average(moved_back, axis=0, weights=weights).astype(q_values.dtype)

    def averaged(self, q_maps: QMaps) -> QMaps:
        """Average what gives Q-values over the symmetric images."""

        def mean(images: NDArray[np.int8]) -> NDArray[np.floating]:
            """Q-values of images, from one call for all their symmetric images."""
            moved = self.images(images)
            q_values = q_maps(moved.reshape(-1, *images.shape[1:]))
            return self.mean(q_values.reshape(*moved.shape[:2], -1))

        return mean


def _without_translations(pixel_maps: NDArray[np.int64], problem: Problem) -> NDArray[np.int64]:
    """Of pixel permutations (n, n_pixels) that differ by a translation, the first."""
    shape, kept = problem.grid.shape, dict[bytes, NDArray[np.int64]]()
    for pixel_map in pixel_maps:
        indices = np.stack(np.unravel_index(pixel_map, shape), axis=-1)
        kept.setdefault(((indices - indices[0]) % shape).tobytes(), pixel_map)
    return np.array(list(kept.values()))


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
    return _translated(sites, sites[:1], problem)


def from_each_origin(sites: NDArray[np.int64], problem: Problem) -> NDArray[np.int64]:
    """Translate a structure so that each atom of the template's species once becomes the template.

    Parameters
    ----------
    sites
        Sites of all atoms, shape (atoms,); the first is the template.
    problem
        A problem for which `has_free_origin` is true.

    Returns
    -------
    NDArray
        Sites of the moved other atoms, shape (origins, atoms - 1).
    """
    species = sites // problem.grid.n_pixels
    firsts = np.flatnonzero(species == species[0])
    is_other = np.arange(len(sites)) != firsts[:, None]
    others = np.broadcast_to(sites, is_other.shape)[is_other].reshape(len(firsts), len(sites) - 1)
    return _translated(others, sites[firsts, None], problem)


def _translated(sites: NDArray[np.int64], firsts: NDArray[np.int64], problem: Problem) -> NDArray[np.int64]:
    """Sites, shape (..., atoms), after the translations that take the sites `firsts`, (..., 1), to the template's."""
    grid = problem.grid
    templates = np.broadcast_to(problem.template_sites, firsts.shape)
    indices, ours, theirs = (
        np.array(np.unravel_index(some % grid.n_pixels, grid.shape)) for some in (sites, firsts, templates)
    )  # [axis, ..., atom]
    moved = np.ravel_multi_index(tuple(indices - ours + theirs), grid.shape, mode="wrap")
    return np.asarray(sites - sites % grid.n_pixels + moved, dtype=np.int64)
