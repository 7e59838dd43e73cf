"""The kernels and images that Figs. 5, 8, 9 and 10 show, as the representations compute them."""

from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from asla_agents import equations
from asla_agents.randomness import torch_seeded
from asla_agents.representations import AGR, Angular, Displaced
from asla_env.grid import Grid
from asla_env.problems import graphene

Image = NDArray[np.float64]
SPACING = 0.2  # Å
GRID = Grid((41, 41), (41 * SPACING, 41 * SPACING), (False, False))
_SPACE = spaces.MultiBinary([1, *GRID.shape])
_BOND = 7  # pixels: 1.4 Å
ATOMS = ((10, 29), (24, 29), (31, 22))
"""Pixels of the atoms of Fig. 10."""
LINE = (17, 29)
"""The pixel of Fig. 10 that would make a line of three atoms with the first two."""
RIGHT_ANGLE = (24, 22)
"""The pixel of Fig. 10 that would make a right angle with the last two."""


@dataclass(frozen=True)
class PowerSpectrum:
    """The steps of Eqs. 7 and 8."""

    radial: Image
    """Ring of Eq. 6, shape (25, 25)."""
    angular: NDArray[np.complex128]
    """Circular harmonic of Eq. 5, shape (25, 25)."""
    kernel: NDArray[np.complex128]
    """Their product, Eq. 7, shape (25, 25)."""
    one_hot: Image
    """Atoms, shape (41, 41)."""
    drawn: Image
    """Power of Eq. 8 at each pixel, shape (41, 41)."""


@dataclass(frozen=True)
class Expansion:
    """A sum of Gaussians, and what it draws of an unfinished sheet."""

    coefficients: NDArray[np.float64]
    """c_i, shape (n,)."""
    widths_over_spacing: NDArray[np.float64]
    """λ_i/Δ, shape (n,)."""
    basis: Image
    """Gaussians without their coefficients, shape (n, 25, 25)."""
    kernel: Image
    """Their sum, Eq. 2, shape (25, 25)."""
    one_hot: Image
    """Atoms, shape (x, y)."""
    drawn: Image
    """Image of the atoms before the batch normalisation, shape (x, y)."""


def agr(seed: int = 0) -> Expansion:
    """AGR with coefficients as they are at the start of a search, and half of a sheet of graphene (Fig. 5)."""
    problem = graphene()
    atoms = np.zeros(problem.grid.n_pixels)
    atoms[problem.grid.pixels(problem.template.positions)] = 1
    if problem.reference is not None:
        atoms[problem.grid.pixels(problem.reference.positions)[: len(problem.reference) // 2]] = 1
    with torch_seeded(seed):
        representation = AGR(spaces.MultiBinary([1, *problem.grid.shape]), problem.grid).double()
    kernel, coefficients = _array(representation.kernel()[0, 0]), representation.coefficient_values[0]
    one_hot = atoms.reshape(problem.grid.shape)
    drawn = _without_norm(representation, one_hot)
    basis = _array(equations.gaussian(representation.r, representation.widths[:, None, None]))
    widths = _array(representation.widths) / representation.spacing
    return Expansion(coefficients, widths, basis, kernel, one_hot, drawn)


def ring(i: int) -> Image:
    """The basis kernel of number i of the displaced Gaussians, shape (25, 25) (Fig. 8(a)-(d))."""
    displaced = Displaced(_SPACE, GRID).double()
    displaced.coefficients.data = torch.eye(len(displaced.centers), dtype=torch.float64)[i : i + 1]
    return _array(displaced.kernel()[0, 0])


def harmonic(m: int) -> NDArray[np.complex128]:
    """The circular harmonic of order m on the pixels of a kernel, shape (25, 25) (Fig. 9)."""
    theta = Angular(_SPACE, GRID).double().theta
    return np.asarray(equations.circular_harmonic(theta, m))


def power_spectrum(m: int = 1) -> PowerSpectrum:
    """Eqs. 5-8 with λ = Δ and a ring at the bond length, step by step (Fig. 10)."""
    angular = Angular(_SPACE, GRID, channels=[(1.0, _BOND * SPACING, m)]).double()
    atoms = np.zeros(GRID.shape)
    atoms[tuple(np.transpose(ATOMS))] = 1
    radial = _array(equations.displaced_gaussian(angular.r, angular.spacing, _BOND * SPACING))
    kernel = np.asarray(angular.kernel()[0])
    return PowerSpectrum(radial, harmonic(m), kernel, atoms, _without_norm(angular, atoms))


def _without_norm(representation: AGR | Angular, one_hot: Image) -> Image:
    """Draw atoms (x, y) in one channel, without the batch normalisation."""
    representation.norm = nn.Identity()
    return _array(representation.image(torch.as_tensor(one_hot[None, None]))[0, 0])


def _array(values: torch.Tensor) -> Image:
    """Numbers of a tensor, without its gradient."""
    return np.asarray(values.detach())
