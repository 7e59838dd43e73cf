"""Studies: rows that are whole, unique, and the same whatever happened on the way."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from asla_agents import cli, restarts, unfinished
from asla_agents.callbacks import read_rows
from asla_agents.checkpoint import CheckpointError
from asla_agents.config import RunConfig
from asla_agents.ensemble import Ensemble, shared_settings
from asla_agents.jobs import job_of
from asla_agents.member import MemberResult
from asla_agents.restarts import censor, run_study
from asla_agents.row_file import appended
from asla_agents.settings_file import SettingsFileError
from asla_agents.study import Study, curve_data, earlier, missing_restarts, read_study_rows, rows_of, with_more_arms
from asla_agents.unfinished import UnfinishedSearches
from asla_agents.watch_study import study_table
from asla_env.calculator_spec import CalculatorSpec

SETTINGS = {
    "env_id": "ASLA-GrapheneMini-v0",
    "evaluator": "xwch",
    "episodes": 4,
    "batch_size": 4,
    "gradient_steps": 1,
    "warmup_episodes": 2,
}
ARMS = {"one-hot": {"representation": "one-hot"}, "wide": {"representation_kwargs": {"kernel_size": 9}, "episodes": 12}}
STUDY = Study(settings=SETTINGS, arms=ARMS)
TIMEOUT = 300  # s
FAILING = """
from ase.calculators.emt import EMT

class Failing(EMT):
    reference = None

    def calculate(self, atoms, *arguments, **settings):
        Failing.reference = Failing.reference or atoms.copy()  # which comes first
        if atoms != Failing.reference:
            raise RuntimeError("no convergence")
        super().calculate(atoms, *arguments, **settings)
"""


def in_order(rows):
    return sorted(rows, key=lambda row: (row["arm"], row["seed"]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Rows of a study that nothing interrupted."""
    path = tmp_path_factory.mktemp("study") / "rows.jsonl"
    rows = list(run_study(STUDY, path, restarts=3))
    assert in_order(rows) == in_order(read_rows(path))
    return in_order(rows)


def test_there_is_a_row_for_each_restart_of_each_arm(whole):
    assert [(row["arm"], row["seed"]) for row in whole] == [(arm, i) for arm in ("one-hot", "wide") for i in range(3)]
    assert all(row["episodes"] == {"one-hot": 4, "wide": 12}[row["arm"]] for row in whole)
    assert len({row["best_above_reference"] for row in whole}) > 3
    assert {row["exact_at"] for row in whole} == {None}


def test_workers_and_groups_do_not_change_the_rows(whole, tmp_path):
    assert in_order(run_study(STUDY, tmp_path / "rows.jsonl", restarts=3, workers=2, members=2)) == whole


@pytest.mark.parametrize(
    ("side_by_side", "workers", "members", "sizes"),
    [
        (False, 3, 32, [1, 2, 2, 3, 3, 4]),
        (False, 3, 2, [1, 1, 1, 2, 2, 2, 2, 2, 2]),
        (True, 3, 32, [5, 5, 5]),
        (True, 1, 32, [5, 10]),
        (True, 4, 32, [2, 3, 5, 5]),
        (True, 40, 32, [1] * 15),
    ],
)
def test_restarts_go_in_groups_that_depend_on_what_takes_the_time(side_by_side, workers, members, sizes):
    several = [(arm, STUDY.config(arm, seed)) for arm, n in (("one-hot", 10), ("wide", 5)) for seed in range(n)]
    groups = restarts._groups(several, workers, members, side_by_side)
    assert sorted(map(len, groups)) == sizes
    assert all(len({arm for arm, _ in group}) == 1 for group in groups)


def test_a_negative_number_of_processes_for_energies_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`energy_workers` is -1 but must be at least 0"):
        list(run_study(STUDY, tmp_path / "rows.jsonl", restarts=1, energy_workers=-1))


def test_processes_for_energies_do_not_change_the_rows(whole, tmp_path):
    rows = in_order(run_study(STUDY, tmp_path / "rows.jsonl", restarts=3, energy_workers=2))
    assert [row | {"best_above_reference": None, "median_last_100": None} for row in rows] == [
        row | {"best_above_reference": None, "median_last_100": None} for row in whole
    ]
    for ours, theirs in zip(rows, whole, strict=True):
        assert ours["median_last_100"] == pytest.approx(theirs["median_last_100"], abs=0.002)


