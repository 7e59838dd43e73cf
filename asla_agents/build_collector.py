"""Stable-Baselines3's way of collecting transitions, for builds that end with one energy."""

from functools import partial
from typing import Any, cast

import numpy as np
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.dqn.policies import QNetwork

from asla_agents.build_vec_env import BuildVecEnv
from asla_agents.builds_in_flight import BuildsInFlight
from asla_agents.explorer import Explorer
from asla_agents.imagination import Imagination
from asla_agents.memory import release_free_memory
from asla_agents.planning import plan
from asla_agents.q_map import QMapPolicy
from asla_env.problem import Problem

_EPISODES_BETWEEN_RELEASES = 20


class BuildCollector(DQN):
    """A DQN that collects rounds of whole builds, and keeps these instead of transitions.

    Attributes
    ----------
    problem
        What is built.
    explorer
        What the search is beside its network: settings of exploration, builds, the best one.
    imagination
        How builds are imagined before one of them is paid for; None if they are not.
    """

    problem: Problem
    explorer: Explorer
    imagination: Imagination | None
    _flight: BuildsInFlight

    @property
    def q_map(self) -> QMapPolicy:
        """The network with its representation."""
        return cast(QMapPolicy, self.policy)

    @property
    def _vec_env(self) -> VecEnv:
        """The environment, which must be there to learn."""
        if self.env is None:
            raise ValueError("`env` is None but must be an environment to learn in: see `set_env`")
        return self.env

    def _create_aliases(self) -> None:
        """Without bootstrapping there is one network only."""
        self.q_net = self.q_net_target = cast(QNetwork, self.policy)

    def _run_round(self, env: VecEnv, callback: BaseCallback, log_interval: int | None, most: int) -> bool:
        """Build as many structures together as there are environments, or so many at most; whether to go on."""
        self._flight.begin_round(most)
        frequency = TrainFreq(1, TrainFrequencyUnit.EPISODE)
        if env.num_envs > 1:  # for which Stable-Baselines3 counts steps
            frequency = TrainFreq(self._flight.steps_left(self.problem.n_to_place), TrainFrequencyUnit.STEP)
        before, buffer = self._episode_num, cast(ReplayBuffer, self.replay_buffer)
        rollout = self.collect_rollouts(env, callback, frequency, buffer, log_interval=log_interval)
        if not rollout.continue_training:  # a callback stopped it before the last placements were stored
            step = callback.locals
            self._store_transition(
                buffer, step["buffer_actions"], step["new_obs"], step["rewards"], step["dones"], step["infos"]
            )
            self._episode_num += int(np.sum(step["dones"]))
        if self._episode_num // _EPISODES_BETWEEN_RELEASES > before // _EPISODES_BETWEEN_RELEASES:
            release_free_memory()
        return rollout.continue_training

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose the next placements: any legal ones while warming up; builds that have ended wait."""
        masks = np.array(self._vec_env.env_method("action_masks")).astype(bool)
        q_map, flight = self.q_map, self._flight
        flight.plan(partial(plan, self.explorer, q_map, self.imagination))
        asking = [] if self.explorer.is_warming_up else [i for i in flight.going if not flight.plans[i]]
        q_maps = self.explorer.symmetric_mean.averaged(q_map.advantages)
        q_values = q_maps(np.asarray(self._last_obs)[asking]) if asking else ()
        values, actions = dict(zip(asking, q_values, strict=True)), np.full(n_envs, BuildVecEnv.WAIT)
        for i in flight.going:
            if flight.plans[i]:
                actions[i] = flight.plans[i].pop(0)
            elif i in values:
                others = flight.others(i, actions)
                actions[i] = self.explorer.choose(flight.placed[i], values[i], masks[i], in_flight=others)
            else:
                actions[i] = self.explorer.choose_any(masks[i])
        return actions, actions

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Remember placements, and builds when they end; the buffer of single transitions stays empty."""
        self._flight.place(buffer_action)
        self.num_timesteps -= len(dones) - len(self._flight.going)  # those that waited
        self._last_obs = new_obs
        for i in map(int, np.flatnonzero(dones)):
            placed = self._flight.end(i)
            _check_end(placed, infos[i])
            self.explorer.add(placed, infos[i], self.policy)

    def _on_step(self) -> None:
        """Neither ε nor a target network has a schedule."""


def _check_end(placed: list[int], info: dict[str, Any]) -> None:
    """Raise unless a build has an energy and is the one that was chosen; an illegal last action is not in it."""
    if "energy" not in info:
        rule = "must have no limit on its steps, and no wrapper that hides `info`"
        raise ValueError(f"`env` ended a build without an energy but {rule}")
    built = list(map(int, info["placed"]))
    if built != placed[: len(placed) - info["invalid_action"]]:
        rule = "must have no wrapper that changes actions, and be used by nothing else, such as a callback, meanwhile"
        raise ValueError(f"`env` placed {built} instead of {placed} but {rule}")
