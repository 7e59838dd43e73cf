"""What the command line asks for."""

import json

import pytest

from asla_agents.config import RunConfig
from asla_agents.imagination import ImaginationSettings
from asla_agents.jobs import job_of, search_config
from asla_agents.settings_file import SettingsFileError
from asla_agents.study import missing_restarts, read_study_rows

TOML = """
[settings]
env_id = "ASLA-GrapheneMini-v0"
episodes = 3
[arms.agr]
representation = "agr"
[arms.tanh.network]
head = "tanh"
"""
ROW = {"arm": "agr", "key": "0" * 16, "seed": 0, "episodes": 3, "budget": 3, "found_at": None}


def test_a_study_may_be_toml(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(TOML)
    job = job_of(str(path), evaluator="xwch", episodes=None, smoke=False)
    assert job.rows == tmp_path / "study.rows.jsonl"
    assert job.study.config("tanh", 1).network.head == "tanh"
    assert job.study.config("agr", 1) == RunConfig(
        env_id="ASLA-GrapheneMini-v0", evaluator="xwch", episodes=3, seed=1, representation="agr"
    )


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[settings]\nepisodes = 3\n", r"study\.toml, arm 'default': `env_id` is missing but must be given"),
        (TOML.replace('"agr"', '"gold"'), r"study\.toml, arm 'agr': `representation` is 'gold' but must be one of"),
        ("[setings]\n", r"study\.toml: `settings` is missing but must be given; `setings` is no setting.*`settings`\?"),
        ("[settings\n", r"study\.toml must be TOML: .*line 1"),
    ],
)
def test_a_wrong_study_is_named_with_its_file_and_arm(tmp_path, text, rule):
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(SettingsFileError, match=rule):
        job_of(str(path), None, None, smoke=False)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"key": None}, "must hold `key`"),
        ({"seed": "1", "episodes": 0.5}, "must hold `seed`, `episodes`"),
        ({"found_at": "never"}, "must hold `found_at`"),
        ({"budget": 0}, "has `budget` 0 but it must be at least 1"),
    ],
)
def test_a_row_that_is_none_of_a_study_is_named(tmp_path, change, rule):
    path, study = tmp_path / "rows.jsonl", tmp_path / "study.toml"
    study.write_text(TOML)
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | change) + "\n")
    for read in (read_study_rows, lambda path: missing_restarts(job_of(str(study), None, None, False).study, path, 1)):
        with pytest.raises(ValueError, match=rf"rows\.jsonl, line 2, {rule}"):
            read(path)


def test_options_go_before_a_file_and_imagination_stays_as_it_is_there(tmp_path):
    path = tmp_path / "search.toml"
    path.write_text('env_id = "ASLA-GrapheneMini-v0"\nepisodes = 3\nseed = 4\nimagination.builds = 5\n')
    config = search_config(path, {"episodes": 9, "imagination": True})
    assert (config.episodes, config.seed, config.imagination) == (9, 4, ImaginationSettings(builds=5))
    assert search_config(path, {"imagination": False}).imagination is None
    assert search_config(None, {"env_id": "ASLA-GrapheneMini-v0", "imagination": True}).imagination is not None
