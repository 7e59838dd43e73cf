"""The shape of the network, as settings that a file can hold."""

from dataclasses import dataclass
from math import inf
from typing import Any

from torch import nn

from asla_agents.q_map import HEADS

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "leaky-relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}
_NAMES = {activation: name for name, activation in ACTIVATIONS.items()}


@dataclass(frozen=True)
class NetworkSettings:
    """The layers between the drawn structure and the Q-map.

    Parameters
    ----------
    hidden_channels
        Kernels of each hidden layer.
    kernel_size
        Pixels of the kernels along every axis.
    reach
        Standard deviation in pixels of the Gaussian that the kernels are multiplied with, so that learning starts from
        what is near; 1e6 leaves the kernels as they are.
    activation
        What stands between the layers.
    head
        What stands after the last layer: "tanh" bounds the Q-values, without a state value, to (-1, 1).

    Raises
    ------
    ValueError
        If a number is out of its range or there is no such name.
    """

    hidden_channels: tuple[int, ...] = (10, 10, 10)
    kernel_size: int = 15
    reach: float = 2.0
    activation: str = "silu"
    head: str = "linear"

    def __post_init__(self) -> None:
        if not self.hidden_channels or not all(channels >= 1 for channels in self.hidden_channels):
            raise ValueError(f"`hidden_channels` is {self.hidden_channels} but must hold numbers of at least 1")
        if not (self.kernel_size >= 1 and self.kernel_size % 2 == 1):
            raise ValueError(f"`kernel_size` is {self.kernel_size} but must be an odd number of at least 1")
        if not 0 < self.reach < inf:
            raise ValueError(f"`reach` is {self.reach} pixels but must be positive and finite")
        for name, known in (("activation", ACTIVATIONS), ("head", HEADS)):
            if getattr(self, name) not in known:
                raise ValueError(f"`{name}` is {getattr(self, name)!r} but must be one of {', '.join(known)}")

    def as_kwargs(self) -> dict[str, Any]:
        """Arguments of a `QMapNetwork`."""
        return {
            "hidden_channels": self.hidden_channels,
            "kernel_size": self.kernel_size,
            "reach": self.reach,
            "activation_fn": ACTIVATIONS[self.activation],
            "head": self.head,
        }


def named(network_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a `QMapNetwork` with an activation of ours by its name, as a file can hold it."""
    return {
        name: _NAMES.get(value, value) if name == "activation_fn" else value for name, value in network_kwargs.items()
    }


def unnamed(network_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Undo `named`."""
    return {
        name: ACTIVATIONS.get(value, value) if name == "activation_fn" else value
        for name, value in network_kwargs.items()
    }
