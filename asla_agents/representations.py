"""How atoms are drawn for the network: five ways, each a Stable-Baselines3 features extractor.

A representation turns one-hot images ``(batch, species, x, y[, z])`` into images ``(batch, channels, x, y[, z])``.
Every species has channels of its own. `Representation.image` keeps the shape; `forward` flattens it, as other policies
of Stable-Baselines3 expect. Widths and radii are in units of the grid spacing Δ where their name says so, else in Å.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from asla_agents import equations
from asla_agents.drawing import Representation
from asla_env.grid import Grid

_AGR_WIDTHS_OVER_SPACING = tuple(i / 3 for i in range(1, 10))
_BATCH_NORM: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_GAIN = 0.25  # of a batch normalisation at the start: its images then vary about as much as those of one Gaussian


class OneHot(Representation):
    """The atoms' pixels as they are.

    Parameters
    ----------
    observation_space, grid
        As for `Representation`.
    """

    def __init__(self, observation_space: spaces.Space[Any], grid: Grid) -> None:
        super().__init__(observation_space, grid, kernel_size=1)

    def image(self, observations: Tensor) -> Tensor:
        """Return the one-hot images as numbers of the module's precision."""
        return observations.to(self._like.dtype)


class Gaussian(Representation):
    """Atoms drawn as Gaussians of a given width (Eq. 1), over a constant bias (section IV).

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
        Whether the widths are trained with the network. The parameter `log_stretch` of shape (species,) is then the
        logarithm of each λ over its start, so that λ stays positive; else it is None.
    """

    may_differ = frozenset({"width_over_spacing", "bias", "amplitude"})
    amplitude: Tensor
    bias: Tensor
    _start: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        grid: Grid,
        width_over_spacing: float | Sequence[float] = 1.25,
        bias: float = 0.0,
        amplitude: int = 1,
        kernel_size: int = 25,
        trainable_width: bool = False,
    ) -> None:
        super().__init__(observation_space, grid, kernel_size=kernel_size)
        _check_positive("width_over_spacing", width_over_spacing)
        if np.shape(width_over_spacing) not in ((), (self.n_species,)):
            rule = f"one number or one for each of {self.n_species} species"
            raise ValueError(f"`width_over_spacing` is {width_over_spacing} but must be {rule}")
        if amplitude not in (1, -1):
            raise ValueError(f"`amplitude` is {amplitude} but must be 1 or -1")
        if not np.isfinite(bias):
            raise ValueError(f"`bias` is {bias} but must be finite")
        self._hold("amplitude", amplitude)
        self._hold("bias", bias)
        self._hold("_start", np.full(self.n_species, width_over_spacing) * self.spacing)
        self.log_stretch = nn.Parameter(torch.zeros(self.n_species)) if trainable_width else None

    @property
    def widths(self) -> Tensor:
        """λ in Å of each species, shape (species,)."""
        start = self._start.to(self._like)
        return start if self.log_stretch is None else start * torch.exp(self.log_stretch)

    def kernel(self) -> Tensor:
        """Kernels, shape (species, 1, x, y[, z])."""
        widths = self.widths.reshape(-1, *(1,) * (1 + self.grid.ndim))
        return self.amplitude.to(self._like) * equations.gaussian(self.r, widths)

    def learned(self) -> dict[str, list[Any]]:
        """λ/Δ of each species, if the widths are trained."""
        return {} if self.log_stretch is None else {"width_over_spacing": _rounded(self.widths / self.spacing)}

    def image(self, observations: Tensor) -> Tensor:
        """Draw a Gaussian for each atom."""
        return self._draw(observations, self.kernel()).flatten(1, 2) + self.bias.to(self._like)


