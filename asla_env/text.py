"""Structures as text, for a terminal."""

from collections.abc import Sequence

import numpy as np

from asla_env.problem import Problem

_WIDTH = 120  # columns


def structure_text(placed: Sequence[int], problem: Problem) -> str:
    """Write the structure so far as text, one character a pixel, x to the right and y upwards.

    An upper-case letter is a placed atom, a lower-case letter an atom of the template, a dot an empty pixel; along a
    third axis the highest atom is shown. The letter is the first one of the symbol that no species before has. Pixels
    stand a blank apart where 120 columns allow it. The first line counts the atoms placed of each species.

    Parameters
    ----------
    placed
        Action indices of the atoms placed so far.
    problem
        The problem whose template is shown; surroundings are not.
    """
    letters = _letters(problem.species)
    sites = np.concatenate([problem.template_sites, np.asarray(placed, dtype=np.int64)])
    channels, pixels = np.divmod(sites, problem.grid.n_pixels)
    x, y, *z = np.unravel_index(pixels, problem.grid.shape)
    picture = np.full(problem.grid.shape[:2], ".")
    for i in np.argsort(z[0]) if z else range(len(sites)):
        letter = letters[channels[i]]
        picture[x[i], y[i]] = letter.lower() if i < len(problem.template) else letter
    blank = " " if 2 * len(picture) - 1 <= _WIDTH else ""
    return "\n".join([_caption(placed, problem, letters), *(blank.join(row) for row in picture.T[::-1])])


def _letters(species: Sequence[str]) -> list[str]:
    """A capital of its own for each species, from its symbol if there is one left."""
    letters: list[str] = []
    for symbol in species:
        choices = (*symbol.upper(), *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        letters.append(next((letter for letter in choices if letter not in letters), "?"))
    return letters


def _caption(placed: Sequence[int], problem: Problem, letters: Sequence[str]) -> str:
    """The line above a text: how many atoms of each species were placed, and how they are written."""
    channels = np.asarray(placed, dtype=np.int64) // problem.grid.n_pixels
    counts = np.bincount(channels, minlength=len(problem.species))
    names = [s if s == letter else f"{s} ({letter})" for s, letter in zip(problem.species, letters, strict=True)]
    parts = [f"{name} {n}/{total}" for name, n, total in zip(names, counts, problem.counts, strict=True)]
    return ", ".join(parts) + "; lower case: template"
