"""Convolution of images with kernels, periodic or zero-padded axis by axis, by Fourier transforms.

A circular convolution is the periodic boundary condition, whatever the size of the kernel; an axis padded by half a
kernel is the open one. The images are small, so the transforms are products with matrices of sines and cosines, which
also take any length and skip the padding. Inside, axes are ordered ``(x, y[, z], ..., batch, channel)``: then no
product needs a transposed copy. Complex numbers are an axis of two, real and imaginary.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asla_env.grid import Grid


class FourierConvolution:
    """The plan of a convolution: transforms for images of one shape and kernels of one shape.

    As in `torch.nn.Conv2d` the kernel is not mirrored (a cross-correlation), and the result has the image's shape.

    Parameters
    ----------
    shape
        Pixels of the images along each axis.
    kernel_shape
        Pixels of the kernels along each axis, odd numbers; kernels may be wider than the image.
    periodic
        Whether each axis is periodic or zero-padded.

    Raises
    ------
    ValueError
        If the three do not have one entry an axis, or a kernel has no pixel in its middle.
    """

    def __init__(self, shape: Sequence[int], kernel_shape: Sequence[int], periodic: Sequence[bool]) -> None:
        for name, entries in (("kernel_shape", kernel_shape), ("periodic", periodic)):
            if len(entries) != len(shape):
                raise ValueError(f"`{name}` is {tuple(entries)} but must have {len(shape)} entries, one an axis")
        if any(k < 1 or k % 2 == 0 for k in kernel_shape):
            raise ValueError(f"`kernel_shape` is {tuple(kernel_shape)} but must hold odd numbers of pixels")
        self.shape, self.kernel_shape, self.periodic = tuple(shape), tuple(kernel_shape), tuple(periodic)

    def kernel_spectrum(self, kernels: Tensor) -> Tensor:
        """Transform kernels of shape (..., out, in, x, y[, z]) to a spectrum (frequency, ..., 2 in, 2 out).

        Its complex matrices are written as real ones, as one product of these is faster than four of their parts.

        Raises
        ------
        ValueError
            If the last axes are not the kernels' pixels.
        """
        n = len(self.shape)
        _check_pixels("kernels", kernels.shape[kernels.ndim - n :], self.kernel_shape)
        kernels = kernels.movedim(tuple(range(-n, 0)), tuple(range(n))).transpose(-1, -2)  # [x, y, ..., in, out]
        return _blocks(self._transform(kernels, self._matrices("kernel", kernels)))

    def __call__(self, images: Tensor, spectrum: Tensor) -> Tensor:
        """Convolve images with a kernel's spectrum.

        Parameters
        ----------
        images
            Shape (x, y[, z], ..., batch, in).
        spectrum
            What `kernel_spectrum` made of the kernels, of the images' precision.

        Returns
        -------
        Tensor
            Shape (x, y[, z], ..., batch, out).

        Raises
        ------
        ValueError
            If the first axes are not the images' pixels.
        """
        _check_pixels("images", images.shape[: len(self.shape)], self.shape)
        transformed = self._transform(images, self._matrices("image", images))  # [2, frequency, ..., batch, in]
        product = torch.cat(transformed.unbind(), dim=-1) @ spectrum  # [frequency, ..., batch, 2 out]
        return self._inverse(product.unflatten(-1, (2, spectrum.shape[-1] // 2)).movedim(-2, 0))

    def _transform(self, values: Tensor, matrices: list[Tensor]) -> Tensor:
        """Transform axis by axis, the last first: (x, y[, z], ...) to (2, frequency, ...)."""
        pixels, rest = values.shape[: len(matrices)], values.shape[len(matrices) :]
        frequencies = [matrix.shape[0] // 2 for matrix in matrices]
        for axis in reversed(range(len(matrices))):
            n = prod(frequencies[axis + 1 :]) * prod(rest)
            values = _multiply(matrices[axis], values.reshape(prod(pixels[:axis]), matrices[axis].shape[1], n))
        return values.reshape(2, prod(frequencies), *rest)

    def _inverse(self, spectrum: Tensor) -> Tensor:
        """Transform back axis by axis, the first first: (2, frequency, ...) to (x, y[, z], ...)."""
        matrices, rest = self._matrices("inverse", spectrum), spectrum.shape[2:]
        frequencies = [matrix.shape[1] // 2 for matrix in matrices]
        for axis, matrix in enumerate(matrices):
            n = prod(frequencies[axis + 1 :]) * prod(rest)
            spectrum = _multiply(matrix, spectrum.reshape(prod(self.shape[:axis]), matrix.shape[1], n))
        return spectrum.reshape(*self.shape, *rest)

    def _matrices(self, which: str, like: Tensor) -> list[Tensor]:
        """Transform matrices of each axis with the precision and on the device of a tensor."""
        return _plan(which, self.shape, self.kernel_shape, self.periodic, like.dtype, like.device)


class Convolution(nn.Module):
    """Convolution with trained weights and biases and the boundary conditions of a grid.

    It starts from the same random distribution as `torch.nn.Conv2d`.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the images that come in and go out.
    kernel_size
        Pixels of the kernel along every axis, an odd number.
    grid
        The images' pixels and boundary conditions.

    Raises
    ------
    ValueError
        If `kernel_size` is even.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, grid: Grid) -> None:
        super().__init__()
        kernel_shape = (kernel_size,) * grid.ndim
        self._convolve = FourierConvolution(grid.shape, kernel_shape, grid.periodic)
        bound = (in_channels * prod(kernel_shape)) ** -0.5
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *kernel_shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))
        self._kept: tuple[Tensor, Tensor] | None = None  # weights and their spectrum

    def forward(self, images: Tensor) -> Tensor:
        """Convolve images (x, y[, z], batch, in) to images (x, y[, z], batch, out)."""
        return self._convolve(images, self._spectrum()) + self.bias

    def _spectrum(self) -> Tensor:
        """Spectrum of the weights; without gradients it is kept until the weights have other values.

        The values themselves are compared: PyTorch counts no changes made through `Tensor.data`, as Stable-Baselines3
        makes them to its target networks. Stand-ins for the weights (`torch.func.functional_call`) are not kept.
        """
        if torch.is_grad_enabled() or not isinstance(self.weight, nn.Parameter):
            return self._convolve.kernel_spectrum(self.weight)
        if self._kept is None or not _identical(self._kept[0], self.weight):
            self._kept = self.weight.detach().clone(), self._convolve.kernel_spectrum(self.weight)
        return self._kept[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}  # copies and files do without


