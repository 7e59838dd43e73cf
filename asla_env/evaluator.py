"""Single-point energies of finished structures, guarded and cached."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from asla_env.calculators import DEFAULT, calculator_factory

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
        A name (`asla_env.calculators.names`) or a function without arguments that returns an ASE
        calculator. It is called for the first structure, and again after each failure.

    Attributes
    ----------
    calculator : str
        Name of the calculator, for display.
    n_computed, n_cached : int
        How many structures were computed, failures included, and how many answered from the cache.

    Raises
    ------
    ValueError
        If no calculator has this name.
    TypeError
        If `calculator` is neither a name nor a function.
    """

    def __init__(self, calculator: str | Callable[[], Calculator] = DEFAULT) -> None:
        self._factory = calculator_factory(calculator)
        self.calculator = calculator if isinstance(calculator, str) else _display_name(calculator)
        self.n_computed = 0
        self.n_cached = 0
        self._live: Calculator | None = None
        self._energies = OrderedDict[bytes, float]()  # least recently used first

    def __getstate__(self) -> dict[str, Any]:
        """Leave the live calculator behind: it may hold memory of a compiled library."""
        return self.__dict__ | {"_live": None}

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
        if key is not None and key in self._energies:
            self.n_cached += 1
            self._energies.move_to_end(key)
            return Evaluation(self._energies[key], None)
        evaluation = self._compute(atoms)
        if key is not None and evaluation.error is None:
            self._remember(key, evaluation.energy)
        return evaluation

    def _compute(self, atoms: Atoms) -> Evaluation:
        calculator = self._live if self._live is not None else self._new_calculator()
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

    def _new_calculator(self) -> Calculator:
        calculator = self._factory()
        if not callable(getattr(calculator, "get_potential_energy", None)):
            raise TypeError(
                f"`calculator` returned an object of type {type(calculator).__name__} but must return an ASE calculator"
            )
        return calculator

    def _remember(self, key: bytes, energy: float) -> None:
        self._energies[key] = energy
        if len(self._energies) > _CACHE_SIZE:
            self._energies.popitem(last=False)


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


def _display_name(factory: Callable[[], Calculator]) -> str:
    return str(getattr(factory, "__name__", type(factory).__name__))
