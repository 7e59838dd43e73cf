"""What a problem must fulfil; every rule that is broken is a ValueError or a TypeError with the value and the rule."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import get_distances, minkowski_reduce
from numpy.typing import NDArray

from asla_env.grid import Grid, is_number

if TYPE_CHECKING:
    from asla_env.problem import Problem

SAME = 1e-3
"""In Å: what is closer than this is in the same place."""

_ELECTRONS = ("charge", "spin", "multiplicity", "total_charge", "total_spin")  # calculators read these in `info`
_TRUTH = frozenset((bool, np.bool_))


def whole_number(name: str, value: Any) -> int:
    """A whole number, also one of numpy or the only one of an array; raises TypeError if it is none."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    if isinstance(getattr(value, "shape", None), tuple):  # an array, of whatever library
        array = np.asarray(value)
        if array.size == 1 and array.dtype.kind in "iu":
            return int(array.item())
    raise TypeError(f"`{name}` is {value!r} but must be a whole number")


def whole_numbers(name: str, values: Any) -> NDArray[np.int64]:
    """Whole numbers of a sequence as an array, shape (n,); raises TypeError if it is none, or holds anything else."""
    try:
        array = np.asarray(values)
    except ValueError:  # sequences of different lengths
        array = np.asarray(None)
    is_whole = array.ndim == 1 and (array.dtype.kind in "iu" or not array.size)
    if not is_whole or (isinstance(values, list | tuple) and not _TRUTH.isdisjoint(map(type, values))):
        raise TypeError(f"`{name}` is {values!r} but must be a sequence of whole numbers")
    return array.astype(np.int64, copy=False)


def checked_seed(name: str, value: Any) -> int:
    """A seed of a random generator; raises TypeError or ValueError if it is none."""
    seed = whole_number(name, value)
    if seed < 0:
        raise ValueError(f"`{name}` is {seed} but must be at least 0")
    return seed


def check_parts(problem: Problem) -> None:
    """Raise TypeError if a part of a problem is no such part, ValueError if atoms cannot be one."""
    kinds: dict[str, tuple[type | tuple[type, ...], str]] = {
        "name": (str, "text"),
        "grid": (Grid, "a Grid"),
        "template": (Atoms, "ase.Atoms, without atoms if nothing is given"),
        "to_place": (Mapping, "a mapping from species to count, such as {'C': 2}"),
        "reference": ((Atoms, type(None)), "ase.Atoms or None"),
        "surroundings": (Atoms, "ase.Atoms"),
    }
    for name, (kind, description) in kinds.items():
        if not isinstance(getattr(problem, name), kind):
            given = type(getattr(problem, name)).__name__
            raise TypeError(f"`{name}` is of type {given} but must be {description}")
    for name in ("template", "reference", "surroundings"):
        if getattr(problem, name) is not None:
            _check_atoms(name, getattr(problem, name))


def check_problem(problem: Problem) -> None:
    """Raise ValueError if the parts of a problem are impossible or contradict each other."""
    _check_counts(problem)
    _check_limits(problem)
    _check_template(problem)
    _check_surroundings(problem)
    _check_cell(problem)
    _check_reference(problem)


def check_finished(atoms: Atoms) -> None:
    """Raise unless these are the atoms of a finished structure."""
    if not isinstance(atoms, Atoms):
        raise TypeError(f"`atoms` is of type {type(atoms).__name__} but must be ase.Atoms: see `ase.io.read`")
    if not len(atoms):
        raise ValueError("`atoms` is empty but must be a finished structure")
    _check_atoms("atoms", atoms)


def indices_to_place(place: Sequence[int], n_atoms: int) -> set[int]:
    """Indices in [0, n_atoms) of the atoms to place; raises unless each is a whole number in range, named once."""
    try:
        indices = list(place)
    except TypeError as error:
        raise TypeError(f"`place` is {place!r} but must be a sequence of indices of atoms") from error
    if not all(isinstance(i, Integral) and not isinstance(i, bool | np.bool_) for i in indices):
        raise TypeError(f"`place` is {indices} but must hold whole numbers, the indices of atoms")
    if not all(-n_atoms <= i < n_atoms for i in indices):
        raise ValueError(f"`place` is {indices} but must hold indices of the {n_atoms} atoms")
    taken = {int(i) % n_atoms for i in indices}
    if len(taken) != len(indices):
        raise ValueError(f"`place` is {indices} but must name each atom once")
    return taken


