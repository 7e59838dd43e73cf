"""The algorithm: probes whose best structure and Q-values are known, and what a search must not do."""

import csv
import itertools
import random
import re
from dataclasses import replace
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.lj import LennardJones
from stable_baselines3.common.callbacks import ConvertCallback, EvalCallback, ProgressBarCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv

from asla_agents import ASLA
from asla_agents.callbacks import Checkpoint
from asla_agents.checkpoint import CheckpointError
from asla_agents.exploration import Exploration, greedy
from asla_agents.q_map import QMapPolicy, placement_loss
from asla_agents.replay import ReplaySettings
from asla_agents.representations import REPRESENTATIONS, Gaussian
from asla_env import AtomPlacementEnv, Evaluator, Grid, Problem
from asla_env.action import action_mask
from asla_env.observation import one_hot
from asla_env.wrappers import ImageObservation, WithoutInfo

PROBE_GRID = Grid((7, 6), (7.0, 6.0), (False, True))  # a pixel is 1 Å wide
TIGHT_GRID = Grid((7, 6), (5.6, 4.8), (True, False))
SPACE_GRID = Grid((4, 3, 4), (3.2, 2.4, 3.2), (True, True, False))
EXPLORATION = Exploration(epsilon=0.1, top_probability=0.4, top_fraction=0.2, visit_penalty=0.0)
ONLY_RANDOM = replace(EXPLORATION, epsilon=1.0, top_probability=0.0)
ONLY_GREEDY = replace(EXPLORATION, epsilon=0.0, top_probability=0.0, refined_share=0.0)
REPLAY = ReplaySettings(
    best_share=0.25,
    latest_share=0.25,
    n_best=10,
    n_latest=10,
    window_episodes=100,
    minimum_window=0.2,
    spillover=0.0,
    shuffled_share=0.0,
)
SETTINGS = {
    "representation": "gaussian",
    "network_kwargs": {"hidden_channels": (4,), "kernel_size": 5, "head": "linear"},
    "learning_rate": 3e-3,
    "batch_size": 8,
    "gradient_steps": 2,
    "warmup_episodes": 3,
    "patience": None,
    "exploration": EXPLORATION,
    "replay": REPLAY,
    "augment": True,
    "seed": 0,
}
PROBE_SETTINGS = {  # kernels as wide as the grid, so that every pixel sees the template
    "network_kwargs": {"hidden_channels": (6,), "kernel_size": 13, "reach": np.inf, "head": "linear"},
    "batch_size": 32,
    "gradient_steps": 4,
    "warmup_episodes": 10,
}


@pytest.fixture(autouse=True)
def _logs_of_stable_baselines(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("logs")))


class Potential:
    """A calculator whose energy is any function of the atoms."""

    def __init__(self, energy):
        self._energy = energy

    def reset(self):
        pass

    def get_potential_energy(self, atoms):
        return self._energy(atoms)


def distances_sum(atoms: Atoms) -> float:
    """An energy that is lower the closer the atoms are, and equal to the last bit for mirror images."""
    return round(float(np.sum(atoms.get_all_distances(mic=True)) / len(atoms) ** 2), 6)


def make_problem(grid=TIGHT_GRID, to_place=None, template="C", at=(0.0, 1.6), **limits) -> Problem:
    position = (*at, 0.0)[:3]
    atoms = Atoms(template, [position], cell=(*grid.cell, 10.0)[:3], pbc=(*grid.periodic, False)[:3])
    return Problem("probe", grid, atoms, to_place or {"C": 4}, **limits)


def make_env(problem=None, energy=distances_sum) -> AtomPlacementEnv:
    """An environment that raises an error if an action is illegal."""
    problem = problem or make_problem()
    return AtomPlacementEnv(problem, lambda: Potential(energy), reward="energy", invalid_action="raise")


def make_model(env=None, **settings) -> ASLA:
    return ASLA("QMapPolicy", env or make_env(), **{**SETTINGS, **settings})


def searched(episodes=10, env=None, callback=None, **settings) -> ASLA:
    return make_model(env, **settings).learn(episodes, callback)


class Record:
    """Callback that keeps what each episode built and reached, over restarts too."""

    def __init__(self):
        self.builds, self.energies = [], []

    def __call__(self, local, _):
        if local["dones"][0]:
            self.builds.append([int(action) for action in local["infos"][0]["placed"]])
            self.energies.append(local["infos"][0]["energy"])
        return True


def same_search(first: ASLA, second: ASLA) -> bool:
    """Whether builds, energies, weights and random stream are equal to the last bit."""
    builds = [replay._sites for replay in (first.builds, second.builds)]
    parameters = zip(first.policy.state_dict().values(), second.policy.state_dict().values(), strict=True)
    return (
        len(builds[0]) == len(builds[1])
        and all(np.array_equal(a, b) for a, b in zip(*builds, strict=True))
        and first.builds.energies.tobytes() == second.builds.energies.tobytes()
        and all(torch.equal(a, b) for a, b in parameters)
        and first.explorer.rng.bit_generator.state == second.explorer.rng.bit_generator.state
    )


def greedy_build(model: ASLA, env: AtomPlacementEnv) -> dict:
    """The last `info` of a build without exploration."""
    observation, info = env.reset()
    ended = False
    while not ended:
        action, _ = model.predict(observation, deterministic=True, action_masks=info["action_mask"])
        observation, _, ended, _, info = env.step(action)
    return info


def random_builds(problem: Problem, n_atoms: int, n=5) -> list[list[int]]:
    rng, builds = np.random.default_rng(0), []
    while len(builds) < n:
        placed: list[int] = []
        while len(placed) < n_atoms and (legal := np.flatnonzero(action_mask(placed, problem))).size:
            placed.append(int(rng.choice(legal)))
        builds += [placed] * (len(placed) == n_atoms)
    return builds


# Probes: the template is off its pixel, so that no symmetry makes two pixels alike


