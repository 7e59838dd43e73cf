"""Builds that are imagined before one of them is paid for: proposed by the Q-map, judged by a local energy model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asla_agents.drawing import Representation
from asla_agents.exploration import Exploration
from asla_agents.explorer import Explorer
from asla_agents.local_energy import LocalEnergyModel
from asla_agents.randomness import torch_seeded
from asla_agents.ranges import check_at_least, check_shares
from asla_agents.symmetry import QMaps
from asla_env.action import ActionMask, action_mask, legal_order
from asla_env.observation import one_hot
from asla_env.problem import Problem

_BEST, _ANYWHERE = 6, 3  # sites by the Q-map and at random that an atom may be moved to


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
        Updates of the model before the first imagined build, and before each one from then on.
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
        check_at_least(self, 1, "builds", "batch_size")
        check_at_least(self, 0, "moved", "first_updates", "updates")
        check_shares(self, "noise", "top_fraction")
        if not 0 < self.learning_rate < np.inf:
            raise ValueError(f"`learning_rate` is {self.learning_rate} but must be positive and finite")


class Imagination:
    """Imagines builds and picks the one to pay for.

    Parameters
    ----------
    settings
        How it goes about it.

    Attributes
    ----------
    model
        What judges the builds; None before the first.
    """

    def __init__(self, settings: ImaginationSettings) -> None:
        self.settings = settings
        self.model: LocalEnergyModel | None = None

    def plan(
        self,
        explorer: Explorer,
        q_maps: QMaps,
        representation: Representation,
        in_flight: Sequence[Sequence[int]] = (),
    ) -> list[int]:
        """Actions of the build to pay for, in a legal order; none while warming up or where no build can be finished.

        Parameters
        ----------
        explorer
            The search that it serves: its builds, exploration and source of randomness.
        q_maps
            The network's Q-values, or what of them differs between actions.
        representation
            How the network's atoms are drawn, as a start for the model's.
        in_flight
            Actions of builds that are paid for already and have no energy yet; their like is not planned again.
        """
        if explorer.is_warming_up:
            return []
        self._learn(explorer, representation)
        if self.model is None:
            return []
        judged = _Imagined(explorer, self.settings, self.model, q_maps).judged()
        new = (build for build in judged if not explorer.builds.is_known(build, in_flight))
        return next(filter(None, (legal_order(build, explorer.problem) for build in new)), [])

    def start_afresh(self) -> None:
        """Forget the model."""
        self.model = None

    def state(self) -> dict[str, Any]:
        """Weights and optimiser of the model; empty before the first."""
        if self.model is None:
            return {}
        return {"weights": self.model.state_dict(), "optimizer": self.model.optimizer.state_dict()}

    def restore(self, state: dict[str, Any], problem: Problem, representation: Representation) -> None:
        """Become what gave a `state`, for the same problem and representation."""
        self.model = None
        if state:
            with torch_seeded(0):  # the weights are replaced
                self.model = LocalEnergyModel(
                    problem, representation, np.array([0.0, 1.0]), self.settings.learning_rate
                )
            self.model.load_state_dict(state["weights"])
            self.model.optimizer.load_state_dict(state["optimizer"])

    def _learn(self, explorer: Explorer, representation: Representation) -> None:
        """Train the model; there is none where all energies are the same."""
        builds, rng, settings = explorer.builds, explorer.rng, self.settings
        n_updates = settings.updates
        if self.model is None:
            if len(np.unique(builds.energies[np.isfinite(builds.energies)])) < 2:
                return
            with torch_seeded(int(rng.integers(2**63))):
                self.model = LocalEnergyModel(explorer.problem, representation, builds.energies, settings.learning_rate)
            n_updates = settings.first_updates
        for _ in range(n_updates):
            self.model.update(*builds.sample_finished(settings.batch_size, rng))


@dataclass(frozen=True)
class _Imagined:
    """The builds imagined for one that is paid for."""

    explorer: Explorer
    settings: ImaginationSettings
    model: LocalEnergyModel
    q_maps: QMaps

    def judged(self) -> NDArray[np.int64]:
        """Sites of finished builds, lowest predicted energy first, shape (builds, atoms)."""
        builds = self._built()
        if not len(builds):
            return builds
        energies = self.model.energies(builds)
        order = np.argsort(energies, kind="stable")
        builds, energies = builds[order], energies[order]
        n = min(self.settings.moved, len(builds))
        if n:
            builds[:n], energies[:n] = self.moved(builds[:n], energies[:n])
        return builds[np.argsort(energies, kind="stable")]

    def _built(self) -> NDArray[np.int64]:
        """Sites of the finished ones among the imagined builds, shape (builds, atoms)."""
        problem, n = self.explorer.problem, self.settings.builds
        masks: list[ActionMask] = [ActionMask(problem) for _ in range(n)]
        builds: list[list[int]] = [[] for _ in range(n)]
        for step in range(problem.n_to_place):
            images = np.array([one_hot(build, problem) for build in builds[: n if step else 1]])
            q_values = np.broadcast_to(self.q_maps(images), (n, problem.n_actions))
            for k, (build, mask) in enumerate(zip(builds, masks, strict=True)):
                if len(build) == step and mask.legal.any():
                    action = self.explorer.choose(build, q_values[k].copy(), mask.legal, self._noise(k))
                    build.append(action)
                    mask.place(action)
        finished = [build for build in builds if len(build) == problem.n_to_place]
        return np.array(finished, dtype=np.int64).reshape(-1, problem.n_to_place)

    def _noise(self, k: int) -> Exploration:
        """How build k of those that are imagined explores."""
        noise = self.settings.noise * k / max(1, self.settings.builds - 1)
        top = self.settings.top_fraction
        return replace(self.explorer.exploration, epsilon=0.3 * noise, top_probability=0.7 * noise, top_fraction=top)

    def moved(
        self, builds: NDArray[np.int64], energies: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Move each atom of some builds once to where the model predicts the lowest energy.

        Parameters
        ----------
        builds
            Sites of the placed atoms, shape (builds, atoms).
        energies
            Their predicted energies in eV, shape (builds,).

        Returns
        -------
        tuple
            Sites and predicted energies of the new builds.
        """
        builds, energies = builds.copy(), energies.copy()
        orders = [self.explorer.rng.permutation(builds.shape[1]) for _ in builds]
        for chosen in zip(*orders, strict=True):
            others = [np.delete(build, i) for build, i in zip(builds, chosen, strict=True)]
            q_maps = self.q_maps(np.array([one_hot(rest.tolist(), self.explorer.problem) for rest in others]))
            tried = []
            for build, i, rest, q_values in zip(builds, chosen, others, q_maps, strict=True):
                candidates = self._candidates(int(build[i]), rest, q_values)
                tried.append(np.insert(np.tile(rest, (len(candidates), 1)), i, candidates, axis=1))
            predicted = self.model.energies(np.concatenate(tried))
            for k, part in enumerate(np.split(predicted, np.cumsum([len(sites) for sites in tried])[:-1])):
                lowest = int(np.argmin(part))
                if part[lowest] < energies[k]:
                    builds[k], energies[k] = tried[k][lowest], part[lowest]
        return builds, energies

    def _candidates(self, site: int, others: NDArray[np.int64], q_values: NDArray[np.floating]) -> NDArray[np.int64]:
        """Where an atom might go: to its own site, the pixels beside it, the best by the Q-map, and some others."""
        problem, rng = self.explorer.problem, self.explorer.rng
        of_its_species = np.arange(problem.n_actions) // problem.grid.n_pixels == site // problem.grid.n_pixels
        legal = action_mask(others, problem) & of_its_species
        actions, beside = np.flatnonzero(legal), self.explorer.builds.beside(site)
        best = actions[np.argsort(q_values[actions], kind="stable")[-_BEST:]]
        anywhere = rng.choice(actions, size=min(_ANYWHERE, len(actions)), replace=False)
        return np.unique([site, *beside[legal[beside]], *best, *anywhere])
