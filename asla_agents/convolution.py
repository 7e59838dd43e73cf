"""Convolution of images with kernels, periodic or zero-padded axis by axis, by Fourier transforms.

A circular convolution is the periodic boundary condition, whatever the size of the kernel; an axis padded by half a
kernel is the open one. The images are small, so the transforms are products with matrices of cosines and sines, which
also take any length and skip the padding.

Everything stays real: along each axis a frequency has two numbers, the sums over pixels times cosine and times sine,
and in the plane four (cos cos, cos sin, sin cos, sin sin), called parts here. By the addition theorems, the parts of a
convolution are products of those of image and kernel, a matrix of signs and kernel parts.

Inside, axes are ordered ``(x, y[, z], channel, ..., batch)``: then no product needs a transposed copy.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._C._functorch import is_batchedtensor
from torch.autograd import Function

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
        """Transform kernels of shape (..., out, in, x, y[, z]) to a spectrum (frequency, ..., part, out, in).

        Raises
        ------
        ValueError
            If the last axes are not the kernels' pixels.
        """
        n = len(self.shape)
        _check_pixels("kernels", kernels.shape[kernels.ndim - n :], self.kernel_shape)
        kernels = kernels.movedim(tuple(range(-n, 0)), tuple(range(n)))  # [x, y, ..., out, in]
        parts = _transform(kernels.flatten(n), False, *self._matrices("kernel", kernels))
        return parts.view(parts.shape[0], 2**n, *kernels.shape[n:]).movedim(1, -3)

    def complex_spectrum(self, kernels: Tensor) -> Tensor:
        """Transform kernels as `kernel_spectrum` does, to complex numbers (frequency, ..., half a part, out, in).

        They are slower to make and with large batches, and faster with few images.
        """
        return _as_complex(self.kernel_spectrum(kernels)).contiguous()

    def __call__(self, images: Tensor, spectrum: Tensor) -> Tensor:
        """Convolve images with a kernel's spectrum.

        Parameters
        ----------
        images
            Shape (x, y[, z], in, ..., batch).
        spectrum
            What `kernel_spectrum` made of the kernels, of the images' precision, or its form for images one by one.

        Returns
        -------
        Tensor
            Shape (x, y[, z], out, ..., batch).

        Raises
        ------
        ValueError
            If the first axes are not the images' pixels.
        """
        n = len(self.shape)
        _check_pixels("images", images.shape[:n], self.shape)
        parts = _transform(images.flatten(n), False, *self._matrices("image", images))
        parts = parts.view(parts.shape[0], 2**n, *images.shape[n:])  # [frequency, part, in, ..., batch]
        parts = _multiply_complex(spectrum, parts) if spectrum.is_complex() else _multiply(spectrum, parts)
        rest = parts.shape[2:]  # [out, ..., batch]
        pixels = _transform(parts.reshape(parts.shape[0], 2**n * prod(rest)), True, *self._matrices("inverse", parts))
        return pixels.view(*self.shape, *rest)

    def _matrices(self, which: str, like: Tensor) -> tuple[Tensor, ...]:
        """Transform matrices of each axis with the precision and on the device of a tensor."""
        return _plan(which, self.shape, self.kernel_shape, self.periodic, like.dtype, like.device)


class _Transform(Function):
    """From pixels (x, y[, z], n) to frequencies (frequency, parts * n), or back; the matrices are constants.

    With transposed matrices one way is the transpose of the other.
    """

    @staticmethod
    def forward(values: Tensor, back: bool, *matrices: Tensor) -> Tensor:
        """Transform."""
        return _synthesise(values, matrices) if back else _analyse(values, matrices)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep way and matrices."""
        ctx.back = inputs[1]
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Transform the gradient the other way."""
        transposed = [matrix.mT for matrix in ctx.saved_tensors]
        return _transform(gradient, not ctx.back, *transposed), None, *[None] * len(transposed)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, ...], values: Tensor, back: bool, *matrices: Tensor) -> tuple[Tensor, int]:
        """Transform many values, as more columns: torch's own rule would make many small products."""
        columns = values.movedim(in_dims[0], -1).flatten(-2)
        transformed = _transform(columns, back, *matrices)
        return transformed.unflatten(-1, (-1, info.batch_size)), transformed.ndim


_differentiable: Callable[..., Tensor] = _Transform.apply


def _transform(values: Tensor, back: bool, *matrices: Tensor) -> Tensor:
    """Transform, as a `Function` only where its rules are needed: calling one takes a tenth of a millisecond."""
    if is_batchedtensor(values) or (torch.is_grad_enabled() and values.requires_grad):
        return _differentiable(values, back, *matrices)
    return _Transform.forward(values, back, *matrices)