def make_probe(to_place, energy) -> AtomPlacementEnv:
    problem = make_problem(PROBE_GRID, to_place, at=(0.2, 0.1), minimum_distance=None, maximum_distance=None)
    return make_env(problem, energy)


def gaps(atoms: Atoms, pixel) -> np.ndarray:
    """Distances in Å of the placed atoms from a pixel, its two indices."""
    return np.linalg.norm(PROBE_GRID.minimum_image(atoms.positions[1:] - (*pixel, 0)), axis=-1)


def pixel_index(pixel) -> int:
    return int(np.ravel_multi_index(pixel, PROBE_GRID.shape))


def one_atom_probe() -> AtomPlacementEnv:
    """One atom, whose energy is its distance from the pixel (3, 4)."""
    return make_probe({"C": 1}, lambda atoms: gaps(atoms, (3, 4))[0])


def q_map_of(model: ASLA, env: AtomPlacementEnv) -> np.ndarray:
    return model.q_values(env.reset()[0][None])[0]


def test_one_atom_goes_where_its_energy_is_lowest_and_there_the_q_map_is_highest():
    env = one_atom_probe()
    model = searched(80, env, **PROBE_SETTINGS)
    q_map, legal = q_map_of(model, env), env.action_masks().astype(bool)
    target = pixel_index((3, 4))
    assert list(greedy_build(model, env)["placed"]) == [target]
    assert np.argmax(np.where(legal, q_map, -np.inf)) == target
    assert q_map[target] == pytest.approx(1, abs=0.3)


def test_q_values_fall_with_the_energy_to_minus_one_at_the_typical_one():
    env = one_atom_probe()
    model = searched(100, env, **PROBE_SETTINGS, exploration=ONLY_RANDOM)
    q_map, pixels = q_map_of(model, env), np.arange(1, 42)
    energies = np.array([gaps(env.problem.structure([pixel]), (3, 4))[0] for pixel in pixels])
    expected = model.builds.targets(energies)
    assert np.sqrt(np.mean((q_map[pixels] - expected) ** 2)) < 0.35
    assert np.corrcoef(q_map[pixels], expected)[0, 1] > 0.9


def test_two_atoms_find_their_best_pair_of_pixels():
    pair = [(2, 2), (4, 3)]

    def energy(atoms):
        first, second = (gaps(atoms, pixel) for pixel in pair)
        return min(first[0] + second[1], first[1] + second[0])

    found = []
    for seed in range(4):  # three of four find it: the fourth is asked if need be
        env = make_probe({"C": 2}, energy)
        info = greedy_build(searched(240, env, **PROBE_SETTINGS, seed=seed), env)
        found.append(sorted(info["placed"]) == [pixel_index(pixel) for pixel in pair])
        if sum(found) == 3:
            return
    pytest.fail(f"found with each of the seeds: {found}")


def test_each_of_two_species_finds_its_own_pixel():
    def energy(atoms):
        hydrogen = atoms.symbols[1:] == "H"
        return gaps(atoms, (2, 2))[hydrogen][0] + gaps(atoms, (4, 3))[~hydrogen][0]

    env = make_probe({"C": 1, "H": 1}, energy)
    assert env.problem.species == ("C", "H")
    info = greedy_build(searched(120, env, **PROBE_SETTINGS), env)
    assert set(info["placed"]) == {pixel_index((4, 3)), 42 + pixel_index((2, 2))}


@pytest.mark.parametrize("bias", [1.0, 5.0])
def test_a_network_whose_outputs_are_all_at_the_top_or_above_recovers(bias):
    env = one_atom_probe()
    model = make_model(env, **PROBE_SETTINGS)
    with torch.no_grad():
        model.policy.network.output.bias.fill_(bias)
    assert q_map_of(model, env).min() > 0.8 * bias
    model.learn(80)
    assert greedy_build(model, env)["energy"] == 0
    assert np.median(q_map_of(model, env)) < 0


def weights_in(model: ASLA) -> int:
    return sum(parameter.numel() for parameter in model.policy.parameters())


def test_without_a_state_value_the_network_is_the_papers():
    assert weights_in(make_model(network_kwargs={}, state_value=False)) == 49_531
    assert weights_in(make_model(network_kwargs={})) == 49_531 + 2_251


@pytest.mark.parametrize("state_value", [True, False])
def test_q_values_are_those_that_are_trained(state_value):
    """A build's own energy is the target of its last placement, whether a value of the state is a part of it or not."""
    model = make_model(state_value=state_value, gradient_steps=200).learn(5)
    placed = model.best.placed
    image = one_hot(placed[:-1], model.problem)
    assert model.q_values(image[None])[0, placed[-1]] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("shuffled_share", [0.0, 1.0])
def test_training_fits_the_targets_of_the_stored_builds(shuffled_share):
    replay = replace(REPLAY, minimum_window=1.0, shuffled_share=shuffled_share)
    model = make_model(gradient_steps=0, replay=replay).learn(6)
    losses = []
    for _ in range(40):
        model.train(5, 32)
        losses.append(model.logger.name_to_value["train/loss"])
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])


def test_the_loss_is_the_weighted_mean_of_the_squared_errors():
    q_values = torch.tensor([[1.0, 0.0], [0.5, 9.0]])
    weights = torch.tensor([[1.0, 0.5], [1.0, 0.0]])
    targets = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    assert float(placement_loss(q_values, weights, targets)) == pytest.approx((1 + 0 + 0.25) / 2.5)


# Legal actions; environments made here raise an error if an action is illegal


@pytest.mark.parametrize(
    "exploration", [ONLY_GREEDY, replace(EXPLORATION, visit_penalty=0.5)], ids=["greedy", "curious"]
)
@pytest.mark.parametrize(
    "problem",
    [
        make_problem(),
        make_problem(to_place={"C": 2, "H": 3}),
        make_problem(SPACE_GRID, {"C": 3, "O": 1}, at=(0.0, 0.0, 0.8)),
        make_problem(to_place={"C": 9}, minimum_distance=0.6),
    ],
    ids=["one species", "two species", "three axes", "crowded"],
)
def test_no_illegal_action_is_taken_in_a_whole_search(problem, exploration):
    model = searched(8, make_env(problem), exploration=exploration)
    assert len(model.builds) == 8
    for placed in model.builds._sites:
        assert len(placed) <= problem.n_to_place
        assert all(action_mask(placed[:step], problem)[action] for step, action in enumerate(placed))


