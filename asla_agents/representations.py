"""How atoms are drawn for the network: five ways, each a Stable-Baselines3 features extractor.

A representation turns one-hot images ``(batch, species, x, y[, z])`` into images ``(batch, channels, x, y[, z])``.
Every species has channels of its own. `Representation.image` keeps the shape; `forward` flattens it, as other policies
of Stable-Baselines3 expect. Widths and radii are in units of the grid spacing Δ where their name says so, else in Å.
"""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from asla_agents import equations
from asla_agents.convolution import FourierConvolution
from asla_env.grid import Grid

_BATCH_NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Representation(BaseFeaturesExtractor):
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

    Raises
    ------
    ValueError
        If the observation space does not hold images on `grid`, or a setting is out of its range.
    """

    r: Tensor

    def __init__(self, observation_space: spaces.Space, grid: Grid, channels: int = 1, kernel_size: int = 25) -> None:  # type: ignore
        shape = observation_space.shape
        if shape is None or shape[1:] != grid.shape:
            raise ValueError(f"`observation_space` has shape {shape} but must be images on the grid {grid.shape}")
        super().__init__(observation_space, shape[0] * channels * grid.n_pixels)
        self.grid = grid
        self.n_species = shape[0]
        self.n_channels = shape[0] * channels
        self._convolve = FourierConvolution(grid.shape, (kernel_size,) * grid.ndim, grid.periodic)
        offsets = _kernel_offsets(grid, kernel_size)
        self.register_buffer("r", torch.linalg.vector_norm(offsets, dim=-1), persistent=False)

    @abstractmethod
    def image(self, observations: Tensor) -> Tensor:
        """Draw one-hot images (batch, species, x, y[, z]) as images (batch, channels, x, y[, z])."""

    def penalty(self) -> Tensor:
        """Return the term that the representation adds to the loss, a scalar."""
        return self.r.new_zeros(())

    def forward(self, observations: Tensor) -> Tensor:
        """Draw one-hot images and flatten them to (batch, channels * pixels)."""
        return self.image(observations).flatten(1)

    @property
    def spacing(self) -> float:
        """Δ, the mean distance in Å between neighbouring pixels."""
        return float(np.mean(self.grid.spacing))

    def _draw(self, observations: Tensor, kernels: Tensor) -> Tensor:
        """Convolve each species' image with its kernels of shape (species, channels, *kernel)."""
        n = self.grid.ndim
        images = observations.to(kernels.dtype).movedim(tuple(range(2, 2 + n)), tuple(range(n)))  # [x, y, batch, species]
        images = images.transpose(-1, -2).unsqueeze(-1)  # [x, y, species, batch, 1]
        drawn = self._convolve(images, self._convolve.kernel_spectrum(kernels.unsqueeze(2)))
        return drawn.movedim(n + 1, 0).movedim((n + 1, n + 2), (1, 2)).flatten(1, 2)  # [batch, species * channels, x, y]


class OneHot(Representation):
    """The atoms' pixels as they are.

    Parameters
    ----------
    observation_space, grid
        As for `Representation`.
    """

    def __init__(self, observation_space: spaces.Space, grid: Grid) -> None:  # type: ignore
        super().__init__(observation_space, grid, kernel_size=1)

    def image(self, observations: Tensor) -> Tensor:
        """Return the one-hot images as numbers of the module's precision."""
        return observations.to(self.r.dtype)