def _analyse(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Transform the pixel axes, the last first; each matrix has rows (frequency, cosine or sine)."""
    values = values.unsqueeze(0)  # [frequencies so far, x, y, parts so far * n]
    for axis in reversed(range(len(matrices))):
        done, pixels, columns = values.shape[0], values.shape[1 : axis + 1], values.shape[-1]
        frequencies = matrices[axis].shape[0] // 2
        lines = values.reshape(done * prod(pixels), values.shape[-2], columns)
        transformed = _matmul(matrices[axis], lines).view(done, prod(pixels), frequencies, 2 * columns)
        values = transformed.transpose(1, 2).reshape(done * frequencies, *pixels, 2 * columns)
    return values


def _synthesise(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Transform back, the first axis first; each matrix has columns (frequency, cosine or sine)."""
    pixels: list[int] = []
    to_come = values.shape[0]
    for matrix in matrices:
        frequencies, columns = matrix.shape[1] // 2, values.shape[-1] // 2
        to_come //= frequencies
        # [frequencies to come, frequency, pixels so far, cosine or sine of it * parts to come * n]
        values = values.reshape(to_come, frequencies, prod(pixels), 2 * columns).transpose(1, 2)
        lines = values.reshape(to_come * prod(pixels), 2 * frequencies, columns)
        pixels.append(matrix.shape[0])
        values = _matmul(matrix, lines).view(to_come, *pixels, columns)
    return values[0]


def _matmul(matrix: Tensor, values: Tensor) -> Tensor:
    """Multiply each of the (batch, in, n) matrices `values` from the left: (batch, out, n)."""
    return torch.bmm(matrix.expand(values.shape[0], *matrix.shape), values)


def _multiply(spectrum: Tensor, parts: Tensor) -> Tensor:
    """Multiply spectra: (f, ..., part, out, in) times (f, part, in, ..., batch) gives (f, part, out, ..., batch)."""
    n_parts, n_out, n_in = spectrum.shape[-3:]
    signed = torch.cat([spectrum, -spectrum], dim=-3).unbind(-3)
    rows = [torch.cat([signed[part] for part in row], dim=-1) for row in _sign_table(n_parts)]
    block = torch.cat(rows, dim=-2)  # [f, ..., part out, part in]
    columns = parts.movedim((1, 2), (-3, -2))
    lead, batch = columns.shape[:-3], columns.shape[-1]
    columns = (block @ columns.reshape(*lead, n_parts * n_in, batch)).view(*lead, n_parts, n_out, batch)
    return columns.movedim((-3, -2), (1, 2))


def _multiply_complex(spectrum: Tensor, parts: Tensor) -> Tensor:
    """Multiply as `_multiply` does, with a spectrum of complex numbers."""
    mixing = _mixing(parts.shape[1]).to(parts)  # orthogonal, but for a factor
    real, imaginary = (mixing @ parts.flatten(2)).view_as(parts).chunk(2, dim=1)
    columns = spectrum @ torch.complex(real, imaginary).movedim((1, 2), (-3, -2))
    columns = columns.movedim((-3, -2), (1, 2))
    halves = torch.cat([columns.real, columns.imag], dim=1)
    return (mixing.mT / (len(mixing) // 2) @ halves.flatten(2)).view_as(halves)


def _as_complex(spectrum: Tensor) -> Tensor:
    """Kernel's spectrum (f, ..., part, out, in) as complex numbers, half as many, each of which multiplies alone."""
    mixing = _mixing(spectrum.shape[-3]).to(spectrum)
    real, imaginary = torch.einsum("pq,...qoi->...poi", mixing, spectrum).chunk(2, dim=-3)
    return torch.complex(real, imaginary)


@lru_cache
def _mixing(n_parts: int) -> Tensor:
    """Matrix from parts to the real and then the imaginary parts of sums over ``exp(-i (±k_x x ... + k_z z))``."""
    n_axes = n_parts.bit_length() - 1
    waves = np.ones((1, 1))
    for axis in range(n_axes):
        signs = np.array([[1], [-1]]) if axis < n_axes - 1 else np.array([[1]])
        waves = np.kron(waves, np.concatenate([np.ones_like(signs), -1j * signs], axis=1))  # cosine - i sine
    return torch.as_tensor(np.concatenate([waves.real, waves.imag]))


@lru_cache
def _sign_table(n_parts: int) -> list[list[int]]:
    """Part of the kernel for each part that comes out and goes in; one that is subtracted has `n_parts` added.

    Along one axis: cos(a + b) = cos a cos b - sin a sin b, sin(a + b) = cos a sin b + sin a cos b.
    """
    bits = list(product((0, 1), repeat=n_parts.bit_length() - 1))  # 1 for a sine, an entry an axis
    table = []
    for out in bits:
        minus = [sum(o < i for o, i in zip(out, into, strict=True)) % 2 for into in bits]
        kernel = [bits.index(tuple(o ^ i for o, i in zip(out, into, strict=True))) for into in bits]
        table.append([k + n_parts * m for k, m in zip(kernel, minus, strict=True)])
    return table


class Convolution(nn.Module):
    """Convolution with trained weights and biases and the boundary conditions of a grid.

    Biases start at zero and weights normally distributed with a variance of two over the inputs of a pixel, which keeps
    the size of the signal through rectified layers (He et al., arXiv:1502.01852); with the start of `torch.nn.Conv2d`,
    where it falls to a third from layer to layer, learning begins late.

    With a reach, the kernels are the weights times a Gaussian of unit mean square. The number of weights and what they
    can express stay as they are, but training starts from what is near and takes longer steps there.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the images that come in and go out.
    kernel_size
        Pixels of the kernel along every axis, an odd number.
    grid
        The images' pixels and boundary conditions.
    reach
        Standard deviation in pixels of the Gaussian that the weights are multiplied with; inf: they are the kernels.

    Raises
    ------
    ValueError
        If `kernel_size` is even, or `reach` is not positive.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, grid: Grid, reach: float = math.inf
    ) -> None:
        super().__init__()
        if not reach > 0:
            raise ValueError(f"`reach` is {reach} pixels but must be positive")
        self._reach = reach
        kernel_shape = (kernel_size,) * grid.ndim
        self._convolve = FourierConvolution(grid.shape, kernel_shape, grid.periodic)
        spread = (2 / (in_channels * prod(kernel_shape))) ** 0.5
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *kernel_shape).normal_(0, spread))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self._kept: tuple[Tensor, Tensor] | None = None  # weights and their spectrum

    @property
    def kernels(self) -> Tensor:
        """What images are convolved with, shape (..., out, in, x, y[, z])."""
        if math.isinf(self._reach):
            return self.weight
        return self.weight * _envelope(self._convolve.kernel_shape, self._reach, self.weight.dtype, self.weight.device)

    def forward(self, images: Tensor) -> Tensor:
        """Convolve images (x, y[, z], in, ..., batch) to images (x, y[, z], out, ..., batch)."""
        return self._convolve(images, self._spectrum()) + self.bias.movedim(-1, 0).unsqueeze(-1)

    def _spectrum(self) -> Tensor:
        """Spectrum of the weights; without gradients it is kept until the weights have other values.

        The values themselves are compared: PyTorch counts no changes made through `Tensor.data`, as Stable-Baselines3
        makes them to its target networks. Stand-ins for the weights (`torch.func.functional_call`) are not kept.
        """
        if torch.is_grad_enabled() or not isinstance(self.weight, nn.Parameter):
            return self._convolve.kernel_spectrum(self.kernels)
        if self._kept is None or not _identical(self._kept[0], self.weight):
            self._kept = self.weight.detach().clone(), self._convolve.complex_spectrum(self.kernels)
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


@lru_cache(maxsize=64)
def _envelope(shape: tuple[int, ...], reach: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A Gaussian around the middle of a kernel, of unit mean square, shape (x, y[, z])."""
    axes = np.meshgrid(*((np.arange(k) - k // 2) ** 2 for k in shape), indexing="ij")
    gaussian = np.exp(-sum(axes) / (2 * reach**2))
    with torch.inference_mode(False):  # what is kept must serve training too
        return torch.as_tensor(gaussian / np.sqrt(np.mean(gaussian**2)), dtype=dtype, device=device)


@lru_cache(maxsize=64)
def _plan(
    which: str,
    shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    periodic: tuple[bool, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, ...]:
    """Matrices that transform images, kernels, or back, one an axis."""
    matrices = []
    for n, k, wraps in zip(shape, kernel_shape, periodic, strict=True):
        period = n if wraps else n + k // 2
        positions = k // 2 - np.arange(k) if which == "kernel" else np.arange(n)
        matrix = _waves(positions, period)
        if which == "inverse":
            alone = np.isin(np.arange(len(matrix)) // 2, (0, period / 2))  # frequencies without a conjugate
            matrix = (matrix * np.where(alone, 1, 2)[:, None] / period).T
        with torch.inference_mode(False):  # what is kept must serve training too
            matrices.append(torch.as_tensor(matrix, dtype=dtype, device=device))
    return tuple(matrices)


def _waves(positions: NDArray[np.int64], period: int) -> NDArray[np.float64]:
    """Cosine and sine of each frequency, shape (2 * frequencies, positions)."""
    angles = 2 * np.pi * np.outer(np.arange(period // 2 + 1), positions) / period
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).reshape(-1, len(positions))
