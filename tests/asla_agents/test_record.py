"""What is read from the directory of a search."""

import json

import numpy as np
import pytest

from asla_agents import training
from asla_agents.config import RunConfig
from asla_agents.record import load_agent, read_about, read_record
from asla_agents.run_directory import RunDirectory, RunDirectoryError


def test_the_record_of_a_search_sums_up_its_episodes(written, row):
    rows = [row(1), row(2, -60.0), row(3, -93.5, is_success=True), row(4, -70.0, is_success=True)]
    rows += [row(5, -99.0, calculator_error="no convergence"), row(6, None, dead_end=True), row(7, -93.5)]
    record = read_record(written(rows))
    assert record.best["episode"] == 3  # not that of a failure, and the first of two
    assert record.found_at == 3
    assert record.failures == {"no convergence": 1}
    assert record.episodes_a_second == pytest.approx(0.5)
    assert not record.is_finished


def test_a_search_is_finished_with_its_last_episode_or_the_success_that_stops_it(written, row):
    record = read_record(written([row(1), row(2, -93.5, is_success=True)], stop_on_success=True))
    assert record.is_finished


def test_all_episodes_make_a_search_finished(written, row):
    assert read_record(written([row(1), row(2)], episodes=2)).is_finished


def test_time_goes_on_where_a_search_went_on(written, row, append_row):
    directory = written([row(1), row(2)])
    for episode, time_s in ((3, 5.0), (4, 6.0)):
        append_row(RunDirectory(directory), row(episode), time_s)
    RunDirectory(directory).times.write_text("".join(f'{{"time_s": {t}}}\n' for t in (2, 4, 3, 6)))
    assert read_record(directory).seconds.tolist() == [2, 2, 3, 3]


@pytest.mark.parametrize(
    "line", ["no JSON", "[" * 100_000, *(f'{{"time_s": {value}}}' for value in ("NaN", "-1", "1e309", "9" * 400))]
)
def test_times_that_are_damaged_are_as_good_as_none(line, written, row):
    directory = written([row(1), row(2)])
    RunDirectory(directory).times.write_text(f"{line}\n")
    record = read_record(directory)
    assert len(record.rows) == 2
    assert record.seconds.tolist() == []


def test_a_search_that_is_just_starting_has_nothing_yet(written):
    record = read_record(written())
    assert record.rows == []
    assert (record.best, record.found_at, record.is_finished) == (None, None, False)
    assert np.isnan(record.episodes_a_second)
    assert record.best_structures(3) == []
    assert load_agent(record) is None


def test_the_best_structures_differ_by_more_than_a_symmetry(written, row):
    directory, first = written(), row(1, -80.0)
    problem = read_record(directory).problem
    turned = problem.symmetries()[-1][first["placed"]].tolist()
    assert sorted(turned) != sorted(first["placed"])
    rows = [first, row(2, -80.0 - 1e-9, placed=turned[::-1]), row(3, -70.0), row(4, -75.0), row(5, None, dead_end=True)]
    RunDirectory(directory).episodes.write_text("".join(json.dumps(line) + "\n" for line in rows))
    record = read_record(directory)
    structures = record.best_structures(2)
    assert [(s.first["episode"], s.times_built) for s in structures] == [(1, 2), (4, 1)]
    assert len(record.best_structures(9)) == 3
    assert [s.first["episode"] for s in record.best_structures(1)] == [1]


@pytest.mark.parametrize("placed", [[-1], [10**6], ["1"], [1.5]])
def test_actions_that_the_problem_does_not_have_are_named(written, row, placed):
    with pytest.raises(RunDirectoryError, match=r"episode 1: `placed` must hold actions in \[0, 756\)"):
        read_record(written([row(1, placed=placed)]))


def test_how_a_search_was_started_and_gone_on_with_stands_beside_its_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "write_best", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["/home/someone/bin/asla", "search", "a b"])
    config = RunConfig(env_id="ASLA-GrapheneMini-v0", evaluator="xwch", episodes=1)
    training.search(config, tmp_path / "run", progress_bar=False)
    monkeypatch.setattr("sys.argv", ["asla", "resume"])
    file = tmp_path / "run" / "config.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())  # as some editors save it
    training.resume(tmp_path / "run", episodes=2, progress_bar=False)
    about = read_about(tmp_path / "run")
    assert [start["command"] for start in about["started"]] == ["asla search 'a b'", "asla resume"]
    assert all(start["cpus"] >= 1 and start["date"].endswith("+00:00") for start in about["started"])
    assert "settings" not in about


def test_the_agent_of_a_checkpoint_is_made_without_its_calculator(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "write_best", lambda *_: None)
    config = RunConfig(env_id="ASLA-GrapheneMini-v0", evaluator="xwch", episodes=2, representation="agr")
    training.search(config, tmp_path / "run", progress_bar=False)
    record = read_record(tmp_path / "run")
    agent = load_agent(record)
    assert agent.best.energy == record.best["energy"]
    assert agent.episodes == 2
    with pytest.raises(ValueError, match="computes no energy"):
        agent.env.envs[0].unwrapped.evaluator.evaluate(record.problem.reference)
