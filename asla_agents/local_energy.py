"""A local energy model: a small network whose contributions, one for each atom, sum to the energy of a structure."""

import copy
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asla_agents.drawing import Representation
from asla_agents.q_map import QMapNetwork, values_at
from asla_env.problem import Problem

_AT_ONCE = 128
_LEAST_UNIT = 0.01  # eV for each atom to place: energies that are nearly equal are no measure of what is to come
_HIGHEST = 2.0  # standard deviations above the mean: how high an energy is does not matter beyond


class LocalEnergyModel(nn.Module):
    """Energies of finished structures, learned from finished builds alone.

    A structure of n atoms gives one energy and n contributions share it, so that a motif is paid for what it brings
    wherever it occurs: the model knows the energies of structures never built long before Q-values do.

    Parameters
    ----------
    problem
        What is built.
    representation
        How atoms are drawn; a copy of it is trained with the model.
    energies
        Energies in eV of the first builds. Their mean is the model's zero, their standard deviation, but at least 0.01
        eV for each atom to place, its unit.
    learning_rate
        Of the Adam optimiser.

    Raises
    ------
    ValueError
        If fewer than two of the energies are finite and different.
    """

    def __init__(
        self,
        problem: Problem,
        representation: Representation,
        energies: NDArray[np.float64],
        learning_rate: float = 5e-4,
    ) -> None:
        super().__init__()
        finite = energies[np.isfinite(energies)]
        if len(np.unique(finite)) < 2:
            raise ValueError(f"`energies` is {energies.tolist()} but must hold two finite and different energies")
        self._problem = problem
        self.mean: Tensor
        self.unit: Tensor
        unit = max(finite.std(), _LEAST_UNIT * problem.n_to_place)
        # buffers: they are a part of the state
        self.register_buffer("mean", torch.tensor(finite.mean(), dtype=torch.float64))
        self.register_buffer("unit", torch.tensor(unit, dtype=torch.float64))
        self.representation = copy.deepcopy(representation)
        self.contributions = QMapNetwork(
            problem.grid, representation.n_channels, len(problem.species), hidden_channels=(10,), reach=inf
        )
        with torch.no_grad():
            self.contributions.output.weight.mul_(0.1)  # dozens of atoms are summed: start near zero
        self.to(next(representation.buffers()).device)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=learning_rate)

    def forward(self, placed: NDArray[np.int64]) -> Tensor:
        """Energies of finished structures in the model's unit, shape (structures,).

        Parameters
        ----------
        placed
            Sites of the placed atoms, shape (structures, atoms).
        """
        template = np.tile(self._problem.template_sites, (len(placed), 1))
        sites = np.concatenate([template, placed], axis=1)
        images = np.zeros((len(sites), self._problem.n_actions), dtype=np.int8)
        np.put_along_axis(images, sites, 1, axis=1)
        device = next(self.parameters()).device
        one_hot = torch.as_tensor(images.reshape(-1, len(self._problem.species), *self._problem.grid.shape))
        drawn = self.representation.image(one_hot.to(device))
        return values_at(self.contributions(drawn), torch.as_tensor(sites, device=device)).sum(-1)

    def energies(self, placed: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predicted energies in eV of finished structures, shape (structures,); `placed` as for `forward`."""
        self.eval()
        with torch.no_grad():
            parts = [self(part).cpu().numpy() for part in np.array_split(placed, -(-len(placed) // _AT_ONCE))]
        return np.concatenate(parts).astype(np.float64) * float(self.unit) + float(self.mean)

    def update(self, placed: NDArray[np.int64], energies: NDArray[np.float64]) -> float:
        """One step of the optimiser; the mean-squared error before it, in the model's unit squared.

        Parameters
        ----------
        placed
            Sites of the placed atoms, shape (structures, atoms).
        energies
            Their energies in eV, inf where there is none, shape (structures,).
        """
        self.train()
        targets = np.minimum((energies - float(self.mean)) / float(self.unit), _HIGHEST)
        predicted = self(placed)
        loss = (predicted - torch.as_tensor(targets, dtype=predicted.dtype, device=predicted.device)).square().mean()
        self.optimizer.zero_grad()
        (loss + self.representation.penalty()).backward()
        self.optimizer.step()
        return float(loss.detach())
