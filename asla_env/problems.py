"""The problems of the paper, and two smaller ones: for tests and lessons, and of two species.

The success windows are narrow enough to keep out every other structure known, and as wide as that allows for the
wanted one where the pixels strain it. The numbers in the docstrings are energies on the grid by GFN1-xTB, with
electrons at 300 K, and by XWCH.
"""

import json
from collections.abc import Callable
from importlib.resources import files
from math import sqrt
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from asla_env.grid import Grid
from asla_env.problem import Problem

_BOND_LENGTH = 1.42  # Å, of graphene
_BORON_NITROGEN = 1.446  # Å, of hexagonal boron nitride
_VACUUM = 10.0  # Å between images of a sheet

# Pixels of naphthalene on its grid; the first two of each species are the template.
_CARBON = [(10, 22), (10, 15), (22, 21), (22, 14), (16, 25), (16, 11), (28, 25), (28, 11), (34, 22), (34, 15)]
_HYDROGEN = [(5, 24), (5, 13), (17, 30), (15, 6), (27, 30), (29, 6), (39, 24), (39, 13)]

# Pixels of boron nitride; the first boron atom is the template.
_BORON = [(0, 0), (0, 24), (10, 6), (10, 18), (11, 30), (20, 12)]
_NITROGEN = [(3, 6), (3, 18), (4, 30), (13, 12), (14, 0), (14, 24)]


def graphene() -> Problem:
    """Place 23 carbon atoms beside one to make a sheet of graphene.

    The cell is 8.52 x 7.38 Å, periodic, with 41 x 36 pixels. The reference is the ideal sheet, which the grid does
    not support: the best honeycombs on the grid lie 1.0 (GFN1-xTB) and 1.3 eV (XWCH) above it. The window is 3.0 eV,
    as the cheapest defect, one rotated bond, lies 6.6 and 7.7 eV above the ideal sheet.
    """
    return Problem.from_atoms(_sheet(2, 3), place=range(1, 24), shape=(41, 36), name="graphene", success_window=3.0)


def graphene_mini() -> Problem:
    """Place 11 carbon atoms beside one to make half the sheet of `graphene`, for tests and lessons.

    The cell is 4.26 x 7.38 Å, periodic, with 21 x 36 pixels. The reference is the ideal sheet; the best honeycomb on
    the grid lies 0.3 (GFN1-xTB) or 0.05 eV (XWCH) below it. The window is 3.0 eV, as the cheapest other structure
    known lies more than 5 eV above it.
    """
    return Problem.from_atoms(
        _sheet(1, 3), place=range(1, 12), shape=(21, 36), name="graphene-mini", success_window=3.0
    )


def boron_nitride() -> Problem:
    """Place 5 boron and 6 nitrogen atoms beside a boron atom to make a sheet of hexagonal boron nitride.

    It is not in the paper: two species where `graphene_mini` has one, in a cell of 4.338 x 7.514 Å, periodic, with as
    many pixels, 21 x 36. The reference is the best sheet known on the grid, 0.80 eV (GFN1-xTB) above the ideal one, so
    that the strain due to the pixels cancels. The window is 3.0 eV, as the cheapest other structure known, two
    neighbours swapped, lies 5.1 eV above it; all 44 ways to move one atom by a pixel along an axis stay within.
    """
    ideal = _sheet(1, 3, "BN", _BORON_NITROGEN)
    width, height, _ = map(float, ideal.cell.lengths())
    grid = Grid((21, 36), (width, height), (True, True), origin=(0.0, 0.0, _VACUUM / 2))
    pixels = np.ravel_multi_index(np.transpose(_BORON + _NITROGEN), grid.shape)
    sheet = Atoms("B6N6", grid.positions(pixels), cell=ideal.cell, pbc=ideal.pbc)
    return Problem(
        name="boron-nitride",
        grid=grid,
        template=sheet[:1],
        to_place={"B": 5, "N": 6},
        reference=sheet,
        success_window=3.0,
    )


def grain_boundary(hydrogen_terminated: bool = False) -> Problem:
    """Place 20 carbon atoms between the edges of two graphene sheets that are turned by 13.17° against each other.

    The grid has 61 x 53 pixels, open along x and periodic by 10.72 Å along y, the direction of the boundary. So is the
    simulation cell of 22 x 10.72 x 10 Å, in which the edges are far enough apart, 8.6 Å or more, for calculators that
    take every cell as periodic. The 28 atoms of the template keep the positions of a relaxed boundary, off the pixels.

    In the wanted structure one pentagon and one heptagon a period join the sheets. The reference is the best such
    structure known on the grid by GFN1-xTB with hydrogens, not the relaxed one 3.2 eV below, so that the strain due to
    the pixels cancels. Moving the pair of rings by one rotated bond costs 2.6 (GFN1-xTB, with or without hydrogens) or
    3.0 eV (XWCH) and is the cheapest other structure known; the window is 2.0 eV. Of the 80 ways to move one atom by a
    pixel along an axis, which leave the bonds as they are, 64 (GFN1-xTB) or 55 (XWCH) stay within it.

    Parameters
    ----------
    hydrogen_terminated
        Whether ten hydrogen atoms, outside of the image, saturate the outer sides of the two edges.
    """
    data = _data("grain_boundary.json")
    cell = (22.0, data["period"], _VACUUM)
    middle = np.array([cell[0] / 2, 0.0, _VACUUM / 2])
    spacing = data["period"] / 53
    grid = Grid((61, 53), (61 * spacing, data["period"]), (False, True), tuple(middle - (30 * spacing, 0.0, 0.0)))
    template = Atoms("C28", _in_plane(data["template"]) + middle, cell=cell, pbc=(False, True, False))
    hydrogens = Atoms("H10", _in_plane(data["hydrogens"]) + middle) if hydrogen_terminated else Atoms()
    placed = Atoms("C20", grid.positions(np.ravel_multi_index(np.transpose(data["best_on_grid"]), grid.shape)))
    return Problem(
        name="grain-boundary",
        grid=grid,
        template=template,
        to_place={"C": 20},
        reference=template + placed + hydrogens,
        success_window=2.0,
        surroundings=hydrogens,
    )


