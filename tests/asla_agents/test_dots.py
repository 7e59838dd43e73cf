"""Dots in characters of Braille, against the Unicode chart."""

import numpy as np
import pytest

from asla_agents.dots import braille, scatter


@pytest.mark.parametrize(
    ("row", "column", "letter"),
    [(0, 0, "⠁"), (1, 0, "⠂"), (2, 0, "⠄"), (3, 0, "⡀"), (0, 1, "⠈"), (1, 1, "⠐"), (2, 1, "⠠"), (3, 1, "⢀")],
)
def test_each_dot_is_that_of_unicode(row, column, letter):
    picture = np.zeros((4, 2))
    picture[row, column] = 1
    assert braille(picture) == [letter]


def test_a_picture_has_a_character_for_eight_dots_and_is_filled_up():
    assert braille(np.ones((8, 6))) == ["⣿⣿⣿", "⣿⣿⣿"]
    assert braille(np.ones((5, 3))) == ["⣿⡇", "⠉⠁"]


def test_numbers_that_rise_go_from_the_lower_left_to_the_upper_right():
    lines = scatter([0.0, 0.25, 0.5, 1.0], width=2, height=1, linear_to=1e9)
    assert lines == braille([[0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]])


def test_far_from_zero_the_axis_is_logarithmic():
    picture = scatter([0.0, np.expm1(1.0), np.expm1(3.0)], width=2, height=1)
    assert picture == braille([[0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]])


def test_what_is_no_number_has_no_dot_and_one_number_has_one():
    assert scatter([np.nan, np.inf], width=2, height=2) == ["⠀⠀", "⠀⠀"]
    assert scatter([np.nan, 5.0], width=1, height=1) == ["⠈"]
    assert scatter([], width=1, height=1) == ["⠀"]
    assert scatter([-3.0], width=1, height=1) == ["⠁"]