def _check_pixels(name: str, pixels: torch.Size, expected: tuple[int, ...]) -> None:
    """Raise ValueError unless an image or kernel has the pixels that the plan was made for."""
    if tuple(pixels) != expected:
        raise ValueError(f"`{name}` have {tuple(pixels)} pixels but must have {expected}")


def _identical(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors of one shape hold the same values with the same precision on the same device."""
    return left.dtype == right.dtype and left.device == right.device and torch.equal(left, right)


def _multiply(matrix: Tensor, values: Tensor) -> Tensor:
    """Multiply each of the (batch, in, n) matrices `values` from the left: (batch, out, n)."""
    if values.shape[0] == 1:
        return (matrix @ values[0])[None]
    return torch.bmm(matrix.expand(values.shape[0], *matrix.shape), values)


def _blocks(spectrum: Tensor) -> Tensor:
    """Complex matrices (2, ..., in, out) as real ones, ``[[re, im], [-im, re]]``, shape (..., 2 in, 2 out)."""
    real, imaginary = spectrum.unbind()
    return torch.cat([torch.cat([real, -imaginary], dim=-2), torch.cat([imaginary, real], dim=-2)], dim=-1)


@lru_cache(maxsize=64)
def _plan(
    which: str,
    shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    periodic: tuple[bool, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> list[Tensor]:
    """Matrices that transform images, kernels, or back, one an axis; only the last axis keeps half the frequencies."""
    matrices = []
    for axis, (n, k, wraps) in enumerate(zip(shape, kernel_shape, periodic, strict=True)):
        period = n if wraps else n + k // 2
        is_last = axis == len(shape) - 1
        frequencies = np.arange(period // 2 + 1 if is_last else period)
        positions = k // 2 - np.arange(k) if which == "kernel" else np.arange(n)
        angles = 2 * np.pi * np.outer(frequencies, positions) / period  # [frequency, position]
        matrix = _inverse_matrix(angles, period, is_last) if which == "inverse" else _forward_matrix(angles, is_last)
        with torch.inference_mode(False):  # what is kept must serve training too
            matrices.append(torch.as_tensor(matrix, dtype=dtype, device=device))
    return matrices


def _forward_matrix(angles: NDArray[np.float64], is_last: bool) -> NDArray[np.float64]:
    """Rows (2, frequency), columns (position, 2), or (position,) for the last axis, whose input is real."""
    cosines, sines = np.cos(angles), np.sin(angles)
    blocks = np.array([[cosines, sines], [-sines, cosines]])  # [re/im out, re/im in, frequency, position]
    matrix = blocks.transpose(0, 2, 3, 1).reshape(2 * angles.shape[0], -1)
    return matrix[:, ::2] if is_last else matrix


def _inverse_matrix(angles: NDArray[np.float64], period: int, is_last: bool) -> NDArray[np.float64]:
    """Rows (position, 2), or (position,) for the last axis, columns (2, frequency); the inverse of the forward one."""
    cosines, sines = np.cos(angles) / period, np.sin(angles) / period
    blocks = np.array([[cosines, -sines], [sines, cosines]])  # [re/im out, re/im in, frequency, position]
    if is_last:  # the frequencies left out are the conjugates of those kept, but for the first and the middle one
        alone = np.isin(np.arange(len(angles)), (0, period / 2))
        blocks = blocks * np.where(alone, 1, 2)[:, None]
    matrix = blocks.transpose(3, 0, 1, 2).reshape(2 * angles.shape[1], -1)
    return matrix[::2] if is_last else matrix
