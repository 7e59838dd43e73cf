"""The settings of a search."""

import json
import re

import pytest
from pydantic import ValidationError

from asla_agents.config import RunConfig
from asla_agents.config_toml import to_toml
from asla_agents.exploration import Exploration
from asla_agents.imagination import ImaginationSettings
from asla_agents.replay import ReplaySettings
from asla_agents.run_directory import RunDirectory
from asla_agents.settings_error import one_line
from asla_agents.settings_file import SettingsFileError
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
    config = RunConfig(env_id="ASLA-Graphene-v0")
    assert config.evaluator == calculators.DEFAULT
    assert config.exploration == Exploration()
    assert config.replay == ReplaySettings()


def test_all_settings_survive_a_file():
    config = RunConfig(**FULL)
    assert config.exploration.epsilon == 0.25
    assert config.replay.n_best == 3
    text = json.dumps(config.model_dump(mode="json"))
    assert RunConfig(**json.loads(text)) == config
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


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
        ("learning_rate", float("nan"), "less than or equal to 1"),
        ("learning_rate", float("inf"), "less than or equal to 1"),
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
        RunConfig(**{"env_id": "ASLA-Graphene-v0", name: value})


def test_the_calculator_may_be_an_import_path_which_is_not_imported_yet():
    config = RunConfig(env_id="ASLA-Graphene-v0", evaluator="mine:Potential", evaluator_settings={"cutoff": 5.0})
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_settings_do_not_change_once_made():
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig(**FULL).seed = 4


def test_two_configurations_do_not_share_their_settings():
    first, second = (RunConfig(env_id="ASLA-Graphene-v0") for _ in range(2))
    first.representation_kwargs["width_over_spacing"] = 2.0
    assert second.representation_kwargs == {}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"batchsize": 3}, "`batchsize` is no setting .*: did you mean `batch_size`?"),
        ({"zzz": 3}, "`zzz` is no setting but must be one of env_id, "),
        (
            {"exploration": {"epsilom": 0.1}},
            r"`exploration\.epsilom` is no .*did you mean `exploration\.epsilon`",
        ),
        ({"exploration": {"epsilon": 2.0}}, r"`exploration\.epsilon` is 2\.0 but must lie in \[0, 1\]"),
        ({"exploration": {"epsilon": True}}, r"`exploration\.epsilon` is True but must be a number"),
        ({"exploration": 3}, "`exploration` is 3 but must be a dictionary"),
        ({"replay": {"n_best": "3"}}, r"`replay\.n_best` is '3' but must be a whole number"),
        ({"network": {"head": "step"}}, r"`network\.head` is 'step' but must be one of linear, tanh"),
        ({"network": {"hidden_channels": [10, True]}}, r"`network\.hidden_channels` is .* must be a whole number"),
        ({"episodes": True}, "`episodes` is True but must be a whole number"),
        ({"episodes": "7"}, "`episodes` is '7' but must be a whole number"),
        ({"stop_on_success": 1}, "`stop_on_success` is 1 but must be true or false"),
        ({"evaluator": "dft"}, "`evaluator` is 'dft' but must be one of 'gfn1-xtb'"),
        (
            {"representation_kwargs": {"width": 1.0}},
            r"`representation_kwargs\.width` is no setting of 'gaussian' but",
        ),
        (
            {"representation_kwargs": {"kernel_size": True}},
            r"`representation_kwargs\.kernel_size` is True but must",
        ),
        (
            {"evaluator": "mine:make", "evaluator_settings": {"a": {1, 2}}},
            "`evaluator_settings` is .* must hold what JSON can hold",
        ),
        ({"evaluator": "mine:make", "evaluator_settings": {"a": "x" * 900}, "episodes": 0}, "^`episodes` is 0 but"),
    ],
    ids=range(17),
)
def test_what_is_wrong_is_one_line_with_name_value_and_rule(changes, line):
    with pytest.raises(ValidationError) as caught:
        RunConfig(**{"env_id": "ASLA-Graphene-v0", **changes})
    text = one_line(caught.value, RunConfig)
    assert re.search(line, text), text
    assert "\n" not in text
    assert len(text) < 600


def test_never_and_switches_are_for_files_without_null():
    config = RunConfig(env_id="ASLA-Graphene-v0", patience="never", imagination=True)
    assert config.patience is None
    assert config.imagination == ImaginationSettings()
    assert RunConfig(env_id="ASLA-Graphene-v0", imagination=False).imagination is None


def test_numbers_without_bound_survive_a_file():
    config = RunConfig(env_id="ASLA-Graphene-v0", max_grad_norm=float("inf"))
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


# Files


@pytest.mark.parametrize("ending", ["toml", "json"])
def test_a_file_is_read_and_changed(tmp_path, ending):
    config = RunConfig(**FULL)
    path = tmp_path / f"search.{ending}"
    path.write_text(to_toml(config) if ending == "toml" else config.model_dump_json())
    assert RunConfig.load(path) == config
    assert RunConfig.load(str(path), episodes=8) == config.model_copy(update={"episodes": 8})


def test_the_settings_of_a_search_are_read_from_its_directory(tmp_path):
    config = RunConfig(**FULL)
    RunDirectory.make(tmp_path / "run", config)
    assert RunConfig.load(tmp_path / "run") == RunConfig.load(tmp_path / "run" / "config.json") == config


def test_a_wrong_setting_of_a_file_is_named_with_the_file_and_a_wrong_change_without(tmp_path):
    path = tmp_path / "search.toml"
    path.write_text('env_id = "ASLA-Graphene-v0"\nexploration.epsilon = 2.0\nbatchsize = 3\n')
    with pytest.raises(SettingsFileError) as caught:
        RunConfig.load(path, episodes=0)
    lines = str(caught.value).split("; ")
    assert lines[0] == "`episodes` is 0 but must be greater than or equal to 1"
    assert lines[1] == f"{path}: `exploration.epsilon` is 2.0 but must lie in [0, 1]"
    assert lines[2].startswith(f"{path}: `batchsize` is no setting")


def test_a_study_is_no_search(tmp_path):
    path = tmp_path / "study.json"
    path.write_text('{"settings": {}, "arms": {}}')
    with pytest.raises(SettingsFileError, match=r"holds a study but must hold a search: `asla study .*study\.json`"):
        RunConfig.load(path)


def test_groups_of_a_search_that_comes_first_keep_what_is_not_named():
    config = RunConfig(
        env_id="ASLA-Graphene-v0",
        exploration={"visit_penalty": 0.5, "epsilon": 0.2},
        replay={"n_best": 7},
        pretrained={"env_id": "ASLA-GrapheneMini-v0", "exploration": {"epsilon": 0.1}, "imagination": {"builds": 4}},
    )
    before = config.before()
    assert (before.exploration.visit_penalty, before.exploration.epsilon) == (0.5, 0.1)
    assert before.replay.n_best == 7
    assert before.imagination.builds == 4
