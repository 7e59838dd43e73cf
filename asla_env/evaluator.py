"""Single-point energies of finished structures, guarded and cached."""

import errno
import logging
import os
import pickle
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import isfinite, nan
from time import perf_counter
from typing import Any, Self
from uuid import uuid4

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from asla_env.calculator_spec import CalculatorSpec
from asla_env.calculators import DEFAULT, CalculatorFactory
from asla_env.energy_database import EnergyDatabase
from asla_env.energy_error import EnergyError
from asla_env.working_directory import working_directory

_LOGGER = logging.getLogger(__name__)
_CACHE_SIZE = 10_000
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_OF_THE_WHOLE = ("charge", "multiplicity")  # settings that a part of a structure does not share


@dataclass(frozen=True)
class Evaluation:
    """Energy of a structure in eV; nan, with the cause in ``error``, if there is none."""

    energy: float
    error: str | None
    seconds: float = field(default=0.0, compare=False)
    """How long the calculator worked for it; 0 if it was known."""


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
        Where energies are computed, such as a `WorkerPool`, to which what makes the calculator is pickled; without it
        they are computed here, where nothing guards against a calculator that takes for ever or crashes. An evaluator
        that is pickled, as for another process, leaves executor and database behind.
    settings : mapping, optional
        Keyword arguments that the calculator is made with; docs/calculators.md has those of the named ones.
    database : EnergyDatabase, optional
        Where energies of structures with a key are kept, and looked up before one is computed.

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
        If no calculator has this name, or a setting of a named one is impossible.
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
        database: EnergyDatabase | None = None,
    ) -> None:
        self.spec, self._executor, self._database = CalculatorSpec(calculator, settings or {}), executor, database
        self.calculator, self._batch = self.spec.name, self.spec.batch
        self.n_computed = 0
        self.n_cached = 0
        self._idle = list[Calculator]()  # one, or one for each thread that has computed an energy
        self._energies = OrderedDict[bytes, float]()  # least recently used first

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind calculators, which may hold memory of a compiled library, executor and database."""
        return self.__dict__ | {"_idle": [], "_executor": None, "_database": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy in this process, which shares executor and database."""
        twin = self.__class__.__new__(self.__class__)
        twin.__dict__.update(deepcopy(self.__getstate__(), memo))
        twin._executor, twin._database = self._executor, self._database
        return twin

    def neutral(self) -> "Evaluator | None":
        """Evaluator without the charge and multiplicity that settings give to a whole structure, or this one.

        None if a calculator that is not ours has such settings: what it does without them is its own affair.
        """
        settings = {name: value for name, value in self.spec.settings.items() if name not in _OF_THE_WHOLE}
        if len(settings) == len(self.spec.settings):
            return self
        return Evaluator(self.spec.calculator, self._executor, settings) if self.spec.is_named else None

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
            With an ``error`` if the calculator raised an exception, returned anything but a finite number, or met a
            limit of the executor; the cause is logged as a warning. What would befall every structure is not caught: an
            exception from making the calculator, a full disk, or what breaks the executor.
        """
        evaluation = self._look_up(key)
        if evaluation is None:
            if self._executor is None:
                evaluation = self._compute(atoms)
            else:
                ((_, evaluation),) = self._compute_there([atoms], self._executor)
            self._remember(key, atoms, evaluation)
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
            What `evaluate` would return for each, to rounding.
        """
        names = [i if key is None else key for i, key in enumerate(keys)]
        evaluations = {name: known for name, key in zip(names, keys, strict=True) if (known := self._look_up(key))}
        missing = {name: atoms for name, atoms in zip(names, structures, strict=True) if name not in evaluations}
        left = list(missing.items())
        for i, evaluation in self._compute_many([atoms for _, atoms in left], as_array):
            name, atoms = left[i]
            evaluations[name] = evaluation
            for _ in range(1 if evaluation.error is None else names.count(name)):  # each is a failure of its own
                self._remember(name if isinstance(name, bytes) else None, atoms, evaluation)
        return [evaluations[name] for name in names]

    def _compute_many(
        self, structures: list[Atoms], as_array: Callable[[NDArray[np.float64]], Any]
    ) -> Iterator[tuple[int, Evaluation]]:
        """Compute energies; each comes with its place, at the moment when it is there."""
        if self._executor is not None:
            yield from self._compute_there(structures, self._executor)
            return
        if self._batch is not None and _differ_in_positions_alone(structures):
            start = perf_counter()
            try:
                positions = as_array(np.stack([atoms.positions for atoms in structures]))
                energies = [float(energy) for energy in self._batch(positions, structures[0])]
            except Exception:  # one structure spoils them all: which one shows when each is computed alone
                _LOGGER.debug("no energies of a batch by %s", self.calculator, exc_info=True)
                energies = [nan]
            if all(map(isfinite, energies)):
                self.n_computed += len(structures)
                seconds = (perf_counter() - start) / len(structures)
                yield from enumerate(Evaluation(energy, None, seconds) for energy in energies)
                return
        yield from enumerate(map(self._compute, structures))

    def _look_up(self, key: bytes | None) -> Evaluation | None:
        if key is None:
            return None
        error = self._database.failure(key) if self._database is not None else None
        energy = self._known_energy(key) if error is None else nan
        if energy is None:
            return None
        self.n_cached += 1
        return Evaluation(energy, error)

    def _known_energy(self, key: bytes) -> float | None:
        """Energy in eV of a structure that was computed before."""
        if key in self._energies:
            self._energies.move_to_end(key)
            return self._energies[key]
        return self._database.get(key) if self._database is not None else None

    def _compute_there(self, structures: list[Atoms], executor: Executor) -> Iterator[tuple[int, Evaluation]]:
        """Compute energies by the executor, the first one ready first; on an interrupt what is left is cancelled."""
        futures = dict[Future[Evaluation], int]()
        try:
            for i, atoms in enumerate(structures):
                futures[executor.submit(_evaluate_there, self._pickled, atoms)] = i
                self.n_computed += 1
            for future in as_completed(futures):
                yield futures[future], self._outcome(future.result, structures[futures[future]])
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def _compute(self, atoms: Atoms) -> Evaluation:
        self.n_computed += 1
        return self._outcome(lambda: self.attempt(atoms), atoms)

    def _outcome(self, attempt: Callable[[], Evaluation], atoms: Atoms) -> Evaluation:
        """What an attempt returns, or its failure, told once."""
        try:
            return attempt()
        except EnergyError as failure:
            _LOGGER.warning("no energy of %s by %s: %s", atoms.symbols, self.calculator, failure)
            _LOGGER.debug("where it failed", exc_info=True)
            return Evaluation(nan, str(failure), failure.seconds)

    def attempt(self, atoms: Atoms) -> Evaluation:
        """Compute the energy of a structure in this process; neither looked up nor counted.

        Raises
        ------
        EnergyError
            If the calculator raised an exception or returned anything but a finite number.
        OSError
            If there is no directory for what it writes, or no room, as on a full disk.
        """
        try:
            calculator = self._idle.pop()  # put back only after a success: failed or interrupted, it may be broken
        except IndexError:
            with _directory_kept():
                calculator = self.spec.make()
        start = perf_counter()
        with working_directory(calculator):
            try:
                with _directory_kept():
                    energy = _single_point(calculator, atoms.copy())
            except MemoryError as error:
                traceback.clear_frames(error.__traceback__)  # what they hold is the memory that is needed from here on
                raise EnergyError("memory", str(error) or "too little is left", perf_counter() - start) from error
            except Exception as error:  # calculators raise what they like
                if isinstance(error, OSError) and error.errno in _NO_ROOM:
                    raise
                raise EnergyError("error", f"{type(error).__name__}: {error}", perf_counter() - start) from error
        if hasattr(calculator, "reset"):  # without it, only a new one is sure to remember nothing
            self._idle.append(calculator)
        return Evaluation(energy, None, perf_counter() - start)

    @cached_property
    def _pickled(self) -> bytes:
        """What names the calculator in another process: equal to itself there, as a function may not be.

        Where there is no fingerprint, nobody can tell whether another evaluator's calculator is the same.
        """
        digest = self.spec.fingerprint or uuid4().hex
        try:
            return pickle.dumps((self.spec, self.spec.versions, digest))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"`calculator` is {self.spec.name} but must be a name, an import path or what can be pickled, as "
                f"`executor` hands it on: {error}"
            ) from error

    def _remember(self, key: bytes | None, atoms: Atoms, evaluation: Evaluation) -> None:
        if key is None:
            return
        if self._database is not None:
            self._database.add(key, atoms, evaluation.energy, evaluation.error, evaluation.seconds)
        if evaluation.error is not None:
            return
        self._energies[key] = evaluation.energy
        if len(self._energies) > _CACHE_SIZE:
            self._energies.popitem(last=False)


