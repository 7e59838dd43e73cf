import copy
import logging
import os
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.mixing import SumCalculator
from ase.constraints import FixAtoms
from hypothesis import given
from hypothesis import strategies as st

from asla_env import evaluator as evaluator_module
from asla_env.energy_database import EnergyDatabase
from asla_env.evaluator import Evaluation, Evaluator

WATER = molecule("H2O")


class Scripted(Calculator):
    """Answers from a list, one answer an energy; an exception is raised, a function called."""

    implemented_properties = ["energy"]

    def __init__(self, answers: list[Any]) -> None:
        super().__init__()
        self.answers = answers

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        self.results["energy"] = answer(self.atoms) if callable(answer) else answer


class Remembering(Calculator):
    """Its energy is the number of energies since it was made or reset."""

    implemented_properties = ["energy"]
    count = 0

    def reset(self) -> None:
        super().reset()
        self.count = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.count += 1
        self.results["energy"] = float(self.count)


class Factory:
    """Makes scripted calculators that share their script, and counts them."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.made = 0

    def __call__(self) -> Calculator:
        self.made += 1
        return Scripted(self.answers)


def carbon(seed: int, n: int = 12) -> Atoms:
    """Carbon at random pixels of a small periodic cell, 0.9 Å apart at least."""
    pixels = np.stack(np.meshgrid(np.arange(4), np.arange(7), indexing="ij"), axis=-1).reshape(-1, 2)
    rng = np.random.default_rng(seed)
    xy = rng.permutation(pixels)[:n] * 1.05 + rng.uniform(-0.07, 0.07, (n, 2))
    return Atoms(f"C{n}", positions=np.column_stack([xy, np.zeros(n)]), cell=[4.26, 7.38, 10], pbc=True)


def coincident() -> Atoms:
    atoms = carbon(0)
    atoms.positions[1] = atoms.positions[0]
    return atoms


# Energies depend on the structure alone.


@pytest.mark.parametrize(
    "between", [[carbon(1)], [carbon(2, n=11)], [WATER], [coincident()], [carbon(3), coincident()]]
)
def test_an_energy_does_not_depend_on_what_was_computed_before(between: list[Atoms]) -> None:
    fresh = Evaluator("gfn1-xtb").evaluate(carbon(0))
    used = Evaluator("gfn1-xtb")
    for atoms in between:
        used.evaluate(atoms)
    assert used.evaluate(carbon(0)) == fresh
    assert fresh.error is None


def test_a_failure_is_the_same_whatever_was_computed_before() -> None:
    used = Evaluator("gfn1-xtb")
    first = used.evaluate(coincident())
    used.evaluate(carbon(0))
    assert used.evaluate(coincident()).error == first.error
    assert "Too close" in first.error


def test_an_energy_of_gfn2_does_not_depend_on_what_was_computed_before() -> None:
    used = Evaluator("gfn2-xtb")
    used.evaluate(molecule("NH3"))
    ethane = molecule("C2H6")
    used.evaluate(ethane)
    ethane.rattle(0.1, seed=0)
    assert used.evaluate(ethane) == Evaluator("gfn2-xtb").evaluate(ethane)


def test_a_calculator_is_made_once_and_reset_before_each_structure() -> None:
    made = []
    used = Evaluator(lambda: made.append(Remembering()) or made[-1])
    assert [used.evaluate(molecule(name)).energy for name in ("H2O", "H2O", "CH4")] == [1, 1, 1]
    assert len(made) == 1


def test_a_calculator_that_cannot_be_reset_is_made_anew_for_each_structure() -> None:
    used = Evaluator(lambda: SumCalculator([Remembering(), Remembering()]))
    assert [used.evaluate(molecule(name)).energy for name in ("H2O", "CH4")] == [2, 2]


def test_a_calculator_is_not_made_before_it_is_needed() -> None:
    factory = Factory(1.0)
    used = Evaluator(factory)
    assert factory.made == 0
    used.evaluate(WATER)
    assert factory.made == 1


def test_the_energy_is_that_of_the_calculator_without_constraints() -> None:
    atoms = molecule("H2O")
    atoms.calc = EMT()
    expected = atoms.get_potential_energy()
    atoms.set_constraint(FixAtoms([0]))
    assert Evaluator(EMT).evaluate(atoms) == Evaluation(expected, None)


class Nameless:
    """A constraint of one's own, which says nothing of itself."""

    def adjust_positions(self, atoms: Atoms, new: np.ndarray) -> None:
        """Leave them."""

    def adjust_forces(self, atoms: Atoms, forces: np.ndarray) -> None:
        """Leave them."""


