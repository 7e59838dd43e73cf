"""Calculators that do the worst they can, in processes that are replaced."""

import importlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from functools import partial
from math import inf, isinf, isnan

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from asla_env import AtomPlacementEnv, Evaluator, Problem
from asla_env.limits import Limits
from asla_env.workers import WorkerPool

TIMEOUT = 60  # s, of what should take far less
MODULE = '''
import ctypes, os, subprocess, sys, time
from math import nan
from pathlib import Path
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

def allocate():
    kept = []
    while True:
        kept.append(np.ones(2**20))

def fail():
    raise RuntimeError("no convergence")

def sleep():
    time.sleep(1000)

def sleep_beside_a_program():
    program = subprocess.Popen(["sleep", "1000"])
    print("program", program.pid, file=sys.stderr, flush=True)
    program.wait()

class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__("two arguments")

def fail_unpicklably():
    raise Unpicklable(1, 2)

DEEDS = {
    "raise": fail, "nan": lambda: nan, "sleep": sleep, "allocate": allocate, "segfault": lambda: ctypes.string_at(0),
    "exit 0": lambda: os._exit(0), "exit 3": lambda: os._exit(3), "sys.exit": lambda: sys.exit("done"),
    "program": sleep_beside_a_program, "deaf": lambda: ctypes.PyDLL(None).sleep(1000),
}

class Wild(Calculator):
    """Does a deed by the height of the last atom, in units of an angstrom; below it, its energy is minus x."""
    implemented_properties = ["energy"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        print("a line of the calculator")
        x, _, z = self.atoms.positions[-1]
        self.results["energy"] = list(DEEDS.values())[round(z) - 1]() if round(z) else -x

class ByColumn(Wild):
    """Does each deed in a column of pixels, 1 A wide, of its own."""
    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        atoms = atoms.copy()
        column = round(atoms.positions[-1][0])
        atoms.positions[-1][2] = column if column <= 8 else 0
        super().calculate(atoms, properties, system_changes)

class Counting(Wild):
    """Its energy is the number of those that were made in this process."""
    made = 0
    def __init__(self):
        super().__init__()
        Counting.made += 1
    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        Calculator.calculate(self, atoms, properties, system_changes)
        self.results["energy"] = float(Counting.made)

def make(kind):
    return kind()

def once(path):
    """End the process at the first call."""
    if not Path(path).exists():
        Path(path).touch()
        os._exit(1)
    return "second"
'''
DEEDS = ("raise", "nan", "sleep", "allocate", "segfault", "exit 0", "exit 3", "sys.exit", "program", "deaf")
CAUSES = {
    "raise": "RuntimeError: no convergence",
    "nan": "ValueError: `energy` is nan eV but must be finite",
    "sleep": "timeout: no energy after 2 s",
    "allocate": "memory: Unable to allocate 8.00 MiB",
    "segfault": "crash: the process was ended by SIGSEGV",
    "exit 0": "crash: the process ended with exit code 0",
    "exit 3": "crash: the process ended with exit code 3",
    "sys.exit": "crash: SystemExit: done",
    "deaf": "timeout: no energy after 2 s",
}
STRICT = Limits(time_s=2, memory_gib=0.05, crash_retries=0)
PATIENT = Limits(memory_gib=inf)


@pytest.fixture(scope="module")
def wild(written_module):
    """The module of calculators, which processes can import too."""
    return written_module("wild_calculators", MODULE)


@pytest.fixture(scope="module")
def pool(wild):
    """One process with short limits."""
    with WorkerPool(1, STRICT) as pool:
        yield pool


@pytest.fixture(scope="module")
def patient(wild):
    """Two processes with time."""
    with WorkerPool(2, PATIENT) as pool:
        yield pool


def structure(deed=None, x=0.0):
    return Atoms("C", [[x, 0, 0 if deed is None else 1 + DEEDS.index(deed)]])


@pytest.mark.parametrize("deed", CAUSES)
def test_a_structure_without_an_energy_has_a_cause_told_once_and_does_no_harm(deed, wild, pool, caplog):
    used = Evaluator(wild.Wild, pool)
    with caplog.at_level(logging.WARNING):
        failed = used.evaluate(structure(deed))
    assert isnan(failed.energy)
    assert failed.error.startswith(CAUSES[deed])
    assert failed.seconds >= (2 if deed == "sleep" else 0)
    assert [record.getMessage() for record in caplog.records] == [f"no energy of C by Wild: {failed.error}"]
    assert used.evaluate(structure(x=0.3)).energy == -0.3


