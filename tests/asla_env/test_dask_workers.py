"""Energies on a cluster of real processes, some of which are killed."""

import os
import signal
import threading
import time
from concurrent.futures import CancelledError, Future
from math import inf

import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from asla_env import Evaluator
from asla_env.executors import energy_executor
from asla_env.limits import Limits

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

MODULE = '''
import os, time
from pathlib import Path
from ase.calculators.emt import EMT

FOLDER = Path(__file__).parent

class Slow(EMT):
    """Takes 0.1 s and leaves a file; dies of three atoms, hangs at four, kills its Dask worker once at five."""
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        if len(self.atoms) == 5 and not (FOLDER / "killed").exists():
            (FOLDER / "killed").touch()
            os.kill(os.getppid(), 9)
        if len(self.atoms) == 3:
            os._exit(1)
        time.sleep(1000 if len(self.atoms) == 4 else 0.1)
        (FOLDER / f"{time.time_ns()}-{os.getpid()}").touch()
'''
N_ENERGIES = 44


@pytest.fixture(scope="module")
def slow(written_module):
    """The calculator, which the cluster can import too."""
    return written_module("slow_calculator", MODULE)


@pytest.fixture(scope="module")
def cluster(slow):
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as cluster:
        yield cluster


def copper(i, n=2):
    return Atoms(f"Cu{n}", [(0, 0, 2.2 * j + 0.01 * i) for j in range(n - 1)] + [(0, 0, 2.2 * n + 0.02 * i)])


def test_a_crash_there_is_one_structure_s(slow, cluster):
    limits = Limits(time_s=inf, crash_retries=0)
    with energy_executor(dask=cluster.scheduler_address, limits=limits) as executor:
        used = Evaluator(slow.Slow, executor)
        first, crashed, last = used.evaluate_many([copper(0), copper(0, 3), copper(1)], [None] * 3)
    assert [first, last] == [Evaluator(EMT).evaluate(copper(i)) for i in (0, 1)]
    assert crashed.error == "crash: the process ended with exit code 1"


def test_the_cluster_forgets_what_it_has_answered_while_we_remember(slow, cluster):
    with energy_executor(dask=cluster.scheduler_address) as executor:
        futures = [executor.submit(abs, -i) for i in range(3)]
        assert [future.result(60) for future in futures] == [0, 1, 2]
        deadline = time.monotonic() + 60
        while cluster.scheduler.tasks and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not cluster.scheduler.tasks


def test_the_end_waits_for_what_goes_on(slow, cluster):
    with energy_executor(dask=cluster.scheduler_address) as executor:
        futures = [executor.submit(time.sleep, 0.5) for _ in range(3)]
    assert [future.result(timeout=0) for future in futures] == [None] * 3


def test_the_end_does_not_wait_for_what_was_cancelled(slow, cluster):
    with energy_executor(dask=cluster.scheduler_address) as executor:
        future = executor.submit(time.sleep, 100)
        future.cancel()
        start = time.monotonic()
    assert time.monotonic() - start < 50
    assert future.cancelled()


def test_after_the_end_nothing_is_submitted(slow, cluster):
    with energy_executor(dask=cluster.scheduler_address) as executor:
        pass
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)


def test_an_energy_there_may_not_take_for_ever(slow, cluster):
    with energy_executor(dask=cluster.scheduler_address, limits=Limits(time_s=1)) as executor:
        hung = Evaluator(slow.Slow, executor).evaluate(copper(0, 4))
    assert hung.error == "timeout: no energy after 1 s"


def test_energies_of_workers_that_are_killed_are_computed_elsewhere(slow, cluster):
    structures = [copper(i) for i in range(N_ENERGIES)]
    with energy_executor(dask=cluster.scheduler_address) as executor:
        used = Evaluator(slow.Slow, executor)
        started = {path.name for path in slow.FOLDER.iterdir()}
        killer = threading.Thread(target=kill_two_workers, args=(cluster, slow.FOLDER, len(started)))
        killer.start()
        evaluations = used.evaluate_many(structures, [bytes([i]) for i in range(N_ENERGIES)])
        killer.join()
        again = used.evaluate_many(structures, [bytes([i]) for i in range(N_ENERGIES)])
    assert evaluations == [Evaluator(EMT).evaluate(atoms) for atoms in structures]
    assert again == evaluations
    assert (used.n_computed, used.n_cached) == (N_ENERGIES, N_ENERGIES)


@pytest.mark.parametrize("retries", [0, 1])
def test_an_energy_that_died_with_its_workers_is_tried_again_as_often_as_asked_for(retries, slow, cluster, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    (slow.FOLDER / "killed").unlink(missing_ok=True)
    cluster.wait_for_workers(2)  # those that were killed before come back
    with energy_executor(dask=cluster.scheduler_address, limits=Limits(crash_retries=retries)) as executor:
        evaluation = Evaluator(slow.Slow, executor).evaluate(copper(0, 5))
    assert evaluation.error == (None if retries else "crash: 1 Dask workers died")
    assert retries == 0 or evaluation == Evaluator(EMT).evaluate(copper(0, 5))


def kill_two_workers(cluster, folder, n_before):
    """Kill one worker after some energies, and another one after more."""
    for n_energies in (8, 20):
        while len(list(folder.iterdir())) < n_before + n_energies:
            time.sleep(0.02)
        os.kill(next(nanny.pid for nanny in cluster.workers.values() if nanny.pid), signal.SIGKILL)


def test_a_cluster_that_is_not_there_is_an_error():
    quickly = dask.config.set({"distributed.comm.timeouts.connect": "0.5s"})
    with quickly, pytest.raises(OSError, match="Timed out trying to connect"):
        energy_executor(dask="tcp://127.0.0.1:9")


@pytest.mark.parametrize("address", ["foo", "tcp://foo", "127.0.0.1:8786"])
def test_what_is_no_address_is_refused_at_once(address):
    with pytest.raises(ValueError, match=rf"`dask` is '{address}' but must be an address such as tcp://10.0.0.1:8786"):
        energy_executor(dask=address)


def test_a_call_that_the_cluster_has_lost_is_an_error_of_the_connection():
    from asla_env.dask_workers import _settle

    lost, left = Future(), Future()
    _settle(lost, CancelledError())
    with pytest.raises(ConnectionError, match="the scheduler of the Dask cluster was lost"):
        lost.result(timeout=0)
    left.cancel()
    _settle(left, CancelledError())
    assert left.cancelled()