def test_a_build_that_leads_to_a_dead_end_is_stored_without_an_energy():
    problem = make_problem(to_place={"C": 30}, minimum_distance=0.8)
    model = searched(6, make_env(problem))
    assert np.isinf(model.builds.energies).all()
    assert all(len(placed) < 30 for placed in model.builds._sites)


def test_a_failing_calculator_ends_a_build_but_not_the_search():
    calls = itertools.count()

    def energy(atoms):
        if next(calls) % 3 == 1:
            raise RuntimeError("no convergence")
        return distances_sum(atoms)

    energies = searched(9, make_env(energy=energy)).builds.energies
    assert len(energies) == 9
    assert 0 < np.isinf(energies).sum() < 9


# Predictions and exploration


@pytest.fixture(scope="module")
def trained() -> ASLA:
    return searched(10)


def images_of(model: ASLA, n_atoms=2, n=5) -> np.ndarray:
    return np.array([one_hot(placed, model.problem) for placed in random_builds(model.problem, n_atoms, n)])


def test_a_prediction_is_one_action_for_one_image_and_a_batch_for_a_batch(trained):
    images = images_of(trained)
    single, state = trained.predict(images[0], deterministic=True)
    batch, _ = trained.predict(images, deterministic=True)
    assert single.shape == ()
    assert state is None
    assert batch.shape == (5,)
    assert batch[0] == single


@pytest.mark.parametrize("deterministic", [True, False])
def test_predictions_are_legal_with_masks_read_off_the_images(trained, deterministic):
    builds = random_builds(trained.problem, 2, 20)
    images = np.array([one_hot(placed, trained.problem) for placed in builds])
    actions, _ = trained.predict(images, deterministic=deterministic)
    assert all(action_mask(placed, trained.problem)[a] for placed, a in zip(builds, actions, strict=True))


def test_greedy_predictions_are_the_best_legal_ones_and_masks_only_save_time(trained):
    builds = random_builds(trained.problem, 2)
    images = np.array([one_hot(placed, trained.problem) for placed in builds])
    masks = np.array([action_mask(placed, trained.problem) for placed in builds])
    expected = np.argmax(np.where(masks, trained.q_values(images), -np.inf), axis=1)
    for arguments in ({}, {"action_masks": masks}, {"action_masks": masks.astype(np.int8)}):
        actions, _ = trained.predict(images, deterministic=True, **arguments)
        assert actions.tolist() == expected.tolist()


@pytest.mark.parametrize("averaged", [True, False])
def test_q_values_are_those_of_the_network_alone_unless_they_are_averaged(averaged):
    model = make_model(exploration=replace(EXPLORATION, average_symmetric=averaged))
    images = np.array([one_hot(placed, model.problem) for placed in random_builds(model.problem, 2)])
    with torch.no_grad():
        alone = model.policy(torch.as_tensor(images)).numpy()
    assert np.allclose(model.q_values(images), alone, rtol=1e-5, atol=1e-6) is not averaged


def test_a_mask_given_decides(trained):
    mask = np.zeros(trained.problem.n_actions, dtype=np.int8)
    mask[17] = 1
    for deterministic in (True, False):
        assert trained.predict(images_of(trained)[0], deterministic=deterministic, action_masks=mask)[0] == 17


def test_exploring_predictions_vary_and_greedy_ones_do_not(trained):
    image = images_of(trained)[0]
    trained.explorer.exploration = ONLY_RANDOM
    assert len({int(trained.predict(image)[0]) for _ in range(30)}) > 5
    assert len({int(trained.predict(image, deterministic=True)[0]) for _ in range(5)}) == 1
    trained.explorer.exploration = EXPLORATION


def test_exploring_leaves_what_was_visited_often_for_what_is_nearly_as_promising():
    model = make_model(augment=False)
    image, mask = one_hot([], model.problem), action_mask([], model.problem)
    q_values = np.where(mask, model.q_values(image[None])[0], -np.inf)
    best, second = np.argsort(q_values)[:-3:-1]
    for _ in range(7):
        model.builds.add([best], 0.0)
    gap = q_values[best] - q_values[second]  # bridged where the penalty times log(8) is larger
    for share, expected in ((0.0, best), (0.9, best), (1.1, second)):
        model.explorer.exploration = replace(ONLY_GREEDY, visit_penalty=float(share * gap / np.log(8)))
        assert model.predict(image)[0] == expected
        assert model.predict(image, deterministic=True)[0] == best


def test_a_visit_penalty_makes_greedy_builds_differ():
    for penalty, n_different in ((0.0, 1), (5.0, 8)):
        exploration = replace(ONLY_GREEDY, visit_penalty=penalty)
        model = searched(8, exploration=exploration, warmup_episodes=0, gradient_steps=0)
        assert len({frozenset(placed.tolist()) for placed in model.builds._sites}) == n_different


def test_a_finished_image_without_a_legal_pixel_is_an_error(trained):
    placed = random_builds(trained.problem, 4, 1)[0]
    with pytest.raises(ValueError, match="`observation` has no legal action but must be of a structure that is not"):
        trained.predict(one_hot(placed, trained.problem), deterministic=True)


