"""The Q-map network and the policy around it."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asla_agents.q_map import QMapNetwork, QMapPolicy, take_over
from asla_agents.representations import REPRESENTATIONS, OneHot
from asla_env.grid import Grid

GRID = Grid((7, 6), (1.4, 1.2), (True, False))
SPACE = Grid((4, 3, 5), (0.8, 0.6, 1.0), (False, True, True))
SMALL = {"hidden_channels": (4, 4), "kernel_size": 5}


def n_weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def make_policy(grid: Grid = GRID, n_species: int = 1, representation: str = "gaussian", **settings) -> QMapPolicy:
    torch.manual_seed(0)
    return QMapPolicy(
        spaces.MultiBinary([n_species, *grid.shape]),
        spaces.Discrete(n_species * grid.n_pixels),
        lambda _: 1e-3,
        grid,
        REPRESENTATIONS[representation],
        **{"network_kwargs": SMALL, **settings},
    )


def random_images(grid: Grid = GRID, n_species: int = 1, batch: int = 3, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.as_tensor(rng.random((batch, n_species, *grid.shape)) < 0.1).to(torch.int8)


# The network


def test_the_default_network_has_the_published_number_of_weights():
    assert n_weights(QMapNetwork(Grid((41, 36), (8.2, 7.2), (True, True)))) == 49_531


@pytest.mark.parametrize(("n_in", "n_out"), [(2, 1), (1, 2), (4, 2)])
def test_channels_and_species_add_weights_at_both_ends(n_in, n_out):
    size = 15 * 15
    expected = (n_in * 10 + 10 * 10 + 10 * 10 + 10 * n_out) * size + 30 + n_out
    assert n_weights(QMapNetwork(GRID, n_in, n_out)) == expected


@pytest.mark.parametrize("grid", [GRID, SPACE], ids=["plane", "space"])
def test_there_is_one_q_value_for_each_species_and_pixel(grid):
    network = QMapNetwork(grid, in_channels=3, n_species=2, **SMALL)
    assert network(torch.rand(5, 3, *grid.shape)).shape == (5, 2, *grid.shape)


@pytest.mark.parametrize(("periodic", "mode"), [(True, "circular"), (False, "zeros")])
def test_the_network_is_a_stack_of_pytorchs_convolutions(periodic, mode):
    grid = Grid((7, 6), (1.4, 1.2), (periodic, periodic))
    ours = QMapNetwork(grid, 2, 3, **SMALL)
    layers = []
    for before, after in pairwise([2, 4, 4, 3]):
        layers += [nn.Conv2d(before, after, 5, padding=2, padding_mode=mode), nn.SiLU()]
    theirs = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for our_layer, their_layer in zip([*ours.hidden[::2], ours.output], layers[::2], strict=True):
            their_layer.weight.copy_(our_layer.kernels)
            their_layer.bias.copy_(our_layer.bias)
    images = torch.rand(4, 2, 7, 6)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-6)


def test_the_head_bounds_the_q_values_or_not():
    images = torch.rand(2, 1, 7, 6)
    torch.manual_seed(0)
    linear = QMapNetwork(GRID, **SMALL)
    torch.manual_seed(0)
    bounded = QMapNetwork(GRID, head="tanh", **SMALL)
    for network in (linear, bounded):
        network.output.weight.data *= 1000
    assert linear(images).abs().max() > 1
    torch.testing.assert_close(bounded(images), torch.tanh(linear(images)))


def test_the_activation_can_be_chosen():
    network = QMapNetwork(GRID, activation_fn=nn.ReLU, **SMALL)
    assert [type(layer) for layer in network.hidden[1::2]] == [nn.ReLU, nn.ReLU]


def test_no_hidden_layer_is_one_convolution():
    assert n_weights(QMapNetwork(GRID, hidden_channels=(), kernel_size=5)) == 26


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"head": "sigmoid"}, r"`head` is 'sigmoid' but must be one of"), ({"kernel_size": 4}, "must hold odd numbers")],
)
def test_impossible_networks_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        QMapNetwork(GRID, **settings)


GRIDS = [
    Grid((6, 6), (1.2, 1.2), (True, True)),
    Grid((7, 4), (1.4, 0.8), (True, False)),
    Grid((3, 5), (0.6, 1.0), (False, True)),
    SPACE,
]


@given(grid=st.sampled_from(GRIDS), kernel_size=st.sampled_from([1, 3, 9]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_a_translation_along_periodic_axes_moves_the_q_map_too(grid, kernel_size, seed):
    torch.manual_seed(seed)
    network = QMapNetwork(grid, 2, 2, hidden_channels=(3,), kernel_size=kernel_size).double()
    images, rng = random_images(grid, 2, seed=seed).double(), np.random.default_rng(seed)
    shift = [int(rng.integers(n)) if wraps else 0 for n, wraps in zip(grid.shape, grid.periodic, strict=True)]
    axes = tuple(range(2, 2 + grid.ndim))
    torch.testing.assert_close(network(images.roll(shift, axes)), network(images).roll(shift, axes), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_the_whole_policy_commutes_with_translations(name):
    grid = GRIDS[0]
    policy = make_policy(grid, 2, name).double()
    policy.set_training_mode(False)
    images = random_images(grid, 2)
    moved = policy.q_map(images.roll((2, -1), (2, 3)))
    torch.testing.assert_close(moved, policy.q_map(images).roll((2, -1), (2, 3)), rtol=0, atol=1e-10)


# The policy


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_actions_are_species_then_pixels(name):
    policy, images = make_policy(n_species=2, representation=name), random_images(n_species=2)
    policy.set_training_mode(False)
    q_map, q_values = policy.q_map(images), policy(images)
    assert q_map.shape == (3, 2, 7, 6)
    assert q_values.shape == (3, 84)
    assert q_values[1, 42 + 2 * 6 + 5] == q_map[1, 1, 2, 5]
    np.testing.assert_array_equal(policy.predict(images.numpy())[0], q_values.argmax(dim=1))
    assert policy.predict(images[0].numpy())[0] == q_values[0].argmax()


def test_images_of_any_type_are_taken():
    policy, images = make_policy(), random_images()
    for same in (images, images.bool(), images.float(), images.double()):
        assert torch.equal(policy(same), policy(images))


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_policy_at_double_precision_agrees_with_single(name):
    policy, images = make_policy(representation=name), random_images()
    policy.set_training_mode(False)
    single, double = policy(images), copy.deepcopy(policy).double()(images)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


def test_a_policy_runs_on_the_device_it_is_moved_to():
    """The meta device refuses tensors of any other."""
    assert make_policy(representation="agr").to("meta")(random_images().to("meta")).device.type == "meta"


def test_representation_and_network_are_trained_as_one():
    policy, images = make_policy(representation="agr"), random_images(batch=16)
    targets = torch.rand(16, 42)
    before = {name: parameter.detach().clone() for name, parameter in policy.named_parameters()}
    losses = []
    for _ in range(20):
        loss = (policy(images) - targets).square().mean()
        policy.optimizer.zero_grad()
        loss.backward()
        policy.optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = {name for name, parameter in policy.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == set(before)
    assert "features_extractor.coefficients" in changed


# The value of the state


DUELLING = {**SMALL, "state_value": True}


def test_q_values_are_advantages_and_a_sum_over_the_atoms():
    torch.manual_seed(0)
    network, images, atoms = QMapNetwork(GRID, 2, 2, **DUELLING), torch.rand(3, 2, 7, 6), random_images(n_species=2)
    contributions = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in contributions.output.parameters():
            parameter.copy_(parameter.roll(2, dims=0))  # Q-map and contributions change places
    sums = torch.stack([contributions(images)[i][atoms[i].bool()].sum() for i in range(3)])
    assert sums.abs().min() > 1e-4
    torch.testing.assert_close(network(images, atoms), network(images) + sums.view(3, 1, 1, 1))


def test_a_state_value_adds_one_kernel_for_each_hidden_channel_and_species():
    plain, duelling = QMapNetwork(GRID, 1, 2, **SMALL), QMapNetwork(GRID, 1, 2, **DUELLING)
    assert n_weights(duelling) - n_weights(plain) == 2 * (4 * 5 * 5 + 1)


def test_a_structure_without_atoms_has_no_state_value():
    network, images = QMapNetwork(GRID, **DUELLING), torch.rand(3, 1, 7, 6)
    assert torch.equal(network(images, torch.zeros(3, 1, 7, 6)), network(images))


def test_the_policy_chooses_by_advantages_and_learns_q_values():
    policy = make_policy(n_species=2, network_kwargs=DUELLING)
    images, actions = random_images(n_species=2), torch.tensor([[0, 50], [41, 83], [7, 8]])
    q_values = policy(images)
    torch.testing.assert_close(policy.q_at(images, actions), q_values.gather(1, actions))
    values = q_values.detach().numpy() - policy.advantages(images)
    np.testing.assert_allclose(values, np.broadcast_to(values[:, :1], values.shape), atol=1e-6)
    assert np.abs(values).min() > 1e-4


def test_without_a_state_value_advantages_are_q_values():
    policy, images = make_policy(), random_images()
    np.testing.assert_allclose(policy(images).detach(), policy.advantages(images), atol=1e-5)


def test_what_the_atoms_bring_is_learned_by_the_state_value():
    """Targets that count the atoms of the structure say nothing of the placements."""
    policy = make_policy(network_kwargs=DUELLING, optimizer_kwargs={"lr": 3e-3})
    rng = np.random.default_rng(0)
    images = torch.as_tensor(rng.random((64, 1, 7, 6)) < 0.2).to(torch.int8)
    actions, targets = torch.as_tensor(rng.integers(42, size=(64, 1))), images.sum((1, 2, 3)) / 8 - 1
    for _ in range(300):
        loss = (policy.q_at(images, actions)[:, 0] - targets).square().mean()
        policy.optimizer.zero_grad()
        loss.backward()
        policy.optimizer.step()
    values = policy(images).detach().numpy()[:, 0] - policy.advantages(images)[:, 0]
    assert np.corrcoef(values, targets)[0, 1] > 0.8


def test_the_optimiser_takes_its_settings():
    policy = make_policy(optimizer_class=torch.optim.SGD, optimizer_kwargs={"momentum": 0.5})
    assert isinstance(policy.optimizer, torch.optim.SGD)
    assert policy.optimizer.defaults["lr"] == 1e-3
    assert policy.optimizer.defaults["momentum"] == 0.5


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_saved_policy_is_loaded_with_its_settings(name, tmp_path):
    extractor = {} if name == "one-hot" else {"kernel_size": 9}
    policy = make_policy(n_species=2, representation=name, features_extractor_kwargs=extractor)
    images = random_images(n_species=2)
    policy(images)  # moves the averages of the batch normalisation
    policy.set_training_mode(False)
    policy.save(str(tmp_path / "policy.pt"))
    loaded = QMapPolicy.load(str(tmp_path / "policy.pt"), device="cpu")
    loaded.set_training_mode(False)
    assert torch.equal(loaded(images), policy(images))
    assert loaded.features_extractor_kwargs == policy.features_extractor_kwargs


def test_actions_and_sites_must_agree():
    with pytest.raises(ValueError, match=r"`action_space` has 41 actions but must have one for each of 42 sites"):
        QMapPolicy(spaces.MultiBinary([1, 7, 6]), spaces.Discrete(41), lambda _: 1e-3, GRID)


def test_a_target_network_that_follows_gives_its_own_q_values():
    """Stable-Baselines3 changes target networks behind PyTorch's back; what was kept must not be used again."""
    policy, images = make_policy(), random_images()
    target = copy.deepcopy(policy)
    with torch.no_grad():
        target(images)
        for parameter in target.parameters():
            parameter.data.zero_()
        assert not target(images).any()
        assert policy(images).any()


# Taking over weights


def test_weights_of_another_grid_give_the_same_values_wherever_the_surroundings_are_the_same():
    def q_values(policy, shape):
        image = torch.zeros(1, 1, *shape)
        image[0, 0, 60, 60] = 1
        return policy.q_map(image).detach()[0, 0]

    policies, shapes = [], ((125, 121), (130, 124))
    for shape, spacing, periodic in zip(shapes, (0.2078, 0.2023), ((True, True), (False, True)), strict=True):
        grid = Grid(shape, tuple(n * spacing for n in shape), periodic)
        images, actions = spaces.MultiBinary([1, *shape]), spaces.Discrete(grid.n_pixels)
        policies.append(QMapPolicy(images, actions, lambda _: 1e-3, grid, OneHot, network_kwargs={"state_value": True}))
    before = q_values(policies[1], shapes[1])
    take_over(policies[1], policies[0].state_dict())
    there, here = (q_values(policy, shape)[45:76, 45:76] for policy, shape in zip(policies, shapes, strict=True))
    torch.testing.assert_close(there, here, rtol=0, atol=1e-5)
    assert not torch.allclose(here, before[45:76, 45:76], atol=1e-3)