class _Expansion(Representation):
    """A kernel expanded in fixed functions whose coefficients are trained, and a batch normalisation."""

    coefficients: nn.Parameter

    def __init__(self, observation_space: spaces.Space[Any], grid: Grid, kernel_size: int) -> None:
        super().__init__(observation_space, grid, kernel_size=kernel_size)
        self.norm = _batch_norm(grid.ndim, self.n_channels)

    @property
    def coefficient_values(self) -> NDArray[np.floating[Any]]:
        """The coefficients c_i as they are now, a copy, shape (species, n)."""
        return np.array(self.coefficients.numpy(force=True))

    def learned(self) -> dict[str, list[Any]]:
        """The coefficients c_i, a list for each species."""
        return {"coefficients": _rounded(self.coefficients)}

    @abstractmethod
    def kernel(self) -> Tensor:
        """Kernels, shape (species, 1, x, y[, z])."""

    def image(self, observations: Tensor) -> Tensor:
        """Draw each atom with the trained kernel and normalise the batch."""
        normalised: Tensor = self.norm(self._draw(observations, self.kernel()).flatten(1, 2))
        return normalised


class AGR(_Expansion):
    """Automated Gaussian representation: the kernel is a sum of Gaussians whose coefficients are trained (Eq. 2).

    The image is batch-normalised, which brings a trained bias of its own.

    Parameters
    ----------
    observation_space, grid, kernel_size
        As for `Representation`.
    beta_1
        Weight β₁ of the L1 penalty on the coefficients (Eq. 3).
    widths_over_spacing
        λ_i/Δ of the basis, by default 1/3, 2/3, ... 3.

    Attributes
    ----------
    coefficients
        The parameter c_i, shape (species, n), drawn from U[0, 0.5] at the start; `coefficient_values` for numpy.
    """

    may_differ = frozenset({"beta_1"})
    beta_1: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        grid: Grid,
        beta_1: float = 0.0,
        widths_over_spacing: Sequence[float] = _AGR_WIDTHS_OVER_SPACING,
        kernel_size: int = 25,
    ) -> None:
        super().__init__(observation_space, grid, kernel_size)
        if not (np.isfinite(beta_1) and beta_1 >= 0):
            raise ValueError(f"`beta_1` is {beta_1} but must be finite and at least 0")
        _check_positive("widths_over_spacing", widths_over_spacing)
        self._hold("beta_1", beta_1)
        self._widths = np.asarray(widths_over_spacing) * self.spacing
        self.coefficients = nn.Parameter(torch.empty(self.n_species, len(self._widths)).uniform_(0, 0.5))

    @property
    def widths(self) -> Tensor:
        """λ_i in Å of the basis, shape (n,)."""
        return self._constant(self._widths)

    def kernel(self) -> Tensor:
        """Kernels, shape (species, 1, x, y[, z])."""
        return equations.gaussian_expansion(self.r, self.coefficients, self.widths).unsqueeze(1)

    def penalty(self) -> Tensor:
        """L1 penalty on the coefficients (Eq. 3)."""
        return equations.l1_penalty(self.coefficients, self.beta_1.to(self._like))


