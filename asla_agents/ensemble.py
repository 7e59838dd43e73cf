"""Independent searches that go on together, in one batched program."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asla_agents.checkpoint import State
from asla_agents.checks import check_device
from asla_agents.config import RunConfig
from asla_agents.member import Member, MemberResult
from asla_agents.memory import release_free_memory
from asla_agents.q_map import placement_loss, take_over
from asla_agents.representations import REPRESENTATIONS
from asla_agents.stack import PolicyStack
from asla_agents.training import make_env
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
    states
        What `states` said of members, by their place in `configs`: these go on as if they had never stopped, but that
        a structure that was known, or a symmetric image of it, is computed again when it comes again, in another order
        of its atoms, whose energy differs by rounding.
    networks
        Weights that members begin with, by their place in `configs`. None: those of the searches that come first
        (`RunConfig.pretrained`), if there are any, which are run to their end here.

    Raises
    ------
    ValueError
        If there is no member, members differ in what they must share, the calculator fails on the reference, weights
        do not fit, or there is no such device.
    TypeError
        If settings are not of type `RunConfig`.
    """

    def __init__(
        self,
        configs: Iterable[RunConfig],
        device: torch.device | str = "cpu",
        members_at_once: int | None = None,
        executor: Executor | None = None,
        states: Mapping[int, State] | None = None,
        networks: Mapping[int, Mapping[str, Tensor]] | None = None,
    ) -> None:
        configs = list(configs)
        _check_shared(configs)
        check_device(device)
        if members_at_once is not None and members_at_once < 1:
            raise ValueError(f"`members_at_once` is {members_at_once} but must be at least 1")
        self.device = torch.device(device)
        self.members_at_once = members_at_once or (1 if self.device.type == "cpu" else 64)
        env = make_env(configs[0], executor)
        self._members = [Member(i, config, env.twin(), self.device) for i, config in enumerate(configs)]
        states = states or {}
        for index, state in states.items():
            self._members[index].restore(state)
        if networks is None:
            new = {i: config for i, config in enumerate(configs) if i not in states}
            networks = networks_before(new, lambda first: self._run_before(first, executor))
        for index, weights in networks.items():
            take_over(self._members[index].policy, weights)
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

    def states(self) -> dict[int, State]:
        """All that each unfinished member is, by its place in the settings; to be asked for between two rounds."""
        return {member.index: member.state() for member in self._members if not member.is_done}

    def results(self) -> list[MemberResult]:
        """What each unfinished member has found so far; to be asked for between two rounds."""
        return [member.result() for member in self._members if not member.is_done]

    def _run_before(self, configs: Sequence[RunConfig], executor: Executor | None) -> Iterator[MemberResult]:
        """Run searches that come first."""
        return Ensemble(configs, self.device, self.members_at_once, executor).run()

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


def _check_shared(configs: Sequence[RunConfig]) -> None:
    """Raise ValueError or TypeError unless there are members that may go together."""
    if not configs:
        raise ValueError("`configs` is empty but must hold the settings of at least one search")
    for config in configs:
        if not isinstance(config, RunConfig):
            raise TypeError(f"`configs` hold {config!r} but must hold settings of type RunConfig")
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
    settings["replay.placements"] = str(config.replay.placements)
    settings["evaluator_settings"] = json.dumps(config.evaluator_settings, sort_keys=True)
    may_differ = REPRESENTATIONS[config.representation].may_differ
    kwargs = {name: value for name, value in config.representation_kwargs.items() if name not in may_differ}
    return settings | {"representation_kwargs": json.dumps(kwargs, sort_keys=True)}


def networks_before(
    configs: Mapping[int, RunConfig], run: Callable[[Sequence[RunConfig]], Iterable[MemberResult]]
) -> dict[int, dict[str, Tensor]]:
    """Weights that searches begin with, by their place: those with which searches that come first built their best.

    Parameters
    ----------
    configs
        Settings of the searches, by their place.
    run
        Runs those that come first, if there are any (`RunConfig.pretrained`).
    """
    first = {i: before for i, config in configs.items() if (before := config.before())}
    places = list(first)
    results = run(list(first.values())) if first else ()
    return {places[result.index]: result.best.weights for result in results if result.best is not None}
