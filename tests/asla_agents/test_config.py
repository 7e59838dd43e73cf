"""The settings of a search."""

import json

import pytest
from pydantic import ValidationError

from asla_agents.config import SearchConfig
from asla_agents.exploration import Exploration
from asla_agents.replay import ReplaySettings
from asla_env import calculators

FULL = {
    "env_id": "ASLA-Naphthalene-v0",
    "evaluator": "gfn2-xtb",
    "evaluator_settings": {"electronic_temperature": 500.0},
    "representation": "agr",
    "representation_kwargs": {"beta_1": 0.01, "widths_over_spacing": [0.5, 1.0]},
    "episodes": 7,
    "seed": 3,
    "stop_on_success": True,
    "learning_rate": 2e-3,
    "batch_size": 5,
    "gradient_steps": 4,
    "builds_at_once": 2,
    "warmup_episodes": 6,
    "exploration": {"epsilon": 0.25, "top_probability": 0.5, "top_fraction": 0.125},
    "replay": {"best_share": 0.5, "n_best": 3, "spillover": 0.0},
}


def test_an_id_is_enough():
    config = SearchConfig(env_id="ASLA-Graphene-v0")
    assert config.evaluator == calculators.DEFAULT
    assert config.exploration == Exploration()
    assert config.replay == ReplaySettings()


def test_all_settings_survive_a_file():
    config = SearchConfig(**FULL)
    assert config.exploration.epsilon == 0.25
    assert config.replay.n_best == 3
    text = json.dumps(config.model_dump(mode="json"))
    assert SearchConfig(**json.loads(text)) == config
    assert SearchConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("env_id", "ASLA-Graphite-v0", "must be one of ASLA-Graphene-v0, "),
        ("evaluator", "dft", "must be one of 'gfn1-xtb', .* or an import path"),
        ("evaluator_settings", {"xc": "PBE"}, "'gfn1-xtb' has 'xc' but a setting must be one of accuracy, "),
        ("evaluator_settings", "PBE", "valid dictionary"),
        ("representation", "gauss", "must be one of one-hot, gaussian, "),
        ("episodes", 0, "greater than or equal to 1"),
        ("episodes", 1.5, "valid integer"),
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**32, "less than 4294967296"),
        ("learning_rate", 0.0, "greater than 0"),
        ("learning_rate", float("nan"), "finite"),
        ("learning_rate", float("inf"), "finite"),
        ("batch_size", 0, "greater than or equal to 1"),
        ("gradient_steps", -1, "greater than or equal to 0"),
        ("builds_at_once", 0, "greater than or equal to 1"),
        ("warmup_episodes", -1, "greater than or equal to 0"),
        ("exploration", {"epsilon": 2.0}, r"`epsilon` is 2.0 but must lie in \[0, 1\]"),
        ("replay", {"n_best": 0}, "`n_best` is 0 but must be at least 1"),
        ("replay", {"n_bset": 1}, "n_bset"),
        ("temperature", 1.0, "not permitted"),
    ],
)
def test_a_wrong_setting_is_named_with_the_rule(name, value, rule):
    with pytest.raises(ValidationError, match=rf"(?s){name}.*{rule}"):
        SearchConfig(**{"env_id": "ASLA-Graphene-v0", name: value})


def test_the_calculator_may_be_an_import_path_which_is_not_imported_yet():
    config = SearchConfig(env_id="ASLA-Graphene-v0", evaluator="mine:Potential", evaluator_settings={"cutoff": 5.0})
    assert SearchConfig.model_validate_json(config.model_dump_json()) == config


def test_settings_do_not_change_once_made():
    with pytest.raises(ValidationError, match="frozen"):
        SearchConfig(**FULL).seed = 4


def test_two_configurations_do_not_share_their_settings():
    first, second = (SearchConfig(env_id="ASLA-Graphene-v0") for _ in range(2))
    first.representation_kwargs["width_over_spacing"] = 2.0
    assert second.representation_kwargs == {}