class Displaced(_Expansion):
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

    Attributes
    ----------
    coefficients
        The parameter c_i, shape (species, n); `coefficient_values` for numpy.
    width
        λ in Å.
    """

    may_differ = frozenset({"initialisation"})

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        grid: Grid,
        initialisation: str = "gaussian",
        n_rings: int = 7,
        width_over_spacing: float = 1.0,
        kernel_size: int = 25,
    ) -> None:
        super().__init__(observation_space, grid, kernel_size)
        _check_positive("width_over_spacing", width_over_spacing)
        if n_rings < 1:
            raise ValueError(f"`n_rings` is {n_rings} but must be at least 1")
        self.width = width_over_spacing * self.spacing
        self._centers = 2 * np.arange(n_rings) * self.spacing
        self.coefficients = nn.Parameter(_ring_coefficients(initialisation, self.n_species, n_rings))

    @property
    def centers(self) -> Tensor:
        """Radii r_i in Å of the rings, shape (n,)."""
        return self._constant(self._centers)

    def kernel(self) -> Tensor:
        """Kernels, shape (species, 1, x, y[, z])."""
        return equations.displaced_expansion(self.r, self.coefficients, self.centers, self.width).unsqueeze(1)


class Angular(Representation):
    """Channels of the power spectrum of the atoms around each pixel (Eqs. 5-8), batch-normalised; two axes only.

    Parameters
    ----------
    observation_space, grid, kernel_size
        As for `Representation`.
    channels
        (λ/Δ, r_s in Å, m) of each channel. ``r_s = 0, m = 0`` is a channel of on-site Gaussians, drawn by Eq. 1 without
        the square of Eq. 8. The default is the paper's three channels; Fig. 11 goes up to five, with m = 2 and m = 3.

    Raises
    ------
    ValueError
        If there are three axes or no channels, or a width, radius or order is impossible.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        grid: Grid,
        channels: Sequence[tuple[float, float, int]] = ((1.5, 0.0, 0), (1.0, 1.4, 0), (1.0, 1.4, 1)),
        kernel_size: int = 25,
    ) -> None:
        if grid.ndim != 2:
            raise ValueError(f"`grid` has {grid.ndim} axes but must have 2: angles are measured in the plane")
        _check_channels(channels)
        super().__init__(observation_space, grid, channels=len(channels), kernel_size=kernel_size)
        self.channels = tuple((float(width), float(r_s), int(m)) for width, r_s, m in channels)
        self._on_site = [i for i, (_, r_s, m) in enumerate(self.channels) if r_s == 0 and m == 0]
        self._rings = [i for i in range(len(self.channels)) if i not in self._on_site]
        self._order = np.argsort(self._on_site + self._rings).tolist()
        self.norm = _batch_norm(grid.ndim, self.n_channels)

    @property
    def theta(self) -> Tensor:
        """Angles in radians of the kernel's pixels from the first axis, shape (x, y)."""
        return self._constant(np.arctan2(self._offsets[..., 1], self._offsets[..., 0]))

    def kernel(self) -> Tensor:
        """Complex kernels, shape (channels, x, y)."""
        pixels, spacing = (self.r, self.theta), self.spacing
        return torch.stack([equations.angular_kernel(*pixels, w * spacing, r_s, m) for w, r_s, m in self.channels])

    def image(self, observations: Tensor) -> Tensor:
        """Draw all channels and normalise the batch."""
        kernels = self.kernel().expand(self.n_species, -1, -1, -1)  # [species, channels, x, y]
        on_site = self._draw(observations, kernels[:, self._on_site].real)
        power = equations.power_spectrum(observations, kernels[:, self._rings], self._draw)
        drawn = torch.cat([on_site, power], dim=2)[:, :, self._order]  # [batch, species, channels, x, y]
        normalised: Tensor = self.norm(drawn.flatten(1, 2))
        return normalised


REPRESENTATIONS: dict[str, type[Representation]] = {
    "one-hot": OneHot,
    "gaussian": Gaussian,
    "agr": AGR,
    "displaced": Displaced,
    "angular": Angular,
}
"""The classes by name."""


def _rounded(values: Tensor) -> list[Any]:
    """Numbers as lists, to four decimals."""
    numbers: list[Any] = values.detach().double().cpu().numpy().round(4).tolist()
    return numbers


def _batch_norm(ndim: int, n_channels: int) -> nn.Module:
    """A batch normalisation of images with so many axes."""
    norm = _BATCH_NORM[ndim](n_channels)
    nn.init.constant_(norm.weight, _GAIN)
    return norm


def _check_positive(name: str, values: ArrayLike) -> None:
    """Raise ValueError unless there are values and all are positive and finite."""
    numbers = np.asarray(values)
    if not (numbers.size and np.all((numbers > 0) & np.isfinite(numbers))):
        raise ValueError(f"`{name}` is {numbers.tolist()} but must be positive and finite")


def _check_channels(channels: Sequence[tuple[float, float, int]]) -> None:
    """Raise ValueError unless there are channels and all are possible."""
    if len(channels) == 0:
        raise ValueError("`channels` is empty but must hold at least one (λ/Δ, r_s, m)")
    for width, r_s, m in channels:
        if not (0 < width < np.inf and 0 <= r_s < np.inf and m >= 0 and float(m).is_integer()):
            rule = "λ/Δ positive, r_s at least 0 Å and m a whole number of at least 0"
            raise ValueError(f"`channels` holds (λ/Δ, r_s, m) = {(width, r_s, m)} but must have {rule}")


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
