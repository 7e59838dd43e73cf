"""The environment as other libraries of reinforcement learning expect it: masks and images in its observations.

The wrappers stack: ``MaskedObservation(ImageObservation(RecordBuilds(env)))``.
"""

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from ase import Atoms
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from asla_env.env import AtomPlacementEnv

AnyEnv = gym.Env[Any, np.int64]


class MaskedObservation(gym.ObservationWrapper[dict[str, Any], np.int64, Any], RecordConstructorArgs):
    """Observations with the mask of legal actions beside the image, under the names that a library looks for.

    PettingZoo and TorchRL call the two ``observation`` and ``action_mask``, RLlib ``observations`` and ``action_mask``,
    Tianshou ``obs`` and ``mask``.

    Parameters
    ----------
    env
        An `AtomPlacementEnv`, wrapped or not.
    observation_key
        Name of what `env` observes.
    mask_key
        Name of the mask: int8, 1 where an action is legal, shape (n_actions,). After the end of an episode it is all 0.

    Raises
    ------
    ValueError
        If the names are equal, or `env` has no masks.
    """

    def __init__(self, env: AnyEnv, observation_key: str = "observation", mask_key: str = "action_mask") -> None:
        RecordConstructorArgs.__init__(self, observation_key=observation_key, mask_key=mask_key)
        super().__init__(env)
        if observation_key == mask_key:
            raise ValueError(f"`mask_key` is {mask_key!r} but must differ from `observation_key`")
        _placement_env(env)
        self._keys = observation_key, mask_key
        mask_space = spaces.MultiBinary(_placement_env(env).problem.n_actions)
        self.observation_space = spaces.Dict({observation_key: env.observation_space, mask_key: mask_space})

    def observation(self, observation: Any) -> dict[str, Any]:
        """Put the mask beside what was observed."""
        return dict(zip(self._keys, (observation, _placement_env(self.env).action_masks()), strict=True))


class ImageObservation(gym.ObservationWrapper[NDArray[np.uint8], np.int64, NDArray[np.int8]], RecordConstructorArgs):
    """Observations as images of bytes, 0 or 255, channels first, each pixel enlarged to a square of pixels.

    This is what ``CnnPolicy`` of Stable-Baselines3 takes. Its convolutions need 36 pixels along each axis.

    Parameters
    ----------
    env
        An environment that observes 0 and 1 in an array of shape (species, x, y).
    least_pixels
        Pixels that the shorter axis must have; the images are enlarged by the smallest whole number that gives them.

    Raises
    ------
    ValueError
        If `least_pixels` is not positive, or `env` does not observe an image with two axes.
    """

    def __init__(self, env: AnyEnv, least_pixels: int = 36) -> None:
        RecordConstructorArgs.__init__(self, least_pixels=least_pixels)
        super().__init__(env)
        if least_pixels < 1:
            raise ValueError(f"`least_pixels` is {least_pixels} but must be at least 1")
        space = env.observation_space
        if not isinstance(space, spaces.MultiBinary) or len(space.shape) != 3:
            raise ValueError(f"`env` observes {space} but must observe 0 and 1 in an array of shape (species, x, y)")
        n_species, *pixels = space.shape
        self._factor = -(-least_pixels // min(pixels))
        self.observation_space = spaces.Box(0, 255, (n_species, *(self._factor * n for n in pixels)), np.uint8)

    def observation(self, observation: NDArray[np.int8]) -> NDArray[np.uint8]:
        """Enlarge the image and make its ones 255."""
        square = np.full((1, self._factor, self._factor), 255, dtype=np.uint8)
        return np.kron(observation.astype(np.uint8), square)


class RecordBuilds(gym.Wrapper[Any, np.int64, Any, np.int64], RecordConstructorArgs):
    """Keep the best structure, whoever builds it, and count the actions and the illegal ones.

    Parameters
    ----------
    env
        An `AtomPlacementEnv`, wrapped or not.

    Attributes
    ----------
    best_energy
        Lowest energy in eV that the calculator gave for a finished structure; inf before the first.
    best_placed
        Actions that build that structure; empty before the first.
    n_actions, n_illegal
        Actions taken and, among them, illegal ones.
    """

    def __init__(self, env: AnyEnv) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self.best_energy = np.inf
        self.best_placed: tuple[int, ...] = ()
        self.n_actions = self.n_illegal = 0
        _placement_env(env)
        if _is_within(env, WithoutInfo):
            raise ValueError("`env` is in `WithoutInfo` but must tell how builds end: `WithoutInfo(RecordBuilds(env))`")

    @property
    def best_atoms(self) -> Atoms:
        """The best structure, template and surroundings included."""
        return _placement_env(self.env).problem.structure(self.best_placed)

    def summary(self) -> str:
        """Tell in one line the best energy, and how many actions were legal."""
        best = f"best energy {self.best_energy:.3f} eV" if self.best_placed else "no structure was finished"
        return f"{best}; {self.n_actions - self.n_illegal} of {self.n_actions} actions were legal"

    def step(self, action: np.int64) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and look at what is told at the end of an episode."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.n_actions += 1
        if terminated:
            self.n_illegal += info["invalid_action"]
            if info["calculator_error"] is None and info["energy"] < self.best_energy:
                self.best_energy, self.best_placed = info["energy"], info["placed"]
        return observation, reward, terminated, truncated, info


class WithoutInfo(gym.Wrapper[Any, np.int64, Any, np.int64], RecordConstructorArgs):
    """Empty `info`, for libraries that keep it in their replay, as Tianshou does, which refuses None there.

    Parameters
    ----------
    env
        Any environment.
    """

    def __init__(self, env: AnyEnv) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start again."""
        return self.env.reset(seed=seed, options=options)[0], {}

    def step(self, action: np.int64) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step."""
        return *self.env.step(action)[:-1], {}


def _is_within(env: AnyEnv, kind: type[gym.Wrapper[Any, Any, Any, Any]]) -> bool:
    """Whether one of the wrappers of an environment is of a kind."""
    while isinstance(env, gym.Wrapper):
        if isinstance(env, kind):
            return True
        env = env.env
    return False


def _placement_env(env: AnyEnv) -> AtomPlacementEnv:
    """The environment under all wrappers."""
    inner = env.unwrapped
    if not isinstance(inner, AtomPlacementEnv):
        raise ValueError(f"`env` is {env} but must be an AtomPlacementEnv, wrapped or not")
    return inner
