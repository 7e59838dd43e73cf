"""ASLA: an agent that learns to build stable structures from one energy an episode."""

from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule, TensorDict
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor
from torch.func import functional_call

from asla_agents.build_collector import BuildCollector
from asla_agents.builds_in_flight import BuildsInFlight
from asla_agents.callbacks import ProgressBar, as_list
from asla_agents.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from asla_agents.checks import (
    check_calculator,
    check_policy_kwargs,
    check_representation,
    checked_masks,
    checked_settings,
    problem_of,
    representation_class,
)
from asla_agents.drawing import Representation
from asla_agents.exploration import Exploration, greedy
from asla_agents.explorer import BestBuild, Explorer
from asla_agents.imagination import Imagination, ImaginationSettings
from asla_agents.model_state import description_of, restore, settings_in, state_of
from asla_agents.q_map import QMapPolicy, placement_loss
from asla_agents.randomness import torch_seeded
from asla_agents.replay import BuildReplay, ReplaySettings
from asla_env.calculator_spec import CalculatorSpec
from asla_env.checks import whole_number
from asla_env.observation import placed_sites

_OF_TRAINING = ("batch_size", "gradient_steps", "max_grad_norm")
_EXPLORATION, _REPLAY = Exploration(), ReplaySettings()


class ASLA(BuildCollector):
    """The Atomistic Structure Learning Algorithm: a DQN whose Q-values are a map and whose targets are energies.

    An episode builds a structure atom by atom, mostly where the Q-map is highest, and ends with one energy. The network
    is then trained on all builds so far. There is no bootstrapping: the target of a placement is the energy of its
    build, or of a better one known to go through it, mapped to at most 1 by `BuildReplay.targets` when it is drawn.

    Parameters
    ----------
    policy
        ``"QMapPolicy"`` or a subclass of `QMapPolicy`.
    env
        An `asla_env.AtomPlacementEnv`, wrapped or not, or its id; or a `BuildVecEnv`, whose builds go on together.
    representation
        How atoms are drawn: a name from `asla_agents.representations.REPRESENTATIONS`, or a subclass of
        `Representation`.
    representation_kwargs
        Settings of the representation.
    network_kwargs
        Settings of the `QMapNetwork`.
    state_value
        Whether a value of the unfinished structure is learned beside the Q-map; see `QMapNetwork`.
    learning_rate
        Of the Adam optimiser.
    batch_size, gradient_steps
        Samples an update, and updates for each episode.
    warmup_episodes
        Random builds before the first update, and again after each fresh start.
    patience
        If in this many episodes for each atom to place, but as many as the warm-up at least, the lowest energy has
        fallen by less than 0.1 eV for each atom, the agent starts afresh, with a new warm-up, unless a success was
        found; so it does after a third of them without a fall if the lowest structure had eight turns to be refined;
        None: never.
    exploration
        The modified ε-greedy policy.
    replay
        How batches are drawn and energies become targets.
    augment
        Whether symmetries of the problem are learned from: samples are shown under random ones, and mirror images count
        as the same in targets, visits and among the best builds.
    max_grad_norm
        The gradient's norm is clipped to this.
    imagination
        Whether and how builds are imagined, and judged by a local energy model, before one of them is paid for.
    stats_window_size, tensorboard_log, verbose, seed, device
        As in every algorithm of Stable-Baselines3.
    policy_kwargs
        More settings of the policy, such as its optimiser.

    Attributes
    ----------
    explorer
        What the search is beside its network: settings of exploration, builds, the best one.
    calculator
        Of whose energies was learned (`CalculatorSpec.description`); None before the first.

    Raises
    ------
    ValueError
        If the environment is none of ours or holds several and is no `BuildVecEnv`, or a setting is out of its range.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"QMapPolicy": QMapPolicy}

    def __init__(
        self,
        policy: str | type[QMapPolicy],
        env: GymEnv | str,
        representation: str | type[Representation] = "gaussian",
        representation_kwargs: dict[str, Any] | None = None,
        network_kwargs: dict[str, Any] | None = None,
        state_value: bool = True,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 32,
        gradient_steps: int = 10,
        warmup_episodes: int = 20,
        patience: int | None = 4,
        exploration: Exploration = _EXPLORATION,
        replay: ReplaySettings = _REPLAY,
        augment: bool = True,
        max_grad_norm: float = 10.0,
        imagination: ImaginationSettings | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        theirs: dict[str, Any] = {"stats_window_size": stats_window_size, "tensorboard_log": tensorboard_log}
        theirs |= {"policy_kwargs": policy_kwargs, "verbose": verbose, "seed": seed, "device": device}
        theirs |= dict(zip(_OF_TRAINING, (batch_size, gradient_steps, max_grad_norm), strict=True))
        known_as = cast("type[DQNPolicy]", policy)  # of a DQNPolicy it has what is used here
        # transitions are not stored: the smallest buffer stands in for those of Stable-Baselines3
        super().__init__(known_as, env, learning_rate, buffer_size=1, _init_setup_model=False, **theirs)
        self.representation = representation
        self.representation_kwargs = representation_kwargs or {}
        self.network_kwargs = {"state_value": state_value, **(network_kwargs or {})}
        self._explore: dict[str, Any] = {"exploration": exploration, "replay": replay, "augment": augment}
        self._explore |= {"warmup_episodes": warmup_episodes, "patience": patience}
        check_representation(representation, self.representation_kwargs)
        check_policy_kwargs(self.policy_kwargs)
        ours = {"learning_rate": learning_rate, "state_value": state_value, "imagination": imagination}
        settings = checked_settings(ours | self._explore | {name: theirs[name] for name in (*_OF_TRAINING, "seed")})
        self._explore = {name: settings[name] for name in self._explore}
        self._imagine = settings["imagination"]
        for name in (*_OF_TRAINING, "seed", "learning_rate"):
            setattr(self, name, settings[name])
        self.base_settings = {name: theirs[name] for name in ("stats_window_size", "tensorboard_log", "verbose")}
        self.base_settings["policy_kwargs"] = dict(self.policy_kwargs)
        self.calculator: str | None = None
        self._flight = BuildsInFlight(0)
        self._setup_model()

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed environment and action space; weights have a random stream of their own, global ones are left alone."""
        if seed is not None:
            self.action_space.seed(seed)
            if self.env is not None:
                self.env.seed(seed)

    def _setup_model(self) -> None:
        """Make network, replay and random stream."""
        self.problem = problem_of(self._vec_env)
        self.policy_kwargs = {
            **self.policy_kwargs,
            "grid": self.problem.grid,
            "features_extractor_class": representation_class(self.representation),
            "features_extractor_kwargs": self.representation_kwargs,
            "network_kwargs": self.network_kwargs,
        }
        self.explorer = Explorer(self.problem, **self._explore, seed=self.seed)
        self.imagination = Imagination(self._imagine) if self._imagine else None
        with torch_seeded(self.seed):
            super()._setup_model()

    def learn(
        self,
        total_episodes: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "ASLA",
        reset_num_timesteps: bool = False,
        progress_bar: bool = False,
    ) -> Self:
        """Build structures and learn from them.

        Parameters
        ----------
        total_episodes
            Episodes to run, on top of those run before. Of several builds, the last round has as many as are left.
        callback, log_interval, tb_log_name, reset_num_timesteps
            As in Stable-Baselines3; intervals are episodes, and counting goes on unless told otherwise.
        progress_bar
            Whether to show a progress bar with the best energy.

        Raises
        ------
        ValueError
            If there is no environment, it is of another problem or has another calculator than before, this fails on
            the reference structure, or builds end early; if `total_episodes` is negative.
        TypeError
            If `total_episodes` is no whole number.
        """
        env = self._vec_env
        if whole_number("total_episodes", total_episodes) < 0:
            raise ValueError(f"`total_episodes` is {total_episodes} but must be at least 0")
        if description_of(problem_of(env)) != description_of(self.problem):
            raise ValueError("`env` has another problem but must have the one that the agent was made for")
        calculator: CalculatorSpec = env.get_attr("evaluator")[0].spec
        check_calculator(calculator, self.calculator)
        env.env_method("check_reference")
        self.calculator = calculator.description
        if [list(placed) for placed in env.get_attr("placed")] != self._flight.placed:
            self._last_obs = None  # others have used the environment since
        if reset_num_timesteps or self._last_obs is None:  # the environment, which starts new builds
            self._flight = BuildsInFlight(env.num_envs)
        callbacks = [ProgressBar(total_episodes)] * progress_bar + as_list(callback)
        total_timesteps = total_episodes * self.problem.n_to_place  # by this name callbacks of theirs know it
        is_first = reset_num_timesteps or not self.num_timesteps
        _, callback = self._setup_learn(total_timesteps, callbacks, is_first, tb_log_name)
        callback.on_training_start(locals(), globals())
        last = self._episode_num + total_episodes
        try:
            goes_on = True
            while goes_on and (before := self._episode_num) < last:
                goes_on = self._run_round(env, callback, log_interval, last - before)
                if self._episode_num == before:
                    continue  # stopped within the builds
                if self.explorer.is_stuck:
                    self._start_afresh()
                elif not self.explorer.is_warming_up:
                    self.train(self.gradient_steps * (self._episode_num - before), self.batch_size)
        except BaseException:
            self._last_obs = None  # the environment may have gone on without us: the next search begins a new build
            raise
        finally:
            callback.on_training_end()
        return self

    def train(self, gradient_steps: int, batch_size: int = 32) -> None:
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
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Choose legal actions for one image or a batch of them.

        Parameters
        ----------
        observation
            One-hot images, shape ([batch,] species, x, y[, z]).
        state, episode_start
            Not used, as the policy has no memory.
        deterministic
            Whether to choose greedily rather than explore, which draws from the random stream of the search.
        action_masks
            Legal actions, shape ([batch,] actions); read off the images if not given.

        Returns
        -------
        tuple
            Actions, shape ([batch]), and the state unchanged. In a batch, as of a vector environment, a build that has
            ended gets action 0.

        Raises
        ------
        ValueError
            If a shape is wrong, or a single image has no legal action.
        """
        shape = (len(self.problem.species), *self.problem.grid.shape)
        images = np.asarray(observation)
        if images.shape[-len(shape) :] != shape or not images.size:
            rule = f"must have shape ([batch,] {shape}), of one image at least"
            raise ValueError(f"`observation` has shape {images.shape} but {rule}")
        batch_shape, images = images.shape[: -len(shape)], images.reshape(-1, *shape)
        masks = checked_masks(action_masks, images, batch_shape, self.problem)
        actions = np.zeros(len(images), dtype=np.int64)
        q_values = self.explorer.symmetric_mean.averaged(self.q_map.advantages)(images)
        for i in np.flatnonzero(masks.any(axis=1)):
            if deterministic:
                actions[i] = greedy(q_values[i], masks[i])
            else:
                actions[i] = self.explorer.choose(placed_sites(images[i], self.problem), q_values[i], masks[i])
        return actions.reshape(batch_shape), state

    def q_values(self, images: NDArray[Any], weights: dict[str, Tensor] | None = None) -> NDArray[np.floating]:
        """Q-values of all actions, averaged over symmetric images as in a search.

        Parameters
        ----------
        images
            One-hot images, shape (batch, species, x, y[, z]).
        weights
            State of the policy to use instead of the present one, such as that of `best`.

        Returns
        -------
        ndarray
            Shape (batch, actions).
        """
        self.policy.set_training_mode(False)
        if weights is not None:
            weights = {name: values.to(self.device) for name, values in weights.items()}

        def q_maps(moved: NDArray[Any]) -> NDArray[np.floating]:
            """Q-values of images as the network has them."""
            with torch.no_grad():
                inputs = torch.as_tensor(moved, device=self.device)
                outputs = self.policy(inputs) if weights is None else functional_call(self.policy, weights, inputs)
            q_values: NDArray[np.floating] = outputs.cpu().numpy()
            return q_values

        return self.explorer.symmetric_mean.averaged(q_maps)(np.asarray(images))

    def save(self, path: str | Path) -> None:  # type: ignore[override]  # everything is saved, nothing left out
        """Write all that the agent is to a checkpoint, from which `load` goes on as if nothing had happened.

        What was begun of a build and not finished is left out, but its placements stay counted. Where every placement
        is followed by a callback, as by `CheckpointCallback`, a build is not finished yet after its last one.

        Parameters
        ----------
        path
            The file; if there is one, it is replaced by the new one when that is whole. Without an ending it gets
            ``.zip``, and directories that are missing are made.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        write_checkpoint(Path(path), state_of(self))

    @classmethod
    def load(  # type: ignore[override]  # nothing to force: an environment always starts a new build
        cls,
        path: str | Path,
        env: GymEnv | str,
        device: torch.device | str = "cpu",
        custom_objects: dict[str, Any] | None = None,
    ) -> Self:
        """Make the agent that wrote a checkpoint. Nothing in the file is executed.

        Parameters
        ----------
        path
            The file; ``.zip`` may be left out.
        env
            An environment of the same problem.
        device
            Where the network is to be.
        custom_objects
            Arguments of this class that a file cannot hold, such as a representation of one's own, by name.

        Raises
        ------
        CheckpointError
            If the file is not a whole checkpoint, or does not fit environment or arguments.
        OSError
            If the file cannot be read.
        """
        state = read_checkpoint(Path(path))
        try:
            model = cls(env=env, device=device, **settings_in(state, custom_objects))
            restore(model, state)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
            cause = f"{type(error).__name__}: {error}"
            raise CheckpointError(f"`path` is {path} but must be a checkpoint of this version ({cause})") from error
        return model

    def set_parameters(
        self, load_path_or_dict: str | Path | TensorDict, exact_match: bool = True, device: torch.device | str = "auto"
    ) -> None:
        """Take over weights and optimiser, those of a checkpoint or in the form of `get_parameters`.

        Parameters
        ----------
        load_path_or_dict
            File of the checkpoint, or the parameters.
        exact_match, device
            As in Stable-Baselines3.

        Raises
        ------
        CheckpointError
            If the file is not a whole checkpoint.
        ValueError
            If parameters are those of another network.
        """
        parameters = load_path_or_dict
        if not isinstance(parameters, dict):
            tensors = read_checkpoint(Path(parameters)).tensors
            parameters = {"policy": tensors["policy"], "policy.optimizer": tensors["optimizer"]}
        try:
            super().set_parameters(parameters, exact_match, device)
        except RuntimeError as error:
            raise ValueError(f"`load_path_or_dict` must have parameters of this network: {error}") from error

    def set_counters(self, steps: int, episodes: int, updates: int) -> None:
        """Set how many placements, episodes and updates there were."""
        self.num_timesteps, self._episode_num, self._n_updates = steps, episodes, updates

    @property
    def episodes(self) -> int:
        """Episodes that ended."""
        return self._episode_num

    @property
    def updates(self) -> int:
        """Updates of the network."""
        return self._n_updates

    @property
    def builds(self) -> BuildReplay:
        """The builds that are learned from: all since the last fresh start."""
        return self.explorer.builds

    @property
    def best(self) -> BestBuild | None:
        """The build of lowest energy so far, with the network that made it; None before the first."""
        return self.explorer.best

    def _start_afresh(self) -> None:
        """Forget all builds, and what was learned from them."""
        if self.imagination is not None:
            self.imagination.start_afresh()
        with torch_seeded(self.explorer.start_afresh()):
            policy = self.policy_class(
                self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
            )
        self.policy = cast(DQNPolicy, policy.to(self.device))
        self._create_aliases()

    def _update(self, batch_size: int) -> float:
        """One step of the optimiser; the loss before it."""
        batch = self.explorer.sample(batch_size)
        images, actions, weights, targets = (torch.as_tensor(part, device=self.device) for part in batch)
        q_values = self.q_map.q_at(images, actions)
        loss = placement_loss(q_values, weights, targets) + self.q_map.features_extractor.penalty()
        self.policy.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()
        return float(loss.detach())
