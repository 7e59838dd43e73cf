"""The algorithm with several builds that go on together."""

import dataclasses
import itertools
import json
from concurrent.futures import Executor, Future

import numpy as np
import pytest
import torch
from ase import Atoms
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from asla_agents import ASLA, planning
from asla_agents.build_vec_env import BuildVecEnv
from asla_agents.callbacks import EpisodeCallback, EpisodeLog, StopOnSuccess
from asla_agents.config import RunConfig
from asla_agents.ensemble import Ensemble
from asla_agents.exploration import Exploration
from asla_agents.imagination import ImaginationSettings
from asla_agents.symmetry import augmentations
from asla_agents.training import make_env as make_search_env
from asla_agents.training import make_model as make_search_model
from asla_env import AtomPlacementEnv, Evaluator, Grid, Problem
from asla_env.action import action_mask

N = 3


@pytest.fixture(autouse=True)
def _logs_of_stable_baselines(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("logs")))


class Compact:
    """Likes atoms close to each other, equally for mirror images."""

    def get_potential_energy(self, atoms):
        return round(float(np.sum(atoms.get_all_distances(mic=True))) / len(atoms) ** 2, 6)


class Counting(Executor):
    """Computes in this process, and keeps how many structures were in flight at once."""

    def __init__(self):
        self.waiting, self.together = 0, []

    def submit(self, function, /, *args, **kwargs):
        self.waiting += 1
        executor = self

        class Counted(Future):
            def result(self, timeout=None):
                executor.together += [executor.waiting] * bool(executor.waiting)
                executor.waiting = 0
                return super().result(timeout)

        future = Counted()
        future.set_result(function(*args, **kwargs))
        return future


def make_problem(n_atoms=4, minimum_distance=None) -> Problem:
    template = Atoms("C", [(0.0, 1.6, 0.0)], cell=(5.6, 4.8, 10), pbc=(True, False, False))
    limits = {"minimum_distance": minimum_distance} if minimum_distance else {}
    return Problem("probe", Grid((7, 6), (5.6, 4.8), (True, False)), template, {"C": n_atoms}, **limits)


def make_env(n=N, problem=None, evaluator=Compact) -> BuildVecEnv:
    env = AtomPlacementEnv(problem or make_problem(), evaluator, reward="energy", invalid_action="raise")
    return BuildVecEnv(env, n)


def make_model(env=None, **settings) -> ASLA:
    defaults = {
        "network_kwargs": {"hidden_channels": (4,), "kernel_size": 5, "head": "linear"},
        "batch_size": 8,
        "gradient_steps": 2,
        "warmup_episodes": 3,
        "patience": None,
        "seed": 0,
    }
    return ASLA("QMapPolicy", env or make_env(), **{**defaults, **settings})


def builds_in(model: ASLA) -> list[list[int]]:
    return [placed.tolist() for placed in model.builds._sites]


def same_search(first: ASLA, second: ASLA) -> bool:
    weights = zip(first.policy.state_dict().values(), second.policy.state_dict().values(), strict=True)
    return builds_in(first) == builds_in(second) and all(torch.equal(a, b) for a, b in weights)


# Counts


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("episodes", [6, 7])
def test_episodes_are_energies_and_updates_an_energy_are_as_many_as_ever(n, episodes):
    model = make_model(make_env(n), warmup_episodes=0).learn(episodes)
    assert len(model.builds) == model._episode_num == episodes
    assert model.num_timesteps == 4 * episodes
    assert model._n_updates == 2 * episodes


def test_energies_of_a_round_are_in_flight_at_once():
    executor = Counting()
    env = make_env(4, evaluator=Evaluator(Compact, executor))
    make_model(env, warmup_episodes=20).learn(10)
    assert [n for n in executor.together if n > 1] == [4, 4, 2]  # the one is a single atom, for comparison


def test_one_build_in_a_vector_is_the_single_search():
    single = AtomPlacementEnv(make_problem(), Compact, reward="energy")
    assert same_search(make_model(single).learn(8), make_model(make_env(1)).learn(8))


def test_one_forward_pass_is_for_all_builds():
    model = make_model(warmup_episodes=0, exploration=Exploration(refined_share=0.0))
    sizes, advantages = [], model.policy.advantages
    model.policy.advantages = lambda images: sizes.append(len(images)) or advantages(images)
    model.learn(5)
    n = len(augmentations(model.problem))  # Q-values are averaged over symmetric images
    assert sizes == [3 * n] * 4 + [2 * n] * 4


