"""Independent searches that go on together, in one batched program."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from asla_agents.config import RunConfig
from asla_agents.explorer import BestBuild, Explorer
from asla_agents.imagination import Imagination
from asla_agents.memory import release_free_memory
from asla_agents.planning import plan
from asla_agents.q_map import QMapPolicy, placement_loss, take_over
from asla_agents.randomness import torch_seeded
from asla_agents.representations import REPRESENTATIONS
from asla_agents.stack import PolicyStack
from asla_agents.training import make_env
from asla_env.env import AtomPlacementEnv
from asla_env.evaluator import Evaluation
from asla_env.vector import evaluate_together

_SHARED = (
    "env_id",
    "evaluator",
    "representation",
    "network",
    "state_value",
    "batch_size",
    "gradient_steps",
    "pretrained",
)
_ROUNDS_BETWEEN_RELEASES = 20


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


class Ensemble:
    """Searches advanced together: one forward pass for the next placements of all, and batched updates.

    Each has weights, random stream, replay and counters of its own, and goes as the single search of its settings
    would, to rounding.

    Parameters
    ----------
    configs
        Settings of each member; problem, calculator, representation and what shapes a batch must be the same for all.
    device
        Where the networks are.
    members_at_once
        Members whose updates are one batch; None: one on a CPU, where more save nothing, and 64 on a GPU.
    executor
        Where energies are computed, those of all members at once, such as a pool of processes; None: here.

    Raises
    ------
    ValueError
        If there is no member, members differ in what they must share, or the calculator fails on the reference; or a
        network is to be taken over from a problem of other species.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        device: torch.device | str = "cpu",
        members_at_once: int | None = None,
        executor: Executor | None = None,
    ) -> None:
        _check_shared(configs)
        if members_at_once is not None and members_at_once < 1:
            raise ValueError(f"`members_at_once` is {members_at_once} but must be at least 1")
        self.device = torch.device(device)
        self.members_at_once = members_at_once or (1 if self.device.type == "cpu" else 64)
        env = make_env(configs[0], executor)
        self._members = [_Member(i, config, env.twin(), self.device) for i, config in enumerate(configs)]
        self._take_over(configs, executor)
        self._stack = PolicyStack([member.policy for member in self._members])
        self._rounds = 0

    def run(self, on_round: Callable[[int], None] | None = None) -> Iterator[MemberResult]:
        """Run all searches to their end; each result comes as soon as it is there.

        Parameters
        ----------
        on_round
            Called after each round with the number of episodes that ended in it.
        """
        while self._members:
            self.round()
            if on_round is not None:
                on_round(len(self._members))
            ended = [member for member in self._members if member.is_done]
            if ended:
                self._members = [member for member in self._members if not member.is_done]
                if self._members:
                    self._stack = PolicyStack([member.policy for member in self._members])
            yield from (member.result() for member in ended)

    def round(self) -> None:
        """One episode of each member."""
        self.build()
        self.learn()
        self._rounds += 1
        if self._rounds % _ROUNDS_BETWEEN_RELEASES == 0:
            release_free_memory()

    def _take_over(self, configs: Sequence[RunConfig], executor: Executor | None) -> None:
        """Run the searches that come first, if any, and begin with their networks."""
        first = [before for config in configs if (before := config.before())]
        if first:
            for result in Ensemble(first, self.device, self.members_at_once, executor).run():
                if result.best is not None:
                    take_over(self._members[result.index].policy, result.best.weights)

    def build(self) -> None:
        """Build a structure for each member."""
        for member in self._members:
            member.begin()
        as_array = np.asarray if self.device.type == "cpu" else partial(torch.as_tensor, device=self.device)
        while any(member.is_building for member in self._members):
            advantages = self._advantages()
            chosen = {
                member: member.choose(None if advantages is None else advantages[i])
                for i, member in enumerate(self._members)
                if member.is_building
            }
            evaluations = evaluate_together([member.env for member in chosen], chosen.values(), as_array)
            for (member, action), evaluation in zip(chosen.items(), evaluations, strict=True):
                member.place(action, evaluation)

    def _advantages(self) -> NDArray[np.floating] | None:
        """What speaks for each placement now, shape (member, actions); None if nobody asks for it."""
        if not any(member.asks for member in self._members):
            return None
        symmetric_mean = self._members[0].explorer.symmetric_mean  # all share the problem
        images = symmetric_mean.images(np.array([member.image for member in self._members])).swapaxes(0, 1)
        advantages = self._stack.advantages(torch.as_tensor(images.copy(), device=self.device)).cpu().numpy()
        return symmetric_mean.mean(advantages.swapaxes(0, 1))

    def learn(self) -> None:
        """Start afresh what is stuck, and train the others."""
        due = []
        for i, member in enumerate(self._members):
            if member.explorer.is_stuck:
                member.start_afresh()
            elif not member.explorer.is_warming_up:
                due.append(i)
        for start in range(0, len(due), self.members_at_once):
            for _ in range(self._members[0].config.gradient_steps):
                self._update(due[start : start + self.members_at_once])

    def _update(self, chosen: list[int]) -> None:
        """One step of the optimiser for each of some members."""
        members = [self._members[i] for i in chosen]
        batches = [member.explorer.sample(member.config.batch_size) for member in members]
        images, actions, weights, targets = (
            torch.as_tensor(np.stack(parts), device=self.device) for parts in zip(*batches, strict=True)
        )
        q_values, penalties = self._stack.q_at(chosen, images, actions)
        (placement_loss(q_values, weights, targets) + penalties).sum().backward()
        for member in members:
            torch.nn.utils.clip_grad_norm_(member.policy.parameters(), member.config.max_grad_norm)
            member.policy.optimizer.step()