def test_an_environment_finishes_every_episode_whatever_the_calculator_does(wild, pool):
    dimer = Atoms("C2", [[0, 0, 0], [10, 0, 0]], cell=[50, 2, 8], pbc=True)
    problem = Problem.from_atoms(dimer, place=[1], spacing=1.0)
    env = AtomPlacementEnv(problem, Evaluator(wild.ByColumn, pool), reward="energy")
    _, info = env.reset()
    actions = {round(problem.structure([a]).positions[-1][0]): a for a in info["action_mask"].nonzero()[0]}
    columns = sorted(actions)[:20]
    ends = {}
    for column in columns:
        env.reset()
        *_, terminated, _, ends[column] = env.step(actions[column])
        assert terminated
    assert len(ends) == 20
    good = [column for column in columns if column > 8]
    assert len(good) >= 12
    assert [ends[column]["energy"] for column in good] == [
        -problem.structure([actions[c]]).positions[-1][0] for c in good
    ]
    for column in set(columns) - set(good):
        assert ends[column]["calculator_error"].startswith(CAUSES[DEEDS[column - 1]])


@pytest.mark.parametrize("calculator", ["xwch", "gfn1-xtb", EMT])
def test_energies_are_exactly_those_computed_here(calculator, patient):
    cells = [bulk("C", a=3.4 + 0.1 * i) if calculator != EMT else bulk("Cu", a=3.5 + 0.1 * i) for i in range(3)]
    here, there = Evaluator(calculator), Evaluator(calculator, patient)
    expected = [here.evaluate(atoms) for atoms in cells]
    assert [there.evaluate(atoms) for atoms in cells] == expected
    assert Evaluator(calculator, patient).evaluate_many(cells, [None] * 3) == expected
    assert expected[0].seconds > 0


def test_an_energy_known_before_is_not_computed_again(patient):
    used = Evaluator(EMT, patient)
    first, second = (used.evaluate(molecule("H2O"), b"water") for _ in range(2))
    assert first == second
    assert first.seconds > second.seconds == 0
    assert (used.n_computed, used.n_cached) == (1, 1)


def test_a_failure_between_many_structures_is_that_structure_s_alone(wild):
    deeds = [None, "exit 3", None, "sleep", None, None, "raise", None]
    structures = [structure(deed, 0.1 * i) for i, deed in enumerate(deeds)]
    with WorkerPool(2, STRICT) as pool:
        energies = [e.energy for e in Evaluator(wild.Wild, pool).evaluate_many(structures, [None] * len(deeds))]
    assert energies == pytest.approx(
        [-0.1 * i if d is None else float("nan") for i, d in enumerate(deeds)], nan_ok=True
    )


def test_a_process_makes_a_calculator_once_even_of_a_function_unequal_to_itself(wild, patient):
    used = Evaluator(partial(wild.make, wild.Counting), patient)
    assert [used.evaluate(structure(x=i)).energy for i in range(4)] == [1, 1, 1, 1]


def test_a_calculator_that_cannot_be_made_is_an_error(wild, patient):
    with pytest.raises(TypeError, match="must return an ASE calculator"):
        Evaluator(partial(wild.make, dict), patient).evaluate(structure())


def test_what_is_printed_there_goes_to_standard_error(wild, capfd):
    with WorkerPool(1, PATIENT) as pool:
        Evaluator(wild.Wild, pool).evaluate(structure())
    assert capfd.readouterr() == ("", "a line of the calculator\n")


# Retries.


@pytest.mark.parametrize("retries", [0, 1])
def test_a_crash_is_tried_again_as_often_as_asked_for(retries, wild, tmp_path):
    with WorkerPool(1, Limits(crash_retries=retries, memory_gib=inf)) as pool:
        future = pool.submit(wild.once, tmp_path / "there")
        if retries:
            assert future.result(TIMEOUT) == "second"
        else:
            assert str(future.exception(TIMEOUT)) == "crash: the process ended with exit code 1"


# Processes.


