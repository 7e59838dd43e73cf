"""What sections II-VIII of J. Chem. Phys. 153, 044107 say about problems, policy and training, one test a sentence."""

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from asla_agents import ASLA
from asla_agents.exploration import Exploration, choose
from asla_agents.explorer import Explorer
from asla_agents.q_map import placement_loss
from asla_agents.replay import BuildReplay, ReplaySettings
from asla_agents.symmetry import augmentations
from asla_env import AtomPlacementEnv, Grid, Problem, problems


class Counting(Calculator):
    """Energy -1 eV for each pair of atoms closer than 1.6 Å; counts the single points, refuses forces."""

    implemented_properties = ["energy"]
    calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        type(self).calls += 1
        distances = self.atoms.get_all_distances(mic=True)
        self.results["energy"] = -float(np.count_nonzero(np.triu(distances < 1.6, 1)))


def small_problem() -> Problem:
    template = Atoms("C", [[0, 0, 0]], cell=(3.2, 2.4, 10), pbc=(True, True, False))
    reference = template + Atoms("C2", [[1.2, 0, 0], [0, 1.2, 0]])
    return Problem("small", Grid((8, 6), (3.2, 2.4), (True, True)), template, {"C": 2}, reference=reference)


def searched(episodes: int, **settings) -> ASLA:
    env = AtomPlacementEnv(small_problem(), evaluator=Counting)
    network = {"hidden_channels": (4,), "kernel_size": 3}
    model = ASLA("QMapPolicy", env, seed=0, warmup_episodes=2, batch_size=8, network_kwargs=network, **settings)
    return model.learn(episodes)


# Section II


def test_an_episode_ends_with_a_sole_single_point_energy():
    """'the evaluation phase is a sole single-point (i.e., unrelaxed) total energy calculation'."""
    env = AtomPlacementEnv(small_problem(), evaluator=Counting)
    assert env.reference_energy < 0
    Counting.calls = 0
    _, info = env.reset()
    steps, terminated = 0, False
    while not terminated:
        assert Counting.calls == 0
        _, _, terminated, _, info = env.step(np.flatnonzero(info["action_mask"])[0])
        steps += 1
    assert (steps, Counting.calls) == (2, 1)


def test_structures_are_built_atom_by_atom_from_a_template():
    """'built atom by atom in a discretized space, possibly starting from a template'."""
    env = AtomPlacementEnv(small_problem(), evaluator=Counting)
    obs, info = env.reset()
    assert obs.sum() == 1
    obs, *_ = env.step(np.flatnonzero(info["action_mask"])[0])
    assert obs.sum() == 2


def test_most_choices_are_greedy_and_some_are_random_or_among_the_best():
    """'In most iterations, a greedy action is taken ... sometimes chosen entirely randomly or ... among a fraction'."""
    rng, q_values, legal = np.random.default_rng(0), np.arange(100.0), np.ones(100, dtype=bool)
    exploration = Exploration(epsilon=0.1, top_probability=0.2, top_fraction=0.1)
    chosen = np.array([choose(q_values, legal, exploration, rng) for _ in range(4000)])
    assert 0.7 < np.mean(chosen == 99) < 0.76
    assert 0.17 < np.mean((chosen >= 90) & (chosen < 99)) < 0.21
    assert 0.07 < np.mean(chosen < 90) < 0.11
    assert Exploration().epsilon + Exploration().top_probability < 0.5  # what is there unless asked for


def test_every_placement_of_a_build_has_a_target_between_minus_1_and_1():
    """'every predicted Q-value for atoms actually placed ... can be associated with a target Q-value'."""
    problem = small_problem()
    builds = BuildReplay(problem, ReplaySettings(shuffled_share=0.0, lowest_target=-1.0), augmentations(problem)[:1])
    for energy, placed in enumerate([(3, 18), (5, 20), (3, 22), (30, 3)]):
        builds.add(placed, float(energy))
    batch = builds.sample(400, np.random.default_rng(0))
    assert set(batch.actions[:, 0]) == {3, 18, 5, 20, 22, 30}
    assert batch.targets.min() == -1
    assert batch.targets.max() == 1


def test_the_most_stable_structure_has_the_target_1_and_others_rescaled_energies():
    """'Maximum Q-values of 1 indicate that the most stable structure is expected'; 'essentially rescaled energies'."""
    problem = small_problem()
    builds = BuildReplay(problem, ReplaySettings(), augmentations(problem)[:1])
    energies = np.array([-3.0, 1.0, 0.0, 5.0, -1.0])
    for energy, placed in zip(energies, [(3, 18), (5, 20), (3, 22), (30, 3), (18, 36)], strict=True):
        builds.add(placed, float(energy))
    targets = builds.targets(energies)
    assert targets.max() == targets[0] == 1
    order = np.argsort(energies)
    assert np.all(np.diff(targets[order]) <= 0)
    low, middle, high = targets[order][:3]  # on a line with the energies -3, -1 and 0 eV
    assert (low - middle) / (low - high) == pytest.approx(2 / 3)


def test_the_loss_is_the_mean_squared_error_between_q_values_and_targets():
    """'the loss function (the mean-squared error between Q-values and the rewards ...) is minimized'."""
    q_values, targets = torch.tensor([[0.5], [-0.25], [1.0]]), torch.tensor([[1.0], [0.25], [-1.0]])
    loss = placement_loss(q_values, torch.ones(3, 1), targets)
    assert loss.item() == pytest.approx((0.25 + 0.25 + 4) / 3)


