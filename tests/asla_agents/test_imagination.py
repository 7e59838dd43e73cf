"""Imagined builds: legal, new, judged by the model, and the same for single searches and ensembles."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces

from asla_agents.asla import ASLA
from asla_agents.config import RunConfig
from asla_agents.ensemble import Ensemble
from asla_agents.exploration import Exploration
from asla_agents.explorer import Explorer
from asla_agents.imagination import Imagination, ImaginationSettings, _Imagined
from asla_agents.replay import ReplaySettings
from asla_agents.representations import Gaussian
from asla_agents.training import make_env, make_model
from asla_env.action import ActionMask, legal_order
from asla_env.problem import Problem
from asla_env.problems import graphene_mini, naphthalene

FAST = ImaginationSettings(builds=3, moved=1, first_updates=3, updates=1, batch_size=8)
MINI = graphene_mini()
PROBLEMS = {
    "free origin": MINI,
    "maximum distance": dataclasses.replace(MINI, maximum_distance=1.3),
    "two species": naphthalene(),
}


def random_build(problem: Problem, rng: np.random.Generator) -> list[int]:
    mask, build = ActionMask(problem), []
    while len(build) < problem.n_to_place:
        build.append(int(rng.choice(np.flatnonzero(mask.legal))))
        mask.place(build[-1])
    return build


def make_explorer(problem: Problem = MINI, warmup_episodes: int = 4, builds: int = 4, energies=None) -> Explorer:
    explorer = Explorer(problem, Exploration(), ReplaySettings(), warmup_episodes, None, augment=True, seed=0)
    rng = np.random.default_rng(1)
    for energy in energies or range(builds):
        explorer.builds.add(random_build(problem, rng), float(energy))
    return explorer


def representation(problem: Problem = MINI) -> Gaussian:
    return Gaussian(spaces.MultiBinary([len(problem.species), *problem.grid.shape]), problem.grid)


def random_q_maps(seed: int = 0):
    rng = np.random.default_rng(seed)
    return lambda images: rng.random((len(images), images[0].size))


def is_legal(actions: list[int], problem: Problem) -> bool:
    mask = ActionMask(problem)
    for action in actions:
        if not mask.legal[action]:
            return False
        mask.place(action)
    return len(actions) == problem.n_to_place


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_a_plan_is_a_whole_legal_build_that_was_not_paid_for(problem):
    explorer = make_explorer(problem)
    imagination, q_maps = Imagination(FAST), random_q_maps()
    for _ in range(3):
        plan = imagination.plan(explorer, q_maps, representation(problem))
        assert is_legal(plan, problem)
        assert problem.canonical_key(plan) not in {problem.canonical_key(known) for known, _ in explorer.builds}
        explorer.builds.add(plan, 1.0)


def test_nothing_is_imagined_while_warming_up():
    explorer, imagination = make_explorer(warmup_episodes=5), Imagination(FAST)
    assert imagination.plan(explorer, random_q_maps(), representation()) == []
    assert imagination.model is None


def test_nothing_is_imagined_where_all_energies_are_the_same():
    explorer, imagination = make_explorer(energies=[1.0, 1.0, np.inf, 1.0]), Imagination(FAST)
    assert imagination.plan(explorer, random_q_maps(), representation()) == []


def test_the_build_of_lowest_predicted_energy_is_paid_for():
    settings = dataclasses.replace(FAST, builds=6, moved=0, noise=1.0)
    explorer, imagination = make_explorer(), Imagination(settings)
    judged = []
    imagination.plan(explorer, random_q_maps(), representation())  # makes the model
    predict = imagination.model.energies
    imagination.model.energies = lambda builds: judged.append((builds, predict(builds))) or judged[-1][1]
    plan = imagination.plan(explorer, random_q_maps(), representation())
    ((builds, energies),) = judged
    assert len(builds) == 6
    assert sorted(plan) == sorted(builds[np.argmin(energies)])


def test_what_no_order_can_build_is_passed_over(monkeypatch):
    problem = PROBLEMS["maximum distance"]
    explorer = make_explorer(problem)
    buildable = random_build(problem, np.random.default_rng(9))
    orders = (legal_order([*buildable[:-1], site], problem) for site in range(problem.n_actions))
    broken = [*buildable[:-1], next(site for site, order in enumerate(orders) if not order)]
    monkeypatch.setattr(_Imagined, "judged", lambda _: np.array([broken, buildable]))
    plan = Imagination(FAST).plan(explorer, random_q_maps(), representation(problem))
    assert sorted(plan) == sorted(buildable)


def test_a_model_that_is_made_again_leaves_global_randomness_alone():
    explorer, imagination = make_explorer(), Imagination(FAST)
    imagination.plan(explorer, random_q_maps(), representation())
    before = torch.get_rng_state()
    Imagination(FAST).restore(imagination.state(), MINI, representation())
    assert torch.equal(torch.get_rng_state(), before)


def test_moving_atoms_lowers_the_predicted_energies():
    explorer = make_explorer()
    imagination = Imagination(dataclasses.replace(FAST, first_updates=20))
    imagination.plan(explorer, random_q_maps(), representation())
    builds = np.array([random_build(MINI, np.random.default_rng(seed)) for seed in (7, 8)])
    before = imagination.model.energies(builds)
    moved, energies = _Imagined(explorer, FAST, imagination.model, random_q_maps()).moved(builds, before)
    assert np.all(energies < before)
    np.testing.assert_allclose(imagination.model.energies(moved), energies, atol=1e-3)
    assert all(is_legal(legal_order(build, MINI), MINI) for build in moved)


def test_moved_atoms_keep_their_species():
    problem = naphthalene()
    explorer, imagination = make_explorer(problem), Imagination(FAST)
    imagination.plan(explorer, random_q_maps(), representation(problem))
    builds = np.array([random_build(problem, np.random.default_rng(7))])
    moved, _ = _Imagined(explorer, FAST, imagination.model, random_q_maps()).moved(builds, np.array([np.inf]))
    np.testing.assert_array_equal(moved // problem.grid.n_pixels, builds // problem.grid.n_pixels)
    assert not np.array_equal(moved, builds)


def test_a_fresh_start_makes_a_new_model():
    explorer = make_explorer()
    imagination = Imagination(FAST)
    imagination.plan(explorer, random_q_maps(), representation())
    first = imagination.model
    imagination.plan(explorer, random_q_maps(), representation())
    assert imagination.model is first
    imagination.start_afresh()
    imagination.plan(explorer, random_q_maps(), representation())
    assert imagination.model is not first


@pytest.fixture
def double_precision():
    """Rounding that does not decide between placements that are worth nearly the same."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_member_of_an_ensemble_goes_as_the_single_search(double_precision):
    settings = {"env_id": "ASLA-GrapheneMini-v0", "evaluator": "xwch", "episodes": 6, "warmup_episodes": 3, "seed": 2}
    config = RunConfig(**settings, batch_size=8, gradient_steps=1, imagination=FAST, exploration={"refined_share": 0})
    ours = next(Ensemble([config]).run()).energies
    energies: list[float] = []
    model = make_model(config, make_env(config))
    model.learn(
        6,
        lambda local, _: energies.extend(i["energy_above_reference"] for i in local["infos"] if "energy" in i) or True,
    )
    np.testing.assert_allclose(ours, energies, atol=1e-9)
    without = next(Ensemble([config.model_copy(update={"imagination": None})]).run()).energies
    assert np.array_equal(without[:3], ours[:3])
    assert not np.array_equal(without[3:], ours[3:])


