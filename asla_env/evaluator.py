"""Single-point energies of finished structures, guarded and cached."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, nan
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from asla_env.calculator_spec import CalculatorSpec
from asla_env.calculators import DEFAULT, CalculatorFactory

_LOGGER = logging.getLogger(__name__)
_CACHE_SIZE = 10_000


@dataclass(frozen=True)
class Evaluation:
    """Energy of a structure in eV; nan, with the cause in ``error``, if there is none."""

    energy: float
    error: str | None


class Evaluator:
    """Computes one single-point energy a structure with any ASE calculator.

    An energy depends on the structure alone, to the last bit, not on what was computed before:
    calculators that keep a wavefunction are reset before each structure. A structure that makes
    the calculator fail has no energy but does no harm to those after it.

    Parameters
    ----------
    calculator : str or callable
        A name (`asla_env.calculators.names`), an import path such as ``"ase.calculators.emt:EMT"``, or a class or
        function that returns an ASE calculator. It is called for the first structure, and again after each failure.
    executor : concurrent.futures.Executor, optional
        Where `evaluate_many` computes energies, such as a pool of processes, to which the calculator's name or
        function is pickled; without it they are computed here.
    settings : mapping, optional
        Keyword arguments that the calculator is made with; docs/calculators.md has those of the named ones.

    Attributes
    ----------
    spec : CalculatorSpec
        The calculator with its settings.
    calculator : str
        Name of the calculator, for display.
    n_computed, n_cached : int
        How many structures were computed, failures included, and how many answered from the cache.

    Raises
    ------
    ValueError
        If no calculator has this name.
    ImportError
        If there is nothing at this import path.
    TypeError
        If `calculator` is neither a name nor a function, or has no such setting.
    """

    def __init__(
        self,
        calculator: str | CalculatorFactory = DEFAULT,
        executor: Executor | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.spec, self._executor = CalculatorSpec(calculator, settings or {}), executor
        self.calculator, self._batch = self.spec.name, self.spec.batch
        self.n_computed = 0
        self.n_cached = 0
        self._live: Calculator | None = None
        self._energies = OrderedDict[bytes, float]()  # least recently used first

    def __getstate__(self) -> dict[str, Any]:
        """Leave the live calculator behind, which may hold memory of a compiled library, and the executor."""
        return self.__dict__ | {"_live": None, "_executor": None}

    def evaluate(self, atoms: Atoms, key: bytes | None = None) -> Evaluation:
        """Compute the energy of a structure, or look it up.

        Parameters
        ----------
        atoms : Atoms
            The structure; it is not changed, and a calculator of its own is not used.
        key : bytes, optional
            Identifies the structure. Structures of the same key share the energy of the first one
            that succeeded; without a key nothing is cached.

        Returns
        -------
        Evaluation
            With an ``error`` if the calculator raised an exception or returned anything but a
            finite number; the cause is logged as a warning. An exception from making the
            calculator is not caught: it would befall every structure.
        """
        evaluation = self._look_up(key)
        if evaluation is None:
            evaluation = self._compute(atoms)
            self._remember(key, evaluation)
        return evaluation

    def evaluate_many(
        self,
        structures: Sequence[Atoms],
        keys: Sequence[bytes | None],
        as_array: Callable[[NDArray[np.float64]], Any] = np.asarray,
    ) -> list[Evaluation]:
        """Compute the energies of structures together, or look them up.

        All are in flight at once if there is an executor, and one batch if the calculator has a form for that.

        Parameters
        ----------
        structures : sequence of Atoms
            The structures, which differ in nothing but positions.
        keys : sequence of bytes or None
            For each what `evaluate` takes. Structures of the same key are computed once.
        as_array : callable
            Makes of an array what a batch is computed with, such as a tensor on a GPU.

        Returns
        -------
        list of Evaluation
            What `evaluate` would return for each, to rounding. What breaks the executor itself is raised, as it would
            befall every structure.
        """
        names = [i if key is None else key for i, key in enumerate(keys)]
        evaluations = {name: known for name, key in zip(names, keys, strict=True) if (known := self._look_up(key))}
        missing = {name: atoms for name, atoms in zip(names, structures, strict=True) if name not in evaluations}
        computed = self._compute_many(list(missing.values()), as_array)
        for name, evaluation in zip(missing, computed, strict=True):
            evaluations[name] = evaluation
            self._remember(name if isinstance(name, bytes) else None, evaluation)
        return [evaluations[name] for name in names]

    def _compute_many(
        self, structures: list[Atoms], as_array: Callable[[NDArray[np.float64]], Any]
    ) -> list[Evaluation]:
        if self._executor is not None:
            futures = [self._executor.submit(_evaluate_there, self.spec, atoms) for atoms in structures]
            self.n_computed += len(structures)
            return [future.result() for future in futures]
        if self._batch is not None and structures:
            try:
                positions = as_array(np.stack([atoms.positions for atoms in structures]))
                energies = [float(energy) for energy in self._batch(positions, structures[0])]
            except Exception:  # one structure spoils them all: which one shows when each is computed alone
                _LOGGER.debug("no energies of a batch by %s", self.calculator, exc_info=True)
                energies = [nan]
            if all(map(isfinite, energies)):
                self.n_computed += len(structures)
                return [Evaluation(energy, None) for energy in energies]
        return [self._compute(atoms) for atoms in structures]

    def _look_up(self, key: bytes | None) -> Evaluation | None:
        if key is None or key not in self._energies:
            return None
        self.n_cached += 1
        self._energies.move_to_end(key)
        return Evaluation(self._energies[key], None)

    def _compute(self, atoms: Atoms) -> Evaluation:
        calculator = self._live if self._live is not None else self.spec.make()
        self._live = None  # put back only after a success: failed or interrupted, it may be broken
        self.n_computed += 1
        try:
            energy = _single_point(calculator, atoms.copy())
        except Exception as error:  # calculators raise what they like
            cause = f"{type(error).__name__}: {error}"
            _LOGGER.warning("no energy of %s by %s: %s", atoms.symbols, self.calculator, cause)
            _LOGGER.debug("where it failed", exc_info=True)
            return Evaluation(nan, cause)
        if hasattr(calculator, "reset"):  # without it, only a new one is sure to remember nothing
            self._live = calculator
        return Evaluation(energy, None)

    def _remember(self, key: bytes | None, evaluation: Evaluation) -> None:
        if key is None or evaluation.error is not None:
            return
        self._energies[key] = evaluation.energy
        if len(self._energies) > _CACHE_SIZE:
            self._energies.popitem(last=False)


@lru_cache(maxsize=1)
def _evaluator_there(spec: CalculatorSpec) -> Evaluator:
    """Evaluator that a process keeps for the structures that it is sent."""
    return Evaluator(spec.calculator, settings=spec.settings)


def _evaluate_there(spec: CalculatorSpec, atoms: Atoms) -> Evaluation:
    """Energy of a structure, in the process of an executor."""
    return _evaluator_there(spec).evaluate(atoms)


def _single_point(calculator: Calculator, atoms: Atoms) -> float:
    """Energy in eV, from scratch."""
    if hasattr(calculator, "reset"):
        # Otherwise the wavefunction of the last structure would be the first guess for this one.
        calculator.reset()
    energy = np.asarray(calculator.get_potential_energy(atoms))
    if energy.shape != () or energy.dtype.kind not in "iuf":
        raise TypeError(f"`energy` is {energy!r} but must be a number")
    if not isfinite(energy):
        raise ValueError(f"`energy` is {energy} eV but must be finite")
    return float(energy)