def test_random_builds_go_on_until_the_round_in_which_the_warm_up_ends():
    model = make_model(warmup_episodes=4)
    assert [model.learn(n)._n_updates for n in (3, 3, 3)] == [0, 6, 12]


# Legal, different, the same again


def test_dead_ends_wait_for_the_others_and_the_next_energies_are_due_together():
    problem = make_problem(8, minimum_distance=0.85)
    executor = Counting()
    model = make_model(make_env(4, problem, Evaluator(Compact, executor)), exploration=Exploration(epsilon=0.5))
    model.learn(40)
    lengths = np.array([len(placed) for placed in builds_in(model)])
    assert len(lengths) == 40
    assert 0 < np.sum(lengths < 8) < 40
    assert len(executor.together) <= 1 + 10  # a single atom, for comparison, and the rounds
    assert model.num_timesteps == lengths.sum()
    for placed in builds_in(model):
        assert all(action_mask(placed[:step], problem)[action] for step, action in enumerate(placed))


@pytest.mark.parametrize(("averaged", "seed"), [(False, 0), (True, 1)])
def test_greedy_builds_of_a_round_differ(averaged, seed):
    for visit_penalty, n_different in ((5.0, 6), (0.0, 1)):
        choices = {"epsilon": 0.0, "top_probability": 0.0, "visit_penalty": visit_penalty}
        exploration = Exploration(**choices, average_symmetric=averaged)
        model = make_model(make_env(6), exploration=exploration, warmup_episodes=0, seed=seed).learn(6)
        assert len({model.problem.canonical_key(placed) for placed in builds_in(model)}) == n_different


def test_two_searches_with_one_seed_are_the_same():
    assert same_search(make_model().learn(9), make_model().learn(9))
    assert not same_search(make_model().learn(9), make_model(seed=1).learn(9))


def test_learning_twice_goes_on():
    assert same_search(make_model().learn(9), make_model().learn(3).learn(6))
    assert len(make_model().learn(4).learn(2).learn(1).builds) == 7


def stop_after(n_steps):
    steps = itertools.count(1)
    return lambda *_: next(steps) != n_steps


@pytest.mark.parametrize("n_steps", [1, 6, 15])
def test_a_search_stopped_inside_a_round_goes_on_with_it(n_steps):
    model = make_model().learn(18, stop_after(n_steps))
    assert model.num_timesteps == N * n_steps
    assert len(model.builds) == N * (n_steps // 4)
    assert same_search(make_model().learn(18), model.learn(18 - len(model.builds)))


def test_of_builds_that_were_interrupted_only_as_many_go_on_as_energies_are_wanted():
    model = make_model().learn(9, stop_after(2))
    interrupted = [list(placed) for placed in model._flight.placed]
    assert [len(model.learn(1).builds) for _ in range(3)] == [1, 2, 3]
    assert [placed[:2] for placed in builds_in(model)] == interrupted


def test_a_loaded_search_goes_on_also_with_another_number_of_builds(tmp_path):
    model = make_model().learn(6)
    model.save(tmp_path / "model")
    twin = ASLA.load(tmp_path / "model", env=make_env(), device="cpu")
    assert same_search(model.learn(6), twin.learn(6))
    assert len(ASLA.load(tmp_path / "model", env=make_env(2), device="cpu").learn(3).builds) == 9


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_search_begins_new_builds(error):
    calls = itertools.count(1)

    def interrupt(*_):
        if next(calls) == 6:
            raise error
        return True

    model = make_model()
    with pytest.raises(error):
        model.learn(9, interrupt)
    assert len(model.builds) == 3
    assert [len(placed) for placed in builds_in(model.learn(4))] == [4] * 7


def test_a_learning_rate_that_falls_reaches_0_with_the_last_energy():
    rates = []
    model = make_model(make_env(4), warmup_episodes=0, learning_rate=lambda left: rates.append(left) or 1e-3 * left)
    model.learn(6)
    assert sorted(set(rates)) == pytest.approx([0, 1 / 3, 1])


def test_the_agent_starts_afresh_between_rounds():
    env = make_env(2, make_problem(1), lambda: type("Flat", (), {"get_potential_energy": lambda *_: 1.0})())
    model = make_model(env, patience=3, warmup_episodes=0)
    assert [len(model.learn(2).builds) for _ in range(4)] == [2, 0, 2, 0]


# Callbacks


class Record(EpisodeCallback):
    def __init__(self):
        super().__init__()
        self.infos = []

    def on_episode(self, info):
        self.infos.append(info)
        return True


def test_the_log_and_the_bar_have_each_episode_once(tmp_path, capsys):
    record, path = Record(), tmp_path / "episodes.jsonl"
    model = make_model().learn(7, [EpisodeLog(path, tmp_path / "times.jsonl"), record], progress_bar=True)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["episode"] for row in rows] == list(range(1, 8))
    assert [row["placed"] for row in rows] == [list(info["placed"]) for info in record.infos] == builds_in(model)
    assert "7/7" in capsys.readouterr().err


