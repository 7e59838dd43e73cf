"""What is run for each figure: every arm can be made and trained, and says what it has learned."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from asla_agents.callbacks import read_rows
from asla_agents.experiments import EXPERIMENTS, changed, changes, generalisation, phases
from asla_agents.jobs import job_of
from asla_agents.restarts import run_study
from asla_agents.study import Study, rows_of
from asla_env.ids import problem_of_id
from asla_env.problems import graphene

DISTINCT = {experiment.name: experiment for experiment in EXPERIMENTS.values()}
CHEAP = {
    name: "xwch" if problem_of_id(experiment.study.settings["env_id"]).species == ("C",) else None
    for name, experiment in DISTINCT.items()
}


@cache
def smoke_rows(name):
    """Study of a figure's smoke run and its rows, of one restart, in this process."""
    experiment = EXPERIMENTS[name]
    study = changed(experiment.study, evaluator=CHEAP[experiment.name], smoke=True)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "rows.jsonl"
        list(run_study(study, path, restarts=1))
        return study, read_rows(path)


@pytest.mark.parametrize("name", DISTINCT)
def test_every_arm_of_every_figure_runs(name):
    study, rows = smoke_rows(name)
    for arm in study.arms:
        its_rows = rows_of(study, arm, rows)
        assert [row["seed"] for row in its_rows] == [0]
        assert all(row["episodes"] == row["budget"] == 3 for row in its_rows)
        learns = study.config(arm, 0).representation in ("agr", "displaced") or "trainable" in name
        assert all(("learned" in row) is learns for row in its_rows)


def test_what_was_learned_has_numbers_for_each_species():
    study, rows = smoke_rows("species-agr")
    for row in rows_of(study, "AGR", rows):
        assert np.shape(row["learned"]["coefficients"]) == (2, 9)
        assert np.all(np.isfinite(row["learned"]["coefficients"]))


def test_trained_widths_leave_their_start_a_little():
    study, rows = smoke_rows("trainable-width")
    for arm in study.arms:
        start = study.config(arm, 0).representation_kwargs["width_over_spacing"]
        ends = [row["learned"]["width_over_spacing"][0] for row in rows_of(study, arm, rows)]
        assert all(0 < abs(end - start) < 0.1 * start for end in ends)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_numbers_of_the_paper_belong_to_arms(name):
    experiment = EXPERIMENTS[name]
    assert set(experiment.paper_n50) <= set(experiment.study.arms)
    assert {arm for pair in (*experiment.earlier, *experiment.alike) for arm in pair} <= set(experiment.study.arms)
    assert experiment.restarts >= 1
    for arm in experiment.study.arms:
        assert experiment.study.config(arm, 0).episodes >= max(experiment.paper_n50.values(), default=1)


def test_what_is_not_changed_stays_as_it_is():
    assert changes() == {}
    assert changes("xwch", 5) == {"evaluator": "xwch", "episodes": 5}
    assert changes(episodes=7, smoke=True)["episodes"] == 7
    assert changes(to_the_end=True) == {"stop_on_success": False}


def test_a_study_to_the_end_does_not_stop_at_a_success_and_a_smoke_run_trains_little_before_too():
    assert job_of("fig2a").study.config("one-hot", 0).stop_on_success
    assert not job_of("fig2a", to_the_end=True).study.config("one-hot", 0).stop_on_success
    before = job_of("transfer", smoke=True).study.config("from graphene", 0).before()
    assert (before.env_id, before.episodes, before.batch_size) == ("ASLA-Graphene-v0", 3, 4)
    imagination = job_of("imagination", smoke=True).study.config("with imagination", 0).imagination
    assert imagination.first_updates == 1


@pytest.mark.parametrize(("given", "expected"), [({}, 1), (True, 1), (None, None), (False, None)])
def test_a_smoke_run_of_a_file_trains_little_in_what_all_arms_share_too(given, expected):
    settings = {"env_id": "ASLA-GrapheneMini-v0", "pretrained": {"episodes": 400}, "imagination": given}
    for study in (
        Study(settings=settings),
        Study(settings={"env_id": "ASLA-GrapheneMini-v0"}, arms={"default": settings}),
    ):
        config = changed(study, smoke=True).config("default", 0)
        assert config.before().episodes == 3
        assert (config.imagination and config.imagination.first_updates) == expected