def test_a_study_survives_its_processes_for_energies(whole, tmp_path):
    killed = []

    def kill(episodes):
        """Kill those processes, which unlike all others lead process groups."""
        for process in psutil.Process().children(recursive=True):
            with suppress(ProcessLookupError):
                if len(killed) < 2 and os.getpgid(process.pid) == process.pid:
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)

    rows = in_order(run_study(STUDY, tmp_path / "rows.jsonl", restarts=3, energy_workers=1, on_episodes=kill))
    assert len(killed) == 2
    assert [(row["arm"], row["seed"], row["episodes"]) for row in rows] == [
        (row["arm"], row["seed"], row["episodes"]) for row in whole
    ]


def test_a_study_loses_nothing_with_the_workers_of_its_dask_cluster(whole, tmp_path):
    distributed = pytest.importorskip("distributed")
    killed, reports = [], []

    def kill(episodes):
        """Kill a worker of the cluster, which it replaces, after the first episode and after the fourth."""
        reports.append(episodes)
        if len(reports) in (1, 4):
            killed.append(next(nanny.pid for nanny in cluster.workers.values() if nanny.pid))
            os.kill(killed[-1], signal.SIGKILL)

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        dask = cluster.scheduler_address
        rows = in_order(run_study(STUDY, tmp_path / "rows.jsonl", restarts=3, dask=dask, on_episodes=kill))
    assert len(killed) == 2
    for ours, theirs in zip(rows, whole, strict=True):
        numbers = {name: pytest.approx(theirs[name], abs=0.002) for name in ("best_above_reference", "median_last_100")}
        assert ours == theirs | numbers


def test_energies_are_computed_by_a_cluster_or_by_processes(tmp_path):
    with pytest.raises(ValueError, match="`workers` is 1 but must be 0 with `dask`"):
        list(run_study(STUDY, tmp_path / "rows.jsonl", restarts=1, energy_workers=1, dask="tcp://127.0.0.1:9"))


def test_all_episodes_are_reported_as_they_end(tmp_path):
    episodes = []
    list(run_study(STUDY, tmp_path / "rows.jsonl", restarts=2, on_episodes=episodes.append))
    assert sum(episodes) == 2 * (4 + 12)
    assert len(episodes) == 4 + 12


def test_what_is_there_is_not_run_again(whole, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in whole[:4]))
    assert in_order(run_study(STUDY, path, restarts=3)) == whole[4:]
    assert list(run_study(STUDY, path, restarts=3)) == []
    assert in_order(read_rows(path)) == whole


def test_a_row_that_was_cut_off_is_run_again(whole, tmp_path):
    path = tmp_path / "rows.jsonl"
    text = "".join(json.dumps(row) + "\n" for row in whole)
    path.write_text(text[:-20])
    assert in_order(run_study(STUDY, path, restarts=3)) == whole[5:]
    assert path.read_text() == text


def test_killed_twice_a_study_ends_with_the_rows_of_one_that_was_not(whole, tmp_path):
    spec, path = tmp_path / "spec.json", tmp_path / "rows.jsonl"
    spec.write_text(STUDY.model_dump_json())
    command = [sys.executable, "-m", "asla_agents", "study", spec, "--restarts", 3, "--workers", 2, "--rows", path]
    for n_rows in (1, 3):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        with subprocess.Popen([*map(str, command)], **quiet) as process:
            deadline = time.monotonic() + TIMEOUT
            while process.poll() is None and len(read_rows(path)) < n_rows and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
    assert len(read_rows(path)) >= 3
    deadline = time.monotonic() + TIMEOUT
    while not has_ended(process.pid) and time.monotonic() < deadline:  # the last one's workers, which nobody stops
        time.sleep(0.1)
    assert has_ended(process.pid)
    finished = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert finished.returncode == 0, finished.stderr
    assert in_order(read_rows(path)) == whole