def test_a_success_stops_the_search_and_no_energy_of_its_round_is_lost(tmp_path):
    problem = make_problem(1)
    found = problem.structure([int(np.flatnonzero(action_mask([], problem))[3])])
    problem = dataclasses.replace(problem, reference=found, success_window=0.01)
    path = tmp_path / "episodes.jsonl"
    model = make_model(make_env(4, problem), warmup_episodes=200).learn(
        200, [EpisodeLog(path, tmp_path / "times.jsonl"), StopOnSuccess()]
    )
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert any(row["is_success"] for row in rows[-4:])
    assert not any(row["is_success"] for row in rows[:-4])
    assert len(rows) == len(model.builds) == model._episode_num < 200
    assert len(rows) % 4 == 0


def test_a_monitor_of_all_builds_reaches_the_logger():
    model = make_model(VecMonitor(make_env())).learn(6)
    assert [info["l"] for info in model.ep_info_buffer] == [4] * 6


# Imagined builds


def test_each_build_of_a_round_has_a_plan_of_its_own():
    env = AtomPlacementEnv("graphene-mini", "xwch")
    settings = ImaginationSettings(builds=3, moved=0, noise=0.0, first_updates=3, updates=1, batch_size=8)
    others = {"warmup_episodes": 4, "network_kwargs": {}, "exploration": Exploration(refined_share=0.0)}
    model = make_model(BuildVecEnv(env, N), imagination=settings, **others)
    plans = []
    model.learn(4)
    plan = model.imagination.plan
    model.imagination.plan = lambda *args: plans.append((args[-1], plan(*args))) or list(plans[-1][1])
    model.learn(3)
    in_flight, planned = zip(*plans, strict=True)
    assert [len(builds) for builds in in_flight] == [0, 1, 1]  # without noise all are one build, planned once
    assert planned[0] == in_flight[1][0] == builds_in(model)[4]
    assert planned[1:] == ([], [])


@pytest.mark.parametrize("n", [1, 2, 7])
def test_as_many_builds_are_refined_whether_they_go_on_alone_or_together(n, monkeypatch):
    plans = []
    monkeypatch.setattr(planning, "refined", lambda *_: plans.append("refined") or [])
    flat = lambda: type("Flat", (), {"get_potential_energy": lambda *_: 1.0})()  # noqa: E731
    model = make_model(make_env(n, make_problem(1), flat), warmup_episodes=1)
    model.learn(1 + 70)
    assert len(plans) == pytest.approx((1 + 70 - n) / 2, abs=2)  # of those after the first round, which is random


# From the settings


CONFIG = {"env_id": "ASLA-GrapheneMini-v0", "evaluator": "xwch", "batch_size": 8, "gradient_steps": 1}


def test_the_settings_of_a_search_make_the_builds():
    config = RunConfig(**CONFIG, warmup_episodes=2, builds_at_once=2)
    env = make_search_env(config)
    model = make_search_model(config, env)
    assert isinstance(model.env, BuildVecEnv)
    assert model.n_envs == 2
    assert len(model.learn(5).builds) == 5
    assert env.evaluator.n_computed == 6


def test_a_member_of_an_ensemble_has_one_build():
    configs = [RunConfig(**CONFIG), RunConfig(**CONFIG, builds_at_once=2)]
    with pytest.raises(ValueError, match="`builds_at_once` is 2 but must be 1 for a member of an ensemble"):
        Ensemble(configs)


def test_environments_that_cannot_wait_for_each_other_are_refused():
    def make():
        return AtomPlacementEnv(make_problem(), Compact, reward="energy")

    with pytest.raises(ValueError, match="`env` holds 2 environments but must hold one, or be a BuildVecEnv"):
        make_model(DummyVecEnv([make, make]))