class _Member:
    """One search of an ensemble."""

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
        """Forget network and builds, those of the warm-up aside."""
        if self._imagination is not None:
            self._imagination.start_afresh()
        self.policy.load_state_dict(self._new_policy(self.explorer.start_afresh()).state_dict())
        self.policy.optimizer.state.clear()

    def result(self) -> MemberResult:
        """What this search found."""
        energies, learned = np.array(self._energies), self.policy.features_extractor.learned()
        found = self._found_at, self.explorer.best
        return MemberResult(self.index, self.config, len(energies), *found, energies, learned)

    def _end(self, placed: list[int], info: dict[str, Any]) -> None:
        """Remember the structure."""
        self.explorer.add(placed, info, self.policy)
        self._energies.append(info["energy_above_reference"])
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


def _check_shared(configs: Sequence[RunConfig]) -> None:
    """Raise ValueError unless there are members that may go together."""
    if not configs:
        raise ValueError("`configs` is empty but must hold the settings of at least one search")
    for config in configs:
        if config.builds_at_once > 1:
            raise ValueError(f"`builds_at_once` is {config.builds_at_once} but must be 1 for a member of an ensemble")
    for name in shared_settings(configs[0]):
        values = {shared_settings(config)[name] for config in configs}
        if len(values) > 1:
            raise ValueError(f"`configs` have the `{name}` {sorted(values)} but must share one")


def shared_settings(config: RunConfig) -> dict[str, str]:
    """Settings that all members of an ensemble must share, as text."""
    settings = {name: str(getattr(config, name)) for name in _SHARED}
    settings["exploration.average_symmetric"] = str(config.exploration.average_symmetric)
    settings["evaluator_settings"] = json.dumps(config.evaluator_settings, sort_keys=True)
    may_differ = REPRESENTATIONS[config.representation].may_differ
    kwargs = {name: value for name, value in config.representation_kwargs.items() if name not in may_differ}
    return settings | {"representation_kwargs": json.dumps(kwargs, sort_keys=True)}
