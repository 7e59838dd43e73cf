"""Problems that are not of the paper, to see how the defaults do on them: what studies/other_problems.json searches.

    cd benchmarks
    asla study studies/other_problems.json --rows results/other_problems.jsonl

The windows of success were chosen for GFN1-xTB as docs/your_own_problem.md says: between what the pixels cost, atoms
moved to the nearest ones and on as long as a step of one atom lowers the energy (of benzene 0.67 to 1.00, by the order
of the steps), and the next structure known, relaxed. All energies are in eV above the reference.

===============  ============  ======  ====================================
id               on pixels     window  next structure
===============  ============  ======  ====================================
Graphene16-v0    2.51          3       7.57, a bond turned by 90 degrees
Ethylene-v0      0.33          1       2.99, ethylidene
Benzene-v0       0.67          1       1.34, fulvene
===============  ============  ======  ====================================

BenzeneBound-v0 is benzene where an atom may only go within 1.3 sums of covalent radii of another.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
from ase import Atoms
from ase.build import molecule

from asla_env import AtomPlacementEnv, Problem

_LATTICE_CONSTANT, _HEIGHT = 2.467, 10.0  # of the sheet of graphene and of its cell, in Å


def benzene(**limits: float) -> Problem:
    """Benzene from two of its carbon atoms."""
    return Problem.from_atoms(molecule("C6H6"), place=range(2, 12), success_window=1.0, **limits)


def ethylene() -> Problem:
    """Ethylene, laid flat, from one of its carbon atoms."""
    atoms = molecule("C2H4")
    atoms.positions = atoms.positions[:, [1, 2, 0]]
    return Problem.from_atoms(atoms, place=range(1, 6), success_window=1.0)


def graphene_16() -> Problem:
    """Graphene in a cell of 16 atoms, from one of them."""
    width, height = _LATTICE_CONSTANT, _LATTICE_CONSTANT * 3**0.5
    positions = [(0, 0), (width / 2, height / 2), (0, height / 3), (width / 2, height * 5 / 6)]
    flat = [(x, y, _HEIGHT / 2) for x, y in positions]
    rectangle = Atoms("C4", positions=flat, cell=(width, height, _HEIGHT), pbc=(True, True, False))
    return Problem.from_atoms(rectangle.repeat((2, 2, 1)), place=range(1, 16))


def _make_env(problem: Callable[[], Problem], **settings: Any) -> AtomPlacementEnv:
    return AtomPlacementEnv(problem(), **settings)


PROBLEMS = {
    "Benzene-v0": benzene,
    "BenzeneBound-v0": partial(benzene, maximum_distance=1.3),
    "Ethylene-v0": ethylene,
    "Graphene16-v0": graphene_16,
}
for name, make in PROBLEMS.items():
    gym.register(name, entry_point=partial(_make_env, make))
