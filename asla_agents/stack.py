"""Many policies as one: their weights side by side, so that one product serves all of them."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from asla_agents.q_map import QMapPolicy, values_at

State = dict[str, Tensor]


class PolicyStack:
    """Policies of one kind that share memory: their weights become slices of tensors with a leading member axis.

    Each policy can still be trained and saved on its own; the stack sees what happens to it.

    Parameters
    ----------
    policies
        Policies that differ in nothing but weights and numbers, all on one device.
    """

    def __init__(self, policies: Sequence[QMapPolicy]) -> None:
        self._policies = tuple(policies)
        self._drawing_states = _stack([policy.features_extractor for policy in policies])
        self._network_states = _stack([policy.network for policy in policies])
        self._draw = _Draw(copy.deepcopy(policies[0].features_extractor))
        self._network = copy.deepcopy(policies[0].network)
        for name, weights in self._network_states.items():
            owner, _, leaf = name.rpartition(".")
            setattr(self._network.get_submodule(owner), leaf, nn.Parameter(weights))

    def advantages(self, observations: Tensor) -> Tensor:
        """Q-values of all actions but for the state's, shape (member, batch, actions), without gradients.

        Parameters
        ----------
        observations
            One-hot images, shape (member, batch, species, x, y[, z]).
        """
        self._draw.eval()
        with torch.no_grad():
            images, _ = self._drawn(self._drawing_states, observations)
            advantages: Tensor = self._network(images)
        return advantages.flatten(2)

    def q_at(self, members: Sequence[int], observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Q-values of actions and the penalties of the loss, of some members, to learn from.

        Their `backward` leaves the gradients with the policies' parameters.

        Parameters
        ----------
        members
            Which policies, n of them.
        observations
            One-hot images, shape (n, batch, species, x, y[, z]).
        actions
            Indices of actions, shape (n, batch, k).

        Returns
        -------
        tuple
            Q-values, shape (n, batch, k), and penalties, shape (n,).
        """
        self._draw.train()
        drawing_states = self._chosen(members, self._drawing_states, "features_extractor")
        network_states = self._chosen(members, self._network_states, "network")
        images, penalties = self._drawn(drawing_states, observations)
        for name, values in drawing_states.items():  # what a batch normalisation has counted
            if not values.requires_grad:
                self._drawing_states[name][list(members)] = values
        q_maps = functional_call(self._network, network_states, (images, observations))
        return values_at(q_maps, actions), penalties

    def _drawn(self, states: State, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Images (member, batch, channels, x, y[, z]) and penalties (member,)."""
        named = {f"representation.{name}": values for name, values in states.items()}
        with torch.backends.cudnn.flags(enabled=False):  # its batch normalisation refuses members side by side
            drawn: tuple[Tensor, Tensor] = vmap(lambda *inputs: functional_call(self._draw, *inputs))(
                named, observations
            )
        return drawn

    def _chosen(self, members: Sequence[int], states: State, part: str) -> State:
        """Copies of some members' weights, whose gradients go to the parameters of their policies."""
        chosen = {name: values[list(members)] for name, values in states.items()}
        for name, values in chosen.items():
            parameters = [_get(getattr(self._policies[member], part), name) for member in members]
            if parameters[0].requires_grad:
                values.requires_grad_().register_hook(_HandOut(parameters))
        return chosen


class _HandOut:
    """Gives a gradient of stacked parameters to the parameters it belongs to."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = parameters

    def __call__(self, gradients: Tensor) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient


class _Draw(nn.Module):
    """Image and penalty of a representation in one call."""

    def __init__(self, representation: Any) -> None:
        super().__init__()
        self.representation = representation

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Draw one-hot images (batch, species, x, y[, z])."""
        return self.representation.image(observations), self.representation.penalty()


def _stack(modules: Sequence[nn.Module]) -> State:
    """Parameters and buffers of modules side by side; those of the modules become views of them."""
    names = [name for name, _ in (*modules[0].named_parameters(), *modules[0].named_buffers())]
    states = {}
    for name in names:
        states[name] = torch.stack([_get(module, name).detach() for module in modules])
        for module, values in zip(modules, states[name], strict=True):
            _get(module, name).data = values
    return states


def _get(module: nn.Module, name: str) -> Tensor:
    """Parameter or buffer of a module by its dotted name."""
    owner, _, leaf = name.rpartition(".")
    values: Tensor = getattr(module.get_submodule(owner), leaf)
    return values
