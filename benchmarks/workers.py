"""Measure what the guard of energies costs: overhead, throughput and memory.

    OMP_NUM_THREADS=1 python benchmarks/workers.py

Overheads are those of a calculator that returns a constant: by the clock, which other programs on the machine lengthen,
and of this process and its worker on a core, which they do not. Throughput is that of one that waits for 0.5 s; memory
is that of this process and its one worker while 10,000 different structures are computed, after the first 1,000.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from record import machine, record, seconds_at_work

from asla_env import Evaluator
from asla_env.workers import WorkerPool

SHEET = Atoms("C24", np.random.default_rng(0).uniform(0, 9, (24, 3)), cell=[9, 9, 9], pbc=True)
ROUNDS, WARM_UP, N_ENERGIES, N_WAITING = 500, 1_000, 10_000, 16


class Constant(Calculator):
    """Has one energy."""

    implemented_properties = ["energy"]

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Do nothing."""
        self.results["energy"] = 0.0


class Waiting(Constant):
    """Waits for 0.5 s."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        """Wait."""
        time.sleep(0.5)
        super().calculate(*args, **kwargs)


def median_s(function: Callable[[], Any]) -> float:
    """Median time of a call."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def at_work_s(function: Callable[[], Any], processes: list[int]) -> float:
    """Mean time of a call that processes spend on a core."""
    before = sum(map(seconds_at_work, processes))
    for _ in range(ROUNDS):
        function()
    return (sum(map(seconds_at_work, processes)) - before) / ROUNDS


def energies_per_s(workers: int) -> float:
    """Throughput of energies that wait."""
    with WorkerPool(workers) as pool:
        used = Evaluator(Waiting, pool)
        used.evaluate_many([SHEET] * workers, [None] * workers)  # all processes have started
        start = time.perf_counter()
        used.evaluate_many([SHEET] * N_WAITING, [None] * N_WAITING)
        return N_WAITING / (time.perf_counter() - start)


def resident_mib(process: int) -> float:
    """Memory of a process now."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_mib(pool: WorkerPool) -> list[tuple[float, float]]:
    """Memory of this process and of the worker, before and after."""
    worker = pool.submit(os.getpid).result()
    used = Evaluator(Constant, pool)
    sizes = []
    for i in range(WARM_UP + N_ENERGIES):
        if i == WARM_UP:
            sizes.append((resident_mib(os.getpid()), resident_mib(worker)))
        used.evaluate(SHEET, i.to_bytes(32, "big"))
    return [*sizes, (resident_mib(os.getpid()), resident_mib(worker))]


def main() -> None:
    """Print the table."""
    here = Evaluator(Constant)
    calculator = Constant()
    bare = median_s(lambda: calculator.get_potential_energy(SHEET))
    in_process = median_s(lambda: here.evaluate(SHEET)) - bare
    with WorkerPool(1) as pool:
        there = Evaluator(Constant, pool)
        there.evaluate(SHEET)
        by_worker = median_s(lambda: there.evaluate(SHEET)) - bare
        at_work = at_work_s(lambda: there.evaluate(SHEET), [os.getpid(), pool.submit(os.getpid).result()])
        before, after = memory_mib(pool)
    one, four = energies_per_s(1), energies_per_s(4)
    growth = [100 * (b / a - 1) for a, b in zip(before, after, strict=True)]
    print(f"{machine()}; medians of {ROUNDS}; load {os.getloadavg()[0]:.1f}")
    print(f"overhead of an energy: {in_process * 1e3:.3f} ms in this process, {by_worker * 1e3:.3f} ms by a worker,")
    print(f"  which is {at_work * 1e3:.3f} ms of both processes on a core")
    print(f"throughput: {one:.2f}/s with one worker, {four:.2f}/s with four, ratio {four / one:.2f}")
    print(f"memory after {N_ENERGIES} energies: {growth[0]:+.1f} % here, {growth[1]:+.1f} % in the worker")
    numbers = {
        "in_process_s": in_process,
        "by_worker_s": by_worker,
        "by_worker_at_work_s": at_work,
        "one_per_s": one,
        "four_per_s": four,
    }
    rounded: dict[str, Any] = {name: float(f"{number:.4g}") for name, number in numbers.items()}
    memory = {"mib_before": np.round(before, 1).tolist(), "mib_after": np.round(after, 1).tolist()}
    record("workers", {"load": round(os.getloadavg()[0], 1)} | rounded | memory)


if __name__ == "__main__":
    main()
