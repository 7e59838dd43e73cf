"""Count the energies that other ways of searching spend until they know graphene, with xwch, in the same cell.

    pip install ".[benchmarks]"
    OMP_NUM_THREADS=1 python benchmarks/alternatives.py "basin hopping" --seeds 20 --energies 5000

Each call of the calculator counts as one energy, with or without its forces. What relaxes keeps to the plane, as the
placements on the grid do, and has found graphene as soon as an energy lies inside the problem's window. Agents have
100,000 placements at most: an illegal one ends a build at no cost, and without masks hardly any build is finished.
Rows, one as each run ends, go to benchmarks/results/alternatives.jsonl; what is there already is not run again.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ase import Atoms
from ase.build import sort
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixedPlane
from ase.data import covalent_radii
from ase.optimize import BFGS
from ase.optimize.basin import BasinHopping
from ase_ga.cutandsplicepairing import CutAndSplicePairing
from ase_ga.data import DataConnection, PrepareDB
from ase_ga.offspring_creator import OperationSelector
from ase_ga.population import Population
from ase_ga.standard_comparators import InteratomicDistanceComparator
from ase_ga.standardmutations import RattleMutation
from ase_ga.startgenerator import StartGenerator
from ase_ga.utilities import closest_distances_generator
from record import machine
from sb3_contrib import MaskablePPO
from stable_baselines3 import DQN

from asla_agents.callbacks import read_rows
from asla_env.problems import graphene
from asla_env.xwch import XWCH

ROWS = Path(__file__).parent / "results" / "alternatives.jsonl"
PROBLEM = graphene()
LEAST = 0.7 * 2 * covalent_radii[6]  # Å between atoms of a random structure, as in the environment
APART = 0.0  # eV, what such atoms cost: as much as separate ones
FMAX, STEPS = 0.05, 200  # where a relaxation ends: eV/Å, or so many energies (but in basin hopping)
POPULATION = 20
PLACEMENTS = 100_000  # of an agent


class Over(BaseException):  # which no guard of a calculator takes for its failure
    """The structure was found, or all energies are spent."""


class Counted(Calculator):
    """xwch that counts its calls and ends the run by an exception."""

    implemented_properties = ["energy", "free_energy", "forces"]

    def __init__(self, energies: int) -> None:
        super().__init__()
        self.allowed, self.spent, self.lowest = energies, 0, np.inf
        self.is_counting = True
        self.found_at: int | None = None
        self._xwch = XWCH()
        reference = PROBLEM.reference.copy()
        reference.calc = XWCH()
        self._reference = reference.get_potential_energy()

    def calculate(self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes):
        """Compute energy and forces in one call."""
        if self.spent >= self.allowed or self.found_at is not None:
            raise Over
        super().calculate(atoms, properties, system_changes)
        try:
            self._xwch.calculate(atoms, ["energy", "forces"], system_changes)
            self.results = dict(self._xwch.results)
        except ValueError:  # a step too far has put one atom onto another: nothing to follow from there
            self.results = {"energy": APART, "free_energy": APART, "forces": np.zeros((len(self.atoms), 3))}
        if not self.is_counting:
            return
        self.spent += 1
        self.lowest = min(self.lowest, self.results["energy"] - self._reference)
        if self.lowest < PROBLEM.success_window:
            self.found_at = self.spent
            raise Over


def random_structure(rng: np.random.Generator) -> Atoms:
    """24 atoms in the plane of the cell, none too close to another."""
    atoms = PROBLEM.reference.copy()
    atoms.set_constraint()
    placed = atoms[:1]
    while len(placed) < len(atoms):
        placed += Atoms("C", [(*rng.uniform(size=2), 0) @ atoms.cell.array + [0, 0, atoms.positions[0, 2]]])
        if placed.get_distances(-1, range(len(placed) - 1), mic=True).min() < LEAST:
            del placed[-1]
    placed.set_constraint(FixedPlane(range(len(placed)), (0, 0, 1)))
    return placed


def relax(atoms: Atoms) -> None:
    """Relax in the plane."""
    BFGS(atoms, logfile=None).run(fmax=FMAX, steps=STEPS)


def random_search(calculator: Counted, seed: int) -> None:
    """Relax random structures."""
    rng = np.random.default_rng(seed)
    while True:
        atoms = random_structure(rng)
        atoms.calc = calculator
        relax(atoms)


def basin_hopping(calculator: Counted, seed: int) -> None:
    """Basin hopping of ASE at 0.5 eV, moves of up to 0.5 Å."""
    atoms = random_structure(np.random.default_rng(seed))
    atoms.calc = calculator
    np.random.seed(seed)  # noqa: NPY002, its moves are drawn from the global stream
    no_files = dict.fromkeys(("logfile", "optimizer_logfile", "trajectory", "local_minima_trajectory"))
    hopping = BasinHopping(atoms, temperature=0.5, dr=0.5, fmax=FMAX, optimizer=BFGS, **no_files)
    hopping.run(calculator.allowed)


def genetic_algorithm(calculator: Counted, seed: int) -> None:
    """Cut and splice, and rattling, of a population of relaxed structures, by ase-ga."""
    rng = np.random.RandomState(seed)
    cell = PROBLEM.reference.copy()
    del cell[:]
    n, height = len(PROBLEM.reference), PROBLEM.reference.positions[0, 2]
    least = closest_distances_generator([6], 0.7)
    box = [np.array([0, 0, height]), [cell.cell[0], cell.cell[1], np.array([0, 0, 1e-3])]]
    start = StartGenerator(cell, [("C", n)], least, box_to_place_in=box, rng=rng)
    operators = [CutAndSplicePairing(cell, n, least, rng=rng), RattleMutation(least, n, rng=rng)]
    comparator = InteratomicDistanceComparator(n_top=n, pair_cor_cum_diff=0.015, pair_cor_max=0.7, dE=0.02, mic=True)
    choose = OperationSelector([0.7, 0.3], operators, rng=rng)

    def add(candidate: Atoms) -> None:
        candidate.positions[:, 2] = height
        candidate.set_constraint(FixedPlane(range(n), (0, 0, 1)))
        candidate.calc = calculator
        relax(candidate)
        candidate.info["key_value_pairs"]["raw_score"] = -candidate.get_potential_energy()
        data.add_relaxed_step(candidate)

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "population.db")
        database = PrepareDB(path, simulation_cell=cell, stoichiometry=[6] * n)
        for _ in range(POPULATION):
            database.add_unrelaxed_candidate(sort(start.get_new_candidate()))
        data = DataConnection(path)
        while data.get_number_of_unrelaxed_candidates():
            add(data.get_an_unrelaxed_candidate())
        population = Population(data, POPULATION, comparator, rng=rng)
        while True:
            child, description = choose.get_new_individual(population.get_two_candidates())
            if child is not None:
                data.add_unrelaxed_candidate(child, description=description)
                add(child)
                population.update()


def environment(calculator: Counted) -> gym.Env:
    """The environment, whose reference costs nothing."""
    env = gym.make("ASLA-Graphene-v0", evaluator=lambda: calculator)
    calculator.is_counting = False
    env.unwrapped.check_reference()
    calculator.is_counting = True
    return env


def dqn(calculator: Counted, seed: int) -> None:
    """The stock DQN of Stable-Baselines3, which knows no masks: an illegal placement ends a build."""
    env = environment(calculator)
    model = DQN("MlpPolicy", env, n_steps=PROBLEM.n_to_place, gamma=1.0, seed=seed)
    model.learn(PLACEMENTS)


def maskable_ppo(calculator: Counted, seed: int) -> None:
    """MaskablePPO of sb3-contrib."""
    env = environment(calculator)
    model = MaskablePPO("MlpPolicy", env, gamma=1.0, seed=seed)
    model.learn(PLACEMENTS)


METHODS: dict[str, Callable[[Counted, int], None]] = {
    "random search": random_search,
    "basin hopping": basin_hopping,
    "genetic algorithm": genetic_algorithm,
    "DQN": dqn,
    "MaskablePPO": maskable_ppo,
}


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--energies", type=int, default=5000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    there = {(row["method"], row["seed"], row["energies"]) for row in read_rows(ROWS)} if ROWS.exists() else set()
    for seed in range(arguments.seeds):
        if (arguments.method, seed, arguments.energies) not in there:
            calculator = Counted(arguments.energies)
            with suppress(Over):
                METHODS[arguments.method](calculator, seed)
            row = {"method": arguments.method, "seed": seed, "energies": arguments.energies}
            row |= {"spent": calculator.spent, "found_at": calculator.found_at}
            row |= {"best": round(calculator.lowest, 3) if np.isfinite(calculator.lowest) else None}
            print(row)
            with ROWS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | {"machine": machine()}) + "\n")


if __name__ == "__main__":
    main()
