"""Settings as TOML: written, read again, the same."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from asla_agents import cli
from asla_agents.config import RunConfig
from asla_agents.config_toml import to_toml, toml_value
from asla_agents.exploration import Exploration
from asla_agents.imagination import ImaginationSettings
from asla_agents.network_settings import ACTIVATIONS, NetworkSettings
from asla_env import IDS

NUMBERS = st.floats(allow_nan=False)
VALUES = st.recursive(
    st.booleans() | st.integers() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
CONFIGS = st.builds(
    RunConfig,
    env_id=st.sampled_from(list(IDS)),
    evaluator=st.just("mine:make"),
    evaluator_settings=st.dictionaries(st.text(max_size=8), VALUES, max_size=3),
    representation_kwargs=st.fixed_dictionaries({}, optional={"width_over_spacing": NUMBERS | st.lists(NUMBERS)}),
    network=st.builds(
        NetworkSettings,
        hidden_channels=st.lists(st.integers(1, 99), min_size=1, max_size=4).map(tuple),
        activation=st.sampled_from(list(ACTIVATIONS)),
    ),
    episodes=st.integers(min_value=1),
    seed=st.integers(0, 2**32 - 1),
    stop_on_success=st.booleans(),
    learning_rate=st.floats(0, 1, exclude_min=True),
    max_grad_norm=st.floats(min_value=0, exclude_min=True),
    patience=st.none() | st.integers(min_value=1),
    exploration=st.builds(Exploration, epsilon=st.floats(0, 0.5), top_probability=st.floats(0, 0.5)),
    imagination=st.none() | st.builds(ImaginationSettings, builds=st.integers(1, 9)),
)


@settings(deadline=None, max_examples=50)
@given(CONFIGS)
def test_settings_are_read_as_they_were_written(config):
    assert RunConfig(**tomllib.loads(to_toml(config))) == config


@settings(deadline=None)
@given(VALUES)
def test_a_value_is_read_as_it_was_written(value):
    assert tomllib.loads(f"x = {toml_value(value, 'x')}") == {"x": value}


def test_of_a_search_that_comes_first_none_is_said_in_words():
    first = {"patience": None, "imagination": None}
    config = RunConfig(env_id="ASLA-Graphene-v0", patience=2, imagination=True, pretrained=first)
    read = RunConfig(**tomllib.loads(to_toml(config)))
    assert read == config
    assert (read.before().patience, read.before().imagination) == (None, None)


def test_what_toml_cannot_hold_is_named():
    config = RunConfig(env_id="ASLA-Graphene-v0", evaluator="mine:make", evaluator_settings={"a": [{"b": None}]})
    with pytest.raises(ValueError, match=r"`evaluator_settings\.a\.0\.b` is None but TOML has no such value"):
        to_toml(config)


def test_every_setting_is_there_with_what_it_means():
    text = to_toml(RunConfig(env_id="ASLA-Graphene-v0"))
    for line in ("# Seed of weights, exploration and replay.\nseed = 0", "[exploration]", "# [imagination]\n"):
        assert line in text
    switched_on = text.replace("# [imagination]", "[imagination]").replace("# builds = 8", "builds = 5")
    assert RunConfig(**tomllib.loads(switched_on)).imagination == ImaginationSettings(builds=5)
    assert max(map(len, text.splitlines())) <= 120


def test_the_command_prints_the_settings_of_a_file_with_all_defaults(tmp_path):
    path = tmp_path / "search.toml"
    path.write_text('env_id = "ASLA-Naphthalene-v0"\nexploration.epsilon = 0.25\n')
    printed = CliRunner().invoke(cli.app, ["config", str(path)])
    assert printed.exit_code == 0
    assert RunConfig(**tomllib.loads(printed.output)) == RunConfig.load(path)
    default = CliRunner().invoke(cli.app, ["config"]).output
    assert RunConfig(**tomllib.loads(default)) == RunConfig(env_id=next(iter(IDS)))


def test_a_wrong_file_is_one_line(tmp_path):
    result = CliRunner().invoke(cli.app, ["config", str(tmp_path / "no.toml")])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"error: `path` is {tmp_path / 'no.toml'} but must be a file: there is none"]