@pytest.mark.parametrize("deterministic", [True, False])
def test_of_a_batch_finished_images_get_action_0_and_the_others_their_own(deterministic):
    model = make_model(exploration=ONLY_GREEDY)
    finished, builds = random_builds(model.problem, 4, 2), random_builds(model.problem, 2, 3)
    mixed = [finished[0], builds[0], builds[1], finished[1], builds[2]]
    actions, _ = model.predict(np.array([one_hot(b, model.problem) for b in mixed]), deterministic=deterministic)
    alone, _ = model.predict(np.array([one_hot(b, model.problem) for b in builds]), deterministic=deterministic)
    assert actions[[0, 3]].tolist() == [0, 0]
    assert actions[[1, 2, 4]].tolist() == alone.tolist()


def test_of_no_image_there_is_no_action(trained):
    with pytest.raises(
        ValueError, match=r"`observation` has shape \(0, .* but must have shape .* of one image at least"
    ):
        trained.predict(images_of(trained)[:0])


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_an_agent_goes_on_and_on_in_a_vector_environment(mode):
    envs = gym.make_vec("ASLA-GrapheneMini-v0", num_envs=2, evaluator="xwch", autoreset_mode=mode)
    model, n_ended = make_model("ASLA-GrapheneMini-v0"), 0
    images, infos = envs.reset(seed=0)
    for _ in range(26):
        actions, _ = model.predict(images, action_masks=infos["action_mask"])
        images, _, terminations, _, infos = envs.step(actions)
        n_ended += terminations.sum()
    assert n_ended == 4


def test_q_values_have_one_entry_for_each_action_and_do_not_depend_on_the_batch(trained):
    images = images_of(trained)
    q_values = trained.q_values(images)
    assert q_values.shape == (5, trained.problem.n_actions)
    np.testing.assert_allclose(trained.q_values(images[3:4])[0], q_values[3], rtol=1e-4, atol=1e-5)


# Determinism


def test_two_searches_with_one_seed_are_identical_to_the_last_bit():
    assert same_search(searched(), searched())


@pytest.mark.parametrize("representation", ["agr", "displaced"])
def test_trained_representations_do_not_change_that(representation):
    assert same_search(searched(6, representation=representation), searched(6, representation=representation))


def test_another_seed_gives_another_search():
    first, second = searched(), searched(seed=1)
    assert not same_search(first, second)
    assert [p.tolist() for p in first.builds._sites] != [p.tolist() for p in second.builds._sites]


def test_draws_from_the_global_random_states_elsewhere_do_not_change_a_search():
    seeds = itertools.count()

    def disturb(*_):
        set_random_seed(next(seeds))  # of Python, numpy and torch
        return True

    assert same_search(searched(patience=1), searched(callback=disturb, patience=1))


def test_a_search_does_not_touch_the_global_random_states():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    make_model(flat_env(), patience=3).learn(8)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    np.testing.assert_equal(np.random.get_state(), before[2])  # noqa: NPY002


def test_a_progress_bar_and_a_logger_do_not_change_a_search(tmp_path, capsys):
    watched = make_model()
    watched.set_logger(configure(str(tmp_path), ["csv"]))
    watched.learn(10, log_interval=2, progress_bar=True)
    watched.logger.close()
    assert same_search(searched(), watched)
    assert "10/10" in capsys.readouterr().err


# Starting afresh


def flat_env(n_atoms=1) -> AtomPlacementEnv:
    """All structures have the same energy, so that the first one stays the best."""
    return make_env(make_problem(to_place={"C": n_atoms}), lambda _: 1.0)


@pytest.mark.parametrize(("patience", "n_left"), [(3, [1, 2, 3, 4, 0, 1, 2, 3, 4, 0]), (None, list(range(1, 11)))])
def test_without_a_lower_energy_all_builds_are_forgotten_after_the_patience(patience, n_left):
    model = make_model(flat_env(), patience=patience, warmup_episodes=2)
    assert [len(model.learn(1).builds) for _ in range(10)] == n_left


def test_after_a_fresh_start_there_is_a_warm_up_again_without_updates():
    model, updates = make_model(flat_env(), patience=3, warmup_episodes=2, gradient_steps=1), [0]
    for _ in range(10):
        updates.append(model.learn(1)._n_updates)
    assert np.diff(updates).tolist() == [0, 1, 1, 1, 0, 0, 1, 1, 1, 0]


def test_the_network_starts_afresh_too_from_other_weights():
    model = make_model(flat_env(), patience=3, warmup_episodes=0)
    weights = [model.policy.network.hidden[0].weight.detach().clone()]
    for episodes in (3, 1, 4):
        model.learn(episodes)
        weights.append(model.policy.network.hidden[0].weight.detach().clone())
    start, trained, second, third = weights
    assert 0 < torch.abs(trained - start).max() < 0.1  # a few steps of the optimiser
    for ours, theirs in itertools.combinations((start, second, third), 2):
        assert torch.abs(ours - theirs).mean() > 0.01
    assert len(model.policy.optimizer.state) == 0
    assert model.q_net is model.policy


def test_the_patience_counts_for_each_atom_to_place():
    model = make_model(flat_env(n_atoms=3), patience=2, warmup_episodes=0)
    assert [len(model.learn(1).builds) for _ in range(8)] == [1, 2, 3, 4, 5, 6, 0, 1]


@pytest.mark.parametrize("n_atoms", [1, 2])
def test_a_small_problem_is_learned_from_too_with_the_default_settings(n_atoms):
    model = ASLA("QMapPolicy", flat_env(n_atoms), seed=0).learn(70)
    assert model._n_updates >= 18 * model.gradient_steps


def test_once_the_structure_is_found_nothing_is_forgotten():
    problem = make_problem(to_place={"C": 1})
    problem = replace(problem, reference=problem.structure([20]), success_window=0.5)
    assert len(searched(8, make_env(problem, lambda _: 1.0), patience=3).builds) == 8


@pytest.mark.parametrize(("fall", "is_forgotten"), [(0.2, False), (0.05, True)])
def test_an_energy_that_is_lower_by_a_tenth_of_an_ev_an_atom_in_time_prevents_that(fall, is_forgotten):
    falling = itertools.count()  # of 4 atoms it must fall by 0.4 eV in 4 episodes
    env = make_env(energy=lambda _: -fall * next(falling))
    model = searched(8, env, patience=1, warmup_episodes=0, exploration=ONLY_RANDOM)
    assert (len(model.builds) < 8) is is_forgotten