def has_ended(group: int) -> bool:
    """Whether no process of a group is there any more."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_searches_without_a_row_go_on_where_they_were_last_kept(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "_SHARE", np.inf)
    path, ended = tmp_path / "rows.jsonl", []

    def stop(n_episodes):
        ended.append(n_episodes)
        if sum(ended) >= 3 * 7:  # seven of twelve rounds of "wide", which goes first
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_study(STUDY, path, restarts=3, on_episodes=stop))
    kept = sorted((tmp_path / "rows.jsonl.unfinished").iterdir())
    assert [file.name for file in kept] == [f"{STUDY.config('wide', i).key}-{i}.zip" for i in range(3)]
    ended.clear()
    list(run_study(STUDY, path, restarts=3, workers=2, on_episodes=ended.append))
    assert sum(ended) == 3 * 12 + 3 * 4
    assert max(ended) >= 7  # those from before the interrupt, at once
    assert in_order(read_rows(path)) == whole
    assert not kept[0].parent.exists()


def stop_after(n_rounds):
    """What interrupts a study after some rounds."""
    rounds = []

    def stop(_):
        rounds.append(1)
        if len(rounds) == n_rounds:
            raise KeyboardInterrupt

    return stop


def test_unfinished_searches_have_rows_as_far_as_they_came_until_there_are_longer_ones(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "_SHARE", np.inf)
    path = tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt):
        list(run_study(STUDY, path, restarts=3, on_episodes=stop_after(7)))
    kept = censor(STUDY, path)
    assert [(row["arm"], row["seed"], row["episodes"], row["budget"]) for row in kept] == [
        ("wide", seed, 7, 7) for seed in range(3)
    ]
    shorter = list(run_study(STUDY.changed(episodes=7), tmp_path / "shorter.jsonl", restarts=3))
    shorter = in_order(row for row in shorter if row["arm"] == "wide")
    assert kept == [row | {"unfinished": STUDY.config("wide", 0).key} for row in shorter]
    assert rows_of(STUDY, "wide", read_rows(path)) == kept
    assert {row["unfinished"] for row in kept} == {STUDY.config("wide", 0).key}
    assert censor(STUDY, path) == []
    list(run_study(STUDY, path, restarts=3))
    assert rows_of(STUDY, "wide", read_rows(path)) == [row for row in whole if row["arm"] == "wide"]


def test_unfinished_searches_of_other_lengths_have_rows_where_ended_ones_count(tmp_path, monkeypatch):
    """Or else the fast ones alone would be seen."""
    monkeypatch.setattr(unfinished, "_SHARE", np.inf)
    study, path = Study(settings=SETTINGS, arms={"one": {}}), tmp_path / "rows.jsonl"
    shorter = study.changed(episodes=3)
    (ended,) = run_study(shorter, path, restarts=1)
    with pytest.raises(KeyboardInterrupt):
        list(run_study(shorter, path, restarts=3, on_episodes=stop_after(2)))
    rows = censor(study, path)
    assert [(row["seed"], row["episodes"], row["unfinished"]) for row in rows] == [
        (seed, 2, ended["key"]) for seed in (1, 2)
    ]
    assert rows_of(study, "one", read_rows(path)) == [ended, *rows]


def test_an_unfinished_search_does_not_go_on_with_another_calculator(tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "_SHARE", np.inf)
    study, path = Study(settings=SETTINGS, arms={"one": {}}), tmp_path / "rows.jsonl"

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_study(study, path, restarts=1, on_episodes=stop))
    monkeypatch.setattr(CalculatorSpec, "description", "another one")
    with pytest.raises(ValueError, match=r"`env` has the calculator another one but must have xwch \(.*was learned"):
        list(run_study(study, path, restarts=1))


def test_arms_of_equal_settings_have_one_row_of_an_unfinished_search(tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "_SHARE", np.inf)
    twice, path = Study(settings=SETTINGS, arms={"one": {}, "same": {}}), tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt):
        list(run_study(twice, path, restarts=2, on_episodes=stop_after(2)))
    rows = censor(twice, path)
    assert [(row["arm"], row["seed"]) for row in rows] == [("one", 0), ("one", 1)]
    assert read_rows(path) == rows
    assert len(rows_of(twice, "same", rows)) == 2


def test_all_seeds_count_where_rows_are_written_as_it_is(tmp_path):
    spec, key = tmp_path / "spec.json", STUDY.config("one-hot", 0).key
    spec.write_text(json.dumps({"settings": SETTINGS, "arms": ARMS}))
    row = {"arm": "one-hot", "key": key, "budget": 4, "episodes": 4, "found_at": None}
    lines = [json.dumps(row | {"seed": seed}) + "\n" for seed in range(12)]
    spec.with_suffix(".rows.jsonl").write_text("".join(lines))
    assert "0 of 12" in CliRunner().invoke(cli.app, ["study", str(spec), "--as-it-is"]).output
    assert "0 of 7" in CliRunner().invoke(cli.app, ["study", str(spec), "--as-it-is", "--restarts", "7"]).output
    refused = CliRunner().invoke(cli.app, ["study", str(spec), "--as-it-is", "--restarts", "0"])
    assert "`restarts` is 0 but must be at least 1" in refused.output


def test_a_study_that_was_not_begun_has_no_rows_to_write(tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"settings": SETTINGS}))
    done = CliRunner().invoke(cli.app, ["study", str(spec), "--as-it-is"])
    assert done.exit_code == 2
    assert "spec.rows.jsonl but must be the file of rows of a study that was begun" in done.output
    assert list(tmp_path.iterdir()) == [spec]


def test_an_arm_without_rows_is_told_as_such():
    table = study_table(STUDY, [], restarts=3)
    assert [list(column.cells) for column in table.columns][:2] == [["one-hot", "wide"], ["no rows", "no rows"]]


def test_names_of_arms_are_shown_as_they_are(tmp_path):
    arms = {"plain [/x]": {}, "wide [bold]": {"warmup_episodes": 3}}
    (tmp_path / "spec.json").write_text(json.dumps({"settings": SETTINGS, "arms": arms}))
    done = CliRunner().invoke(cli.app, ["study", str(tmp_path / "spec.json"), "--restarts", "1"])
    assert done.exit_code == 0, done.output
    watched = CliRunner().invoke(cli.app, ["watch", str(tmp_path / "spec.rows.jsonl"), "--once"])
    for arm in arms:
        assert arm in done.output
        assert arm in watched.output


def test_measurements_have_no_unfinished_searches(tmp_path):
    done = CliRunner().invoke(cli.app, ["study", "table1", "--as-it-is", "--rows", str(tmp_path / "rows.jsonl")])
    assert done.exit_code == 2
    assert "`spec` is 'table1' but `--as-it-is` is for what has searches" in done.output


@pytest.mark.parametrize(
    "option", ["--workers=2", "--device=cuda", "--energy-workers=1", "--dask=tcp://nowhere:1", "--to-the-end"]
)
def test_measurements_refuse_what_is_for_searches(option, tmp_path):
    done = CliRunner().invoke(cli.app, ["study", "fig3", option, "--rows", str(tmp_path / "rows.jsonl")])
    assert done.exit_code == 2
    assert f"`spec` is 'fig3' but `{option.partition('=')[0]}` is for what has searches" in done.output


def test_a_checkpoint_that_a_killed_process_left_half_written_is_passed_over_and_removed(tmp_path):
    searches = unfinished.UnfinishedSearches(tmp_path / "rows.jsonl")
    left = tmp_path / "rows.jsonl.unfinished" / "abc-0.1.partial.zip"
    with searches.locked():
        left.write_bytes(b"PK")
    assert (searches.progress(), searches.seeds("abc")) == ([], [])
    with searches.locked():
        assert not left.exists()


def test_failed_energies_are_in_no_row(tmp_path, written_module):
    written_module("module_that_fails", FAILING)
    study = Study(settings=SETTINGS | {"evaluator": "module_that_fails:Failing"})
    (row,) = run_study(study, tmp_path / "rows.jsonl", restarts=1)
    assert (row["episodes"], row["best_above_reference"], row["median_last_100"]) == (4, None, None)


def test_the_best_on_the_grid_is_known_whatever_module_the_id_names():
    named, ours = (
        restarts._best_on_grid(RunConfig(**SETTINGS | {"env_id": prefix + SETTINGS["env_id"]}), None)
        for prefix in ("asla_env:", "")
    )
    assert named == ours
    assert np.isfinite(ours)


@pytest.mark.parametrize(
    ("seconds_of_a_write", "written_at"), [(0.0, [1, 2, 3]), (0.1, [1, 7, 13]), (30.0, [1, 151, 301])]
)
def test_writing_takes_a_fiftieth_of_the_time_but_is_done_every_two_minutes(
    seconds_of_a_write, written_at, tmp_path, monkeypatch
):
    now, written = [0.0], []
    monkeypatch.setattr(unfinished.time, "perf_counter", lambda: now[0])
    searches = unfinished.UnfinishedSearches(tmp_path / "rows.jsonl")

    def states():
        written.append(now[0])
        now[0] += seconds_of_a_write
        return {}

    for second in range(1, 400):
        now[0] = max(now[0], second)
        searches.write_if_due([], states)
    assert written[:3] == written_at


@pytest.mark.parametrize("n_rounds", [3, 5, 6])
def test_a_search_that_comes_first_goes_on_where_it_was_last_kept(n_rounds, tmp_path, monkeypatch):
    before = {"env_id": "ASLA-Graphene-v0", "episodes": 5}
    study = Study(settings=SETTINGS | {"pretrained": before, "warmup_episodes": 0})
    expected = list(run_study(study, tmp_path / "whole.jsonl", restarts=2))
    monkeypatch.setattr(unfinished, "_SHARE", np.inf)
    path, rounds, one_round = tmp_path / "rows.jsonl", [], Ensemble.round

    def counted(ensemble):
        one_round(ensemble)
        rounds.append(ensemble)

    def stop(ensemble):
        if len(rounds) == n_rounds:
            raise KeyboardInterrupt
        counted(ensemble)

    monkeypatch.setattr(Ensemble, "round", stop)
    with pytest.raises(KeyboardInterrupt):
        list(run_study(study, path, restarts=2))
    assert len(list((tmp_path / "rows.jsonl.unfinished").iterdir())) == 2
    assert [row["episodes"] for row in censor(study, path)] == [1] * (2 if n_rounds == 6 else 0)
    monkeypatch.setattr(Ensemble, "round", counted)
    assert in_order(run_study(study, path, restarts=2)) == in_order(expected)
    assert len(rounds) == 5 + 4
    assert not (tmp_path / "rows.jsonl.unfinished").exists()


def test_a_second_process_does_not_write_to_the_same_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    first = run_study(STUDY, path, restarts=1)
    next(first)
    with pytest.raises(ValueError, match=r"`rows` is .*rows.jsonl but another process writes there"):
        list(run_study(STUDY, path, restarts=1))
    first.close()
    assert len(list(run_study(STUDY, path, restarts=1))) == 1


def test_a_restart_that_went_on_after_its_success_is_not_run_again(tmp_path):
    path, to_the_end = tmp_path / "rows.jsonl", Study(settings=SETTINGS)
    stopping = to_the_end.changed(stop_on_success=True)
    list(run_study(to_the_end, path, restarts=1))
    assert missing_restarts(stopping, path, 1) == []
    assert len(missing_restarts(stopping, path, 2)) == 1


def test_the_file_of_a_search_that_has_a_row_is_removed(tmp_path):
    path = tmp_path / "rows.jsonl"
    (row,) = run_study(Study(settings=SETTINGS), path, restarts=1)
    (tmp_path / "rows.jsonl.unfinished").mkdir()
    (tmp_path / "rows.jsonl.unfinished" / f"{row['key']}-0.zip").touch()
    assert list(run_study(Study(settings=SETTINGS), path, restarts=1)) == []
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_damaged_file_of_an_unfinished_search_is_named(tmp_path):
    name = f"{STUDY.config('wide', 1).key}-1.zip"
    directory = tmp_path / "rows.jsonl.unfinished"
    directory.mkdir()
    (directory / name).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=name):
        list(run_study(STUDY, tmp_path / "rows.jsonl", restarts=2))


def test_the_key_is_that_of_the_settings_without_the_seed():
    assert STUDY.config("wide", 0).key == STUDY.config("wide", 1).key
    assert STUDY.config("wide", 0).key != STUDY.config("one-hot", 0).key


def test_arms_of_the_same_settings_share_their_restarts(tmp_path):
    study = Study(settings=SETTINGS, arms={"a": {}, "b": {"representation": "gaussian"}, "c": {"episodes": 3}})
    path = tmp_path / "rows.jsonl"
    assert [(arm, config.seed) for arm, config in missing_restarts(study, path, 2)] == [
        ("a", 0), ("c", 0), ("a", 1), ("c", 1)
    ]  # fmt: skip
    rows = [{"arm": "a", "key": study.config("b", 0).key, "seed": 0, "budget": 4, "episodes": 4, "found_at": None}]
    assert rows_of(study, "a", rows) == rows_of(study, "b", rows) == rows


def test_what_changes_the_shape_of_batches_is_shared_by_what_goes_together():
    placements = [RunConfig(**SETTINGS, replay={"placements": n}) for n in (2, 5)]
    assert shared_settings(placements[0]) != shared_settings(placements[1])


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"key": "../victim"}, "has `key` '../victim' but it must be hexadecimal"),
        ({"seed": -1}, "has `seed` -1 but it must be at least 0"),
        ({"episodes": 0}, "has `episodes` 0 but it must be at least 1"),
        ({"budget": "many"}, "has `budget` 'many' but it must be at least 1"),
        ({"found_at": 9}, "has `found_at` 9 but it must be an episode that was run"),
        ({"best_above_reference": "x"}, "has `best_above_reference` 'x' but it must be in eV, or null"),
        ({"best_above_reference": [1]}, "has `best_above_reference` [1] but it must be in eV, or null"),
        ({"exact_at": 0}, "has `exact_at` 0 but it must be an episode that was run"),
        ({"found_at": [1]}, "must hold `found_at`"),
    ],
)
def test_rows_that_cannot_be_are_refused_before_anything_is_done_with_them(changes, rule, tmp_path):
    row = {"arm": "a", "key": "1a", "seed": 0, "budget": 5, "episodes": 5, "found_at": None}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | changes) + "\n")
    with pytest.raises(ValueError, match=re.escape(f"rows.jsonl, line 2, {rule}")):
        read_study_rows(path)
    for command in (["study"], ["plot"]):
        (tmp_path / "spec.json").write_text(json.dumps({"settings": SETTINGS}))
        done = CliRunner().invoke(cli.app, [*command, str(tmp_path / "spec.json"), "--rows", str(path)])
        assert done.exit_code == 2
        assert "Traceback" not in done.output


def test_a_row_whose_line_has_no_end_is_not_lost(tmp_path):
    path, row = tmp_path / "rows.jsonl", {"arm": "a", "key": "1a", "seed": 0, "episodes": 5, "found_at": None}
    path.write_text(json.dumps(row))
    with appended(path) as append:
        append(row | {"seed": 1})
    assert [row["seed"] for row in read_study_rows(path)] == [0, 1]


@pytest.mark.parametrize("content", ["notes of mine", '{\n  "settings": {}\n}'])
def test_a_file_that_holds_no_rows_is_left_as_it_is(content, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"rows.jsonl ends with .* but must hold rows"):
        list(run_study(STUDY, path, 1))
    assert path.read_text() == content


def test_a_search_that_comes_first_must_say_its_episodes():
    first = {"env_id": "ASLA-Graphene-v0"}
    with pytest.raises(ValueError, match="must say the `episodes` of `pretrained`"):
        Study(settings=SETTINGS, arms={"a": {"pretrained": first}})
    Study(settings=SETTINGS, arms={"a": {"pretrained": first | {"episodes": 5}}})


def test_rows_of_other_settings_are_left_alone(whole):
    other = Study(settings={**SETTINGS, "learning_rate": 1e-2})
    assert rows_of(other, "default", whole) == []
    assert [row["seed"] for row in rows_of(STUDY, "wide", [*whole, *whole])] == [0, 1, 2]


@pytest.mark.parametrize("own", [{}, {"exploration": {"epsilon": 0.2}}, {"warmup_episodes": 7}], ids=str)
def test_rows_of_earlier_defaults_count_until_as_many_arms_have_newer_ones(own, tmp_path):
    study = Study(
        settings={"env_id": "ASLA-GrapheneMini-v0", "episodes": 4}, arms={"one": own, "other": {"patience": 8}}
    )
    before = {"warmup_episodes": 40, **own, "exploration": {"refined_share": 0.3, **own.get("exploration", {})}}
    old = Study(settings=study.settings, arms={"one": before}).config("one", 0)
    row = {"arm": "one", "seed": 0, "budget": 4, "found_at": 2, "episodes": 4, "key": old.key}
    assert rows_of(study, "one", [row]) == []
    assert rows_of(with_more_arms(study, [row]), "one", [row]) == [row]
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert [arm for arm, _ in missing_restarts(study, tmp_path / "rows.jsonl", 1)] == ["one", "other"]
    newer = row | {"arm": "other", "key": study.config("other", 0).key}
    assert with_more_arms(study, [row, newer]) is study  # of two versions, arms are not compared
    assert rows_of(study, "one", [row, newer]) == []
    assert rows_of(study, "other", [row, newer]) == [newer]
    more = [row, row | {"arm": "other", "key": earlier(study).config("other", 0).key}, newer]
    assert with_more_arms(study, more) == earlier(study)
    assert with_more_arms(study, []) is study


def test_restarts_that_were_allowed_other_numbers_of_episodes_count_too_the_longest_of_a_seed(whole):
    longer = STUDY.changed(episodes=20)
    key = longer.config("wide", 1).key
    more = [
        row | {"key": key, "budget": 20, "episodes": 20} for row in whole if row["arm"] == "wide" and row["seed"] < 2
    ]
    rows = [*more, *whole]
    assert [row["episodes"] for row in rows_of(STUDY, "wide", rows)] == [20, 20, 12]
    assert rows_of(longer, "wide", rows) == rows_of(STUDY, "wide", rows)
    old = [{name: value for name, value in row.items() if name != "budget"} for row in whole]
    assert len(rows_of(STUDY, "wide", old)) == 3


def test_restarts_that_went_on_after_a_success_count_too_and_come_first():
    stopping = Study(settings={**SETTINGS, "stop_on_success": True})
    row = {"arm": "default", "seed": 0, "budget": 4, "found_at": 2}
    stopped = row | {"key": stopping.config("default", 0).key, "episodes": 2, "exact_at": None}
    went_on = row | {"key": stopping.changed(stop_on_success=False).config("default", 0).key, "episodes": 4}
    went_on |= {"exact_at": 3}
    for rows in ([stopped, went_on], [went_on, stopped]):
        assert rows_of(stopping, "default", rows) == [went_on]
    assert rows_of(stopping.changed(stop_on_success=False), "default", [stopped]) == []
    assert curve_data([went_on, stopped], "exact_at")[1] == [4, 2]
    np.testing.assert_array_equal(curve_data([went_on, stopped], "exact_at")[0], [3, np.nan])


def a_result(energies, **settings):
    config = RunConfig(**{**SETTINGS, **settings})
    return MemberResult(0, config, len(energies), None, None, np.array(energies), {})


def test_the_best_on_the_grid_is_found_up_to_a_hundredth_of_an_electronvolt_and_whatever_is_lower():
    exact = restarts._best_on_grid(STUDY.config("one-hot", 0), None)
    assert exact == pytest.approx(-0.0453, abs=1e-4)
    limit = exact + restarts.EXACT_WINDOW
    for energies, at in (([1, limit + 1e-4, np.inf], None), ([1, limit - 1e-4], 2), ([1, 2, -9, limit], 3)):
        assert restarts._row("an arm", a_result(energies), limit)["exact_at"] == at


def test_without_an_energy_of_the_best_on_the_grid_nothing_is_it():
    assert restarts._row("an arm", a_result([-1e6]), np.nan)["exact_at"] is None


def test_rows_from_before_the_best_on_the_grid_was_looked_for_have_none():
    found_at, _ = curve_data([{"episodes": 5, "found_at": 2}], "exact_at")
    assert np.isnan(found_at[0])


def test_changed_settings_are_those_of_all_arms():
    changed = STUDY.changed(episodes=5, evaluator="gfn1-xtb")
    assert {changed.config(arm, 0).episodes for arm in ARMS} == {5}
    assert {changed.config(arm, 0).evaluator for arm in ARMS} == {"gfn1-xtb"}
    assert changed.config("wide", 0).representation_kwargs == {"kernel_size": 9}
    assert STUDY.config("wide", 0).episodes == 12


def test_a_restart_without_a_success_is_nan_in_the_data_of_its_curve(whole):
    found_at, episodes = curve_data([whole[0] | {"found_at": 2}, whole[-1] | {"found_at": None}])
    assert found_at[0] == 2
    assert np.isnan(found_at[1])
    assert episodes == [4, 12]


def test_an_error_in_a_worker_is_the_error_of_the_study(tmp_path):
    broken = Study(settings={**SETTINGS, "representation_kwargs": {"width_over_spacing": -1.0}})
    with pytest.raises(ValueError, match=r"`width_over_spacing` is -1\.0 but must be positive and finite"):
        list(run_study(broken, tmp_path / "rows.jsonl", restarts=1))


@pytest.mark.parametrize("name", ["restarts", "workers", "members"])
def test_numbers_below_one_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=f"`{name}` is 0 but must be at least 1"):
        list(run_study(STUDY, tmp_path / "rows.jsonl", **{"restarts": 1, name: 0}))


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(ValidationError, match="batchsize"):
        Study(settings={**SETTINGS, "batchsize": 5}).config("default", 0)
    with pytest.raises(ValidationError, match="at least 1 item"):
        Study(settings=SETTINGS, arms={})


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({}, "spec.json: `arms` is {} but must have at least 1 item"),
        ({"a": {"builds_at_once": 2}}, "spec.json: `arms` is {.*} but must leave `builds_at_once` out"),
    ],
)
def test_arms_that_cannot_be_restarted_are_named(arms, message, tmp_path):
    (tmp_path / "spec.json").write_text(json.dumps({"settings": SETTINGS, "arms": arms}))
    with pytest.raises(SettingsFileError, match=message):
        job_of(str(tmp_path / "spec.json"))


def test_a_problem_that_cannot_be_made_is_found_before_any_arm_is_run(tmp_path):
    study, path = Study(settings=SETTINGS, arms={"a": {}, "b": {"env_id": "mine:Nope-v0"}}), tmp_path / "rows.jsonl"
    with pytest.raises(ValueError, match="arm 'b': `env_id` is 'mine:Nope-v0' but must be an id that"):
        list(run_study(study, path, restarts=1))
    assert not path.exists()
    assert rows_of(study, "b", []) == []  # what has rows can be looked at without the problem


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"evaluator": "nowhere:make"}, "arm 'b': `calculator` is 'nowhere:make' but 'nowhere' cannot be imported"),
        ({"representation_kwargs": {"width_over_spacing": -1.0}}, "arm 'b': `width_over_spacing` is -1.0 but must be"),
        ({"env_id": "CartPole-v1"}, "arm 'b': .*CartPole"),
        ({"pretrained": {"episodes": 1, "evaluator": "nowhere:make"}}, "arm 'b': `calculator` is 'nowhere:make'"),
    ],
)
def test_an_arm_that_cannot_be_run_is_named_before_any_is_run(wrong, message, tmp_path):
    study, path = Study(settings=SETTINGS, arms={"a": {}, "b": wrong}), tmp_path / "rows.jsonl"
    with pytest.raises(ValueError, match=message):
        list(run_study(study, path, restarts=1))
    assert not path.exists()


def test_a_file_of_rows_has_one_lock_whatever_it_is_called(tmp_path):
    rows, other = tmp_path / "rows.jsonl", tmp_path / "there" / "other.jsonl"
    rows.touch()
    other.parent.mkdir()
    other.symlink_to(rows)
    with UnfinishedSearches(rows).locked(), pytest.raises(ValueError, match="another process writes there"):
        list(run_study(STUDY, other, restarts=1))


def test_rows_go_to_no_device():
    with pytest.raises(ValueError, match="`rows` is /dev/null but must be a file that can be cut"):
        list(run_study(STUDY, Path("/dev/null"), restarts=1))


def test_the_command_prints_a_line_for_each_arm(whole, tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(STUDY.model_dump_json())
    text = "".join(json.dumps(row | {"found_at": row["seed"] + 1}) + "\n" for row in whole)
    (tmp_path / "spec.rows.jsonl").write_text(text)
    result = CliRunner().invoke(cli.app, ["study", str(spec), "--restarts", "3"])
    assert result.exit_code == 0, result.stderr
    for part in ("one-hot", "wide", "3 of 3", "2 (1 to 3)"):
        assert part in result.stdout
    assert np.isfinite(float(result.stdout.split("wide")[1].split("│")[3]))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "must be JSON: "), ("{}", "`settings`"), ('{"settings": {"env_id": "ASLA-Gold-v0"}}', "`env_id`")],
)
def test_a_wrong_specification_is_one_line(text, message, tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(text)
    result = CliRunner().invoke(cli.app, ["study", str(spec)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert [line for line in result.stderr.splitlines() if "error" in line] == [result.stderr.splitlines()[-1]]


def test_the_death_of_the_first_process_is_said_too(tmp_path, monkeypatch):
    monkeypatch.setattr(restarts, "end_with_parent", partial(os._exit, 1))
    with pytest.raises(OSError, match="a process of the study died, killed or for want of memory: start it again"):
        list(run_study(Study(settings=SETTINGS), tmp_path / "rows.jsonl", restarts=2, workers=2))


def test_the_death_of_a_process_is_said_and_the_study_can_go_on(tmp_path):
    study = Study(settings=SETTINGS, arms={"short": {}, "long": {"episodes": 2000, "gradient_steps": 2}})
    rows = run_study(study, tmp_path / "rows.jsonl", restarts=2, workers=2)
    next(rows)
    for process in multiprocessing.active_children():
        if process.name.startswith("SpawnProcess"):  # not the manager of the queue
            process.kill()
    with pytest.raises(OSError, match="a process of the study died, killed or for want of memory: start it again"):
        list(rows)
    short = Study(settings=SETTINGS, arms={"short": {}})
    assert len(missing_restarts(short, tmp_path / "rows.jsonl", 2)) < 2


@pytest.mark.parametrize("seeds", [{"settings": {"seed": 1}}, {"settings": {}, "arms": {"a": {"seed": 1}}}])
def test_a_seed_of_a_study_is_refused(seeds):
    with pytest.raises(ValueError, match="must leave `seed` out: restarts have the seeds from 0 on"):
        Study(**seeds)


def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`device` is 'nowhere' but must be one of this machine and its torch"):
        list(run_study(STUDY, tmp_path / "rows.jsonl", restarts=1, device="nowhere"))
    assert not list(tmp_path.iterdir())
