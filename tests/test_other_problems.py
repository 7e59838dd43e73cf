"""Problems of the benchmarks that are not of the paper: what they hold, and that a search takes them by their ids."""

import importlib
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from asla_agents.study import Study

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def other_problems(monkeypatch):
    """The module, its ids the only ones: pages of the documentation register some of the same names."""
    registered = dict(gym.registry)
    gym.registry.clear()
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module("other_problems")
    del sys.modules["other_problems"]
    gym.registry.clear()
    gym.registry.update(registered)


@pytest.mark.parametrize(
    ("name", "to_place", "periodic"),
    [
        ("Benzene-v0", {"C": 4, "H": 6}, (False, False)),
        ("BenzeneBound-v0", {"C": 4, "H": 6}, (False, False)),
        ("Ethylene-v0", {"C": 1, "H": 4}, (False, False)),
        ("Graphene16-v0", {"C": 15}, (True, True)),
    ],
)
def test_what_is_to_be_found_is_flat_and_comes_by_its_id(other_problems, name, to_place, periodic):
    problem = gym.make(name, evaluator="gfn1-xtb").unwrapped.problem
    assert (dict(problem.to_place), problem.grid.periodic) == (to_place, periodic)
    assert problem.maximum_distance == (1.3 if name == "BenzeneBound-v0" else None)


def test_each_atom_of_the_sheet_has_three_neighbours(other_problems):
    sheet, bond = other_problems.graphene_16().reference, 2.467 / 3**0.5
    distances = sheet.get_all_distances(mic=True) + 9 * np.eye(len(sheet))
    near = distances < 1.1 * bond
    assert near.sum(axis=0).tolist() == [3] * len(sheet)
    np.testing.assert_allclose(distances[near], bond)


def test_the_study_of_them_has_one_arm_for_each(other_problems):
    study = Study.model_validate_json((BENCHMARKS / "studies" / "other_problems.json").read_text())
    ids = {study.config(arm, seed=0).env_id for arm in study.arms}
    assert ids == {f"other_problems:{name}" for name in other_problems.PROBLEMS}
