"""One search of an ensemble."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from asla_agents.checkpoint import State
from asla_agents.checks import check_calculator
from asla_agents.config import RunConfig
from asla_agents.explorer import BestBuild, Explorer
from asla_agents.imagination import Imagination
from asla_agents.model_state import check_problem, description_of, restore_search, tensors_of
from asla_agents.planning import plan
from asla_agents.q_map import QMapPolicy
from asla_agents.randomness import torch_seeded
from asla_agents.representations import REPRESENTATIONS
from asla_env.env import AtomPlacementEnv
from asla_env.evaluator import Evaluation


@dataclass(frozen=True)
class MemberResult:
    """What a member of an ensemble found."""

    index: int
    """Place of its settings in the ensemble."""
    config: RunConfig
    """Its settings."""
    episodes: int
    """Episodes that ended."""
    found_at: int | None
    """First episode whose structure is inside the success window, None if there is none."""
    best: BestBuild | None
    """The build of lowest energy, with its network."""
    energies: NDArray[np.float64]
    """Energy above the reference of each episode in eV, inf where there is none."""
    learned: dict[str, list[Any]]
    """What the representation of its last network has learned; see `Representation.learned`."""


class Member:
    """One search of an ensemble.

    Parameters
    ----------
    index
        Place of its settings in the ensemble.
    config
        Its settings.
    env
        Its environment.
    device
        Where its network is.
    """

    def __init__(self, index: int, config: RunConfig, env: AtomPlacementEnv, device: torch.device) -> None:
        self.index, self.config, self.env, self._device = index, config, env, device
        self.explorer = Explorer(
            env.problem,
            config.exploration,
            config.replay,
            config.warmup_episodes,
            config.patience,
            augment=config.augment,
            seed=config.seed,
        )
        self.policy = self._new_policy(config.seed)
        self._imagination = Imagination(config.imagination) if config.imagination else None
        self._plan: list[int] = []  # what is left of a planned build
        self._energies: list[float] = []
        self._found_at: int | None = None
        self.is_building = False

    @property
    def is_done(self) -> bool:
        """Whether this search has come to its end."""
        stopped = self.config.stop_on_success and self._found_at is not None
        return stopped or len(self._energies) >= self.config.episodes

    @property
    def asks(self) -> bool:
        """Whether the network is to say where the next atom goes."""
        return self.is_building and not self._plan and not self.explorer.is_warming_up

    def begin(self) -> None:
        """Begin a structure."""
        self.image, info = self.env.reset()
        self._legal = info["action_mask"].astype(bool)
        self.is_building = True
        self._plan = plan(self.explorer, self.policy, self._imagination)

    def choose(self, advantages: NDArray[np.floating] | None) -> int:
        """Choose the next placement."""
        if self._plan:
            return self._plan.pop(0)
        if advantages is None or self.explorer.is_warming_up:
            return self.explorer.choose_any(self._legal)
        return self.explorer.choose(self.env.placed, advantages, self._legal)

    def place(self, action: int, evaluation: Evaluation | None) -> None:
        """Place the next atom; a structure that is finished, or came to a dead end, is remembered."""
        placed = [*self.env.placed, action]
        self.image, _, terminated, _, info = self.env.step(np.int64(action), evaluation)
        self._legal = info["action_mask"].astype(bool)
        if terminated:
            self._end(placed, info)

    def start_afresh(self) -> None:
        """Forget network and builds."""
        if self._imagination is not None:
            self._imagination.start_afresh()
        self.policy.load_state_dict(self._new_policy(self.explorer.start_afresh()).state_dict())
        self.policy.optimizer.state.clear()

    def state(self) -> State:
        """All that it is between two episodes, from which `restore` makes it again."""
        energies = [None if np.isinf(energy) else energy for energy in self._energies]
        plain: dict[str, Any] = {"explorer": self.explorer.state(), "energies": energies, "found_at": self._found_at}
        plain |= {"problem": description_of(self.env.problem), "calculator": self.env.evaluator.spec.description}
        return State(plain, tensors_of(self.policy, self.explorer, self._imagination))

    def restore(self, state: State) -> None:
        """Become what gave a `state`, which must be of a search with the same problem and calculator."""
        check_problem(state, self.env.problem)
        check_calculator(self.env.evaluator.spec, state.plain["calculator"])
        restore_search(self.policy, self.explorer, self._imagination, state)
        self._energies = [np.inf if energy is None else energy for energy in state.plain["energies"]]
        self._found_at = state.plain["found_at"]

    def result(self) -> MemberResult:
        """What this search found."""
        energies, learned = np.array(self._energies), self.policy.features_extractor.learned()
        found = self._found_at, self.explorer.best
        return MemberResult(self.index, self.config, len(energies), *found, energies, learned)

    def _end(self, placed: list[int], info: dict[str, Any]) -> None:
        """Remember the structure."""
        self.explorer.add(placed, info, self.policy)
        self._energies.append(np.inf if info["calculator_error"] else info["energy_above_reference"])
        if info["is_success"] and self._found_at is None:
            self._found_at = len(self._energies)
        self.is_building = False

    def _new_policy(self, seed: int) -> QMapPolicy:
        """Make a policy whose weights a seed decides."""
        with torch_seeded(seed):
            policy = QMapPolicy(
                self.env.observation_space,
                cast(spaces.Discrete, self.env.action_space),
                lambda _: self.config.learning_rate,
                self.env.problem.grid,
                REPRESENTATIONS[self.config.representation],
                self.config.representation_kwargs,
                network_kwargs={"state_value": self.config.state_value, **self.config.network.as_kwargs()},
            )
        return policy.to(self._device)