def test_a_constraint_that_no_file_can_hold_does_not_keep_an_energy_from_the_database(tmp_path: Path) -> None:
    atoms = molecule("H2O")
    atoms.set_constraint(Nameless())
    with EnergyDatabase(tmp_path / "energies.db", "emt") as database:
        energy = Evaluator(EMT, database=database).evaluate(atoms, b"water").energy
        assert database.get(b"water") == energy
    assert len(atoms.constraints) == 1


def test_the_structure_is_not_changed() -> None:
    class Vandal(EMT):
        def get_potential_energy(self, atoms: Atoms) -> float:
            atoms.positions += 1
            return 0.0

    atoms = molecule("H2O")
    atoms.calc = calculator = EMT()
    before = atoms.copy()
    assert Evaluator(Vandal).evaluate(atoms) == Evaluation(0.0, None)
    assert atoms == before
    assert atoms.calc is calculator
    assert calculator.results == {}


# Failures.


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (RuntimeError("no convergence"), "RuntimeError: no convergence"),
        (MemoryError(), "memory: too little is left"),
        (float("nan"), "ValueError: `energy` is nan eV but must be finite"),
        (float("-inf"), "ValueError: `energy` is -inf eV but must be finite"),
        (np.zeros(1), "TypeError: `energy` is array([0.]) but must be a number"),
        (None, "TypeError: `energy` is array(None, dtype=object) but must be a number"),
        (1j, "TypeError: `energy` is array(0.+1.j) but must be a number"),
        ("low", "TypeError: `energy` is array('low', dtype='<U3') but must be a number"),
    ],
)
def test_whatever_goes_wrong_is_a_failure_with_its_cause(
    answer: Any, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        failed = Evaluator(Factory(answer)).evaluate(WATER)
    assert np.isnan(failed.energy)
    assert failed.error == cause
    assert caplog.record_tuples == [("asla_env.evaluator", logging.WARNING, f"no energy of OH2 by Factory: {cause}")]


def test_a_log_at_debug_level_has_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="asla_env.evaluator"):
        Evaluator(Factory(RuntimeError("no convergence"))).evaluate(WATER)
    assert "in calculate" in caplog.text


def test_a_warning_turned_into_an_error_is_a_failure() -> None:
    def warn(atoms: Atoms) -> float:
        warnings.warn("divide by zero", RuntimeWarning, stacklevel=1)
        return 0.0

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert Evaluator(Factory(warn)).evaluate(WATER).error == "RuntimeWarning: divide by zero"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_failure_but_costs_the_calculator(interrupt: type[BaseException]) -> None:
    factory = Factory(1.0, interrupt(), 2.0)
    used = Evaluator(factory)
    used.evaluate(WATER)
    with pytest.raises(interrupt):
        used.evaluate(WATER)
    assert used.evaluate(WATER) == Evaluation(2.0, None)
    assert factory.made == 2


def test_a_failure_costs_the_calculator_and_a_success_does_not() -> None:
    factory = Factory(1.0, 2.0, RuntimeError(), 3.0, 4.0)
    used = Evaluator(factory)
    assert [used.evaluate(WATER).energy for _ in range(5)] == pytest.approx([1, 2, np.nan, 3, 4], nan_ok=True)
    assert factory.made == 2


def test_a_calculator_that_cannot_be_made_is_an_error() -> None:
    def factory() -> Calculator:
        raise ImportError("no such package")

    with pytest.raises(ImportError, match="no such package"):
        Evaluator(factory).evaluate(WATER)


