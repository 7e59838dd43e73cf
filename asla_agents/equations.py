"""Equations 1-8 of J. Chem. Phys. 153, 044107 (2020), one pure function each, in the paper's order.

Distances and widths share one unit (Å, or pixels); `r` is measured from the kernel's middle pixel.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def gaussian(r: Tensor, width: Tensor | float) -> Tensor:
    """Eq. 1: the on-site Gaussian ``exp(-r² / 2λ²)``.

    Parameters
    ----------
    r
        Distances, any shape.
    width
        λ, in the unit of `r`; broadcasts against `r`.
    """
    return torch.exp(-0.5 * (r / width) ** 2)


def gaussian_expansion(r: Tensor, coefficients: Tensor, widths: Tensor) -> Tensor:
    """Eq. 2: a kernel expanded in on-site Gaussians, ``Σ_i c_i exp(-r² / 2λ_i²)``.

    Parameters
    ----------
    r
        Distances, any shape.
    coefficients
        c_i, shape (..., n).
    widths
        λ_i, shape (n,), in the unit of `r`.

    Returns
    -------
    Tensor
        Shape ``(..., *r.shape)``.
    """
    kernel: Tensor = torch.tensordot(coefficients, gaussian(r, _align(widths, r)), dims=1)
    return kernel


def l1_penalty(coefficients: Tensor, beta_1: Tensor | float) -> Tensor:
    """Eq. 3: the term ``β₁ Σ_i |c_i|`` of the loss, a scalar.

    Parameters
    ----------
    coefficients
        c_i, any shape; all are summed.
    beta_1
        Weight of the term.
    """
    return beta_1 * coefficients.abs().sum()


def displaced_expansion(r: Tensor, coefficients: Tensor, centers: Tensor, width: float) -> Tensor:
    """Eq. 4: a kernel expanded in rings, ``Σ_i c_i exp(-(r - r_i)² / 2λ²)``.

    Parameters
    ----------
    r
        Distances, any shape.
    coefficients
        c_i, shape (..., n).
    centers
        Radii r_i of the rings, shape (n,), in the unit of `r`.
    width
        λ, in the unit of `r`.

    Returns
    -------
    Tensor
        Shape ``(..., *r.shape)``.
    """
    kernel: Tensor = torch.tensordot(coefficients, displaced_gaussian(r, width, _align(centers, r)), dims=1)
    return kernel


def circular_harmonic(theta: Tensor, m: int) -> Tensor:
    """Eq. 5: the circular harmonic ``exp(imθ) = cos(mθ) + i sin(mθ)``, complex.

    Parameters
    ----------
    theta
        Angles in radians from the first axis, any shape.
    m
        Angular order.
    """
    return torch.complex(torch.cos(m * theta), torch.sin(m * theta))


def displaced_gaussian(r: Tensor, width: float, r_s: Tensor | float) -> Tensor:
    """Eq. 6: a ring, the Gaussian ``exp(-(r - r_s)² / 2λ²)`` around the radius `r_s`.

    Parameters
    ----------
    r
        Distances, any shape.
    width
        λ, in the unit of `r`.
    r_s
        Radius of the ring, in the unit of `r`; broadcasts against `r`.
    """
    return gaussian(r - r_s, width)


def angular_kernel(r: Tensor, theta: Tensor, width: float, r_s: float, m: int) -> Tensor:
    """Eq. 7: a ring with an angular order, the product of Eqs. 5 and 6, complex.

    The middle pixel has no angle. Of a kernel with m > 0 it is 0, the mean over all angles: any other value would tell
    an image from the same image rotated.

    Parameters
    ----------
    r, theta
        Distances and angles (radians) of the pixels, of one shape.
    width, r_s
        λ and radius of the ring, in the unit of `r`.
    m
        Angular order.
    """
    kernel = displaced_gaussian(r, width, r_s) * circular_harmonic(theta, m)
    return kernel if m == 0 else kernel * (r > 0)


def power_spectrum(image: Tensor, kernel: Tensor, convolve: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Eq. 8: ``(Re[K] * R)² + (Im[K] * R)²``, with ``*`` the convolution.

    Parameters
    ----------
    image
        The one-hot image R, in the layout that `convolve` takes.
    kernel
        Complex kernel K.
    convolve
        Function of an image and a real kernel.
    """
    return convolve(image, kernel.real) ** 2 + convolve(image, kernel.imag) ** 2


def _align(values: Tensor, r: Tensor) -> Tensor:
    """Shape (n,) to (n, 1, ..., 1), so that it broadcasts against `r`."""
    return values.reshape(-1, *(1,) * r.ndim)
