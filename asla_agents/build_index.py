"""Which builds have which atoms."""

import numpy as np
from numpy.typing import NDArray

_BYTES_AT_FIRST = 16


class BuildIndex:
    """A bit for each site and build: whether the build has an atom there.

    Parameters
    ----------
    n_sites
        Sites that there are.
    """

    def __init__(self, n_sites: int) -> None:
        self._bits = np.zeros((n_sites, _BYTES_AT_FIRST), dtype=np.uint8)
        self._n_builds = 0

    def add(self, sites: NDArray[np.int64]) -> None:
        """Add the next build, by the sites of its atoms, shape (atoms,)."""
        byte, bit = divmod(self._n_builds, 8)
        if byte == self._bits.shape[1]:
            self._bits = np.pad(self._bits, ((0, 0), (0, byte)))
        self._bits[sites, byte] |= np.uint8(1 << bit)
        self._n_builds += 1

    def builds_with(self, images: NDArray[np.int64], further: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which builds have all atoms of a structure and one further atom, or those of a symmetric image.

        Parameters
        ----------
        images
            Sites of each image's atoms, shape (images, atoms).
        further
            Sites of some atoms, each to be looked for with the structure, in each image, shape (images, further).

        Returns
        -------
        ndarray
            Shape (further, builds).
        """
        have_all = np.bitwise_and.reduce(self._bits[images], axis=1)  # [image, byte]
        one_of_them = np.bitwise_or.reduce(have_all[:, None] & self._bits[further], axis=0)  # [further, byte]
        return np.unpackbits(one_of_them, axis=1, count=self._n_builds, bitorder="little").view(np.bool_)