def test_an_unknown_calculator_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="'pm7'"):
        Evaluator("pm7")


# The working directory.


class Wandering:
    """Makes calculators that go to another directory, and may remove the one before."""

    def __init__(self, goes_to: Path, removes: Path | None = None) -> None:
        self.goes_to, self.removes = goes_to, removes

    def __call__(self) -> Calculator:
        os.chdir(self.goes_to)
        return Scripted([self.wander, self.wander, RuntimeError("lost")])

    def wander(self, _: Atoms) -> float:
        os.chdir(self.goes_to)
        if self.removes is not None:
            self.removes.rmdir()
        return 1.0


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two directories, the first of them that of this process until the test has ended."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    return here, there


def test_a_calculator_that_changes_the_working_directory_leaves_it_to_others_as_it_was(places) -> None:
    here, there = places
    used = Evaluator(Wandering(there))
    for error in (None, None, "RuntimeError: lost"):
        assert used.evaluate(WATER).error == error
        assert Path.cwd() == here


def test_a_working_directory_that_is_gone_is_no_failure_of_an_energy(places) -> None:
    here, there = places
    assert Evaluator(Wandering(there, removes=here)).evaluate(WATER) == Evaluation(1.0, None)
    assert Path.cwd() == there
    there.rmdir()
    assert Evaluator(EMT).evaluate(WATER).error is None


# The cache.


def test_a_key_seen_before_answers_from_the_cache() -> None:
    used = Evaluator(Factory(1.0, 2.0))
    answers = [used.evaluate(WATER, key).energy for key in (b"a", b"b", b"a", b"b", b"a")]
    assert answers == [1, 2, 1, 2, 1]
    assert (used.n_computed, used.n_cached) == (2, 3)


def test_without_a_key_every_energy_is_computed() -> None:
    used = Evaluator(Factory(1.0, 2.0))
    assert [used.evaluate(WATER).energy for _ in range(2)] == [1, 2]
    assert (used.n_computed, used.n_cached) == (2, 0)


def test_a_failure_is_not_cached() -> None:
    used = Evaluator(Factory(RuntimeError("disk full"), 1.0))
    assert used.evaluate(WATER, b"a").error == "RuntimeError: disk full"
    assert used.evaluate(WATER, b"a") == Evaluation(1.0, None)
    assert (used.n_computed, used.n_cached) == (2, 0)


@given(st.lists(st.integers(0, 9), max_size=50), st.integers(1, 5))
def test_the_cache_keeps_the_keys_used_last(keys: list[int], size: int) -> None:
    used = Evaluator(Factory(*range(len(keys))))
    recent: list[int] = []  # the oldest first
    hits = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator_module, "_CACHE_SIZE", size)
        for key in keys:
            used.evaluate(WATER, bytes([key]))
            hits += key in recent
            recent = ([k for k in recent if k != key] + [key])[-size:]
    assert used.n_cached == hits
    assert used.n_computed == len(keys) - hits


# Many structures at once.


