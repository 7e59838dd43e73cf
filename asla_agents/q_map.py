"""The network that maps a drawn structure to Q-values of all placements, and the policy around it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from asla_agents.convolution import Convolution
from asla_agents.drawing import Representation
from asla_agents.representations import Gaussian
from asla_env.grid import Grid

HEADS: dict[str, type[nn.Module]] = {"linear": nn.Identity, "tanh": nn.Tanh}


class QMapNetwork(nn.Module):
    """Convolutions from an image to one Q-value for each species and pixel.

    With one channel in, one species out and the defaults it has 49,531 weights (section II of the paper).

    With a state value, the Q-value of a placement is a value of the structure before it, the same for all placements,
    plus an advantage, as in a duelling network (Wang et al., arXiv:1511.06581). The state's value is a sum over its
    atoms, each seen with its surroundings. Without it, all that the other atoms do to the energy of a build is noise in
    the target of a placement.

    Parameters
    ----------
    grid
        Pixels and boundary conditions of the images.
    in_channels
        Channels of the image.
    n_species
        Species to place.
    hidden_channels
        Kernels of each hidden layer.
    kernel_size
        Pixels of the kernels along every axis, an odd number.
    reach
        Standard deviation in pixels of the Gaussian that the kernels are multiplied with, so that learning starts from
        what is near; inf: there is none. See `Convolution`.
    activation_fn
        Module between the layers.
    head
        ``"linear"``, or ``"tanh"`` to bound the Q-values, without a state value, to (-1, 1).
    state_value
        Whether there is a state value.

    Raises
    ------
    ValueError
        If `head` is unknown, `kernel_size` is even or `reach` is not positive.
    """

    def __init__(
        self,
        grid: Grid,
        in_channels: int = 1,
        n_species: int = 1,
        hidden_channels: Sequence[int] = (10, 10, 10),
        kernel_size: int = 15,
        reach: float = 2.0,
        activation_fn: type[nn.Module] = nn.SiLU,
        head: str = "linear",
        state_value: bool = False,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"`head` is {head!r} but must be one of {tuple(HEADS)}")
        self._ndim, self._n_species = grid.ndim, n_species
        widths = (in_channels, *hidden_channels)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [Convolution(before, after, kernel_size, grid, reach), activation_fn()]
        self.hidden = nn.Sequential(*layers)
        self.output = Convolution(widths[-1], n_species * (1 + state_value), kernel_size, grid, reach)
        self.head = HEADS[head]()
        with torch.no_grad():
            self.output.weight[n_species:].mul_(0.1)  # dozens of atoms' contributions are summed: start near zero

    def forward(self, images: Tensor, observations: Tensor | None = None) -> Tensor:
        """Q-values of all placements, shape (..., batch, species, x, y[, z]).

        Parameters
        ----------
        images
            Drawn structures, shape (..., batch, channels, x, y[, z]).
        observations
            One-hot images of the same structures, shape (..., batch, species, x, y[, z]), for the state value, which is
            left out if they are not given: the advantages are enough to choose between placements.
        """
        n = self._ndim
        outputs = self.output(self.hidden(_inside(images, n)))  # [x, y, output, ..., batch]
        q_map: Tensor = self.head(outputs.narrow(n, 0, self._n_species))
        contributions = outputs.narrow(n, self._n_species, outputs.shape[n] - self._n_species)
        if observations is not None and contributions.numel():
            atoms = _inside(observations, n).to(contributions.dtype)
            q_map = q_map + (contributions * atoms).sum(tuple(range(n + 1)))  # the state's value
        return q_map.movedim((n, *range(n)), tuple(range(-n - 1, 0)))


def values_at(q_maps: Tensor, actions: Tensor) -> Tensor:
    """Q-values of some actions of each image, shape (..., batch, n).

    Parameters
    ----------
    q_maps
        What a `QMapNetwork` returns, shape (..., batch, species, x, y[, z]).
    actions
        Indices ``species * n_pixels + pixel``, shape (..., batch, n).
    """
    return q_maps.flatten(actions.ndim - 1).gather(-1, actions)


def _inside(images: Tensor, n_axes: int) -> Tensor:
    """Order the axes of images (..., batch, channels, x, y[, z]) as (x, y[, z], channels, ..., batch)."""
    return images.movedim(tuple(range(-n_axes - 1, 0)), (n_axes, *range(n_axes)))


def placement_loss(q_values: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
    """Mean-squared error between the Q-values of placements and their targets, shape (...).

    Parameters
    ----------
    q_values, weights, targets
        Of the placements of each sample, shape (..., batch, placements).
    """
    errors = (q_values - targets.to(q_values.dtype)) ** 2
    return (weights * errors).sum((-2, -1)) / weights.sum((-2, -1))


class QMapPolicy(BasePolicy):
    """Greedy policy over the Q-map of a representation and a `QMapNetwork`.

    Parameters
    ----------
    observation_space, action_space, lr_schedule
        As in every policy of Stable-Baselines3.
    grid
        Pixels, spacing and boundary conditions of the images.
    features_extractor_class, features_extractor_kwargs
        The representation and its settings.
    network_kwargs
        Settings of the `QMapNetwork`.
    optimizer_class, optimizer_kwargs
        The optimiser and its settings beside the learning rate.

    Raises
    ------
    ValueError
        If there is not one action for each species and pixel.
    """

    features_extractor: Representation

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        grid: Grid,
        features_extractor_class: type[Representation] = Gaussian,
        features_extractor_kwargs: dict[str, Any] | None = None,
        network_kwargs: dict[str, Any] | None = None,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        kwargs = {"grid": grid, **(features_extractor_kwargs or {})}
        optimizer: dict[str, Any] = {"optimizer_class": optimizer_class, "optimizer_kwargs": optimizer_kwargs}
        super().__init__(
            observation_space, action_space, features_extractor_class, kwargs, normalize_images=False, **optimizer
        )
        self.grid, self.network_kwargs = grid, network_kwargs or {}
        self.features_extractor = features_extractor_class(observation_space, **kwargs)
        _check_actions(action_space, self.features_extractor)
        n_channels, n_species = self.features_extractor.n_channels, self.features_extractor.n_species
        self.network = QMapNetwork(grid, n_channels, n_species, **self.network_kwargs)
        self.optimizer = optimizer_class(self.parameters(), **{"lr": lr_schedule(1), **self.optimizer_kwargs})

    def q_map(self, observations: Tensor) -> Tensor:
        """Map one-hot images to Q-values, both (batch, species, x, y[, z])."""
        images = self.features_extractor.image(observations)
        q_values: Tensor = self.network(images, observations)
        return q_values

    def advantages(self, images: NDArray[Any]) -> NDArray[np.floating]:
        """Q-values of all actions but for the state's, shape (batch, actions): enough to choose between them.

        Parameters
        ----------
        images
            One-hot images, shape (batch, species, x, y[, z]).
        """
        self.set_training_mode(False)
        with torch.no_grad():
            drawn = self.features_extractor.image(torch.as_tensor(images, device=self.device))
            advantages: NDArray[np.floating] = self.network(drawn).flatten(1).cpu().numpy()
        return advantages

    def q_at(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Q-values of actions (batch, n) on one-hot images (batch, species, x, y[, z]), shape (batch, n)."""
        return values_at(self.q_map(observations), actions)

    def forward(self, observations: Tensor) -> Tensor:
        """Q-values of all actions, shape (batch, actions), of one-hot images (batch, species, x, y[, z])."""
        return self.q_map(observations).flatten(1)

    def _predict(self, observation: PyTorchObs, deterministic: bool = True) -> Tensor:
        """Actions of highest Q-value, shape (batch,), legal or not."""
        q_values: Tensor = self(observation)
        return q_values.argmax(dim=1)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """What `save` writes beside the weights, so that `load` can make the policy again."""
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "grid": self.grid,
            "features_extractor_class": self.features_extractor_class,
            "features_extractor_kwargs": self.features_extractor_kwargs,
            "network_kwargs": self.network_kwargs,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


def take_over(policy: QMapPolicy, weights: Mapping[str, Tensor]) -> None:
    """Give a policy the weights of another one, whose grid may be of another size, spacing and boundary condition.

    Kernels are the same whatever the image that they are moved over; their transforms are made anew for the policy's
    own grid. They are in pixels: where the spacing is smaller, a distance in Å spans more of them.

    Parameters
    ----------
    policy
        Of the same representation and network.
    weights
        The other one's `state_dict`.

    Raises
    ------
    ValueError
        If something in the weights does not fit, as with another number of species.
    """
    try:
        policy.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"`weights` must be those of the same representation, network and species: {error}") from error


def _check_actions(action_space: spaces.Discrete, representation: Representation) -> None:
    """Raise ValueError unless there is one action for each species and pixel."""
    n_actions = representation.n_species * representation.grid.n_pixels
    if action_space.n != n_actions:
        raise ValueError(f"`action_space` has {action_space.n} actions but must have one for each of {n_actions} sites")
