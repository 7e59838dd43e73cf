"""Pictures for a terminal: eight dots in each character of Braille."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLANK = 0x2800
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # [row, column] of a character


def braille(picture: ArrayLike) -> list[str]:
    """Write a picture of dots as lines of text.

    Parameters
    ----------
    picture
        Where there is a dot, shape (rows, columns), the first row on top.

    Returns
    -------
    list of str
        A line for every four rows, a character for every two columns.
    """
    dots = np.asarray(picture, dtype=bool)
    rows, columns = dots.shape
    padded = np.pad(dots, ((0, -rows % 4), (0, -columns % 2)))
    cells = padded.reshape(len(padded) // 4, 4, -1, 2)  # [line, row, character, column]
    codes = _BLANK + np.einsum("lrcd,rd->lc", cells.astype(int), _BITS)
    return ["".join(map(chr, line)) for line in codes.tolist()]


def scatter(values: ArrayLike, width: int, height: int, linear_to: float = 1.0) -> list[str]:
    """Plot numbers from left to right, the lowest at the bottom, logarithmically far from 0.

    Parameters
    ----------
    values
        The numbers; what is not finite has no dot.
    width, height
        Characters and lines of the plot.
    linear_to
        The axis is linear to here, on both sides of 0.
    """
    numbers = np.asarray(values, dtype=float)
    picture = np.zeros((4 * height, 2 * width), dtype=bool)
    is_there = np.isfinite(numbers)
    if is_there.any():
        heights = _symlog(numbers[is_there], linear_to)
        span = np.ptp(heights) or 1.0
        rows = np.rint((heights.max() - heights) / span * (4 * height - 1)).astype(int)
        columns = np.flatnonzero(is_there) * (2 * width - 1) // max(1, len(numbers) - 1)
        picture[rows, columns] = True
    return braille(picture)


def _symlog(values: NDArray[np.float64], linear_to: float) -> NDArray[np.float64]:
    """Numbers on an axis that is linear around 0 and logarithmic beyond."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values) / linear_to))
