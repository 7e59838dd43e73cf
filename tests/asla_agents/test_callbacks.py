"""What happens at the end of an episode: bar, log, checkpoint, stop."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from asla_agents.callbacks import Checkpoint, EpisodeCallback, EpisodeLog, ProgressBar, StopOnSuccess


def info_of(energy=-1.5, above=2.0, is_success=False, **changes) -> dict:
    """What the environment says at the end of an episode."""
    info = {
        "energy": energy,
        "energy_above_reference": above,
        "is_success": is_success,
        "dead_end": False,
        "calculator_error": None,
        "placed": np.array([3, 1, 2]),
    }
    return info | changes


def end_episode(callback: EpisodeCallback, info: dict) -> bool:
    """Step as Stable-Baselines3 does at the end of an episode."""
    callback.locals = {"dones": np.array([True]), "infos": [info]}
    return callback._on_step()


class Model:
    """A model that writes a number."""

    def __init__(self, number=0):
        self.number = number
        self.num_timesteps, self.logger = 0, SimpleNamespace()

    def get_env(self):
        return None

    def save(self, path):
        path.write_text(f"{self.number}" * 100)


def started_bar(total_episodes, rows=()) -> ProgressBar:
    bar = ProgressBar(total_episodes, rows)
    bar.init_callback(Model())
    bar.on_training_start({}, {})
    return bar


class Collector(EpisodeCallback):
    def __init__(self, answer=True):
        super().__init__()
        self.seen, self.answer = [], answer

    def on_episode(self, info):
        self.seen.append(info["energy"])
        return self.answer


# Episodes


def test_only_the_last_step_of_an_episode_counts():
    callback = Collector()
    callback.locals = {"dones": np.array([False]), "infos": [{}]}
    assert callback._on_step()
    assert callback.seen == []
    assert end_episode(callback, info_of())
    assert callback.seen == [-1.5]


def test_episodes_of_several_environments_all_count_and_one_can_stop():
    callback = Collector(answer=False)
    infos = [info_of(energy) for energy in (1.0, 2.0, 3.0)]
    callback.locals = {"dones": np.array([True, False, True]), "infos": infos}
    assert not callback._on_step()
    assert callback.seen == [1.0, 3.0]


def test_what_to_do_is_for_the_subclass_to_say():
    with pytest.raises(NotImplementedError):
        end_episode(EpisodeCallback(), info_of())


@pytest.mark.parametrize("is_success", [True, False])
def test_a_success_stops_the_search(is_success):
    assert end_episode(StopOnSuccess(), info_of(is_success=is_success)) is not is_success


# The log


def rows_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_log_has_a_line_of_json_for_each_episode_as_it_ends(tmp_path):
    path, times = tmp_path / "episodes.jsonl", tmp_path / "times.jsonl"
    log = EpisodeLog(path, times)
    end_episode(log, info_of())
    assert len(rows_of(path)) == 1
    end_episode(log, info_of(-7.25, -0.5, is_success=True))
    first, second = rows_of(path)
    assert list(first) == [
        "episode",
        "energy",
        "energy_above_reference",
        "is_success",
        "dead_end",
        "calculator_error",
        "placed",
    ]
    assert (first["episode"], first["energy"], first["energy_above_reference"]) == (1, -1.5, 2.0)
    assert (second["episode"], second["energy"], second["is_success"]) == (2, -7.25, True)
    assert second["placed"] == [3, 1, 2]
    assert [row["episode"] for row in rows_of(times)] == [1, 2]
    assert 0 <= rows_of(times)[0]["time_s"] <= rows_of(times)[1]["time_s"] < 60


def test_a_log_goes_on_with_the_number_after_the_last_line(tmp_path):
    path, times = tmp_path / "episodes.jsonl", tmp_path / "times.jsonl"
    for _ in range(2):
        log = EpisodeLog(path, times)
        end_episode(log, info_of())
        log.sync()
    assert [row["episode"] for row in rows_of(path)] == [row["episode"] for row in rows_of(times)] == [1, 2]


def test_a_number_that_is_none_is_null_in_the_log(tmp_path):
    path = tmp_path / "episodes.jsonl"
    log = EpisodeLog(path, tmp_path / "times.jsonl")
    end_episode(log, info_of(np.nan, np.nan, dead_end=True, calculator_error="no convergence"))
    assert "NaN" not in path.read_text()
    (row,) = rows_of(path)
    assert row["energy"] is row["energy_above_reference"] is None
    assert row["dead_end"] is True
    assert row["calculator_error"] == "no convergence"


# Checkpoints


def test_a_checkpoint_is_written_every_so_many_episodes_before_the_next_one_begins(tmp_path):
    path, model = tmp_path / "checkpoint.zip", Model()
    checkpoint = Checkpoint(path, every=2)
    checkpoint.init_callback(model)
    for model.number, expected in enumerate([None, "1", "1", "3", "3"]):
        end_episode(checkpoint, info_of())
        checkpoint.on_rollout_start()
        assert (path.read_text()[0] if path.exists() else None) == expected


def test_the_lines_are_safe_before_the_agent_is_saved(tmp_path):
    class Log(EpisodeLog):
        def sync(self):
            assert not (tmp_path / "checkpoint.zip").exists()
            super().sync()

    checkpoint = Checkpoint(tmp_path / "checkpoint.zip", Log(tmp_path / "episodes.jsonl", tmp_path / "times.jsonl"))
    checkpoint.init_callback(Model())
    checkpoint.save()
    assert (tmp_path / "checkpoint.zip").exists()


# The bar


def test_the_bar_shows_the_best_energy_and_the_first_success(capsys):
    bar = started_bar(4)
    for above, is_success in ((5.0, False), (np.inf, False), (1.25, True), (0.5, True)):
        assert end_episode(bar, info_of(above - 8, above, is_success=is_success))
    bar.on_training_end()
    last = capsys.readouterr().err.rsplit("\r", 1)[-1]
    assert "4/4" in last
    assert "best +0.50 eV, found at 3" in last


def test_the_bar_of_a_search_that_goes_on_begins_where_it_was(capsys):
    rows = [
        {"energy": None, "energy_above_reference": None, "is_success": False, "calculator_error": None},
        {"energy": -5.0, "energy_above_reference": 1.5, "is_success": True, "calculator_error": None},
    ]
    bar = started_bar(4, rows)
    end_episode(bar, info_of(-1.0, 5.5))
    bar.on_training_end()
    last = capsys.readouterr().err.rsplit("\r", 1)[-1]
    assert "3/4" in last
    assert "best +1.50 eV, found at 2" in last


def test_without_a_reference_the_bar_shows_the_energy_itself(capsys):
    bar = started_bar(4)
    end_episode(bar, info_of(-8.25, np.inf))
    assert "best -8.25 eV, searching" in capsys.readouterr().err


def test_the_bar_leaves_out_energies_that_the_calculator_did_not_compute(capsys):
    bar = started_bar(4)
    end_episode(bar, info_of(-8.0, 2.0, calculator_error="no convergence"))
    assert "no energy yet, searching" in capsys.readouterr().err


def test_the_bar_says_that_it_is_searching_until_then(capsys):
    bar = started_bar(4)
    end_episode(bar, info_of(above=5.0))
    bar.on_training_end()
    assert "best +5.00 eV, searching" in capsys.readouterr().err
