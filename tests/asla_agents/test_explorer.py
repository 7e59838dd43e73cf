"""What a search remembers of its builds, and what it makes of failed calculations."""

import numpy as np
import pytest
from gymnasium import spaces
from torch import nn

from asla_agents.exploration import Exploration
from asla_agents.explorer import Explorer
from asla_agents.imagination import Imagination, ImaginationSettings
from asla_agents.replay import ReplaySettings
from asla_agents.representations import Gaussian
from asla_env.problems import graphene_mini

MINI = graphene_mini()
COMPUTED, FAILED = (np.array([7.0, 5.0, 9.0]), np.array([1200.0, 1200.0, 1200.0, 1200.0]))


def random_build(rng: np.random.Generator) -> list[int]:
    return rng.choice(MINI.n_actions, size=MINI.n_to_place, replace=False).tolist()


def info_of(placed, energy, above=None, error=None, is_success=False):
    above = energy if above is None else above
    return {
        "placed": tuple(placed),
        "energy": energy,
        "energy_above_reference": above,
        "calculator_error": error,
        "is_success": is_success,
    }


def make_explorer(computed=(), failed=()) -> Explorer:
    explorer = Explorer(MINI, Exploration(), ReplaySettings(), 0, None, augment=True, seed=0)
    rng = np.random.default_rng(1)
    for energies, error in ((computed, None), (failed, "RuntimeError: no convergence")):
        for energy in energies:
            build = random_build(rng)
            explorer.add(build, info_of(build, energy, error=error), nn.Linear(1, 1))
    return explorer


def test_failed_calculations_are_worse_than_all_others_and_do_not_widen_the_window():
    without, explorer = make_explorer(COMPUTED), make_explorer(COMPUTED, FAILED)
    energies = np.linspace(4, 12, 9)
    np.testing.assert_array_equal(explorer.builds.targets(energies), without.builds.targets(energies))
    assert len(explorer.builds) == len(COMPUTED) + len(FAILED)
    lowest = explorer.builds.settings.lowest_target
    assert explorer.builds.targets(explorer.builds.energies)[len(COMPUTED) :].tolist() == [lowest] * len(FAILED)
    assert explorer.best.energy == COMPUTED.min()


def test_failed_calculations_do_not_set_the_unit_of_the_local_energy_model():
    settings = ImaginationSettings(builds=2, moved=0, first_updates=1, updates=0, batch_size=8)
    representation = Gaussian(spaces.MultiBinary([1, *MINI.grid.shape]), MINI.grid)
    imagination = Imagination(settings)
    imagination.plan(
        make_explorer(COMPUTED, FAILED), lambda images: np.zeros((len(images), MINI.n_actions)), representation
    )
    assert float(imagination.model.unit) == pytest.approx(COMPUTED.std())
    assert float(imagination.model.mean) == pytest.approx(COMPUTED.mean())


def test_energies_are_learned_from_where_the_reference_alone_has_failed():
    explorer = make_explorer()
    for energy in COMPUTED:
        build = random_build(explorer.rng)
        explorer.add(
            build, info_of(build, energy, above=np.inf, error="the reference could not be computed"), nn.Linear(1, 1)
        )
    assert explorer.builds.energies.tolist() == COMPUTED.tolist()
    assert explorer.best is None
