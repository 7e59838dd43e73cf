"""Many builds of one problem that go on together, their energies computed at once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import gymnasium as gym
import numpy as np
from ase.calculators.calculator import Calculator
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from asla_env import calculators
from asla_env.checks import checked_seed, whole_number
from asla_env.env import AtomPlacementEnv, Observation
from asla_env.evaluator import Evaluation, Evaluator
from asla_env.problem import Problem


class AtomPlacementVectorEnv(SyncVectorEnv[NDArray[np.int8], NDArray[np.int64]]):
    """Advance builds of one problem together; the energies of those that a step finishes are computed at once.

    Results are those of a `gymnasium.vector.SyncVectorEnv` of the same environments, in every mode of automatic reset,
    to the rounding of a calculator that computes batches. ``infos["action_mask"]`` has the shape (builds, actions).

    Parameters
    ----------
    num_envs
        Builds that go on together.
    problem, evaluator
        As for `AtomPlacementEnv`. The builds share them; the reference is computed here, once.
    autoreset_mode
        When a build that ended makes room for the next; see `gymnasium.vector.AutoresetMode`.
    settings
        What else `AtomPlacementEnv` takes. ``render`` returns a picture or text for each build.

    Raises
    ------
    ValueError
        If there is no build, or an argument is refused by `AtomPlacementEnv`.
    """

    def __init__(
        self,
        num_envs: int,
        problem: Problem | str,
        evaluator: str | Callable[[], Calculator] | Evaluator = calculators.DEFAULT,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        **settings: Any,
    ) -> None:
        self._builds = builds_of(AtomPlacementEnv(problem, evaluator, **settings), num_envs)
        super().__init__([build.itself for build in self._builds], autoreset_mode=autoreset_mode)

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Take an action in each build.

        Parameters
        ----------
        actions
            One for each build, shape (builds,).

        Returns
        -------
        tuple
            Images (builds, species, x, y[, z]), rewards, whether terminated, whether truncated, all of shape (builds,),
            and infos, batched as Gymnasium does.

        Raises
        ------
        TypeError, ValueError
            If there is not one whole number for each build.
        gymnasium.error.ResetNeeded
            If a build is over and is not reset by itself.
        """
        chosen = self._entries("actions", actions)
        if self.metadata["autoreset_mode"] == AutoresetMode.DISABLED and self._autoreset_envs.any():
            raise gym.error.ResetNeeded("a build is over: call `reset` with a `reset_mask` before `step`")
        hand_energies(self._builds, chosen)
        return super().step(np.array(chosen))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int8], dict[str, Any]]:
        """Start all builds again, or some of them.

        Parameters
        ----------
        seed
            Seed of the first build, those of the others follow; or one for each.
        options
            With a `reset_mask`, true or false for each build, only those with true are started again.

        Raises
        ------
        TypeError, ValueError
            If a seed or the mask is none.
        """
        if isinstance(seed, list | tuple) or (isinstance(seed, np.ndarray) and seed.ndim):
            self._check_length("seed", seed)
            seed = [None if one is None else checked_seed("seed", one) for one in seed]
        elif seed is not None:
            seed = checked_seed("seed", seed)
        if not isinstance(options, dict | None):
            raise TypeError(f"`options` is {options!r} but must be a dictionary or None")
        if options is not None and "reset_mask" in options:
            self._check_mask(options["reset_mask"])
        images, infos = super().reset(seed=seed, options=options)
        infos["action_mask"] = np.stack(self.call("action_masks"))  # of the builds that go on too
        infos["_action_mask"] = np.ones(self.num_envs, dtype=np.bool_)
        return images, infos

    def _entries(self, name: str, values: Any) -> list[int]:
        """Whole numbers, one for each build."""
        self._check_length(name, values)
        return [whole_number(name, value) for value in values]

    def _check_length(self, name: str, values: Any) -> None:
        """Raise unless there is one value for each build."""
        if not (isinstance(values, list | tuple) or isinstance(getattr(values, "shape", None), tuple)):
            raise TypeError(f"`{name}` is {values!r} but must hold one for each build")
        n = len(values) if isinstance(values, list | tuple) or values.shape else 0
        if n != self.num_envs:
            raise ValueError(f"`{name}` holds {n} but must hold one for each of the {self.num_envs} builds")

    def _check_mask(self, mask: Any) -> None:
        """Raise unless a mask tells which builds are to start again."""
        is_mask = isinstance(mask, np.ndarray) and mask.shape == (self.num_envs,) and mask.dtype == np.bool_
        if not is_mask or not mask.any():
            raise ValueError(
                f"`reset_mask` is {mask!r} but must be an array of {self.num_envs} truth values, one true at least"
            )


class Build(gym.Wrapper[Observation, np.int64, Observation, np.int64]):
    """An environment that is handed the energy of the structure that its next step finishes.

    Parameters
    ----------
    env
        The environment.

    Attributes
    ----------
    placement
        The environment.
    evaluation
        The energy; None: the environment computes it.
    """

    def __init__(self, env: AtomPlacementEnv) -> None:
        super().__init__(env)
        self.placement = env
        self.evaluation: Evaluation | None = None

    def itself(self) -> Self:
        """Return the build, for who asks for a function that makes an environment."""
        return self

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Place an atom, with the energy that was handed over."""
        evaluation, self.evaluation = self.evaluation, None
        return self.placement.step(action, evaluation)


def builds_of(env: AtomPlacementEnv, n: int) -> list[Build]:
    """Make builds of an environment and its twins, which share what is known of the reference.

    Raises
    ------
    ValueError
        If `n` is not at least 1.
    TypeError
        If it is no whole number.
    """
    if whole_number("num_envs", n) < 1:
        raise ValueError(f"`num_envs` is {n} but must be at least 1")
    _ = env.reference_energy  # computed now, for all
    return [Build(env), *(Build(env.twin()) for _ in range(n - 1))]


def hand_energies(builds: Sequence[Build], actions: Iterable[int]) -> None:
    """Compute the energies of the structures that these actions finish, and hand them to their builds."""
    evaluations = evaluate_together([build.placement for build in builds], actions)
    for build, evaluation in zip(builds, evaluations, strict=True):
        build.evaluation = evaluation


def evaluate_together(
    envs: Sequence[AtomPlacementEnv],
    actions: Iterable[int],
    as_array: Callable[[NDArray[np.float64]], Any] = np.asarray,
) -> list[Evaluation | None]:
    """Compute the energies of the structures that actions finish, all at once.

    Parameters
    ----------
    envs
        Environments of one problem that share their evaluator.
    actions
        What each is about to do.
    as_array
        As for `Evaluator.evaluate_many`.

    Returns
    -------
    list
        What each environment's `step` takes beside the action; None where it finishes no structure.
    """
    finished = {
        i: structure
        for i, (env, action) in enumerate(zip(envs, actions, strict=True))
        if (structure := env.completed_by(int(action))) is not None
    }
    evaluations: list[Evaluation | None] = [None] * len(envs)
    if finished:
        structures, keys = zip(*finished.values(), strict=True)
        for i, evaluation in zip(finished, envs[0].evaluator.evaluate_many(structures, keys, as_array), strict=True):
            evaluations[i] = evaluation
    return evaluations
