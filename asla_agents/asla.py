"""ASLA: an agent that learns to build stable structures from one energy an episode."""

from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from torch import Tensor

from asla_agents.exploration import Exploration, choose, greedy
from asla_agents.q_map import QMapPolicy
from asla_agents.replay import BuildReplay, ReplaySettings
from asla_agents.representations import REPRESENTATIONS, Representation
from asla_agents.symmetry import augmentations
from asla_env.action import action_mask
from asla_env.observation import placed_sites
from asla_env.problem import Problem


class ASLA(DQN):
    """The Atomistic Structure Learning Algorithm: a DQN whose Q-values are a map and whose targets are energies.

    An episode builds a structure atom by atom, mostly where the Q-map is highest, and ends with one energy. The network
    is then trained on all builds so far. There is no bootstrapping: the target of a placement is the lowest energy that
    any build reached through it, mapped to [-1, 1] by `BuildReplay.targets` when a batch is drawn.

    Parameters
    ----------
    policy
        ``"QMapPolicy"`` or a subclass of `QMapPolicy`.
    env
        An `asla_env.AtomPlacementEnv`, wrapped or not, or its id.
    representation
        How atoms are drawn: a name from `asla_agents.representations.REPRESENTATIONS` or a subclass of `Representation`.
    representation_kwargs
        Settings of the representation.
    network_kwargs
        Settings of the `QMapNetwork`.
    learning_rate
        Of the Adam optimiser.
    batch_size, gradient_steps
        Samples an update, and updates after each episode.
    warmup_episodes
        Random builds before the first update.
    exploration
        The modified ε-greedy policy.
    replay
        How batches are drawn and energies become targets.
    augment
        Whether samples are shown under random symmetries of the problem.
    max_grad_norm
        The gradient's norm is clipped to this.
    stats_window_size, tensorboard_log, verbose, seed, device
        As in every algorithm of Stable-Baselines3.
    policy_kwargs
        More settings of the policy, such as its optimiser.

    Raises
    ------
    ValueError
        If the environment is none of ours or holds several, or a setting is out of its range.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"QMapPolicy": QMapPolicy}
    policy: QMapPolicy
    replay_buffer: BuildReplay

    def __init__(
        self,
        policy: str | type[QMapPolicy],
        env: GymEnv | str,
        representation: str | type[Representation] = "gaussian",
        representation_kwargs: dict[str, Any] | None = None,
        network_kwargs: dict[str, Any] | None = None,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 64,
        gradient_steps: int = 3,
        warmup_episodes: int = 20,
        exploration: Exploration = Exploration(),
        replay: ReplaySettings = ReplaySettings(),
        augment: bool = True,
        max_grad_norm: float = 10.0,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "cpu",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            buffer_size=1,
            batch_size=batch_size,
            train_freq=(1, "episode"),
            gradient_steps=gradient_steps,
            max_grad_norm=max_grad_norm,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.representation = representation
        self.representation_kwargs = representation_kwargs or {}
        self.network_kwargs = network_kwargs or {}
        self.warmup_episodes = warmup_episodes
        self.exploration = exploration
        self.replay_settings = replay
        self.augment = augment
        self.problem: Problem | None = None
        self.rng: np.random.Generator | None = None
        self._build: list[int] = []
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        """Make network, replay and random stream; those that a saved model brought along are kept."""
        if self.problem is None:
            self.problem = _problem_of(self.env)
            self.policy_kwargs.update(
                grid=self.problem.grid,
                features_extractor_class=_representation_class(self.representation),
                features_extractor_kwargs=self.representation_kwargs,
                network_kwargs=self.network_kwargs,
            )
            self.rng = np.random.default_rng(self.seed)
            symmetries = augmentations(self.problem) if self.augment else augmentations(self.problem)[:1]
            self.replay_buffer = BuildReplay(self.problem, self.replay_settings, symmetries)
        super()._setup_model()

    def _create_aliases(self) -> None:
        """Without bootstrapping there is one network only."""
        self.q_net = self.q_net_target = self.policy

    def learn(  # type: ignore[override]
        self,
        total_episodes: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 100,
        tb_log_name: str = "ASLA",
        progress_bar: bool = False,
    ) -> Self:
        """Build structures and learn from them.

        Parameters
        ----------
        total_episodes
            Episodes to run, on top of those run before.
        callback, log_interval, tb_log_name
            As in Stable-Baselines3; intervals are episodes.
        progress_bar
            Whether to show a progress bar with the best energy.
        """
        steps = total_episodes * self.problem.n_to_place
        callbacks = [callback, ProgressBar(total_episodes)] if progress_bar else callback
        self._build = [] if self._last_obs is None else self._build
        _, callback = self._setup_learn(steps, callbacks, self.num_timesteps == 0, tb_log_name)
        callback.on_training_start(locals(), globals())
        last = self._episode_num + total_episodes
        while self._episode_num < last:
            rollout = self.collect_rollouts(
                self.env, callback, self.train_freq, self.replay_buffer, log_interval=log_interval
            )
            if not rollout.continue_training:
                break
            if len(self.replay_buffer) >= self.warmup_episodes:
                self.train(self.gradient_steps, self.batch_size)
        callback.on_training_end()
        return self

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Update the network on batches drawn from all builds.

        Parameters
        ----------
        gradient_steps
            Number of updates.
        batch_size
            Samples an update.
        """
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        losses = [self._update(batch_size) for _ in range(gradient_steps)]
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        if losses:
            self.logger.record("train/loss", np.mean(losses))

    def predict(
        self,
        observation: NDArray[Any],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
        action_masks: NDArray[Any] | None = None,
    ) -> tuple[NDArray[np.int64], tuple[NDArray[Any], ...] | None]:
        """Choose legal actions for one image or a batch of them.

        Parameters
        ----------
        observation
            One-hot images, shape ([batch,] species, x, y[, z]).
        state, episode_start
            Not used, as the policy has no memory.
        deterministic
            Whether to choose greedily rather than explore.
        action_masks
            Legal actions, shape ([batch,] actions); read off the images if not given.

        Returns
        -------
        tuple
            Actions, shape ([batch]), and the state unchanged.
        """
        images = np.asarray(observation).reshape(-1, *self.observation_space.shape)
        if action_masks is None:
            action_masks = np.array([action_mask(placed_sites(image, self.problem), self.problem) for image in images])
        masks = np.asarray(action_masks).reshape(len(images), -1).astype(bool)
        q_values = self.q_values(images)
        if deterministic:
            actions = [greedy(q, mask) for q, mask in zip(q_values, masks, strict=True)]
        else:
            actions = [choose(q, mask, self.exploration, self.rng) for q, mask in zip(q_values, masks, strict=True)]
        return np.array(actions).reshape(np.shape(observation)[: -len(self.observation_space.shape)]), state

    def q_values(self, images: NDArray[Any]) -> NDArray[np.floating]:
        """Q-values of all actions, shape (batch, actions), of one-hot images (batch, species, x, y[, z])."""
        self.policy.set_training_mode(False)
        with torch.no_grad():
            return self.policy(torch.as_tensor(images, device=self.device)).cpu().numpy()

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        masks = np.array(self.env.env_method("action_masks")).astype(bool)
        if len(self.replay_buffer) < self.warmup_episodes:
            actions = np.array([self.rng.choice(np.flatnonzero(mask)) for mask in masks])
        else:
            actions, _ = self.predict(self._last_obs, action_masks=masks)
        return actions, actions

    def _store_transition(
        self,
        replay_buffer: BuildReplay,
        buffer_action: NDArray[np.int64],
        new_obs: NDArray[Any],
        reward: NDArray[Any],
        dones: NDArray[np.bool_],
        infos: list[dict[str, Any]],
    ) -> None:
        self._build.append(int(buffer_action[0]))
        self._last_obs = new_obs
        if dones[0]:
            replay_buffer.add(self._build, infos[0]["energy"])
            self._build = []

    def _on_step(self) -> None:
        """Neither ε nor a target network has a schedule."""

    def _update(self, batch_size: int) -> float:
        """One step of the optimiser; the loss before it."""
        batch = self.replay_buffer.sample(batch_size, self.rng)
        images, actions, weights, targets = (torch.as_tensor(part, device=self.device) for part in batch)
        q_values = self.policy(images).gather(1, actions)
        loss = placement_loss(q_values, weights, targets) + self.policy.features_extractor.penalty()
        self.policy.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()
        return float(loss.detach())

    def _excluded_save_params(self) -> list[str]:
        return [name for name in super()._excluded_save_params() if name != "replay_buffer"]


def placement_loss(q_values: Tensor, weights: Tensor, targets: Tensor) -> Tensor:
    """Mean-squared error between the Q-values of placements and their targets.

    Parameters
    ----------
    q_values, weights
        Q-values and weights of the placements of each sample, shape (batch, placements).
    targets
        Target of each sample, shape (batch,).
    """
    errors = (q_values - targets.to(q_values.dtype)[:, None]) ** 2
    return (weights * errors).sum() / weights.sum()


def _problem_of(env: Any) -> Problem:
    """Problem of the only environment."""
    try:
        problems = env.get_attr("problem")
    except AttributeError as error:
        raise ValueError("`env` has no `problem` but must be an asla_env.AtomPlacementEnv") from error
    if len(problems) != 1:
        raise ValueError(f"`env` holds {len(problems)} environments but must hold one")
    return problems[0]


def _representation_class(representation: str | type[Representation]) -> type[Representation]:
    """Class of a representation given by name."""
    if isinstance(representation, type):
        return representation
    if representation not in REPRESENTATIONS:
        raise ValueError(f"`representation` is {representation!r} but must be one of {tuple(REPRESENTATIONS)}")
    return REPRESENTATIONS[representation]