# Saving and going on


def loaded(model: ASLA, path, env=None) -> ASLA:
    model.save(path)
    return ASLA.load(path, env=env or make_env(), device="cpu")


@pytest.mark.parametrize("representation", list(REPRESENTATIONS))
def test_a_loaded_model_has_the_same_q_values_replay_and_settings(tmp_path, representation):
    model = searched(6, representation=representation)
    twin = loaded(model, tmp_path / "model")
    assert same_search(model, twin)
    images = images_of(model)
    assert model.q_values(images).tobytes() == twin.q_values(images).tobytes()
    batches = [m.builds.sample(16, np.random.default_rng(1)) for m in (model, twin)]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*batches, strict=True))
    for name in ("representation", "batch_size", "gradient_steps"):
        assert getattr(twin, name) == getattr(model, name)
    for name in ("exploration", "warmup_episodes", "patience"):
        assert getattr(twin.explorer, name) == getattr(model.explorer, name)
    assert twin.builds.settings == model.builds.settings


@pytest.mark.parametrize(
    "settings", [{}, {"representation": "agr"}, {"patience": 1, "seed": 1}], ids=["gaussian", "agr", "afresh"]
)
def test_a_saved_and_loaded_search_goes_on_as_if_nothing_had_happened(tmp_path, settings):
    whole = searched(12, **settings)
    half = loaded(searched(6, **settings), tmp_path / "model")
    assert same_search(whole, half.learn(6))
    assert (len(whole.builds) < 12) is ("patience" in settings)
    assert whole.num_timesteps == half.num_timesteps
    assert whole._n_updates == half._n_updates


def test_so_does_a_search_from_a_checkpoint_written_on_the_way(tmp_path):
    whole = searched(10, callback=[Checkpoint(tmp_path / "checkpoint.zip", every=4)])
    rest = ASLA.load(tmp_path / "checkpoint.zip", env=make_env(), device="cpu")
    assert len(rest.builds) == 8
    assert same_search(whole, rest.learn(2))


def test_learning_twice_goes_on():
    twice = searched(4).learn(6)
    assert same_search(searched(10), twice)
    assert len(twice.builds) == 10


@pytest.mark.parametrize("n_steps", [0, 2, 4])
@pytest.mark.parametrize("n_stopped", [0, 2])
def test_an_environment_that_was_used_in_between_starts_a_new_build(n_steps, n_stopped):
    model = searched(4)
    if n_stopped:
        model.learn(4, callback=stop_after(n_steps=n_stopped))
    info = model.env.envs[0].reset()[1]
    for _ in range(n_steps):
        *_, info = model.env.envs[0].step(int(np.flatnonzero(info["action_mask"])[-1]))
    model.learn(6)
    assert len(model.builds) == 10
    assert [len(placed) for placed in model.builds._sites] == [4] * 10


def test_a_new_environment_starts_a_new_build(tmp_path):
    model = searched(callback=stop_after(n_steps=10), patience=None)
    twin = loaded(model, tmp_path / "model")
    twin.learn(3)
    assert [len(placed) for placed in twin.builds._sites] == [4] * len(twin.builds)
    model.set_env(make_env())
    model.learn(3)
    assert [len(placed) for placed in model.builds._sites] == [4] * len(model.builds)


def test_loading_needs_an_environment(tmp_path):
    searched(4).save(tmp_path / "model")
    with pytest.raises(ValueError, match="`env` is None but must be an environment"):
        ASLA.load(tmp_path / "model", env=None)


# Stopping


def stop_after(n_steps):
    steps = itertools.count(1)
    return lambda *_: next(steps) != n_steps


