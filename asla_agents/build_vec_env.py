"""Many builds together for Stable-Baselines3, their energies computed at once."""

from typing import Any, ClassVar

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from asla_env.env import AtomPlacementEnv, Observation
from asla_env.observation import one_hot
from asla_env.vector import Build, builds_of, hand_energies


class BuildVecEnv(DummyVecEnv):
    """Advance builds of one problem together, for any algorithm; the energies of a step are computed at once.

    A build that ends makes room for the next at once, as in every `VecEnv`: its last image is
    ``info["terminal_observation"]``. The action `WAIT` leaves a build as it is for this step.

    Parameters
    ----------
    env
        The environment, which becomes the first build; the others are its twins and share evaluator and reference.
    num_envs
        Builds that go on together.

    Raises
    ------
    ValueError
        If there is no build, or the environment is of another kind or wrapped.
    """

    WAIT: ClassVar[int] = -1

    def __init__(self, env: AtomPlacementEnv, num_envs: int) -> None:
        if not isinstance(env, AtomPlacementEnv):
            raise ValueError(f"`env` is {env} but must be an asla_env.AtomPlacementEnv without wrappers")
        self._builds = [_WaitingBuild(build.placement) for build in builds_of(env, num_envs)]
        super().__init__([build.itself for build in self._builds])

    def step_async(self, actions: np.ndarray) -> None:
        """Take note of an action for each build, shape (builds,)."""
        if np.shape(actions) != (self.num_envs,):
            raise ValueError(f"`actions` has shape {np.shape(actions)} but must have shape ({self.num_envs},)")
        super().step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Take the actions; images (builds, species, x, y[, z]), rewards and ends (builds,), and an info for each."""
        hand_energies(self._builds, self.actions)
        return super().step_wait()


class _WaitingBuild(Build):
    """A build that may be left as it is."""

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Place an atom, or wait."""
        if action != BuildVecEnv.WAIT:
            return super().step(action)
        image = one_hot(self.placement.placed, self.placement.problem)
        return image, 0.0, False, False, {"action_mask": self.placement.action_masks()}
