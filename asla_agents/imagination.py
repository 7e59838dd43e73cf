"""Builds that are imagined before one of them is paid for: proposed by the Q-map, judged by a local energy model."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from asla_agents.drawing import Representation
from asla_agents.exploration import Exploration
from asla_agents.explorer import Explorer
from asla_agents.local_energy import LocalEnergyModel
from asla_agents.randomness import torch_seeded
from asla_env.action import ActionMask, action_mask
from asla_env.observation import one_hot

QMaps = Callable[[NDArray[np.int8]], NDArray[np.floating]]
"""Q-values (structures, actions) of one-hot images (structures, species, x, y[, z])."""


@dataclass(frozen=True)
class ImaginationSettings:
    """How many builds are imagined, and how the model that judges them is trained.

    Parameters
    ----------
    builds
        Builds imagined for each one that is paid for.
    noise
        Probability that a placement of the last of them is not greedy; the first has none, and between them it rises.
    top_fraction
        Seven of ten such placements are among this fraction of the legal actions; the others are anywhere.
    moved
        Of so many builds of lowest predicted energy the atoms are moved, each once, where the model wants them.
    first_updates, updates
        Updates of the model before the first imagined build, and after each episode from then on.
    batch_size
        Builds an update.
    learning_rate
        Of the Adam optimiser.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    builds: int = 8
    noise: float = 0.15
    top_fraction: float = 0.05
    moved: int = 2
    first_updates: int = 300
    updates: int = 4
    batch_size: int = 32
    learning_rate: float = 5e-4

    def __post_init__(self) -> None:
        for name in ("builds", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)} but must be at least 1")
        for name in ("moved", "first_updates", "updates"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` is {getattr(self, name)} but must be at least 0")
        for name in ("noise", "top_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` is {getattr(self, name)} but must lie in [0, 1]")
        if not 0 < self.learning_rate < np.inf:
            raise ValueError(f"`learning_rate` is {self.learning_rate} but must be positive and finite")


class Imagination:
    """Imagines builds and picks the one to pay for.

    Parameters
    ----------
    explorer
        The search that it serves: its builds, symmetries, exploration and source of randomness.
    settings
        How it goes about it.
    """

    def __init__(self, explorer: Explorer, settings: ImaginationSettings) -> None:
        self.settings = settings
        self._explorer = explorer
        self._problem = explorer.problem
        self.model: LocalEnergyModel | None = None

    def plan(self, q_maps: QMaps, representation: Representation) -> list[int]:
        """Actions of the build to pay for, in a legal order; none while warming up or where no build can be finished.

        Parameters
        ----------
        q_maps
            The network's Q-values, or what of them differs between actions.
        representation
            How the network's atoms are drawn, as a start for the model's.
        """
        if self._explorer.is_warming_up:
            self.model = None  # of the builds before a fresh start
            return []
        model = self._learned(representation)
        if model is None:
            return []
        builds = self._imagine(q_maps)
        if not len(builds):
            return []
        energies = model.energies(builds)
        order = np.argsort(energies, kind="stable")
        builds, energies = builds[order], energies[order]
        for i in range(min(self.settings.moved, len(builds))):
            builds[i], energies[i] = self._move(builds[i], energies[i], model, q_maps)
        new = [build for build in builds[np.argsort(energies, kind="stable")] if not self._is_known(build)]
        return self._in_legal_order(new[0]) if new else []

    def _learned(self, representation: Representation) -> LocalEnergyModel | None:
        """The model after some training; none where all energies are the same."""
        builds, settings = self._explorer.builds, self.settings
        if self.model is None:
            if len(np.unique(builds.energies[np.isfinite(builds.energies)])) < 2:
                return None
            with torch_seeded(int(self._explorer.rng.integers(2**63))):
                self.model = LocalEnergyModel(self._problem, representation, builds.energies, settings.learning_rate)
            n_updates = settings.first_updates
        else:
            n_updates = settings.updates
        for _ in range(n_updates):
            placed, energies = builds.sample_finished(settings.batch_size, self._explorer.rng)
            self.model.update(placed, energies)
        return self.model

    def _imagine(self, q_maps: QMaps) -> NDArray[np.int64]:
        """Sites of the finished ones among the imagined builds, shape (builds, atoms)."""
        n, masks = self.settings.builds, [ActionMask(self._problem) for _ in range(self.settings.builds)]
        builds: list[list[int]] = [[] for _ in range(n)]
        for step in range(self._problem.n_to_place):
            images = np.array([one_hot(build, self._problem) for build in builds[: n if step else 1]])
            q_values = np.broadcast_to(q_maps(images), (n, self._problem.n_actions))
            for k, (build, mask) in enumerate(zip(builds, masks, strict=True)):
                if len(build) == step and mask.legal.any():
                    action = self._explorer.choose(build, q_values[k].copy(), mask.legal, self._noise(k))
                    build.append(action)
                    mask.place(action)
        finished = [build for build in builds if len(build) == self._problem.n_to_place]
        return np.array(finished, dtype=np.int64)

    def _noise(self, k: int) -> Exploration:
        """How build k of those that are imagined explores."""
        noise = self.settings.noise * k / max(1, self.settings.builds - 1)
        chances = {"epsilon": 0.3 * noise, "top_probability": 0.7 * noise, "top_fraction": self.settings.top_fraction}
        return replace(self._explorer.exploration, **chances)

    def _move(
        self, build: NDArray[np.int64], energy: float, model: LocalEnergyModel, q_maps: QMaps
    ) -> tuple[NDArray[np.int64], float]:
        """Move each atom once to where the model predicts the lowest energy: the sites and that energy."""
        build = build.copy()
        for i in self._explorer.rng.permutation(len(build)):
            others = np.delete(build, i)
            candidates = self._candidates(int(build[i]), others, q_maps)
            energies = model.energies(np.insert(np.tile(others, (len(candidates), 1)), i, candidates, axis=1))
            lowest = int(np.argmin(energies))
            if energies[lowest] < energy:
                energy, build[i] = float(energies[lowest]), candidates[lowest]
        return build, energy

    def _candidates(self, site: int, others: NDArray[np.int64], q_maps: QMaps) -> NDArray[np.int64]:
        """Where an atom might go: to its own site, the pixels beside it, the best by the Q-map, and some others."""
        legal = action_mask(others, self._problem)
        n_pixels = self._problem.grid.n_pixels
        legal[: site // n_pixels * n_pixels] = False  # the atom keeps its species
        legal[(site // n_pixels + 1) * n_pixels :] = False
        beside = self._explorer.builds.beside(site)
        q_values = q_maps(one_hot(others.tolist(), self._problem)[None])[0]
        actions = np.flatnonzero(legal)
        best = actions[np.argsort(q_values[actions], kind="stable")[-6:]]
        anywhere = self._explorer.rng.choice(actions, size=min(3, len(actions)), replace=False)
        return np.unique([site, *beside[legal[beside]], *best, *anywhere])

    def _is_known(self, build: NDArray[np.int64]) -> bool:
        """Whether the structure was paid for before."""
        return bool(self._explorer.builds.visits(build[:-1], build[-1:])[0])

    def _in_legal_order(self, build: NDArray[np.int64]) -> list[int]:
        """The sites in an order in which they can be placed; none if there is no such order."""
        mask, left, ordered = ActionMask(self._problem), [int(site) for site in build], list[int]()
        while left:
            legal = mask.legal
            possible = next((site for site in left if legal[site]), None)
            if possible is None:
                return []
            mask.place(possible)
            left.remove(possible)
            ordered.append(possible)
        return ordered
