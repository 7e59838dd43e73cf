"""Do harm to searches from outside and from inside, and compare them with searches that nothing happened to.

    OMP_NUM_THREADS=1 python benchmarks/faults.py harm     # a calculator that fails in every way there is
    OMP_NUM_THREADS=1 python benchmarks/faults.py kill     # one search, killed with kill -9 again and again
    OMP_NUM_THREADS=1 python benchmarks/faults.py cluster  # a Dask cluster whose workers are killed

Searches are run as from the shell. What is behind `--` goes to `asla search`: `faults.py kill -- --imagination`.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from ase import Atoms
from ase.db import connect
from record import machine, record, seconds_at_work

from asla_agents.callbacks import read_rows
from asla_agents.checkpoint import State, read_checkpoint
from asla_env import IDS, Evaluator
from asla_env.executors import energy_executor
from asla_env.problems import PROBLEMS

HARMFUL = '''
import ctypes, time
from pathlib import Path
from ase.calculators.calculator import Calculator
from asla_env.calculator_spec import CalculatorSpec

TURNS = Path(__file__).with_name("turns")

def fail():
    raise RuntimeError("no convergence")

def hoard():
    held = []
    while True:
        held.append(bytearray(2**26))

DEEDS = [None, fail, None, lambda: float("nan"), None, lambda: time.sleep(10**6), None, hoard, None,
         crash := lambda: ctypes.string_at(0), crash]  # as it is tried again

class Harmful(Calculator):
    """Fails in each way in turn, and has an energy in between."""
    implemented_properties = ["energy"]

    def __init__(self, of):
        super().__init__()
        self.calculator = CalculatorSpec(of).make()

    def get_potential_energy(self, atoms=None, force_consistent=False):
        with TURNS.open("ab") as file:
            file.write(b".")
            turn = file.tell() - 1
        deed = DEEDS[turn % len(DEEDS)]
        if deed is not None:
            return deed()
        self.calculator.reset()
        return self.calculator.get_potential_energy(atoms)
'''
SLOW = '''
import os, time
from pathlib import Path
from ase.calculators.emt import EMT

class Slow(EMT):
    """Waits, and leaves a file for each energy."""
    def calculate(self, *args, **kwargs):
        time.sleep(0.5)
        super().calculate(*args, **kwargs)
        Path(__file__).parent.joinpath(f"{time.time_ns()}-{os.getpid()}.energy").touch()
'''
ASLA = [sys.executable, "-m", "asla_agents"]
MINI = "ASLA-GrapheneMini-v0"
app = typer.Typer(help=__doc__)
_Id = Annotated[str, typer.Option("--id", help="Problem.")]
_Of = Annotated[str, typer.Option(help="Calculator behind.")]
_Rest = Annotated[list[str] | None, typer.Argument(metavar="[-- OPTIONS]", help="Further options of `asla search`.")]


@app.command()
def harm(env_id: _Id = MINI, evaluator: _Of = "xwch", episodes: int = 200, rest: _Rest = None) -> None:
    """Search with a calculator that raises, returns nan, sleeps for ever, takes all memory and crashes in turn."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "harmful.py").write_text(HARMFUL)
        settings = ["--evaluator", "harmful:Harmful", "--evaluator-settings", json.dumps({"of": evaluator})]
        limits = ["--time-limit", "4", "--memory-limit", "1", "--episodes", str(episodes), "--out", "run"]
        start = time.perf_counter()
        subprocess.run([*ASLA, "search", env_id, *settings, *limits, *(rest or [])], cwd=folder, check=True)
        seconds = time.perf_counter() - start
        rows = read_rows(Path(folder, "run", "episodes.jsonl"))
    kinds = Counter((row["calculator_error"] or "none").partition(":")[0] for row in rows)
    wrong = sum(not row["calculator_error"] and row["energy"] != energy_of(row, env_id, evaluator) for row in rows)
    keep("harm", {"id": env_id, "evaluator": evaluator, "options": rest or [], "seconds": round(seconds, 1),
                  "rows": len(rows), "errors": dict(kinds), "energies_wrong": wrong})  # fmt: skip


