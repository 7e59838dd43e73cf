"""What a search is beside its network: how it explores, what it has built, and when it is stuck."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from asla_agents.exploration import Exploration, choose
from asla_agents.replay import Batch, BuildReplay, ReplaySettings
from asla_agents.symmetry import SymmetricMean, augmentations
from asla_env.problem import Problem

_OF_BEST = ("placed", "energy", "energy_above_reference")
_LEAST_GAIN = 0.1  # eV for each atom to place, by which the lowest energy must fall
_MOST_TURNS = 8  # of one structure to be refined, before it counts as a minimum
_SOONER = 3  # times the lowest structure is given up if it is one


@dataclass(frozen=True)
class BestBuild:
    """The build of lowest energy."""

    placed: tuple[int, ...]
    """Actions in the order taken; `Problem.structure` makes the atoms."""
    energy: float
    """Energy in eV."""
    energy_above_reference: float
    """Energy above the reference in eV, inf without one."""
    weights: dict[str, Tensor]
    """State of the policy then. It chose the actions, but for random ones and those of a planned build."""


class Explorer:
    """Chooses placements, remembers builds, and says when to start afresh.

    Parameters
    ----------
    problem
        What is built.
    exploration
        The modified ε-greedy policy.
    replay
        How batches are drawn and energies become targets.
    warmup_episodes
        Random builds before the network is asked.
    patience
        Episodes for each atom to place, but as many as the warm-up at least, in which the lowest energy must fall by
        0.1 eV for each atom, or else the search counts as stuck; a third of them, in which it must fall at all, if the
        lowest structure counts as a minimum; None: it never does.
    augment
        Whether symmetries of the problem are learned from: samples are shown under random ones, and mirror images count
        as the same in targets, visits and among the best builds.
    seed
        Seed of all that is random but the network's first weights.

    Attributes
    ----------
    symmetric_mean
        How Q-values are averaged before a placement is chosen.
    builds
        The replay.
    turns
        How often each structure had its turn to have atoms moved by a pixel, whether a fall was predicted or not, since
        the last fresh start, by its key in the replay.
    best
        The build of lowest energy so far, with the network that made it; None before the first.
    found
        Whether a success was built.
    rng
        Source of randomness.

    Raises
    ------
    ValueError
        If a setting is out of its range.
    """

    def __init__(
        self,
        problem: Problem,
        exploration: Exploration,
        replay: ReplaySettings,
        warmup_episodes: int,
        patience: int | None,
        augment: bool,
        seed: int | None,
    ) -> None:
        if not warmup_episodes >= 0:
            raise ValueError(f"`warmup_episodes` is {warmup_episodes} but must be at least 0")
        if patience is not None and not patience >= 1:
            raise ValueError(f"`patience` is {patience} but must be at least 1, or None")
        self.problem, self.exploration = problem, exploration
        self.warmup_episodes, self.patience = warmup_episodes, patience
        self.rng = np.random.default_rng(seed)
        self.augment = augment
        self.symmetric_mean = SymmetricMean(problem, only_identity=not exploration.average_symmetric)
        self.builds = BuildReplay(problem, replay, augmentations(problem)[: None if augment else 1])
        self.turns = Counter[int]()
        self.best: BestBuild | None = None
        self.found = False

    @property
    def is_warming_up(self) -> bool:
        """Whether builds are random and not learned from, as the first are, and those after a fresh start."""
        return len(self.builds) < self.warmup_episodes

    @property
    def is_stuck(self) -> bool:
        """Whether the lowest energy has hardly fallen for as long as the patience lasts, the warm-up aside.

        If the lowest structure counts as a minimum, it is given up sooner.
        """
        if self.patience is None or self.found:
            return False
        n_atoms, energies = self.problem.n_to_place, self.builds.energies
        waited = max(self.patience * n_atoms, self.warmup_episodes, 1)
        if _SOONER * self.builds.episodes_since_lowest >= waited and self._is_at_minimum():
            return True
        if len(energies) < self.warmup_episodes + waited:
            return False
        lowest, lowest_before = energies.min(), min(energies[:-waited], default=np.inf)
        return bool(lowest > lowest_before - _LEAST_GAIN * n_atoms or np.isinf(lowest))

    def is_minimum(self, sites: NDArray[np.integer]) -> bool:
        """Whether a structure, whose atoms are on these sites, had so many turns that it counts as a minimum."""
        return self.turns[self.builds.key(sites)] >= _MOST_TURNS

    def _is_at_minimum(self) -> bool:
        """Whether the lowest structure since the last fresh start counts as a minimum."""
        lowest, _ = self.builds.lowest(1)
        return len(lowest) > 0 and self.is_minimum(lowest[0])

    def choose_any(self, legal: NDArray[np.bool_]) -> int:
        """Choose any legal action, of shape (actions,)."""
        return int(self.rng.choice(np.flatnonzero(legal)))

    def choose(
        self,
        placed: ArrayLike,
        q_values: NDArray[np.floating],
        legal: NDArray[np.bool_],
        exploration: Exploration | None = None,
        in_flight: Sequence[Sequence[int]] = (),
    ) -> int:
        """Choose an action by the modified ε-greedy policy, after the penalty for what was visited before.

        Parameters
        ----------
        placed
            Actions that made the structure so far, in any order.
        q_values, legal
            Q-value, or what of it differs between actions, and whether it is legal of each action, shape (actions,);
            the former is changed.
        exploration
            The policy's probabilities, if not those of the search.
        in_flight
            Actions of other unfinished builds, which are visits too.
        """
        actions = np.flatnonzero(legal)
        visits = self.builds.visits(placed, actions, in_flight)
        exploration = exploration or self.exploration
        q_values[actions] -= exploration.visit_penalty * np.log1p(visits)
        return choose(q_values, legal, exploration, self.rng)

    def add(self, placed: Sequence[int], info: dict[str, Any], policy: nn.Module) -> None:
        """Remember a build.

        Parameters
        ----------
        placed
            Actions in the order taken.
        info
            What the environment said at its end.
        policy
            The network that built it.
        """
        self.builds.add(placed, np.inf if _is_penalty(info) else info["energy"])
        self.found |= info["is_success"]
        lowest = np.inf if self.best is None else self.best.energy
        if info["calculator_error"] is None and info["energy"] < lowest:
            weights = {name: values.detach().clone() for name, values in policy.state_dict().items()}
            self.best = BestBuild(info["placed"], info["energy"], info["energy_above_reference"], weights)

    def sample(self, batch_size: int) -> Batch:
        """Draw a batch to learn from."""
        return self.builds.sample(batch_size, self.rng)

    def start_afresh(self) -> int:
        """Forget all builds, the best one aside; the seed of the network to go on with."""
        self.builds.clear()
        self.turns.clear()
        return int(self.rng.integers(2**63))

    def state(self) -> dict[str, Any]:
        """All that it is now, as JSON can hold it; weights of the best build aside."""
        best = self.best and {name: getattr(self.best, name) for name in _OF_BEST}
        builds = [[placed, None if np.isinf(energy) else energy] for placed, energy in self.builds]
        return {
            "rng": self.rng.bit_generator.state,
            "found": self.found,
            "builds": builds,
            "turns": list(self.turns.items()),
            "best": best,
        }

    def restore(self, state: dict[str, Any], weights: dict[str, Tensor]) -> None:
        """Become what gave a `state`.

        Parameters
        ----------
        state
            What `state` returned.
        weights
            Those of the best build; not used if there was none.
        """
        self.rng.bit_generator.state = state["rng"]
        self.builds.clear()
        for placed, energy in state["builds"]:
            self.builds.add(placed, np.inf if energy is None else energy)
        self.turns = Counter(dict(state["turns"]))
        best = state["best"]
        self.best = best and BestBuild(tuple(best["placed"]), best["energy"], best["energy_above_reference"], weights)
        self.found = bool(state["found"])


def _is_penalty(info: dict[str, Any]) -> bool:
    """Whether the energy is the penalty of a failed calculation; not so where the reference's has failed alone."""
    return info["calculator_error"] is not None and bool(np.isfinite(info["energy_above_reference"]))