def test_the_training_phase_follows_each_episode():
    """'This is what is done during the training phase' of Fig. 1(a), after 'the evaluation phase'."""
    model = searched(6, gradient_steps=3)
    assert model._n_updates == 3 * 5  # after the second build of the warm-up and each one since
    assert len(model.builds) == 6


def test_training_samples_all_builds_so_far_in_all_symmetric_orientations(monkeypatch):
    """'experience replay, symmetrization augmentation'."""
    sample, batches = Explorer.sample, []
    monkeypatch.setattr(Explorer, "sample", lambda *args: batches.append(sample(*args)) or batches[-1])
    replay = ReplaySettings(shuffled_share=0.0, spillover=0.0)  # nothing else changes a build
    model = searched(3, gradient_steps=20, replay=replay)
    sampled = set()
    for batch in batches:
        for image, actions, weights in zip(batch.images, batch.actions, batch.weights, strict=True):
            sampled.add(frozenset([*np.flatnonzero(image), *actions[weights > 0]]))
    symmetries = augmentations(model.problem)
    atoms = [[*model.problem.template_sites, *placed] for placed, _ in model.builds]
    oriented = [{frozenset(symmetry[build]) for symmetry in symmetries} for build in atoms]
    assert len(symmetries) == 4
    assert max(map(len, oriented)) == 4
    assert sampled == set.union(*oriented)


def test_training_changes_all_weights_and_brings_q_values_nearer_to_their_targets():
    """'back-propagation'; 'the loss function (the mean-squared error ...) is minimized'."""
    model = searched(2, gradient_steps=0)
    batch = [torch.as_tensor(part) for part in model.explorer.sample(100)]
    losses, weights = [], []
    for gradient_steps in (0, 50):
        model.train(gradient_steps)
        with torch.no_grad():
            losses.append(placement_loss(model.policy.q_at(batch[0], batch[1]), *batch[2:]).item())
        weights.append([parameter.detach().clone() for parameter in model.policy.parameters()])
    assert losses[1] < 0.8 * losses[0]
    assert all((after != before).any() for before, after in zip(*weights, strict=True))


def test_the_l1_term_is_part_of_the_loss_that_is_trained_on():
    """Section V: 'adding L_1 regularization to the loss function', Eq. (3)."""
    losses, gradients = [], []
    for beta_1 in (0.0, 0.5):
        kwargs = {"beta_1": beta_1, "kernel_size": 5}
        model = searched(2, gradient_steps=0, max_grad_norm=1e9, representation="agr", representation_kwargs=kwargs)
        coefficients = model.policy.features_extractor.coefficient_values
        model.train(1)
        losses.append(model.logger.name_to_value["train/loss"])
        gradients.append(model.policy.features_extractor.coefficients.grad)
    assert losses[1] - losses[0] == pytest.approx(0.5 * np.abs(coefficients).sum(), abs=1e-4)
    np.testing.assert_allclose(gradients[1] - gradients[0], 0.5 * np.sign(coefficients), atol=1e-4)


# Sections III-VIII: the problems


def test_graphene_is_23_atoms_beside_one_on_41_x_36_pixels_of_a_fifth_of_an_angstrom():
    """'placing 23 C atoms in a periodic cell, where initially, one C atom is present ... 41 x 36 ... Δ ≈ 0.20 Å'."""
    problem = problems.graphene()
    assert problem.to_place == {"C": 23}
    assert problem.template.symbols.get_chemical_formula() == "C"
    assert problem.grid.shape == (41, 36)
    assert all(problem.grid.periodic)
    assert problem.grid.spacing == pytest.approx((0.2, 0.2), abs=0.01)


def test_the_grain_boundary_is_20_atoms_between_sheets_at_an_angle_of_13_17_degrees():
    """'two carbon sheets tilted 13.17° with respect to each other ... placing 20 C atoms in the void between'."""
    problem = problems.grain_boundary()
    assert problem.to_place == {"C": 20}
    assert problem.grid.periodic == (False, True)
    lattice_constant = 1.42 * math.sqrt(3)
    assert problem.grid.cell[1] == pytest.approx(lattice_constant * math.sqrt(19), abs=1e-3)
    left, right = (_orientation(problem.template, side) for side in (-1, 1))
    assert left - right == pytest.approx(13.17, abs=0.5)  # the relaxed edges are bent a little


def _orientation(template: Atoms, side: int) -> float:
    """Mean direction in degrees, modulo 60, of the bonds between template atoms on one side of the boundary."""
    sheet = template[[i for i, x in enumerate(template.positions[:, 0]) if side * (x - 11.0) > 0]]
    bonds = [sheet.get_distance(i, j, mic=True, vector=True) for i in range(len(sheet)) for j in range(i)]
    angles = [math.atan2(y, x) for x, y, _ in bonds if math.hypot(x, y) < 1.6]
    return math.degrees(np.angle(np.mean(np.exp(6j * np.array(angles)))) / 6) % 60


def test_naphthalene_has_two_species_and_four_given_atoms():
    """'the ASLA tasked with building naphthalene', 'with the template atoms shown dimmed' (Fig. 12)."""
    problem = problems.naphthalene()
    assert problem.reference.get_chemical_formula() == "C10H8"
    assert problem.species == ("C", "H")
    assert len(problem.template) == 4
    assert not any(problem.grid.periodic)