class Gaussian(Representation):
    """Atoms drawn as Gaussians of a given width (Eq. 1), over a constant bias.

    Parameters
    ----------
    observation_space, grid, kernel_size
        As for `Representation`.
    width_over_spacing
        λ/Δ, one number or one for each species.
    bias
        Constant added to every pixel.
    amplitude
        1 or -1: the sign of the Gaussians.
    trainable_width
        Whether the widths are trained with the network (their logarithms are the parameters).
    """

    bias: Tensor

    def __init__(
        self,
        observation_space: spaces.Space,  # type: ignore
        grid: Grid,
        width_over_spacing: float | Sequence[float] = 1.25,
        bias: float = 0.0,
        amplitude: int = 1,
        kernel_size: int = 25,
        trainable_width: bool = False,
    ) -> None:
        super().__init__(observation_space, grid, kernel_size=kernel_size)
        widths = torch.tensor(width_over_spacing, dtype=torch.get_default_dtype()).expand(self.n_species)
        _check_positive("width_over_spacing", widths)
        if amplitude not in (1, -1):
            raise ValueError(f"`amplitude` is {amplitude} but must be 1 or -1")
        self.amplitude, self.bias = amplitude, bias
        self.log_width = nn.Parameter(torch.log(widths * self.spacing), requires_grad=trainable_width)

    @property
    def widths(self) -> Tensor:
        """λ in Å of each species, shape (species,)."""
        return torch.exp(self.log_width)

    def kernel(self) -> Tensor:
        """Kernels, shape (species, 1, *kernel)."""
        widths = self.widths.reshape(-1, *(1,) * (self.r.ndim + 1))
        return self.amplitude * equations.gaussian(self.r, widths)

    def image(self, observations: Tensor) -> Tensor:
        """Draw a Gaussian for each atom."""
        return self._draw(observations, self.kernel()) + self.bias


class AGR(Representation):
    """Automated Gaussian representation: the kernel is a sum of Gaussians whose coefficients are trained (Eq. 2).

    The image is batch-normalised, which brings a trained bias of its own.

    Parameters
    ----------
    observation_space, grid, kernel_size
        As for `Representation`.
    beta_1
        Weight β₁ of the L1 penalty on the coefficients (Eq. 3).
    widths_over_spacing
        λ_i/Δ of the basis.

    Attributes
    ----------
    coefficients
        c_i, shape (species, n), drawn from U[0, 0.5] at the start.
    """

    widths: Tensor

    def __init__(
        self,
        observation_space: spaces.Space,  # type: ignore
        grid: Grid,
        beta_1: float = 0.0,
        widths_over_spacing: Sequence[float] = tuple(i / 3 for i in range(1, 10)),
        kernel_size: int = 25,
    ) -> None:
        super().__init__(observation_space, grid, kernel_size=kernel_size)
        if not (np.isfinite(beta_1) and beta_1 >= 0):
            raise ValueError(f"`beta_1` is {beta_1} but must be at least 0")
        widths = torch.tensor(widths_over_spacing, dtype=torch.get_default_dtype())
        _check_positive("widths_over_spacing", widths)
        self.beta_1 = beta_1
        self.register_buffer("widths", widths * self.spacing)
        self.coefficients = nn.Parameter(torch.empty(self.n_species, len(widths)).uniform_(0, 0.5))
        self.norm = _BATCH_NORM[grid.ndim](self.n_channels)

    def kernel(self) -> Tensor:
        """Kernels, shape (species, 1, *kernel)."""
        return equations.gaussian_expansion(self.r, self.coefficients, self.widths).unsqueeze(1)

    def image(self, observations: Tensor) -> Tensor:
        """Draw each atom with the trained kernel and normalise the batch."""
        normalised: Tensor = self.norm(self._draw(observations, self.kernel()))
        return normalised

    def penalty(self) -> Tensor:
        """L1 penalty on the coefficients (Eq. 3)."""
        return equations.l1_penalty(self.coefficients, self.beta_1)


class Displaced(Representation):
    """The kernel is a sum of rings ``r_i = 2iΔ`` of one width, with trained coefficients (Eq. 4), batch-normalised.

    Parameters
    ----------
    observation_space, grid, kernel_size
        As for `Representation`.
    initialisation
        ``"uniform"``: c_i from U[-1, 1]; ``"envelope"``: the same times a line from 1 at i = 0 to 0.1 at the last i;
        ``"gaussian"``: c_0 = 1, the others 0.
    n_rings
        Number of rings.
    width_over_spacing
        λ/Δ of every ring.
    """

    centers: Tensor

    def __init__(
        self,
        observation_space: spaces.Space,  # type: ignore
        grid: Grid,
        initialisation: str = "gaussian",
        n_rings: int = 7,
        width_over_spacing: float = 1.0,
        kernel_size: int = 25,
    ) -> None:
        super().__init__(observation_space, grid, kernel_size=kernel_size)
        _check_positive("width_over_spacing", torch.tensor(width_over_spacing))
        self.width = width_over_spacing * self.spacing
        self.register_buffer("centers", 2 * torch.arange(n_rings) * self.spacing)
        self.coefficients = nn.Parameter(_ring_coefficients(initialisation, self.n_species, n_rings))
        self.norm = _BATCH_NORM[grid.ndim](self.n_channels)

    def kernel(self) -> Tensor:
        """Kernels, shape (species, 1, *kernel)."""
        return equations.displaced_expansion(self.r, self.coefficients, self.centers, self.width).unsqueeze(1)

    def image(self, observations: Tensor) -> Tensor:
        """Draw each atom with the trained kernel and normalise the batch."""
        normalised: Tensor = self.norm(self._draw(observations, self.kernel()))
        return normalised