def _check_counts(problem: Problem) -> None:
    """Raise unless elements and whole numbers of them are to be placed."""
    for symbol, count in problem.to_place.items():
        if atomic_numbers.get(symbol, 0) < 1:  # 0 is X, a dummy
            raise ValueError(f"`to_place` names the species {symbol!r} but must name chemical elements")
        if not isinstance(count, Integral) or isinstance(count, bool) or count < 0:
            raise ValueError(f"`to_place` asks for {count!r} {symbol} but a count must be a whole number of at least 0")
    if sum(problem.to_place.values()) == 0:
        raise ValueError(f"`to_place` is {problem.to_place} but must hold at least one atom: nothing is to be placed")


def _check_limits(problem: Problem) -> None:
    """Raise unless distance limits and success window make sense."""
    low, high = problem.minimum_distance, problem.maximum_distance
    for name, limit in (("minimum_distance", low), ("maximum_distance", high)):
        if limit is not None and not (is_number(limit) and limit > 0):
            raise ValueError(f"`{name}` is {limit!r} but must be a positive multiple of covalent radii, or None")
    if low is not None and high is not None and low >= high:
        raise ValueError(f"`minimum_distance` is {low} but must be below `maximum_distance`, {high}")
    if not (is_number(problem.success_window) and problem.success_window > 0):
        raise ValueError(f"`success_window` is {problem.success_window!r} eV but must be positive and finite")


def _check_atoms(name: str, atoms: Atoms) -> None:
    """Raise unless atoms are elements at finite positions, without charges and moments of their own.

    Those of single atoms cannot be kept: atoms that are placed would have none, and energies would not compare.
    """
    if not (np.all(np.isfinite(atoms.positions)) and np.all(np.isfinite(atoms.cell.array))):
        raise ValueError(f"`{name}` has a position or a cell that is not finite but must have coordinates in Å")
    _check_vectors(name, atoms)
    if np.any(atoms.numbers < 1):
        raise ValueError(f"`{name}` is {atoms.symbols} but must be of chemical elements")
    for what, values in (
        ("magnetic moments", atoms.get_initial_magnetic_moments()),
        ("charges", atoms.get_initial_charges()),
    ):
        if np.any(values):
            raise ValueError(
                f"`{name}` has the initial {what} {values.tolist()} but must have none: remove them by "
                f"`atoms.set_initial_{what.replace(' ', '_')}(None)`, and set what matters in the calculator"
            )


def _check_vectors(name: str, atoms: Atoms) -> None:
    """Raise ValueError if a cell has no length along an axis on which it repeats, or its vectors depend on another."""
    for axis, (vector, repeats) in enumerate(zip(atoms.cell.array, atoms.pbc, strict=True)):
        if repeats and not vector.any():
            raise ValueError(
                f"`{name}` has the cell vector {vector.tolist()} Å along axis {axis} but it must have a length there, "
                "as `pbc` is True"
            )
    cell = atoms.cell.array
    if np.linalg.matrix_rank(cell) < np.count_nonzero(cell.any(axis=1)):
        raise ValueError(f"`{name}` has the cell {cell.tolist()} Å but its vectors must be linearly independent")


def _check_template(problem: Problem) -> None:
    """Raise unless every template atom has a pixel of its own and room is left for the atoms to place."""
    try:
        pixels = problem.template_sites % problem.grid.n_pixels
    except ValueError as error:
        raise ValueError(f"`template` has an atom outside the grid: {error}") from error
    values, counts = np.unique(pixels, return_counts=True)
    if np.any(counts > 1):
        crowded = np.transpose(np.unravel_index(values[counts > 1], problem.grid.shape)).tolist()
        raise ValueError(f"`template` has two atoms on one pixel, {crowded}, but each must have its own")
    free = problem.grid.n_pixels - len(pixels)
    n_to_place = sum(map(int, problem.to_place.values()))
    if n_to_place > free:
        raise ValueError(f"`to_place` holds {n_to_place} atoms but must fit on the {free} free pixels")


def _check_surroundings(problem: Problem) -> None:
    """Raise ValueError if what is around the image repeats unlike the template, or has one of its atoms too."""
    around, template = problem.surroundings, problem.template
    if around.pbc.any() and not _repeat_alike(around, template):
        raise ValueError(
            f"`surroundings` has the cell {around.cell.tolist()} Å and pbc {around.pbc.tolist()} but must have "
            f"those of `template`, which are the structure's, {template.cell.tolist()} and {template.pbc.tolist()}; "
            "an empty template has them as `Atoms(cell=..., pbc=...)`"
        )
    for name in _ELECTRONS:
        of_template = template.info.get(name, 0)
        if name in around.info and not np.array_equal(around.info[name], of_template):
            raise ValueError(
                f"`surroundings` has the {name} {around.info[name]!r} in its `info` but must have that of `template`, "
                f"{of_template!r}, which is the structure's"
            )
    if not (len(around) and len(template)):
        return
    repeated = _distances(template, around).min(axis=0) < SAME
    if np.any(repeated):
        raise ValueError(
            f"`surroundings` has {around.symbols[repeated][0]} at {around.positions[repeated][0].tolist()} Å, where "
            "`template` has an atom, but must have other atoms than `template`"
        )


