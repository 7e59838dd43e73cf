"""What all representations share: images in, images out, and a convolution with one kernel a channel."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from asla_agents.convolution import FourierConvolution
from asla_env.grid import Grid


class Representation(BaseFeaturesExtractor, ABC):
    """What all representations share: the pixels of the kernel and the convolution with one kernel a channel.

    Parameters
    ----------
    observation_space
        One-hot images of shape (species, x, y[, z]).
    grid
        Pixels, spacing and boundary conditions of the images.
    channels
        Channels drawn for each species.
    kernel_size
        Pixels of the kernels along every axis, an odd number.

    Attributes
    ----------
    n_species, n_channels
        Channels of the images that come in and go out.

    Raises
    ------
    ValueError
        If the observation space does not hold images on `grid`, or a setting is out of its range.
    """

    may_differ: ClassVar[frozenset[str]] = frozenset()
    """Settings in which representations of one stack may differ: those that are held as numbers, or that only decide
    where training starts."""
    _like: Tensor

    def __init__(
        self, observation_space: spaces.Space[Any], grid: Grid, channels: int = 1, kernel_size: int = 25
    ) -> None:
        shape = observation_space.shape
        if shape is None or shape[1:] != grid.shape:
            raise ValueError(f"`observation_space` has shape {shape} but must be images on the grid {grid.shape}")
        super().__init__(observation_space, shape[0] * channels * grid.n_pixels)
        self.grid = grid
        self.n_species = shape[0]
        self.n_channels = shape[0] * channels
        self._convolve = FourierConvolution(grid.shape, (kernel_size,) * grid.ndim, grid.periodic)
        self._offsets = _kernel_offsets(grid, kernel_size)
        self._held: tuple[str, ...] = ()
        # its precision and device are the module's; constants stay in double precision and follow when they are used
        self.register_buffer("_like", torch.empty(0), persistent=False)

    def _hold(self, name: str, values: ArrayLike) -> None:
        """Keep numbers as a buffer, so that those of many representations can be stacked."""
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.float64), persistent=False)
        self._held = (*self._held, name)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move and convert as every module does, but keep the numbers in double precision."""
        numbers = {name: self._buffers[name] for name in self._held}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._buffers |= {name: number.to(self._like.device) for name, number in numbers.items() if number is not None}
        return self

    @abstractmethod
    def image(self, observations: Tensor) -> Tensor:
        """Draw one-hot images (batch, species, x, y[, z]) as images (batch, channels, x, y[, z])."""

    def penalty(self) -> Tensor:
        """Term that the representation adds to the loss, a scalar."""
        return self._like.new_zeros(())

    def learned(self) -> dict[str, list[Any]]:
        """What training has made of the numbers of this representation, by name, as JSON holds it.

        Of each a list; if it has as many entries as there are species, they are said to be theirs.
        """
        return {}

    def forward(self, observations: Tensor) -> Tensor:
        """Draw one-hot images and flatten them to (batch, channels * pixels)."""
        return self.image(observations).flatten(1)

    @property
    def spacing(self) -> float:
        """Δ, the mean distance in Å between neighbouring pixels, along the axes that have several."""
        along = np.array(self.grid.shape) > 1
        return float(np.mean(self.grid.spacing, where=along if along.any() else True))

    @property
    def r(self) -> Tensor:
        """Distances in Å of the kernel's pixels from its middle, shape (x, y[, z])."""
        return self._constant(np.linalg.norm(self._offsets, axis=-1))

    def _constant(self, values: ArrayLike) -> Tensor:
        """Numbers as a tensor with the module's precision and on its device."""
        return torch.tensor(values, dtype=self._like.dtype, device=self._like.device)

    def _draw(self, observations: Tensor, kernels: Tensor) -> Tensor:
        """Convolve (batch, species, x, y[, z]) with (species, channels, x, y[, z]): (batch, species, channels, ...)."""
        n = self.grid.ndim
        images = observations.to(kernels.dtype).movedim((1, 0), (-2, -1)).unsqueeze(n)  # [x, y, 1, species, batch]
        drawn = self._convolve(images, self._convolve.kernel_spectrum(kernels.unsqueeze(2)))
        return drawn.movedim((n + 2, n + 1, n), (0, 1, 2))  # [batch, species, channels, x, y]


def _kernel_offsets(grid: Grid, kernel_size: int) -> NDArray[np.float64]:
    """Cartesian offsets in Å of the kernel's pixels from its middle, shape (x, y[, z], axis)."""
    steps = np.arange(kernel_size) - kernel_size // 2
    return np.stack(np.meshgrid(*(steps * spacing for spacing in grid.spacing), indexing="ij"), axis=-1)