class Angular(Representation):
    """Channels of the power spectrum of the atoms around each pixel (Eqs. 5-8), batch-normalised; two axes only.

    Parameters
    ----------
    observation_space, grid, kernel_size
        As for `Representation`.
    channels
        (λ/Δ, r_s in Å, m) of each channel. ``r_s = 0, m = 0`` is a channel of on-site Gaussians, drawn by Eq. 1 without
        the square of Eq. 8.
    """

    theta: Tensor

    def __init__(
        self,
        observation_space: spaces.Space,  # type: ignore
        grid: Grid,
        channels: Sequence[tuple[float, float, int]] = ((1.5, 0.0, 0), (1.0, 1.4, 0), (1.0, 1.4, 1)),
        kernel_size: int = 25,
    ) -> None:
        if grid.ndim != 2:
            raise ValueError(f"`grid` has {grid.ndim} axes but must have 2: angles are measured in the plane")
        super().__init__(observation_space, grid, channels=len(channels), kernel_size=kernel_size)
        _check_positive("channels", torch.tensor([float(width) for width, _, _ in channels]))
        self.channels = tuple(channels)
        offsets = _kernel_offsets(grid, kernel_size)
        self.register_buffer("theta", torch.atan2(offsets[..., 1], offsets[..., 0]), persistent=False)
        self.norm = nn.BatchNorm2d(self.n_channels)

    def kernel(self) -> Tensor:
        """Complex kernels, shape (channels, *kernel)."""
        parts = [equations.angular_kernel(self.r, self.theta, w * self.spacing, r_s, m) for w, r_s, m in self.channels]
        return torch.stack(parts)

    def image(self, observations: Tensor) -> Tensor:
        """Draw all channels and normalise the batch."""
        kernels = self.kernel().expand(self.n_species, -1, -1, -1)
        power = equations.power_spectrum(observations, kernels, self._draw)
        on_site = [r_s == 0 and m == 0 for _, r_s, m in self.channels] * self.n_species
        # the real kernel of an on-site channel is its Gaussian; its power is that image squared
        plain = torch.tensor(on_site, device=power.device)[:, None, None]
        normalised: Tensor = self.norm(torch.where(plain, self._draw(observations, kernels.real), power))
        return normalised


REPRESENTATIONS: dict[str, type[Representation]] = {
    "one-hot": OneHot,
    "gaussian": Gaussian,
    "agr": AGR,
    "displaced": Displaced,
    "angular": Angular,
}


def _kernel_offsets(grid: Grid, kernel_size: int) -> Tensor:
    """Cartesian offsets in Å of the kernel's pixels from its middle, shape (*kernel, axis)."""
    steps = torch.arange(kernel_size) - kernel_size // 2
    axes = [steps * spacing for spacing in grid.spacing]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _check_positive(name: str, values: Tensor) -> None:
    """Raise ValueError unless all values are positive and finite."""
    if not bool(torch.all((values > 0) & torch.isfinite(values))):
        raise ValueError(f"`{name}` is {values.tolist()} but must be positive and finite")


def _ring_coefficients(initialisation: str, n_species: int, n_rings: int) -> Tensor:
    """Coefficients of the rings to start from, shape (species, rings)."""
    uniform = torch.empty(n_species, n_rings).uniform_(-1, 1)
    if initialisation == "uniform":
        return uniform
    if initialisation == "envelope":
        return uniform * torch.linspace(1, 0.1, n_rings)
    if initialisation == "gaussian":
        return torch.eye(1, n_rings).repeat(n_species, 1)
    raise ValueError(f"`initialisation` is {initialisation!r} but must be 'uniform', 'envelope' or 'gaussian'")