def sheets(count: int) -> list[Atoms]:
    """Squares of carbon, each wider than the one before."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    return [Atoms("C4", (1.3 + 0.1 * i) * corners, cell=[9, 9, 9]) for i in range(count)]


@pytest.mark.parametrize("calculator", ["xwch", "gfn1-xtb", EMT])
def test_many_structures_have_the_energies_of_each_alone(calculator: Any) -> None:
    alone = Evaluator(calculator)
    expected = [alone.evaluate(atoms).energy for atoms in sheets(3)]
    together = Evaluator(calculator).evaluate_many(sheets(3), [None] * 3)
    assert [evaluation.energy for evaluation in together] == pytest.approx(expected, abs=1e-9)


def test_no_structures_have_no_energies() -> None:
    assert Evaluator("xwch").evaluate_many([], []) == []


def test_a_batch_may_be_computed_with_tensors() -> None:
    made = []

    def tensor(positions: np.ndarray) -> torch.Tensor:
        made.append(torch.as_tensor(positions))
        return made[-1]

    expected = Evaluator("xwch").evaluate_many(sheets(3), [None] * 3)
    given = Evaluator("xwch").evaluate_many(sheets(3), [None] * 3, tensor)
    assert [e.energy for e in given] == pytest.approx([e.energy for e in expected], abs=1e-9)
    assert made[0].shape == (3, 4, 3)


@pytest.mark.parametrize("calculator", ["xwch", Factory(1.0, 2.0, 3.0)])
def test_of_many_structures_those_of_one_key_are_computed_once(calculator: Any) -> None:
    used = Evaluator(calculator)
    first = used.evaluate_many(sheets(1), [b"a"])[0]
    a, b, c, d = used.evaluate_many([*sheets(2), *sheets(2)], [b"a", b"b", b"b", None])
    assert (a, b) == (first, c)
    assert b != d
    assert (used.n_computed, used.n_cached) == (3, 1)


def test_in_a_batch_only_the_structure_that_is_broken_fails() -> None:
    coincident = Atoms("C4", np.zeros((4, 3)), cell=[9, 9, 9])
    used = Evaluator("xwch")
    good, bad, last = used.evaluate_many([sheets(2)[0], coincident, sheets(2)[1]], [b"a", b"b", b"c"])
    assert (good.error, last.error) == (None, None)
    assert bad.error is not None
    assert "0.1 Å apart" in bad.error
    assert used.n_computed == 3


def test_an_executor_computes_all_at_once_and_a_failure_there_is_one_structure_s() -> None:
    copper, iron = (Atoms(symbols, [(0, 0, 0), (0, 0, 2.5)]) for symbols in ("Cu2", "Fe2"))
    expected = Evaluator(EMT).evaluate(copper)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        used = Evaluator(EMT, pool)
        first, failed, last = used.evaluate_many([copper, iron, copper], [b"a", None, None])
        again = used.evaluate_many([WATER], [b"a"])
    assert first == last == again[0] == expected
    assert failed.error is not None
    assert "Fe" in failed.error
    assert (used.n_computed, used.n_cached) == (3, 1)


class Prepared(Executor):
    """Does with the future of each call what it was told to; nothing comes of the others."""

    def __init__(self, *answers: Callable[[Future[Any]], object]) -> None:
        self.futures: list[Future[Any]] = []
        self.answers = list(answers)

    def submit(self, fn, /, *args, **kwargs) -> Future[Any]:
        self.futures.append(Future())
        if self.answers:
            self.answers.pop(0)(self.futures[-1])
        return self.futures[-1]


def has_energy(future: Future[Any]) -> None:
    future.set_result(Evaluation(1.0, None))


def is_interrupted(future: Future[Any]) -> None:
    future.set_exception(KeyboardInterrupt())


def test_an_executor_that_breaks_is_an_error_and_not_an_energy() -> None:
    def is_lost(future: Future[Any]) -> None:
        future.set_exception(BrokenProcessPool("a process was terminated"))

    used = Evaluator(EMT, Prepared(is_lost, is_lost))
    for compute in (lambda: used.evaluate(WATER, b"a"), lambda: used.evaluate_many([WATER], [b"a"])):
        with pytest.raises(BrokenProcessPool):
            compute()


def test_an_interrupt_cancels_what_is_left() -> None:
    executor = Prepared(has_energy, is_interrupted)
    with pytest.raises(KeyboardInterrupt):
        Evaluator(EMT, executor).evaluate_many(sheets(4), [None] * 4)
    assert [future.cancelled() for future in executor.futures] == [False, False, True, True]


def test_energies_that_are_there_are_kept_when_slower_ones_are_interrupted(tmp_path: Path) -> None:
    executor = Prepared(lambda slow: Timer(0.2, is_interrupted, [slow]).start(), has_energy)
    with EnergyDatabase(tmp_path / "energies.db", "emt") as database:
        used = Evaluator(EMT, executor, database=database)
        with pytest.raises(KeyboardInterrupt):
            used.evaluate_many(sheets(2), [b"a", b"b"])
        assert (database.get(b"a"), database.get(b"b")) == (None, 1.0)


def test_of_one_structure_twice_in_a_round_each_failure_is_one_that_can_be_again(tmp_path: Path) -> None:
    def rounds(database: EnergyDatabase, failures: int) -> list[list[bool]]:
        answers = [RuntimeError("for a moment")] * failures + [1.0] * 3
        used = Evaluator(lambda: Scripted(answers), database=database)
        return [[e.error is None for e in used.evaluate_many([WATER] * 2, [b"a"] * 2)] for _ in range(3)]

    with EnergyDatabase(tmp_path / "energies.db", "scripted") as database:
        expected = rounds(database, failures=2)
    assert expected == [[False, False], [False, False], [True, True]]
    with EnergyDatabase(tmp_path / "energies.db", "scripted") as database:
        database.fail_again()
        assert rounds(database, failures=0) == expected


def test_an_energy_says_how_long_it_took() -> None:
    used = Evaluator(Factory(lambda atoms: time.sleep(0.02) or 1.0))
    assert 0.02 <= used.evaluate(WATER, b"a").seconds < 10
    assert used.evaluate(WATER, b"a").seconds == 0
    together = Evaluator("xwch").evaluate_many(sheets(3), [None] * 3)
    assert len({evaluation.seconds for evaluation in together}) == 1
    assert together[0].seconds > 0


def test_a_batch_that_is_not_finite_is_computed_again_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    used = Evaluator("xwch")
    monkeypatch.setattr(used, "_batch", lambda positions, structure: [1.0, np.inf])
    expected = [Evaluator("xwch").evaluate(atoms) for atoms in sheets(2)]
    assert used.evaluate_many(sheets(2), [b"a", b"b"]) == expected


# Copies.


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda used: pickle.loads(pickle.dumps(used))])
def test_a_copy_has_the_cache_and_the_counts_but_not_the_calculator(duplicate: Any) -> None:
    used = Evaluator("gfn1-xtb")
    first = used.evaluate(WATER, b"water")
    twin = duplicate(used)
    assert twin.evaluate(molecule("CH4"), b"water") == first
    assert (twin.calculator, twin.n_computed, twin.n_cached) == ("gfn1-xtb", 1, 1)
    assert twin.evaluate(WATER) == first
    assert (used.n_computed, used.n_cached) == (1, 0)


@pytest.mark.parametrize(
    ("calculator", "name"),
    [("xwch", "xwch"), (EMT, "EMT"), (Factory(), "Factory"), (lambda: EMT(), "<lambda>")],
)
def test_an_evaluator_says_the_name_of_its_calculator(calculator: Any, name: str) -> None:
    assert Evaluator(calculator).calculator == name


def test_importing_it_imports_neither_torch_nor_tblite() -> None:
    code = "import sys, asla_env.evaluator; print(sorted({'torch', 'tblite'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_factory_that_makes_no_calculator_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"`calculator` returned .* type NoneType but must return an ASE calculator"):
        Evaluator(lambda: None).evaluate(Atoms("C"))


def test_what_cannot_be_one_batch_is_computed_one_by_one():
    evaluator = Evaluator("xwch")
    with_hydrogen = [molecule("CH4"), molecule("CH4")]
    many = evaluator.evaluate_many(with_hydrogen, [b"a", b"b"])
    assert all("`atoms` has H but must be all C" in str(evaluation.error) for evaluation in many)
    small, large = (Atoms("C2", [(0, 0, 0), (1.4, 0, 0)], cell=(a, 9, 9), pbc=(True, False, False)) for a in (3, 5))
    together = [evaluation.energy for evaluation in evaluator.evaluate_many([small, large], [None, None])]
    alone = [evaluator.evaluate(atoms).energy for atoms in (small, large)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert together[0] != together[1]


def test_a_calculator_that_cannot_be_handed_on_is_named():
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="`calculator` is <lambda> but must be"):
        Evaluator(lambda: EMT(), executor).evaluate_many([WATER], [None])
