"""Ids of problems: ours, and those of one's own."""

import gymnasium as gym
import pytest
from ase import Atoms

from asla_env import IDS, AtomPlacementEnv, Problem
from asla_env.ids import check_id, make, problem_of_id
from asla_env.problems import PROBLEMS

PAIR = """
import gymnasium as gym
from ase import Atoms
from asla_env import AtomPlacementEnv, Problem

def pair(**settings):
    atoms = Atoms("Cu2", [(0, 0, 0), (2.4, 0, 0)])
    return AtomPlacementEnv(Problem.from_atoms(atoms, place=[1], spacing=0.4, margin=2), **settings)

gym.register("Pair-v0", entry_point=pair)
gym.register("Pole-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv")
"""


@pytest.mark.parametrize("env_id", list(IDS))
def test_our_ids_make_our_problems(env_id):
    assert make(env_id).problem == PROBLEMS[IDS[env_id]]()


def test_an_id_of_another_module_is_made_with_its_import(written_module):
    written_module("module_of_a_pair", PAIR)
    gym.registry.pop("Pair-v0")
    with pytest.raises(ValueError, match=r"`env_id` is 'Pair-v0' but must be one of ASLA-Graphene-v0, .*, another one"):
        check_id("Pair-v0")
    check_id("module_of_a_pair:Pair-v0")
    gym.register("Pair-v0", entry_point="module_of_a_pair:pair")
    for env_id in ("Pair-v0", "module_of_a_pair:Pair-v0"):
        assert make(env_id, evaluator="ase.calculators.emt:EMT").problem.n_to_place == 1
    with pytest.raises(ValueError, match=r"must be the id of an asla_env\.AtomPlacementEnv"):
        make("module_of_a_pair:Pole-v0")


def test_an_environment_of_the_same_process_needs_no_module():
    problem = Problem.from_atoms(Atoms("Cu2", [(0, 0, 0), (2.4, 0, 0)]), place=[1], spacing=0.4, margin=2)
    gym.register("PairHere-v0", entry_point=AtomPlacementEnv, kwargs={"problem": problem})
    check_id("PairHere-v0")
    assert make("PairHere-v0", evaluator="ase.calculators.emt:EMT").problem == problem


def test_a_problem_is_made_whatever_the_default_calculator_knows():
    problem = Problem.from_atoms(Atoms("U2", [(0, 0, 0), (2.4, 0, 0)]), place=[1], spacing=0.4, margin=2)
    gym.register("Uranium-v0", entry_point=AtomPlacementEnv, kwargs={"problem": problem})
    with pytest.raises(ValueError, match="has U but must be of the species"):
        make("Uranium-v0")
    assert problem_of_id("Uranium-v0") == problem


@pytest.mark.parametrize(
    "env_id", ["", "ASLA-Graphite-v0", ":Pair-v0", "a b:Pair-v0", ".a:Pair-v0", "a:", "a..b:Pair-v0"]
)
def test_what_is_no_id_is_refused_and_nothing_imported(env_id):
    with pytest.raises(ValueError, match=r"`env_id` is .* but must be one of ASLA-Graphene-v0"):
        check_id(env_id)


@pytest.mark.parametrize("env_id", ["no_such_module:Pair-v0", "asla_env:Graphite-v0", "asla_env:ASLA-Graphene-v9"])
def test_an_id_that_is_not_there_is_named_with_the_cause(env_id):
    with pytest.raises(ValueError, match=f"`env_id` is '{env_id}' but must be an id that can be made: .*"):
        make(env_id)