def naphthalene() -> Problem:
    """Place 8 carbon and 6 hydrogen atoms beside the two CH groups at one end of a molecule of naphthalene.

    The grid has 45 x 36 pixels of 0.2 Å, open along both axes, in the middle of a box of 14 x 12.2 x 6 Å for the
    calculators that need one. The reference is the best naphthalene known on the grid, 1.4 eV above the relaxed one.

    The window is 0.5 eV, as other molecules of the same formula are near: by GFN1-xTB benzofulvene lies 0.75 eV and
    azulene 1.0 eV above the reference. It is narrower than the strain due to one pixel: of the ways to move one atom
    by a pixel along an axis, 18 of 24 for hydrogen but 2 of 32 for carbon stay within it.
    """
    grid = Grid((45, 36), (9.0, 7.2), (False, False), origin=(2.6, 2.6, 3.0))
    pixels = np.ravel_multi_index(np.transpose(_CARBON + _HYDROGEN), grid.shape)
    molecule = Atoms("C10H8", grid.positions(pixels), cell=(14.0, 12.2, 6.0), pbc=False)
    return Problem(
        name="naphthalene",
        grid=grid,
        template=molecule[[0, 1, 10, 11]],
        to_place={"C": 8, "H": 6},
        reference=molecule,
        success_window=0.5,
    )


def best_on_grid(name: str) -> tuple[Atoms, ...]:
    """Make the most stable structures known on the grid of a problem.

    There is more than one where calculators differ in which is lowest, or are nearly indifferent: the boundary has its
    reference and a structure that lies 0.02 (GFN1-xTB, without hydrogens) or 0.06 eV (XWCH) below it. None is proven
    to be the best. Those of graphene lie above the reference, the ideal sheet, which the grid does not support.

    Parameters
    ----------
    name
        One of `PROBLEMS`.

    Raises
    ------
    ValueError
        If there is no such problem.
    """
    if name not in PROBLEMS:
        raise ValueError(f"`name` is {name!r} but must be one of {', '.join(PROBLEMS)}")
    problem = PROBLEMS[name]()
    pixels = _data("best_on_grid.json").get(name, {}).values()
    known = tuple(problem.structure(np.ravel_multi_index(np.transpose(each), problem.grid.shape)) for each in pixels)
    reference = problem.reference
    return (reference, *known) if reference is not None and name in _REFERENCE_IS_ON_GRID else known


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "graphene": graphene,
    "graphene-mini": graphene_mini,
    "grain-boundary": grain_boundary,
    "naphthalene": naphthalene,
    "boron-nitride": boron_nitride,
}
"""What makes each problem, by name."""


_REFERENCE_IS_ON_GRID = ("grain-boundary", "naphthalene", "boron-nitride")


def _data(file: str) -> dict[str, Any]:
    """What a file of this package says."""
    data: dict[str, Any] = json.loads(files("asla_env").joinpath("data", file).read_text(encoding="utf-8"))
    return data


def _sheet(armchair: int, zigzag: int, symbols: str = "CC", bond_length: float = _BOND_LENGTH) -> Atoms:
    """Ideal honeycomb of so many rectangular cells of four atoms along x and y, the first atom at x = y = 0.

    The two symbols are of neighbours.
    """
    width, height = 3 * bond_length, sqrt(3) * bond_length
    xy = [(0, 0), (width / 6, height / 2), (width / 2, height / 2), (2 * width / 3, 0)]
    positions = _in_plane(xy) + np.array([0.0, 0.0, _VACUUM / 2])
    rectangle = Atoms(symbols * 2, positions, cell=(width, height, _VACUUM), pbc=(True, True, False))
    sheet: Atoms = rectangle * (armchair, zigzag, 1)
    return sheet


def _in_plane(xy: ArrayLike) -> NDArray[np.float64]:
    """Positions at z = 0, shape (n, 3), of points in the plane, shape (n, 2)."""
    return np.pad(np.asarray(xy, dtype=float), ((0, 0), (0, 1)))
