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
