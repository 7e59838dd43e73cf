"""The shape of the network in a file, in a search and in a checkpoint."""

import numpy as np
import pytest
import torch
from torch import nn

from asla_agents import ASLA
from asla_agents.config import RunConfig
from asla_agents.ensemble import Ensemble
from asla_agents.network_settings import ACTIVATIONS, NetworkSettings, named, unnamed
from asla_agents.q_map import HEADS, QMapNetwork
from asla_agents.training import make_env, make_model
from asla_env.grid import Grid

GRID = Grid((5, 6), (1.0, 1.2), (True, True))
SMALL = {"hidden_channels": (2, 3), "kernel_size": 5, "reach": 1.5, "activation": "silu", "head": "tanh"}
SETTINGS = {"env_id": "ASLA-GrapheneMini-v0", "evaluator": "xwch", "state_value": False, "augment": False}


def test_the_defaults_are_those_of_the_network():
    with_defaults, without = QMapNetwork(GRID, **NetworkSettings().as_kwargs()), QMapNetwork(GRID)
    assert str(with_defaults) == str(without)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_head_makes_a_network_that_learns(activation, head):
    network = QMapNetwork(GRID, **NetworkSettings((2,), 3, activation=activation, head=head).as_kwargs())
    network(torch.rand(1, 1, 5, 6)).sum().backward()
    assert all(np.any(weights.grad.numpy()) for weights in network.parameters())


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("hidden_channels", (), "hold numbers of at least 1"),
        ("hidden_channels", (3, 0), "hold numbers of at least 1"),
        ("kernel_size", 4, "an odd number of at least 1"),
        ("kernel_size", -1, "an odd number of at least 1"),
        ("reach", 0.0, "be positive and finite"),
        ("reach", float("inf"), "be positive and finite"),
        ("activation", "step", "one of leaky-relu, "),
        ("head", "sigmoid", "one of linear, tanh"),
    ],
)
def test_a_wrong_shape_is_named(name, value, rule):
    with pytest.raises(ValueError, match=rf"`{name}` is .* but must.*{rule}"):
        NetworkSettings(**{name: value})


def test_names_stand_for_activations_and_back():
    kwargs = NetworkSettings(**SMALL).as_kwargs()
    assert named(kwargs)["activation_fn"] == "silu"
    assert unnamed(named(kwargs)) == kwargs
    assert named({"activation_fn": nn.Hardswish}) == {"activation_fn": nn.Hardswish}
    assert unnamed({}) == named({}) == {}


def test_a_search_has_the_network_and_the_augmentation_of_its_settings_and_keeps_them(tmp_path):
    config = RunConfig(**SETTINGS, network=SMALL)
    env = make_env(config)
    model = make_model(config, env)
    model.save(tmp_path / "model.zip")
    for agent in (model, ASLA.load(tmp_path / "model.zip", env)):
        network = agent.q_map.network
        assert [type(layer) for layer in network.hidden[1::2]] == [nn.SiLU, nn.SiLU]
        assert type(network.head) is nn.Tanh
        assert agent.explorer.augment is False


def test_members_of_an_ensemble_have_the_network_of_their_settings():
    config = RunConfig(**SETTINGS, network=SMALL)
    (member,) = Ensemble([config])._members
    assert str(member.policy.network) == str(make_model(config, member.env).q_map.network)
    assert member.explorer.augment is False
    other = config.model_copy(update={"network": NetworkSettings()})
    with pytest.raises(ValueError, match=r"`network` .* but must share one"):
        Ensemble([config, other])