def test_a_search_goes_on_from_a_file_with_its_model(tmp_path):
    settings = {"env_id": "ASLA-GrapheneMini-v0", "evaluator": "xwch", "warmup_episodes": 3, "batch_size": 8}
    config = RunConfig(**settings, gradient_steps=1, imagination=FAST, exploration={"refined_share": 0})
    model = make_model(config, make_env(config)).learn(5)
    model.save(tmp_path / "model.zip")
    loaded = ASLA.load(tmp_path / "model.zip", env=make_env(config))
    builds = np.array([random_build(MINI, np.random.default_rng(i)) for i in range(3)])
    np.testing.assert_array_equal(loaded.imagination.model.energies(builds), model.imagination.model.energies(builds))
    assert loaded.learn(1).builds.energies[-1] == model.learn(1).builds.energies[-1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"builds": 0}, "`builds` is 0 but must be at least 1"),
        ({"batch_size": 0}, "`batch_size` is 0 but must be at least 1"),
        ({"moved": -1}, "`moved` is -1 but must be at least 0"),
        ({"updates": -1}, "`updates` is -1 but must be at least 0"),
        ({"noise": 1.5}, r"`noise` is 1.5 but must lie in \[0, 1\]"),
        ({"learning_rate": 0.0}, "`learning_rate` is 0.0 but must be positive and finite"),
    ],
)
def test_settings_out_of_range_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        ImaginationSettings(**settings)
