"""Rounds of builds: who goes on, who waits, what is known of the others."""

import numpy as np
import pytest

from asla_agents.builds_in_flight import BuildsInFlight


@pytest.mark.parametrize(("most", "going"), [(1, [0]), (2, [0, 1]), (9, [0, 1, 2])])
def test_a_round_has_as_many_builds_as_are_wanted_and_there(most, going):
    flight = BuildsInFlight(3)
    flight.begin_round(most)
    assert flight.going == going


def test_a_build_that_ended_waits_and_an_interrupted_one_goes_on_first():
    flight = BuildsInFlight(3)
    flight.begin_round(3)
    flight.place(np.array([5, 6, 7]))
    assert flight.end(1) == [6]
    flight.place(np.array([8, -1, 9]))
    assert flight.placed == [[5, 8], [], [7, 9]]
    assert flight.end(0) == [5, 8]
    flight.begin_round(1)
    assert flight.going == [2]
    flight.begin_round(2)
    assert flight.going == [0, 2]


def test_the_steps_of_a_round_are_those_of_its_longest_build():
    flight = BuildsInFlight(2)
    flight.begin_round(1)
    flight.place(np.array([3, -1]))
    assert flight.steps_left(4) == 3
    flight.begin_round(2)
    assert flight.steps_left(4) == 4


def test_only_builds_that_begin_are_planned_and_each_knows_the_plans_and_builds_before_it():
    flight, asked = BuildsInFlight(3), []

    def plan(whole, n_begun):
        asked.append((whole, n_begun))
        return [len(asked), 9]

    flight.begin_round(2)
    flight.plan(plan)
    assert asked == [([], 0), ([[1, 9]], 1)]
    flight.place(np.array([flight.plans[0].pop(0), flight.plans[1].pop(0), -1]))
    flight.begin_round(3)
    flight.plan(plan)
    assert asked[2:] == [([[1, 9], [2, 9]], 2)]
    assert flight.plans == [[9], [9], [3, 9]]


def test_others_are_those_that_have_chosen_already():
    flight = BuildsInFlight(4)
    flight.begin_round(3)
    flight.place(np.array([5, 6, 7, -1]))
    assert flight.others(1, np.array([2, 3, -1, -1])) == [[5, 2]]