@lru_cache(maxsize=1)
def _evaluator_there(pickled: bytes) -> Evaluator:
    """Evaluator that a process keeps for the structures that it is sent; its calculator must be the one meant."""
    spec, versions, _ = pickle.loads(pickled)
    there = Evaluator(spec.calculator, settings=spec.settings)
    if versions and there.spec.versions != versions:
        raise RuntimeError(
            f"`calculator` is {spec.name}, of which a process of `executor` has {there.spec.versions} but must have "
            f"{versions}: start the processes again after a change"
        )
    return there


def _evaluate_there(pickled: bytes, atoms: Atoms) -> Evaluation:
    """Energy of a structure, in the process of an executor; raises `EnergyError`."""
    return _evaluator_there(pickled).attempt(atoms)


@contextmanager
def _directory_kept() -> Iterator[None]:
    """Come back to the working directory of this process, which a calculator may change and leave changed."""
    before = _directory()
    try:
        yield
    finally:
        if before is not None and _directory() != before:
            with suppress(OSError):  # it may be gone by now
                os.chdir(before)


def _directory() -> str | None:
    """Working directory; None if it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _differ_in_positions_alone(structures: Sequence[Atoms]) -> bool:
    """Whether these structures, one at least, can be computed as one batch."""
    return bool(structures) and all(
        np.array_equal(atoms.numbers, structures[0].numbers)
        and np.array_equal(atoms.cell, structures[0].cell)
        and np.array_equal(atoms.pbc, structures[0].pbc)
        for atoms in structures
    )


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