def test_a_smoke_run_trains_nothing_before_in_an_arm_that_does_not():
    settings = {"env_id": "ASLA-GrapheneMini-v0", "pretrained": {"episodes": 400}}
    study = changed(Study(settings=settings, arms={"off": {"pretrained": {}}, "on": {}}), smoke=True)
    assert study.config("off", 0).before() is None
    assert study.config("on", 0).before().episodes == 3


# Fig. 3


def test_the_sites_of_figure_3_have_their_neighbours_where_graphene_has_them():
    structure = generalisation.sample()
    atoms = structure.grid.positions(np.flatnonzero(structure.atoms))
    assert len(atoms) == 12
    for sites, n, distance in zip(structure.sites, (3, 2), (1.42, 1.23), strict=True):
        gaps = np.sort(structure.grid.distances(atoms)[:, sites], axis=0)[: n + 1]
        assert np.all(np.abs(gaps[:n] - distance) < 0.2)
        assert np.all(gaps[n] > 1.8)
        assert len(set(sites)) == len(sites) == 12


def test_some_sites_look_otherwise_than_the_trained_ones():
    unseen = generalisation.sample().unseen()
    assert unseen.shape == (2, 12)
    assert not unseen[:, 0].any()
    assert unseen.any(axis=1).all()


def test_a_window_wraps_around_the_cell():
    grid = graphene().grid
    pixels = np.arange(grid.n_pixels).reshape(grid.shape)
    corner = generalisation.window(pixels, grid, 0)
    assert corner.shape == (17, 17)
    assert corner[8, 8] == 0
    assert corner[7, 8] == pixels[-1, 0]


def test_networks_that_have_rows_are_not_trained_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    first = list(generalisation.run(path, 1))
    assert [(row["arm"], row["seed"]) for row in first] == [(arm, 0) for arm in generalisation.ARMS]
    assert list(generalisation.run(path, 1)) == []
    assert read_rows(path) == first


@pytest.mark.parametrize("measure", [generalisation.run, phases.run])
def test_measurements_leave_rows_of_searches_alone(measure, tmp_path):
    path = tmp_path / "figures.jsonl"
    row = {"arm": "one-hot", "key": "1a", "seed": 0, "budget": 5, "episodes": 5, "found_at": None}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="line 1, must hold `"):
        list(measure(path, 1))
    assert read_rows(path) == [row]


def test_a_network_whose_row_was_cut_off_is_trained_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"arm": "one-hot", "seed": 0, "trained_e')
    rows = list(generalisation.run(path, 1))
    assert rows == read_rows(path)
    assert len(rows) == len(generalisation.ARMS)


def test_a_number_of_networks_below_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`restarts` is 0 but must be at least 1"):
        list(generalisation.run(tmp_path / "rows.jsonl", 0))


# Table I


def test_the_phases_of_an_episode_are_timed_and_not_timed_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = list(phases.run(path, 1, smoke=True, episodes=2))
    assert rows == read_rows(path)
    assert [(row["arm"], row["evaluator"]) for row in rows] == [(arm, "gfn1-xtb") for arm in phases.ARMS]
    for arm in phases.ARMS:
        seconds = phases.seconds_of(rows, arm)
        assert seconds.shape == (2, 3, 2)
        assert np.all(seconds[..., 0] > 0)
        assert np.all(seconds[:, :, 1] <= seconds[:, :, 0] + 0.05)  # one thread: no more than the clock
    assert list(phases.run(path, 1, smoke=True, episodes=2)) == []
    assert len(list(phases.run(path, 1, smoke=True, episodes=3))) == len(phases.ARMS)  # two are not three
    assert phases.rows_of(rows) == []


def test_the_phases_of_the_paper_have_its_percentages():
    for arm, percent in zip(phases.ARMS, ((5.6, 72.3, 22.1), (6.4, 69.0, 24.6)), strict=True):
        seconds = np.array(phases.PAPER[arm])
        np.testing.assert_allclose(100 * seconds / seconds.sum(), percent, atol=0.05)
