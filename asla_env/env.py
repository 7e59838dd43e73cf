"""The Gymnasium environment: place atoms one by one, be paid once for the finished structure."""

import copy
import logging
from collections.abc import Callable
from numbers import Real
from typing import Any, Self

import gymnasium as gym
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from gymnasium import spaces
from numpy.typing import NDArray

from asla_env import calculators
from asla_env.action import ActionMask
from asla_env.checks import checked_seed, whole_number
from asla_env.evaluator import Evaluation, Evaluator
from asla_env.grid import is_number
from asla_env.observation import one_hot
from asla_env.problem import Problem
from asla_env.problems import PROBLEMS
from asla_env.reward import RewardFunction, reward_function
from asla_env.text import structure_text

_LOGGER = logging.getLogger(__name__)
_REFERENCE_TRIES = 3

Observation = NDArray[np.int8]


class AtomPlacementEnv(gym.Env[Observation, np.int64]):
    """Build an atomistic structure atom by atom on a pixel grid.

    ## Action space
    ``Discrete(species * pixels)``: action ``species * n_pixels + pixel`` places one atom.

    ## Observation space
    ``MultiBinary((species, x, y[, z]))``: 1 where an atom is drawn, one channel a species.

    ## Reward
    0 until the structure is finished, then a function of its single-point energy. ``"scaled"`` is
    ``1 - 2 (E - E_ref) / (n * reward_window)`` clipped to [-1, 1], with ``n`` the number of atoms placed; ``"energy"``
    is ``-E / n``. A build that cannot be finished ends with -1, which is worse than any structure's ``"scaled"`` reward
    but not worse than ``"energy"`` where energies are above 1 eV per placed atom.

    ## Episode end
    When all atoms are placed; when no legal pixel is left (``info["dead_end"]``); after an illegal action
    (``info["invalid_action"]``). Episodes are never truncated.

    ## Info
    ``action_mask`` (int8, always). At the end also ``energy`` and ``energy_above_reference`` in eV (inf if there is
    none), ``is_success``, ``calculator_error`` (None or the cause), ``dead_end``, ``invalid_action``, and ``placed``,
    the actions taken, from which ``problem.structure`` makes the atoms after the environment was reset.

    Parameters
    ----------
    problem
        A `Problem`, or the name of one of ours (`asla_env.problems.PROBLEMS`).
    evaluator
        A calculator's name (`asla_env.calculators.names`), its import path, a function that returns an ASE calculator,
        or an `Evaluator`, which has settings of the calculator and may be shared.
    reward
        ``"scaled"``, ``"energy"``, or a function ``(energy, reference_energy, n_placed) -> reward``, energies in eV.
    reward_window
        Width in eV per placed atom of the energies that ``"scaled"`` tells apart.
    penalty
        What a structure counts, in eV per placed atom above the reference, if the calculator fails on it or returns an
        energy further than this from the reference. Without a reference such a structure has no energy, and the
        energy is held against that of separate atoms, with this much for each atom.
    invalid_action
        ``"terminate"``: an illegal action ends the episode with reward -1. ``"raise"``: it raises ValueError.
    render_mode
        ``"rgb_array"``, ``"ansi"`` or None.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}

    def __init__(
        self,
        problem: Problem | str,
        evaluator: str | Callable[[], Calculator] | Evaluator = calculators.DEFAULT,
        *,
        reward: str | RewardFunction = "scaled",
        reward_window: float = 10.0,
        penalty: float = 50.0,
        invalid_action: str = "terminate",
        render_mode: str | None = None,
    ) -> None:
        self.problem = _as_problem(problem)
        self.evaluator = evaluator if isinstance(evaluator, Evaluator) else Evaluator(evaluator)
        self.render_mode = render_mode
        self._reward = reward_function(reward, reward_window)
        self._penalty = penalty
        self._invalid_action = invalid_action
        self._reference = Evaluation(np.nan, None)
        self._energies_of_one = dict[str, float]()
        self._empty_mask = ActionMask(self.problem)
        self._check_arguments(reward)
        self.observation_space = spaces.MultiBinary([len(self.problem.species), *self.problem.grid.shape])
        self.action_space = spaces.Discrete(self.problem.n_actions)
        self._mask, self._placed, self._finished = self._empty_mask.copy(), list[int](), True

    @property
    def placed(self) -> tuple[int, ...]:
        """Actions taken in this episode."""
        return tuple(self._placed)

    @property
    def atoms(self) -> Atoms:
        """The structure so far, template and surroundings included."""
        return self.problem.structure(self._placed)

    @property
    def reference_energy(self) -> float:
        """Energy of the reference structure in eV; nan without a reference or while it cannot be computed."""
        if self.problem.reference is not None and not np.isfinite(self._reference.energy):
            self._reference = self.evaluator.evaluate(self.problem.reference, self.problem.reference_key)
        return self._reference.energy

    def check_reference(self) -> None:
        """Raise ValueError if the calculator fails on the reference structure, more than once."""
        reference = self.problem.reference
        if reference is None or any(np.isfinite(self.reference_energy) for _ in range(_REFERENCE_TRIES)):
            return
        raise ValueError(
            f"`evaluator` is {self.evaluator.calculator!r} but must be able to compute the reference structure: "
            f"{self._reference.error}"
        )

    def action_masks(self) -> NDArray[np.int8]:
        """Legal actions as a new array of 0 and 1, shape (n_actions,); all 0 after the end of an episode."""
        if self._finished:
            return np.zeros(self.problem.n_actions, dtype=np.int8)
        return self._mask.legal.astype(np.int8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start again from the template. Nothing here is random but `np_random` is seeded as Gymnasium asks.

        Parameters
        ----------
        seed
            Seed of `np_random`.
        options
            Not used.

        Raises
        ------
        TypeError, ValueError
            If the seed is no whole number of at least 0, or the options are no dictionary.
        """
        if not isinstance(options, dict | None):
            raise TypeError(f"`options` is {options!r} but must be a dictionary or None")
        super().reset(seed=None if seed is None else checked_seed("seed", seed))
        self._mask, self._placed, self._finished = self._empty_mask.copy(), [], False
        return self._observation(), {"action_mask": self.action_masks()}

    def twin(self) -> Self:
        """Another environment of the same settings, before its first reset, which shares evaluator and reference."""
        twin = copy.copy(self)
        twin._np_random = twin._np_random_seed = None
        twin.action_space, twin.observation_space = copy.deepcopy((self.action_space, self.observation_space))
        twin._mask, twin._placed, twin._finished = self._empty_mask.copy(), [], True
        return twin

    def completed_by(self, action: int) -> tuple[Atoms, bytes] | None:
        """The finished structure and its key for the evaluator, if a legal action places the last atom.

        For whoever computes the energies of many environments together and hands them to `step`.
        """
        is_last = len(self._placed) + 1 == self.problem.n_to_place
        if self._finished or not is_last or not self._is_legal(action):
            return None
        placed = [*self._placed, action]
        return self.problem.structure(placed), self.problem.canonical_key(placed)

    def step(
        self, action: np.int64, evaluation: Evaluation | None = None
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Place an atom; after the last one compute the energy.

        If an exception leaves this function, as when the calculator is interrupted, no atom was placed.

        Parameters
        ----------
        action
            Where to place which species.
        evaluation
            Energy of the structure that is finished by this action, where it was computed elsewhere.

        Raises
        ------
        TypeError
            If the action is no whole number.
        ValueError
            If the action is illegal and the environment was made with ``invalid_action="raise"``.
        gymnasium.error.ResetNeeded
            If the episode is over.
        """
        if self._finished:
            raise gym.error.ResetNeeded("the episode is over: call `reset` before `step`")
        chosen = whole_number("action", action)
        if not self._is_legal(chosen):
            return self._reject(chosen)
        structure = self.completed_by(chosen)
        if structure is not None:
            return self._finish([*self._placed, chosen], *structure, evaluation)
        self._placed.append(chosen)
        self._mask.place(chosen)
        if not self._mask.legal.any():
            return self._end(-1.0, dead_end=True)
        return self._observation(), 0.0, False, False, {"action_mask": self.action_masks()}

    def render(self) -> Any:
        """Picture of the structure as an image (height, width, 3) or as text, by `render_mode`."""
        if self.render_mode == "rgb_array":
            from asla_env.render import structure_image

            return structure_image(self._placed, self.problem)
        return structure_text(self._placed, self.problem) if self.render_mode == "ansi" else None

    def _observation(self) -> Observation:
        return one_hot(self._placed, self.problem)

    def _is_legal(self, action: int) -> bool:
        return bool(0 <= action < self.problem.n_actions and self._mask.legal[action])

    def _reject(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Answer an illegal action."""
        if self._invalid_action == "raise":
            raise ValueError(f"`action` is {action} but must be legal: see `action_masks()`")
        return self._end(-1.0, invalid_action=True)

    def _finish(
        self, placed: list[int], atoms: Atoms, key: bytes, evaluation: Evaluation | None
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Turn the energy of the finished structure, computed here unless it is given, into the reward."""
        n_placed = len(placed)
        reference = self.reference_energy
        evaluation = evaluation or self.evaluator.evaluate(atoms, key)
        energy, error = evaluation.energy, evaluation.error or self._absurdity(evaluation.energy, reference, atoms)
        if error is not None:
            energy = reference + self._penalty * n_placed
        elif self._reference.error is not None:
            error = f"the reference could not be computed: {self._reference.error}"
        reward = self._reward(energy, reference, n_placed) if np.isfinite(energy) else -1.0
        if not isinstance(reward, Real):
            raise TypeError(f"`reward` returned {reward!r} but must return a number")
        reward = reward if np.isfinite(reward) else -1.0
        self._placed = placed
        return self._end(reward, energy=energy, above=energy - reference, calculator_error=error)

    def _absurdity(self, energy: float, reference: float, atoms: Atoms) -> str | None:
        """Why an energy in eV cannot be that of a structure; None if it can."""
        if self.problem.reference is not None:
            expected, limit, what = reference, self._penalty * self.problem.n_to_place, "the reference"
        else:
            expected = sum(self._energy_of_one(symbol) for symbol in atoms.symbols)
            limit, what = self._penalty * len(atoms), "separate atoms"
        if not abs(energy - expected) > limit:  # nan, where nothing can be expected, tells nothing
            return None
        error = f"absurd energy: {energy} eV, {energy - expected:.6g} eV from {what}"
        _LOGGER.warning("%s", error)
        return error

    def _energy_of_one(self, symbol: str) -> float:
        """Energy in eV of one neutral atom alone in the cell; nan if there is none."""
        if symbol not in self._energies_of_one:
            cell, pbc = self.problem.template.cell, self.problem.template.pbc
            middle = self.problem.grid.positions(self.problem.grid.n_pixels // 2)
            atom = Atoms([symbol], positions=[middle], cell=cell, pbc=pbc)
            evaluator = self.evaluator.neutral()
            self._energies_of_one[symbol] = np.nan if evaluator is None else evaluator.evaluate(atom).energy
        return self._energies_of_one[symbol]

    def _end(
        self,
        reward: float,
        *,
        energy: float = np.inf,
        above: float = np.inf,
        calculator_error: str | None = None,
        dead_end: bool = False,
        invalid_action: bool = False,
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Close the episode."""
        self._finished = True
        info = {
            "action_mask": self.action_masks(),
            "placed": self.placed,
            "energy": _or_inf(energy),
            "energy_above_reference": _or_inf(above),
            "is_success": bool(calculator_error is None and above < self.problem.success_window),
            "calculator_error": calculator_error,
            "dead_end": dead_end,
            "invalid_action": invalid_action,
        }
        return self._observation(), float(reward), True, False, info

    def _check_arguments(self, reward: str | RewardFunction) -> None:
        """Raise ValueError if an argument is out of its range or the arguments contradict each other."""
        choices = {"_invalid_action": ("terminate", "raise"), "render_mode": (None, *self.metadata["render_modes"])}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if not (value is None or isinstance(value, str)) or value not in allowed:
                raise ValueError(f"`{name.strip('_')}` is {getattr(self, name)!r} but must be one of {allowed}")
        if not (is_number(self._penalty) and self._penalty > 0):
            raise ValueError(f"`penalty` is {self._penalty!r} eV per placed atom but must be positive and finite")
        if isinstance(reward, str) and reward == "scaled" and self.problem.reference is None:
            raise ValueError(
                "`reward` is 'scaled' but must be 'energy' or a function for a problem without a reference"
            )
        self.evaluator.spec.check_species({*self.problem.structure([]).symbols, *self.problem.species})
        if not self._empty_mask.legal.any():
            raise ValueError("`problem` leaves no legal pixel for the first atom but must leave at least one")


def _as_problem(problem: Problem | str) -> Problem:
    """A problem, or the one of this package that has the name."""
    if isinstance(problem, Problem):
        return problem
    if not isinstance(problem, str) or problem not in PROBLEMS:
        raise ValueError(f"`problem` is {problem!r} but must be a Problem or one of {tuple(PROBLEMS)}")
    return PROBLEMS[problem]()


def _or_inf(energy: float) -> float:
    """An energy, or inf in place of nan, which is not equal to itself: equal seeds are to give an equal `info`."""
    return np.inf if np.isnan(energy) else energy