@pytest.mark.parametrize("n_steps", [1, 6, 14, 15])
def test_a_search_stopped_inside_a_build_goes_on_with_it(n_steps):
    model = searched(callback=stop_after(n_steps))
    assert model.num_timesteps == n_steps
    assert len(model.builds) == n_steps // 4
    assert same_search(searched(10), model.learn(10 - n_steps // 4))


def test_the_build_after_which_a_search_is_stopped_is_not_lost():
    record = Record()
    model = searched(20, callback=[ConvertCallback(record), ConvertCallback(stop_after(12))])
    assert len(model.builds) == len(record.builds) == model._episode_num == 3
    assert [placed.tolist() for placed in model.builds._sites] == record.builds
    model.learn(2)
    assert [len(placed) for placed in model.builds._sites] == [4] * 5


def test_an_episode_after_which_a_search_is_stopped_is_learned_from():
    model = searched(20, callback=stop_after(5 * 4))
    assert same_search(model, searched(5))
    assert model.updates == searched(5).updates


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_search_can_go_on_with_a_new_build(error):
    calls = itertools.count(1)

    def interrupt(local, _):
        if next(calls) == 7:
            raise error
        return True

    model = make_model()
    with pytest.raises(error):
        model.learn(10, interrupt)
    assert len(model.builds) == 1
    model.learn(3)
    assert [len(placed) for placed in model.builds._sites] == [4] * 4


def test_an_interrupt_inside_the_calculator_leaves_a_search_that_can_go_on():
    calls = itertools.count(1)

    def energy(atoms):
        if next(calls) == 5:
            raise KeyboardInterrupt
        return distances_sum(atoms)

    model = make_model(make_env(energy=energy))
    with pytest.raises(KeyboardInterrupt):
        model.learn(10)
    assert len(model.learn(2).builds) == 5


def test_callbacks_may_be_a_function_an_object_a_list_or_none(tmp_path):
    record, checkpoint = Record(), Checkpoint(tmp_path / "x.zip", every=1)
    model = make_model()
    for callback in (None, record, checkpoint, [checkpoint, ConvertCallback(record)]):
        model.learn(1, callback)
    assert len(record.builds) == 2
    assert (tmp_path / "x.zip").exists()


# With the tools of Stable-Baselines3


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_their_progress_bar_counts_placements():
    callback = ProgressBarCallback()
    make_model().learn(2, callback)
    assert (callback.pbar.n, callback.pbar.total) == (8, 8)


def test_parameters_are_taken_over_from_a_file_and_from_another_agent(tmp_path):
    model, of_file, of_agent, none = searched(6), make_model(), make_model(), make_model()
    model.save(tmp_path / "model")
    of_file.set_parameters(tmp_path / "model.zip")
    of_agent.set_parameters(model.get_parameters())
    images = images_of(model)
    for other in (of_file, of_agent):
        assert other.q_values(images).tobytes() == model.q_values(images).tobytes()
        assert other.policy.optimizer.state_dict()["state"].keys()
    assert not none.policy.optimizer.state_dict()["state"].keys()


def test_parameters_of_another_network_are_refused():
    with pytest.raises(ValueError, match="must have parameters of this network"):
        make_model().set_parameters(make_model(network_kwargs={"kernel_size": 3}).get_parameters())


def test_evaluate_policy_gives_the_reward_of_the_greedy_build(trained):
    env = make_env()
    rewards, lengths = evaluate_policy(trained, Monitor(env), n_eval_episodes=3, return_episode_rewards=True)
    assert lengths == [4, 4, 4]
    assert rewards == pytest.approx([-greedy_build(trained, env)["energy"] / 4] * 3)


def test_the_evaluation_callback_does_not_change_a_search(tmp_path):
    callback = EvalCallback(Monitor(make_env()), n_eval_episodes=1, eval_freq=7, log_path=str(tmp_path), verbose=0)
    assert same_search(searched(), searched(callback=callback))
    assert (tmp_path / "evaluations.npz").exists()


def test_the_logger_records_loss_updates_rate_and_reward(tmp_path):
    model = make_model()
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(10, log_interval=5)
    model.logger.close()
    with (tmp_path / "progress.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["train/loss"]) > 0
    assert int(last["train/n_updates"]) == 2 * 7  # the tenth episode's updates come after its line
    assert float(last["train/learning_rate"]) == pytest.approx(3e-3)
    assert float(last["rollout/ep_len_mean"]) == 4
    assert int(last["time/episodes"]) == 10


def test_a_schedule_sets_the_learning_rate(tmp_path):
    model = searched(4, learning_rate=lambda progress_left: 1e-3 * progress_left, warmup_episodes=0)
    assert model.policy.optimizer.param_groups[0]["lr"] == pytest.approx(0)
    assert model.logger.name_to_value["train/learning_rate"] == pytest.approx(0)


def test_settings_of_the_policy_reach_it_and_stay_the_callers():
    policy_kwargs = {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {"momentum": 0.5}}
    copy = {**policy_kwargs}
    models = [searched(4, policy_kwargs=policy_kwargs, representation=name) for name in ("one-hot", "agr")]
    assert policy_kwargs == copy
    for model, name in zip(models, ("one-hot", "agr"), strict=True):
        assert type(model.policy.optimizer) is torch.optim.SGD
        assert model.policy.optimizer.param_groups[0]["momentum"] == 0.5
        assert model.policy_kwargs["features_extractor_class"] is REPRESENTATIONS[name]


def test_a_registered_id_makes_the_environment():
    model = ASLA("QMapPolicy", "ASLA-GrapheneMini-v0", **SETTINGS)
    assert model.problem.name == "graphene-mini"


def test_a_wrapped_environment_is_as_good():
    wrapped = Monitor(gym.wrappers.RecordEpisodeStatistics(make_env()))
    assert same_search(searched(5), searched(5, wrapped))
    assert same_search(searched(5), searched(5, DummyVecEnv([make_env])))


# Representations


@pytest.mark.parametrize("to_place", [{"C": 3}, {"C": 2, "H": 1}], ids=["one species", "two species"])
@pytest.mark.parametrize("name", list(REPRESENTATIONS))
def test_every_representation_trains(name, to_place):
    env = make_env(make_problem(to_place=to_place))
    model = make_model(env, representation=name, warmup_episodes=1)
    before = {key: value.clone() for key, value in model.policy.named_parameters()}
    model.learn(5)
    assert all(torch.isfinite(value).all() for value in model.policy.parameters())
    assert [key for key, value in model.policy.named_parameters() if torch.equal(value, before[key])] == []


def test_settings_of_the_representation_reach_it_by_name_or_class():
    for representation in ("gaussian", Gaussian):
        model = make_model(representation=representation, representation_kwargs={"width_over_spacing": 2.0})
        assert float(model.policy.features_extractor.widths[0]) == pytest.approx(1.6)  # Å


def test_the_penalty_of_the_representation_shrinks_its_coefficients():
    kwargs = {"representation": "agr", "warmup_episodes": 0, "learning_rate": 1e-2}
    sums = []
    for beta_1 in (0.0, 10.0):
        model = searched(10, representation_kwargs={"beta_1": beta_1}, **kwargs)
        sums.append(np.abs(model.policy.features_extractor.coefficient_values).sum())
    assert sums[1] < 0.9 * sums[0]


def test_without_augmentation_only_the_build_itself_is_shown():
    for augment, n in ((True, 8), (False, 4)):
        model = searched(1, augment=augment, gradient_steps=0)
        assert len(set(model.builds.sample(300, np.random.default_rng(0)).actions[:, 0])) == n


# Errors


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("learning_rate", 0.0, "be greater than 0"),
        ("learning_rate", -1e-3, "be greater than 0"),
        ("learning_rate", float("nan"), "be less than or equal to 1"),
        ("learning_rate", float("inf"), "be less than or equal to 1"),
        ("learning_rate", 1.5, "be less than or equal to 1"),
        ("learning_rate", "x", "be a number"),
        ("batch_size", 0, "be greater than or equal to 1"),
        ("batch_size", 1.5, "be a valid integer"),
        ("batch_size", "8", "be a whole number"),
        ("gradient_steps", -1, "be greater than or equal to 0"),
        ("gradient_steps", 1.5, "be a valid integer"),
        ("warmup_episodes", -1, "be greater than or equal to 0"),
        ("warmup_episodes", 2.5, "be a valid integer"),
        ("patience", 0, "be greater than or equal to 1"),
        ("patience", True, "be a whole number"),
        ("max_grad_norm", 0.0, "be greater than 0"),
        ("augment", "no", "be true or false"),
        ("state_value", "x", "be true or false"),
        ("seed", -1, "be greater than or equal to 0"),
        ("seed", 2**32, "be less than 4294967296"),
        ("seed", 1.5, "be a valid integer"),
        ("exploration", None, "be of type Exploration"),
        ("replay", {}, "be of type ReplaySettings"),
        ("imagination", True, "be of type ImaginationSettings"),
        ("representation", Atoms, "be one of .* or a Representation"),
        ("representation", None, "be one of .* or a Representation"),
    ],
)
def test_a_setting_of_another_kind_or_out_of_its_range_is_named_with_the_rule(name, value, rule):
    with pytest.raises(ValueError, match=rf"`{name}` is {re.escape(repr(value))} but must {rule}"):
        make_model(**{name: value})


def test_numbers_of_numpy_and_a_schedule_are_taken():
    model = make_model(batch_size=np.int64(3), max_grad_norm=np.float32(2), learning_rate=lambda left: 1e-3 * left)
    assert len(model.learn(3).builds) == 3


def test_numbers_that_are_whole_are_taken_as_such():
    whole = {"patience": 1.0, "warmup_episodes": 3.0, "batch_size": 8.0, "gradient_steps": 2.0, "seed": np.int64(0)}
    assert same_search(searched(16, **whole), searched(16, patience=1))


@pytest.mark.parametrize("name", ["placements", "n_best", "window_episodes"])
def test_a_number_of_a_group_that_is_not_whole_is_refused(name):
    with pytest.raises(ValueError, match=rf"`replay.{name}` is 2.5 but must"):
        make_model(replay=replace(REPLAY, **{name: 2.5}))


@pytest.mark.parametrize("name", ["features_extractor_class", "features_extractor_kwargs", "network_kwargs", "grid"])
def test_policy_kwargs_that_would_be_ignored_are_refused(name):
    with pytest.raises(ValueError, match=rf"`policy_kwargs` has `{name}` but must leave it out"):
        make_model(policy_kwargs={name: {}})


@pytest.mark.parametrize(
    ("name", "value"),
    [("network_kwargs", {"activation_fn": torch.nn.Mish, "kernel_size": 5, "hidden_channels": (4,)})],
)
def test_what_a_file_cannot_hold_is_handed_over_again(name, value, tmp_path):
    model = searched(4, **{name: value})
    model.save(tmp_path / "agent.zip")
    with pytest.raises(CheckpointError, match=rf"`custom_objects` is {{}} but must hold {name}"):
        ASLA.load(tmp_path / "agent.zip", make_env())
    loaded = ASLA.load(tmp_path / "agent.zip", make_env(), custom_objects={name: value})
    assert same_search(loaded.learn(2), model.learn(2))


def test_numbers_of_numpy_in_groups_are_kept(tmp_path):
    groups = {
        "exploration": replace(EXPLORATION, epsilon=np.float64(0.1)),
        "replay": replace(REPLAY, n_best=np.int64(10)),
    }
    rate = np.float32(3e-3)
    model = searched(4, learning_rate=rate, **groups)
    model.save(tmp_path / "agent.zip")
    loaded = ASLA.load(tmp_path / "agent.zip", make_env())
    assert same_search(loaded.learn(2), searched(6, learning_rate=float(rate)))


def test_images_of_another_kind_than_the_agent_trains_on_are_refused():
    env = gym.make("ASLA-Graphene-v0", evaluator="xwch")  # whose pixels are enough for a picture
    with pytest.raises(ValueError, match=r"`env` shows Box\(0, 255, .* but must show"):
        make_model(ImageObservation(env))


def test_a_picture_that_is_turned_is_refused():
    model = make_model()
    image = model.env.reset()
    with pytest.raises(ValueError, match=r"`observation` has shape \(1, 1, 6, 7\) but must"):
        model.predict(image.swapaxes(-1, -2))


@pytest.mark.parametrize("value", [1.5, None, "3", True])
def test_a_number_of_episodes_that_is_none_is_refused(value):
    with pytest.raises(TypeError, match=rf"`total_episodes` is {value!r} but must be a whole number"):
        make_model().learn(value)


def test_a_negative_number_of_episodes_is_refused():
    with pytest.raises(ValueError, match="`total_episodes` is -1 but must be at least 0"):
        make_model().learn(-1)


def test_masks_of_another_shape_are_refused():
    model = make_model()
    image, n = model.env.reset()[0], model.problem.n_actions
    for masks in (np.ones(5), np.ones(2 * n), np.ones((2, n))):
        with pytest.raises(ValueError, match=rf"`action_masks` has shape .* but must have shape \({n},\)"):
            model.predict(image, action_masks=masks)
    assert model.predict(image, action_masks=np.ones(n))[0].shape == ()


def test_an_environment_that_ends_builds_early_is_refused():
    limited = gym.wrappers.TimeLimit(make_env(), max_episode_steps=1)
    with pytest.raises(ValueError, match="`env` ended a build without an energy but must have no limit"):
        make_model(limited).learn(1)


def test_a_wrapper_that_hides_info_is_named_as_a_cause():
    with pytest.raises(ValueError, match="no wrapper that hides `info`"):
        make_model(WithoutInfo(make_env())).learn(1)


@pytest.mark.parametrize("change", [lambda action: 0, lambda action: (int(action) + 1) % 42])
def test_what_was_not_chosen_is_not_learned_from(change):
    env = AtomPlacementEnv(make_problem(), lambda: Potential(distances_sum), reward="energy")
    other = gym.wrappers.TransformAction(env, change, env.action_space)
    model = make_model(other)
    with pytest.raises(ValueError, match=r"`env` placed \[.*\] instead of \[.*\] but must have no wrapper"):
        model.learn(20)
    assert len(model.builds) == 0


def test_an_unknown_representation_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"`representation` is 'gauss' but must be one of \('one-hot', .* or a Repr"):
        make_model(representation="gauss")


