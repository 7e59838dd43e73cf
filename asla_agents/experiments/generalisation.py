"""Fig. 3: what a network that has seen two pieces of data says about the rest of a structure.

The paper gives neither its structure nor its network. Here the structure is one of the two sublattices of graphene on
the grid of `asla_env.problems.graphene`. One site of the other sublattice, at a bond length from three atoms, is worth
+1, and the middle between two atoms -1. The network is small enough to see a window of 3.4 Å. All such sites are alike
in the lattice, but their atoms are rounded to pixels in different ways: who generalises has to know them again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from asla_agents.callbacks import read_rows
from asla_agents.drawing import Representation
from asla_agents.q_map import QMapNetwork, values_at
from asla_agents.randomness import torch_seeded
from asla_agents.representations import Gaussian, OneHot
from asla_agents.row_file import appended
from asla_agents.unfinished import UnfinishedSearches
from asla_env.grid import Grid
from asla_env.problems import graphene

NAME = "fig3"
CLAIM = (
    "Trained on two pieces of data, a network makes of one-hot images what looks like noise elsewhere, and of "
    "Gaussians a smooth map."
)
KINDS = {"arm": str, "seed": int, "unseen_error": float}  # of a row
RESTARTS = 20
ARMS: dict[str, type[Representation]] = {"one-hot": OneHot, "Gaussian, λ = 1.25Δ": Gaussian}
WINDOW = 17  # pixels that a Q-value depends on, along each axis: four layers of _KERNEL
TARGETS = (1.0, -1.0)
_KERNEL = 5
_NETWORK: dict[str, Any] = {"kernel_size": _KERNEL, "reach": inf, "activation_fn": nn.LeakyReLU}
_BOND_LENGTH = 1.42  # Å
_TOLERANCE, _MOST_STEPS, _LEARNING_RATE = 1e-3, 2000, 1e-3


@dataclass(frozen=True)
class Sample:
    """A structure, and the sites of it that are alike."""

    grid: Grid
    atoms: NDArray[np.bool_]
    """One-hot image, shape (x, y)."""
    sites: NDArray[np.int64]
    """Flat pixels of sites that are alike, shape (2, n): of Q = 1, and of Q = -1. The first ones are trained."""

    def unseen(self) -> NDArray[np.bool_]:
        """Sites whose window is not the trained one, pixel for pixel, shape (2, n)."""
        windows = [[window(self.atoms, self.grid, site) for site in sites] for sites in self.sites]
        return np.array([[bool((seen != alike[0]).any()) for seen in alike] for alike in windows])


def sample() -> Sample:
    """Make the structure."""
    grid = graphene().grid
    width, height = 3 * _BOND_LENGTH, sqrt(3) * _BOND_LENGTH
    corners = np.array([(i * width, j * height, 0.0) for i in range(2) for j in range(3)])
    atoms = np.concatenate([corners, corners + np.array((width / 2, height / 2, 0))])
    image = np.zeros(grid.n_pixels, dtype=bool)
    image[grid.pixels(atoms)] = True
    steps = (width / 6, height / 2, 0), (width / 4, height / 4, 0)  # to what is worth 1, and -1
    first = 7, 4  # whose windows lie inside the picture
    sites = np.stack([np.roll(grid.pixels(atoms + np.array(step)), -i) for step, i in zip(steps, first, strict=True)])
    return Sample(grid, image.reshape(grid.shape), sites)


def window(image: NDArray[Any], grid: Grid, site: int) -> NDArray[Any]:
    """What a Q-value at a flat pixel depends on, shape (17, 17), of an image (x, y)."""
    steps = np.arange(WINDOW) - WINDOW // 2
    x, y = np.unravel_index(site, grid.shape)
    return np.asarray(image[np.ix_((x + steps) % grid.shape[0], (y + steps) % grid.shape[1])])


def drawn(arm: str, structure: Sample) -> NDArray[np.float64]:
    """Image that an arm's representation makes of the structure, shape (x, y)."""
    representation = ARMS[arm](spaces.MultiBinary([1, *structure.grid.shape]), structure.grid)
    image = representation.image(torch.as_tensor(structure.atoms[None, None]))
    return np.asarray(image[0, 0].double())


def q_map(image: NDArray[np.float64], structure: Sample, seed: int) -> NDArray[np.float64]:
    """Q-values of all pixels, shape (x, y), by a network that was trained on two windows of a drawn image (x, y)."""
    windows = np.stack([window(image, structure.grid, sites[0]) for sites in structure.sites])
    trained = _train(torch.as_tensor(windows[:, None], dtype=torch.float32), seed)
    network = QMapNetwork(structure.grid, **_NETWORK)
    network.load_state_dict(trained.state_dict())
    with torch.no_grad():
        q_values = network(torch.as_tensor(image[None, None], dtype=torch.float32))
    return np.asarray(q_values[0, 0].double())


def run(path: Path, restarts: int) -> Iterator[dict[str, Any]]:
    """Train what has no row yet; each row is yielded when it is in the file.

    Parameters
    ----------
    path
        File of rows, a line of JSON each.
    restarts
        Networks of each arm, from seed 0 on.

    Raises
    ------
    ValueError
        If `restarts` is not at least 1, the file holds something else, or another process writes it.
    """
    if restarts < 1:
        raise ValueError(f"`restarts` is {restarts} but must be at least 1")
    structure = sample()
    with UnfinishedSearches(path).locked(), appended(path) as append:
        there = {(row["arm"], row["seed"]) for row in read_rows(path, KINDS)}
        for arm in ARMS:
            image = drawn(arm, structure)
            for seed in range(restarts):
                if (arm, seed) not in there:
                    row = {"arm": arm, "seed": seed, **_judge(q_map(image, structure, seed), structure)}
                    append(row)
                    yield row


def _train(windows: Tensor, seed: int) -> QMapNetwork:
    """Fit a network to the targets of two windows, shape (2, 1, 17, 17)."""
    grid = Grid((WINDOW, WINDOW), (WINDOW, WINDOW), (False, False))
    with torch_seeded(seed):
        network = QMapNetwork(grid, **_NETWORK)
    middle = torch.full((2, 1), grid.n_pixels // 2)
    targets = torch.tensor(TARGETS)[:, None]
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    for _ in range(_MOST_STEPS):
        errors = values_at(network(windows), middle) - targets
        if errors.detach().abs().max() < _TOLERANCE:
            break
        optimizer.zero_grad()
        (errors**2).mean().backward()
        optimizer.step()
    return network


def _judge(q_values: NDArray[np.float64], structure: Sample) -> dict[str, float]:
    """Errors at the trained sites (the largest) and at equivalent ones that look otherwise (root mean square)."""
    errors = q_values.ravel()[structure.sites] - np.array(TARGETS)[:, None]  # [2, site]
    return {
        "trained_error": round(float(np.abs(errors[:, 0]).max()), 4),
        "unseen_error": round(float(np.sqrt(np.mean(errors[structure.unseen()] ** 2))), 4),
    }