@app.command()
def kill(
    env_id: _Id = MINI,
    evaluator: _Of = "xwch",
    episodes: int = 600,
    kills: int = 20,
    longest: Annotated[float, typer.Option(help="Seconds at work from a start to a kill at the most.")] = 12.0,
    in_checkpoint: Annotated[bool, typer.Option(help="Kill while a checkpoint is written.")] = False,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    rest: _Rest = None,
) -> None:
    """Kill a search at random moments, resume it each time, and compare it with one that was left alone."""
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, run = Path(folder, "whole"), Path(folder, "run")
        settings = [env_id, "--evaluator", evaluator, "--episodes", str(episodes), *(rest or [])]
        subprocess.run([*ASLA, "search", *settings, "--out", whole], check=True)
        killed_at = []
        while len(killed_at) < kills:
            command = ["resume", run] if (run / "config.json").exists() else ["search", *settings, "--out", run]
            process = subprocess.Popen([*ASLA, *command])
            wait_for_moment(process, moments.uniform(0, longest), run if in_checkpoint else None)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed_at.append(len(read_rows(run / "episodes.jsonl")))
        subprocess.run([*ASLA, "resume", run], check=True)
        same = [(whole / name).read_bytes() == (run / name).read_bytes() for name in ("episodes.jsonl", "best.xyz")]
        states = [read_checkpoint(path / "checkpoint.zip") for path in (whole, run)]
        n_energies = [connect(path / "energies.db").count() for path in (whole, run)]
    keep("kill", {"id": env_id, "evaluator": evaluator, "options": rest or [], "episodes": episodes,
                  "in_checkpoint": in_checkpoint, "kills": len(killed_at), "episodes_at_kills": killed_at,
                  "same_episodes": same[0], "same_best": same[1], "same_checkpoint": equal(*states),
                  "energies": n_energies})  # fmt: skip


@app.command()
def cluster(energies: int = 400, every: Annotated[float, typer.Option(help="Seconds between kills.")] = 10.0) -> None:
    """Compute energies that take 0.5 s on a cluster of two workers, one of which is killed now and then."""
    from distributed import LocalCluster

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "slow_calculator.py").write_text(SLOW)
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
        sys.path.append(folder)
        import slow_calculator  # type: ignore[import-not-found]

        structures = [Atoms("Cu2", [(0, 0, 0), (0, 0, 2.2 + 0.001 * i)]) for i in range(energies)]
        keys = [i.to_bytes(4, "big") for i in range(energies)]
        with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as local:
            over, killed = threading.Event(), list[int]()
            killer = threading.Thread(target=kill_workers, args=(local, every, over, killed))
            start = time.perf_counter()
            killer.start()
            with energy_executor(dask=local.scheduler_address) as executor:
                evaluator = Evaluator(slow_calculator.Slow, executor)
                evaluations = evaluator.evaluate_many(structures, keys)
            seconds = time.perf_counter() - start
            over.set()
            killer.join()
        finished = len(list(Path(folder).glob("*.energy")))
    here = Evaluator("ase.calculators.emt:EMT")
    wrong = sum(found != here.evaluate(atoms) for found, atoms in zip(evaluations, structures, strict=True))
    keep("cluster", {"energies": energies, "killed_workers": len(killed), "seconds": round(seconds, 1),
                     "answers": len(evaluations), "wrong_or_lost": wrong, "finished_on_workers": finished})  # fmt: skip


def energy_of(row: dict[str, Any], env_id: str, evaluator: str) -> float:
    """Energy in eV of the structure of an episode, computed here."""
    return Evaluator(evaluator).evaluate(PROBLEMS[IDS[env_id]]().structure(row["placed"])).energy


def wait_for_moment(process: subprocess.Popen[bytes], seconds: float, run: Path | None) -> None:
    """Wait until a process has worked for so long, and then, if a directory is given, for a checkpoint in writing."""
    while process.poll() is None:
        if seconds_at_work(process.pid) > seconds and (run is None or (run / "checkpoint.zip.partial").exists()):
            return
        time.sleep(0.02 if run is None else 0.001)


def kill_workers(cluster: Any, every: float, over: threading.Event, killed: list[int]) -> None:
    """Kill a worker of a cluster now and then, which it replaces."""
    while not over.wait(every):
        alive = [nanny.pid for nanny in cluster.workers.values() if nanny.pid]
        if alive:
            killed.append(random.choice(alive))
            os.kill(killed[-1], signal.SIGKILL)


def equal(first: Any, second: Any) -> bool:
    """Whether two nested structures of tensors are the same to the last bit."""
    if isinstance(first, State):
        first, second = first._asdict(), second._asdict()
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else bool(np.all(first == second))


def keep(trial: str, numbers: dict[str, Any]) -> None:
    """Print what a trial said, and keep it."""
    print(machine(), *(f"  {name}: {value}" for name, value in numbers.items()), sep="\n")
    record("faults", {"trial": trial, **numbers})


if __name__ == "__main__":
    app()