def test_an_unknown_setting_of_a_representation_is_named():
    with pytest.raises(ValueError, match="`width` is no setting of 'gaussian' but must be one of width_over_spacing"):
        make_model(representation_kwargs={"width": 1.0})


def test_a_setting_that_a_representation_refuses_is_named_with_the_rule():
    with pytest.raises(ValueError, match=r"`width_over_spacing` is -1.0 but must be positive"):
        make_model(representation_kwargs={"width_over_spacing": -1.0})


def test_an_environment_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"`env` has no `problem` but must be an asla_env.AtomPlacementEnv"):
        make_model("CartPole-v1")


def test_an_unknown_policy_is_refused_and_a_class_taken():
    with pytest.raises(ValueError, match="MlpPolicy"):
        ASLA("MlpPolicy", make_env(), **SETTINGS)
    assert same_search(ASLA(QMapPolicy, make_env(), **SETTINGS).learn(4), searched(4))


# The best build


def test_the_best_build_is_kept_when_the_agent_starts_afresh():
    model = searched(30, patience=1)
    assert len(model.builds) < 30
    assert model.best.energy == distances_sum(model.problem.structure(model.best.placed))
    before = model.best
    assert model.learn(20).best.energy <= before.energy


def test_the_best_build_comes_with_the_network_that_made_it(tmp_path):
    model = searched(30, exploration=ONLY_GREEDY, warmup_episodes=1)
    placed = model.best.placed
    images = np.array([one_hot(placed[:i], model.problem) for i in range(len(placed))])
    again = loaded(model, tmp_path / "model.zip").q_values(images, model.best.weights)
    masks = [action_mask(placed[:i], model.problem) for i in range(len(placed))]
    assert [greedy(q, mask) for q, mask in zip(again, masks, strict=True)] == list(placed)


