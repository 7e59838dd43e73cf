"""Structures as text: a character a pixel, read back."""

import numpy as np
import pytest
from ase import Atoms

from asla_env import Grid, Problem
from asla_env.action import encode
from asla_env.problems import PROBLEMS
from asla_env.text import structure_text

NO_LIMITS = {"minimum_distance": None, "maximum_distance": None}
TINY = Grid((5, 3), (2.5, 1.5), (False, False))


def test_placed_atoms_are_capitals_template_atoms_in_lower_case_and_free_pixels_dots() -> None:
    problem = Problem("tiny", TINY, Atoms("C", [(0.5, 0, 0)]), {"C": 2, "H": 3}, **NO_LIMITS)
    placed = [encode(0, 1 * 3 + 2, problem), encode(1, 4 * 3 + 0, problem)]  # C on pixel (1, 2), H on pixel (4, 0)
    lines = ["C 1/2, H 1/3; lower case: template", ". C . . .", ". . . . .", ". c . . H"]
    assert structure_text(placed, problem).split("\n") == lines


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_text_has_a_character_a_pixel_and_fits_a_terminal(name: str) -> None:
    problem = PROBLEMS[name]()
    _, *lines = structure_text([], problem).split("\n")
    assert max(map(len, lines)) <= 120
    picture = np.array([list(line.replace(" ", "")) for line in lines])[::-1].T
    assert picture.shape == problem.grid.shape
    drawn = np.unravel_index(problem.template_sites % problem.grid.n_pixels, problem.grid.shape)
    assert picture[drawn].tolist() == [symbol.lower() for symbol in problem.template.symbols]
    assert np.count_nonzero(picture != ".") == len(problem.template)


def test_species_with_the_same_initial_have_different_letters() -> None:
    template = Atoms("CCl", [(0.5, 0, 0), (2, 1, 0)])
    caption, picture = structure_text([], Problem("tiny", TINY, template, {"Cu": 1}, **NO_LIMITS)).split("\n", 1)
    assert caption.startswith("C 0/0, Cl (L) 0/0, Cu (U) 0/1;")
    assert set("cl") == set(picture) - set(". \n")


def test_the_highest_atom_along_a_third_axis_is_shown() -> None:
    grid = Grid((5, 3, 8), (2.5, 1.5, 4.0), (False, False, False))
    problem = Problem("solid", grid, Atoms("C", [(1, 1, 2)]), {"O": 1}, **NO_LIMITS)
    above, below = (
        structure_text([encode(1, int(grid.pixels((1, 1, z))), problem)], problem).split("\n", 1)[1] for z in (3, 1)
    )
    assert set(above) - set(". \n") == {"O"}
    assert set(below) - set(". \n") == {"c"}