@pytest.mark.parametrize("wait_s", [0.0, 0.5])  # before it is noticed, and after
def test_a_process_killed_while_idle_is_replaced(wait_s, wild):
    with WorkerPool(1, PATIENT) as pool:
        first = pool.submit(os.getpid).result(TIMEOUT)
        os.kill(first, signal.SIGKILL)
        time.sleep(wait_s)
        assert pool.submit(os.getpid).result(TIMEOUT) not in (first, os.getpid())


def test_a_process_killed_at_work_is_a_crash(wild):
    with WorkerPool(1, Limits(crash_retries=0, memory_gib=inf)) as pool:
        process = pool.submit(os.getpid).result(TIMEOUT)
        future = pool.submit(wild.sleep)
        wait_until(future.running)
        time.sleep(0.3)
        os.kill(process, signal.SIGKILL)
        assert str(future.exception(TIMEOUT)) == "crash: the process was ended by SIGKILL"


def test_threads_are_set_before_anything_is_loaded_and_only_there(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with WorkerPool(1, Limits(threads=3)) as pool:
        values = [pool.submit(os.getenv, name).result(TIMEOUT) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
    assert values == ["3", "3"]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_a_call_cancelled_while_it_runs_makes_room_for_the_next(wild, patient):
    futures = [patient.submit(wild.sleep) for _ in range(3)]
    wait_until(lambda: futures[0].running() and futures[1].running())
    assert all(future.cancel() for future in futures)
    assert patient.submit(abs, -3).result(TIMEOUT) == 3
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(TIMEOUT)


def test_an_exception_does_not_wait_for_what_is_running(wild):
    start = time.monotonic()
    with pytest.raises(ValueError, match="elsewhere"), WorkerPool(1, PATIENT) as pool:  # noqa: PT012
        future = pool.submit(wild.sleep)
        wait_until(future.running)
        raise ValueError("elsewhere")
    assert time.monotonic() - start < TIMEOUT
    assert isinstance(future.exception(), CancelledError)


def test_a_pool_that_was_shut_down_is_an_error_and_not_an_energy():
    pool = WorkerPool(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        Evaluator(EMT, pool).evaluate(molecule("H2O"))


def test_calls_made_before_a_shutdown_are_still_answered():
    pool = WorkerPool(1, PATIENT)
    futures = [pool.submit(abs, -i) for i in range(3)]
    pool.shutdown(wait=False)
    assert [future.result(TIMEOUT) for future in futures] == [0, 1, 2]


def test_a_program_that_a_calculator_started_ends_with_it(wild, capfd):
    with WorkerPool(1, STRICT) as pool:
        assert Evaluator(wild.Wild, pool).evaluate(structure("program")).error == CAUSES["sleep"]
    program = int(capfd.readouterr().err.split("program")[1].split()[0])
    wait_until(lambda: not is_running(program))


SCRIPT = """
import os, sys
from ase import Atoms
from asla_env import Evaluator
from asla_env.workers import WorkerPool
from wild_calculators import Wild

if __name__ == "__main__":
    with WorkerPool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        Evaluator(Wild, pool).evaluate(Atoms("C", [[0, 0, int(sys.argv[1])]]))
"""


deaf = pytest.param(
    signal.SIGKILL, "deaf", marks=pytest.mark.skipif(sys.platform != "linux", reason="only there the kernel does it")
)


@pytest.mark.parametrize(("number", "deed"), [(signal.SIGINT, "sleep"), (signal.SIGKILL, "sleep"), deaf])
def test_processes_end_with_the_one_that_started_them(number, deed, wild, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    path = os.pathsep.join([os.path.dirname(wild.__file__), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, tmp_path / "script.py", str(1 + DEEDS.index(deed))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    ) as process:
        worker = int(process.stdout.readline())
        time.sleep(0.5)  # until the energy has begun
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT)
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)
    wait_until(lambda: not is_running(worker))


def test_processes_that_cannot_start_are_an_error_and_not_an_energy(tmp_path):
    script = tmp_path / "script.py"  # which each process would run again: it lacks `if __name__ == "__main__"`
    script.write_text("from asla_env.workers import WorkerPool\nWorkerPool(1).submit(abs, 1).result()\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 1
    assert BrokenProcessPool.__name__ in done.stderr
    assert "3 processes for energies ended before they took a task" in done.stderr


# What is handed over.


def test_what_cannot_be_pickled_is_an_error_at_once():
    with WorkerPool(1) as pool, pytest.raises((AttributeError, pickle.PicklingError)):
        pool.submit(lambda: 0)


def test_an_exception_that_cannot_be_pickled_keeps_its_text(wild, patient):
    error = patient.submit(wild.fail_unpicklably).exception(TIMEOUT)
    assert type(error) is RuntimeError
    assert str(error).startswith("Unpicklable: two arguments")


def test_an_exception_carries_the_traceback_of_its_process(wild, patient):
    error = patient.submit(wild.fail).exception(TIMEOUT)
    assert type(error) is RuntimeError
    assert "in fail" in error.__notes__[0]


def test_a_pool_taken_along_into_a_forked_process_is_an_error_there(monkeypatch):
    with WorkerPool(1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            with pytest.raises(RuntimeError, match="was taken along into a forked process"):
                pool.submit(abs, -1)
        assert pool.submit(abs, -1).result() == 1


def test_a_copied_evaluator_is_guarded_too(wild, patient):
    twin = deepcopy(Evaluator(wild.Wild, patient))
    assert twin.evaluate(structure("exit 3")).error == CAUSES["exit 3"]


def test_a_pool_without_processes_is_refused():
    with pytest.raises(ValueError, match="`workers` is 0 but must be at least 1"):
        WorkerPool(0)


@pytest.mark.parametrize("memory_gib", [inf, 1e12, 1e300])
def test_without_a_limit_there_is_none(memory_gib, wild):
    with WorkerPool(1, Limits(time_s=inf, memory_gib=memory_gib)) as pool:
        assert isinf(pool.limits.time_s)
        assert pool.submit(abs, -1).result(TIMEOUT) == 1


def wait_until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(process):
    """Whether a process is there and no zombie, which nobody may have collected yet."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith("Z")


# Which calculator a process keeps

DEPTH = """
from pathlib import Path
from ase.calculators.lj import LennardJones

def make(depth):
    return LennardJones(epsilon=float(Path(depth).read_text()))
"""
PAIR = Atoms("Ar2", [(0, 0, 0), (0, 0, 1.2)])


@pytest.fixture
def depth(written_module, tmp_path):
    """A calculator that reads how deep its well is from a file, which lies beside its module."""
    module = written_module(f"depth_{tmp_path.name}".replace("[", "_").replace("]", "_"), DEPTH)
    file = tmp_path / "depth"
    file.write_text("1.0")
    return f"{module.__name__}:make", {"depth": str(file)}, file


def test_a_process_does_not_keep_the_calculator_of_a_file_that_has_changed(depth):
    path, settings, file = depth
    with WorkerPool(1, PATIENT) as pool:
        before = Evaluator(path, pool, settings).evaluate(PAIR).energy
        file.write_text("5.0")
        after = Evaluator(path, pool, settings).evaluate(PAIR).energy
    assert after == Evaluator(path, settings=settings).evaluate(PAIR).energy == pytest.approx(5 * before)


def test_a_process_with_another_version_of_a_module_is_refused(depth):
    path, settings, _ = depth
    module = sys.modules[path.partition(":")[0]]
    with WorkerPool(1, PATIENT) as pool:
        Evaluator(path, pool, settings).evaluate(PAIR)
        with open(module.__file__, "a") as file:
            file.write("\n# a change\n")
        importlib.reload(module)
        with pytest.raises(
            RuntimeError, match=r"`calculator` is .*:make, of which a process of `executor` has {.*} but must have {"
        ):
            Evaluator(path, pool, settings).evaluate(PAIR)


def in_main(made_by):
    """A function as a notebook defines it."""

    def make():
        return made_by()

    make.__module__, make.__qualname__ = "__main__", "make"
    return make


def test_a_thread_does_not_keep_a_calculator_that_was_defined_anew(monkeypatch):
    energies = []
    with ThreadPoolExecutor(1) as executor:
        for depth in (1.0, 5.0):
            monkeypatch.setattr(
                sys.modules["__main__"], "make", in_main(partial(LennardJones, epsilon=depth)), raising=False
            )
            energies.append(Evaluator(sys.modules["__main__"].make, executor).evaluate(PAIR).energy)
    assert energies[1] == pytest.approx(5 * energies[0])