def test_an_energy_that_the_calculator_did_not_compute_is_never_the_best():
    def fail(_):
        raise RuntimeError("no convergence")

    assert searched(5, make_env(make_problem(), fail)).best is None


def test_energies_of_two_calculators_are_not_mixed(tmp_path):
    model = searched(3, AtomPlacementEnv("graphene-mini", "xwch"))
    others = [Evaluator("gfn1-xtb"), Evaluator("gfn1-xtb", settings={"accuracy": 2.0})]
    for evaluator in others:
        for agent in (model, loaded(model, tmp_path / "model", AtomPlacementEnv("graphene-mini", evaluator))):
            agent.set_env(AtomPlacementEnv("graphene-mini", evaluator))
            with pytest.raises(
                ValueError, match=r"`env` has the calculator gfn1-xtb.* but must have xwch .*, of whose"
            ):
                agent.learn(1)
            agent.predict(agent.env.reset())  # to build is another matter
    model.set_env(AtomPlacementEnv("graphene-mini", "xwch"))
    assert model.learn(1).episodes == 4


def test_nor_are_those_of_one_calculator_with_other_arguments(tmp_path):
    problem = make_problem()
    first, other = (
        AtomPlacementEnv(problem, partial(LennardJones, sigma=sigma), reward="energy") for sigma in (1.0, 2.0)
    )
    model = loaded(make_model(first).learn(2), tmp_path / "model", other)
    with pytest.raises(ValueError, match=r"`env` has the calculator LennardJones \(.* but must have LennardJones \("):
        model.learn(1)


@pytest.mark.parametrize("changes", [{"success_window": 1e-9}, {"reference": None}])
def test_a_search_does_not_go_on_with_another_meaning_of_success(tmp_path, changes):
    problem = make_problem(
        reference=Atoms("C5", [(0.8 * i, 1.6, 0) for i in range(5)], cell=(5.6, 4.8, 10), pbc=(1, 0, 0))
    )
    model = make_model(make_env(problem)).learn(2)
    with pytest.raises(CheckpointError, match=f"`env` has another {next(iter(changes))} than the problem"):
        loaded(model, tmp_path / "model", make_env(replace(problem, **changes)))


def test_a_calculator_that_failed_on_the_reference_is_not_held_to():
    model = make_model(AtomPlacementEnv("graphene-mini", lambda: Potential(lambda _: float("nan"))))
    with pytest.raises(ValueError, match="must be able to compute the reference"):
        model.learn(1)
    model.set_env(AtomPlacementEnv("graphene-mini", "xwch"))
    assert model.learn(1).episodes == 1


def test_an_environment_whose_atoms_have_another_charge_is_refused():
    model, charged = make_model(), make_problem()
    charged.template.info["charge"] = 1
    model.set_env(make_env(charged))
    with pytest.raises(ValueError, match="`env` has another problem but must have the one"):
        model.learn(1)


def test_an_environment_with_another_problem_is_refused():
    model = make_model()
    model.set_env(make_env(make_problem(to_place={"C": 2})))
    with pytest.raises(ValueError, match="`env` has another problem but must have the one"):
        model.learn(1)
    model.set_env(make_env(make_problem()))
    assert len(model.learn(1).builds) == 1


def test_a_calculator_that_fails_on_the_reference_is_refused_before_the_search():
    problem = make_problem()
    problem = replace(problem, reference=problem.structure([1, 2, 3, 4]))

    def fail(_):
        raise RuntimeError("no licence")

    with pytest.raises(ValueError, match=r"`evaluator` is .* RuntimeError: no licence"):
        make_model(make_env(problem, fail)).learn(1)