def _repeat_alike(atoms: Atoms, others: Atoms) -> bool:
    """Whether two structures have the same cell and periodic boundary conditions."""
    return np.allclose(atoms.cell, others.cell, atol=1e-6) and np.array_equal(atoms.pbc, others.pbc)


def _check_cell(problem: Problem) -> None:
    """Raise unless the template repeats along the periodic axes as the grid does, and no atom meets its own image."""
    cell, pbc = problem.template.cell, problem.template.pbc
    for axis, (length, periodic) in enumerate(zip(problem.grid.cell, problem.grid.periodic, strict=True)):
        vector = np.eye(3)[axis] * length
        if periodic and not (pbc[axis] and np.allclose(cell[axis], vector, atol=1e-6)):
            raise ValueError(
                f"`template` has cell vector {cell[axis].tolist()} Å and pbc {bool(pbc[axis])} along axis {axis} "
                f"but must repeat there every {length} Å as `grid`"
            )
    lengths = np.linalg.norm(minkowski_reduce(cell, pbc)[0], axis=1)[pbc]  # the shortest vectors of the lattice
    radius = max(covalent_radii[atomic_numbers[symbol]] for symbol, count in problem.to_place.items() if count)
    least = 2 * radius * (problem.minimum_distance or 0.0)
    if np.any(lengths < least):
        raise ValueError(
            f"`template` repeats every {min(lengths):.3g} Å but must leave at least {least:.3g} Å, by "
            "`minimum_distance`, between an atom and its own image"
        )


def _check_reference(problem: Problem) -> None:
    """Raise unless the reference has the atoms of a finished structure in the template's cell."""
    if problem.reference is None:
        return
    expected = problem.template + problem.surroundings
    expected += Atoms([symbol for symbol, count in problem.to_place.items() for _ in range(count)])
    if sorted(problem.reference.symbols) != sorted(expected.symbols):
        raise ValueError(
            f"`reference` is {problem.reference.symbols} but must have the atoms of a finished structure, "
            f"{expected.get_chemical_formula()}"
        )
    if not _repeat_alike(problem.reference, problem.template):
        cell, pbc = problem.reference.cell, problem.reference.pbc
        raise ValueError(
            f"`reference` has the cell {cell.tolist()} Å and pbc {pbc.tolist()} but must have those of `template`, "
            f"{problem.template.cell.tolist()} and {problem.template.pbc.tolist()}, for energies to compare"
        )
    for name in _ELECTRONS:
        of_reference, of_template = (atoms.info.get(name, 0) for atoms in (problem.reference, problem.template))
        if not np.array_equal(of_reference, of_template):
            raise ValueError(
                f"`reference` has the {name} {of_reference!r} in its `info` but must have that of `template`, "
                f"{of_template!r}, for energies to compare"
            )
    _warn_of_limits(problem, problem.reference)


def _warn_of_limits(problem: Problem, reference: Atoms) -> None:
    """Warn if the distance limits forbid what the reference has, however its atoms are moved onto pixels."""
    there = problem.template + problem.surroundings
    to_place = np.ones(len(reference), dtype=bool)
    if len(there):
        distances = _distances(reference, there)
        to_place[distances.argmin(axis=0)[distances.min(axis=0) <= SAME]] = False  # one for each that is there
    radii = covalent_radii[reference.numbers]
    apart = _distances(reference, reference) / (radii[:, None] + radii)  # in sums of covalent radii
    np.fill_diagonal(apart, np.inf)
    slack = np.linalg.norm(problem.grid.spacing) / (2 * radii.min())  # half a pixel's diagonal for each atom of a pair
    nearest = apart[to_place].min(axis=1, initial=np.inf)
    low, high = problem.minimum_distance, problem.maximum_distance
    for name, limit, forbidden in (
        ("minimum_distance", low, low is not None and nearest < low - slack),
        ("maximum_distance", high, high is not None and (nearest > high + slack) & np.isfinite(nearest)),
    ):
        if np.any(forbidden):
            found = nearest[forbidden][0]
            warnings.warn(
                f"`{name}` is {limit} but `reference` has an atom to place whose nearest neighbour is {found:.3g} sums "
                "of covalent radii away: such a structure cannot be built",
                stacklevel=2,
            )


def _distances(atoms: Atoms, others: Atoms) -> NDArray[np.float64]:
    """Distances in Å between the nearest images of atoms, shape (atoms, others)."""
    return np.asarray(get_distances(atoms.positions, others.positions, cell=atoms.cell, pbc=atoms.pbc)[1])
