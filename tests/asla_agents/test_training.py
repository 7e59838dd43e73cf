"""A search from its settings to its files, on a problem of a few atoms that is registered for these tests."""

import itertools
import json
import logging
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read
from PIL import Image

from asla_agents import ASLA, training
from asla_agents.callbacks import read_rows
from asla_agents.checkpoint import read_checkpoint
from asla_agents.config import RunConfig
from asla_agents.exploration import Exploration
from asla_agents.figures import learning_curve
from asla_agents.record import load_agent, read_record
from asla_agents.replay import ReplaySettings
from asla_agents.representations import REPRESENTATIONS
from asla_agents.restarts import run_study
from asla_agents.study import Study
from asla_agents.training import SearchResult, make_env, make_model, read_episodes, resume, search
from asla_env import IDS, Grid, Problem, calculators
from asla_env.action import action_mask
from asla_env.problems import PROBLEMS

FILES = [
    "README.md",
    "assembly.gif",
    "assembly.png",
    "best.png",
    "best.traj",
    "best.xyz",
    "checkpoint.zip",
    "config.json",
    "energies.db",
    "episodes.jsonl",
    "times.jsonl",
]
TRIMER = """
import gymnasium as gym
from ase import Atoms
from asla_env import AtomPlacementEnv, Problem

def trimer(**settings):
    atoms = Atoms("CuAgCu", [(0, 0, 0), (2.4, 0, 0), (1.2, 2.1, 0)])
    return AtomPlacementEnv(Problem.from_atoms(atoms, place=[1, 2], spacing=0.4, margin=2), **settings)

gym.register("Trimer-v0", entry_point=trimer)
"""
EXPLORATION = Exploration(epsilon=0.1, top_probability=0.1, top_fraction=0.1)
SETTINGS = {
    "env_id": "ASLA-Tiny-v0",
    "evaluator": "potential",
    "episodes": 6,
    "batch_size": 4,
    "gradient_steps": 1,
    "warmup_episodes": 3,
    "patience": None,
    "exploration": EXPLORATION,
    "replay": ReplaySettings(n_best=7),
}


class Potential:
    """A calculator whose energy is lower the closer the atoms are; it can be made to fail."""

    calls = 0
    failures: dict[int, BaseException] = {}

    def reset(self):
        pass

    def get_potential_energy(self, atoms):
        Potential.calls += 1
        if Potential.calls in Potential.failures:
            raise Potential.failures[Potential.calls]
        return round(float(np.sum(atoms.get_all_distances(mic=True)) / len(atoms)), 6)


def tiny(n_atoms=3, minimum_distance=0.7) -> Problem:
    """Carbon on 7x6 pixels; the reference is a compact structure."""
    grid = Grid((7, 6), (5.6, 4.8), (True, False))
    pixels = [(0, 2), (2, 2), (1, 4), (0, 0), *itertools.product((3, 5), (0, 2, 4))][: 1 + n_atoms]
    positions = grid.positions(np.ravel_multi_index(np.transpose(pixels), grid.shape))
    reference = Atoms(f"C{1 + n_atoms}", positions, cell=(5.6, 4.8, 10.0), pbc=(True, False, False))
    return Problem(
        "tiny",
        grid,
        reference[[0]],
        {"C": n_atoms},
        reference,
        success_window=0.3,
        minimum_distance=minimum_distance,
        maximum_distance=None,
    )


@pytest.fixture(scope="module", autouse=True)
def _registered(tmp_path_factory):
    """Register the problem and its calculator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("logs")))
        patch.setitem(PROBLEMS, "tiny", tiny)
        entry = replace(calculators._CALCULATORS["xwch"], factory=Potential, species=None)
        patch.setitem(calculators._CALCULATORS, "potential", entry)
        gym.register("ASLA-Tiny-v0", "asla_env.env:AtomPlacementEnv", kwargs={"problem": "tiny"})
        yield
        gym.registry.pop("ASLA-Tiny-v0")


@pytest.fixture(autouse=True)
def _calculator_without_failures(monkeypatch):
    monkeypatch.setattr(Potential, "calls", 0)
    monkeypatch.setattr(Potential, "failures", {})


def make_config(**settings) -> RunConfig:
    return RunConfig(**{**SETTINGS, **settings})


@pytest.fixture(scope="module")
def result(_registered, tmp_path_factory) -> SearchResult:
    """A search whose files are looked at from all sides."""
    return search(make_config(), tmp_path_factory.mktemp("search") / "new" / "out", progress_bar=False)


@pytest.fixture
def without_pictures(monkeypatch):
    monkeypatch.setattr(training, "write_best", lambda *_: None)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("[!.]*"))


# The calculator


def test_the_environment_has_the_calculator_with_its_settings():
    settings = {"evaluator": "ase.calculators.emt:EMT", "evaluator_settings": {"asap_cutoff": True}}
    spec = make_env(make_config(env_id="ASLA-Naphthalene-v0", **settings)).evaluator.spec
    assert (spec.calculator, spec.settings) == tuple(settings.values())


# The files


def test_a_search_writes_all_files_and_a_page_that_explains_them(result):
    assert names_in(result.directory) == FILES
    text = (result.directory / "README.md").read_text()
    assert all(f"`{name}`" in text for name in FILES if name != "README.md")
    assert "ASLA-Tiny-v0 with potential, gaussian, seed 0" in text


def test_each_line_of_the_log_is_consistent_with_the_structure_it_describes(result):
    rows, problem, potential = read_episodes(result.directory), tiny(), Potential()
    reference = potential.get_potential_energy(problem.reference)
    assert [row["episode"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for row in rows:
        placed = row["placed"]
        assert all(action_mask(placed[:i], problem)[placed[i]] for i in range(3))
        assert row["energy"] == pytest.approx(potential.get_potential_energy(problem.structure(placed)), abs=2e-6)
        assert row["energy_above_reference"] == pytest.approx(row["energy"] - reference)
        assert row["is_success"] is (row["energy_above_reference"] < problem.success_window)
        assert row["dead_end"] is False
        assert row["calculator_error"] is None
    times = [row["time_s"] for row in read_rows(result.directory / "times.jsonl")]
    assert len(times) == 6
    assert times == sorted(times)


@pytest.mark.parametrize("name", ["best.xyz", "best.traj"])
def test_the_best_structure_can_be_read_back_with_its_energy_and_cell(result, name):
    best = min(read_episodes(result.directory), key=lambda row: row["energy"])
    atoms, expected = read(result.directory / name), tiny().structure(best["placed"])
    assert atoms.get_potential_energy() == pytest.approx(best["energy"]) == result.best_energy
    assert str(atoms.symbols) == str(expected.symbols) == "C4"
    np.testing.assert_allclose(atoms.positions, expected.positions, atol=1e-6)
    np.testing.assert_allclose(atoms.cell, tiny().template.cell)
    assert atoms.pbc.tolist() == [True, False, False]


@pytest.mark.filterwarnings("error")
def test_what_of_info_no_file_can_hold_is_left_out(tmp_path, monkeypatch):
    problem = tiny()
    kept = {"charge": 1, "note": "from a 'set', 2 b", "shift": np.array([0.5, 1.0])}
    odd = {"energy": -3.2, 1: 2, (1, 2): 3, "lines": 'a\nb"c', "sites": {"fcc": (0, 0)}, "a b": 1}
    problem.template.info, problem.reference.info = {**kept, **odd}, {"charge": 1}
    monkeypatch.setitem(PROBLEMS, "tiny", lambda: problem)
    search(make_config(), tmp_path, progress_bar=False)
    for name in ("best.xyz", "best.traj"):
        info = read(tmp_path / name).info
        assert {key: info[key] for key in kept if key != "shift"} == {"charge": 1, "note": kept["note"]}
        assert info["shift"].tolist() == [0.5, 1.0]
        assert not set(odd) & set(info)


def test_pictures_open_and_the_film_shows_each_placement(result):
    for name in ("best.png", "assembly.png"):
        with Image.open(result.directory / name) as picture:
            picture.load()
            assert min(picture.size) > 100
    with Image.open(result.directory / "assembly.gif") as film:
        assert film.n_frames >= 3
        film.seek(film.n_frames - 1)
        film.load()


def test_the_result_sums_up_the_log(result):
    rows = read_episodes(result.directory)
    assert result.episodes == 6
    assert result.best_energy == min(row["energy"] for row in rows)
    assert result.best_energy_above_reference == min(row["energy_above_reference"] for row in rows)
    successes = [row["episode"] for row in rows if row["is_success"]]
    assert result.found_at == (successes[0] if successes else None)


def test_the_configuration_is_read_back_as_it_was_and_versions_are_beside_it(result):
    written = json.loads((result.directory / "config.json").read_text())
    assert RunConfig(**written["settings"]) == make_config()
    assert written["versions"]["torch"]
    assert written["versions"]["python"]


def test_the_checkpoint_loads_and_goes_on(result):
    model = ASLA.load(result.directory / "checkpoint.zip", env=make_env(make_config()), device="cpu")
    rows = read_episodes(result.directory)
    assert model.builds.energies.tolist() == [row["energy"] for row in rows]
    assert len(model.learn(2).builds) == 8


# Determinism


@pytest.mark.usefixtures("without_pictures")
def test_the_same_settings_give_the_same_episodes_and_another_seed_others(result, tmp_path):
    again = search(make_config(), tmp_path / "again", progress_bar=False)
    other = search(make_config(seed=1), tmp_path / "other", progress_bar=False)
    first, second, third = ((r.directory / "episodes.jsonl").read_bytes() for r in (result, again, other))
    assert first == second != third


# Stopping


def test_a_search_of_builds_that_go_on_together_writes_the_same_files(tmp_path):
    result = search(make_config(episodes=7, builds_at_once=3), tmp_path / "out", progress_bar=False)
    assert names_in(result.directory) == FILES
    assert [row["episode"] for row in read_episodes(result.directory)] == list(range(1, 8))
    model = ASLA.load(result.directory / "checkpoint.zip", env=make_env(make_config()))
    assert len(model.learn(1).builds) == 8


@pytest.mark.usefixtures("without_pictures")
def test_a_search_can_stop_with_its_first_success_which_is_in_the_checkpoint(tmp_path):
    config = make_config(episodes=200, stop_on_success=True, warmup_episodes=200)
    found = search(config, tmp_path, progress_bar=False)
    rows = read_episodes(tmp_path)
    assert [row["is_success"] for row in rows] == [False] * (len(rows) - 1) + [True]
    assert found.found_at == found.episodes == len(rows) < 200
    model = ASLA.load(tmp_path / "checkpoint.zip", make_env(make_config()))
    assert model.builds.energies[-1] == found.best_energy


def test_an_interrupt_ends_the_search_after_all_files_are_written(tmp_path, capsys):
    Potential.failures = {5: KeyboardInterrupt()}  # the first call is for the reference
    result = search(make_config(episodes=50), tmp_path, progress_bar=True)
    assert result.episodes == len(read_episodes(tmp_path)) == 3
    assert names_in(tmp_path) == [name for name in FILES if name != "checkpoint.zip"]
    assert "interrupted: writing the results" in capsys.readouterr().out


def test_an_interrupt_before_the_first_episode_ends_leaves_what_there_is(tmp_path):
    Potential.failures = {2: KeyboardInterrupt()}
    result = search(make_config(), tmp_path, progress_bar=False)
    assert names_in(tmp_path) == ["README.md", "config.json", "energies.db"]
    assert result.episodes == 0
    assert np.isnan([result.best_energy, result.best_energy_above_reference]).all()
    assert result.found_at is None


class Lost(Executor):
    """A cluster that answers a few times."""

    left = 4

    def submit(self, function, *arguments):
        future = Future()
        self.left -= 1
        if self.left < 0:
            future.set_exception(ConnectionError("the cluster was lost"))
        else:
            future.set_result(function(*arguments))
        return future


def test_what_there_is_is_written_when_a_cluster_is_lost(tmp_path):
    with pytest.raises(ConnectionError, match="the cluster was lost"):
        search(make_config(episodes=50), tmp_path, progress_bar=False, executor=Lost())
    assert len(read_episodes(tmp_path)) == 3  # one call is for the reference
    assert names_in(tmp_path) == [name for name in FILES if name != "checkpoint.zip"]
    assert training.resume(tmp_path, episodes=5, progress_bar=False).episodes == 5


@pytest.mark.usefixtures("without_pictures")
def test_fewer_episodes_than_have_ended_are_refused(tmp_path):
    search(make_config(), tmp_path, progress_bar=False)
    with pytest.raises(ValueError, match="`episodes` is 5 but must be at least 6, those that have ended"):
        training.resume(tmp_path, episodes=5, progress_bar=False)
    assert RunConfig.load(tmp_path).episodes == 6


# A search that comes first


BEFORE = {"episodes": 5, "seed": 3, "learning_rate": 1e-2}


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("call", [4, 9])  # in the search that comes first, and in the one after it
def test_a_search_that_comes_first_is_kept_in_its_own_directory_and_goes_on_with_the_other(call, tmp_path):
    config = make_config(pretrained=BEFORE, warmup_episodes=0)
    whole = search(config, tmp_path / "whole", progress_bar=False)
    calls, Potential.calls = Potential.calls, 0
    Potential.failures = {call: KeyboardInterrupt()}
    result = search(config, tmp_path / "again", progress_bar=False)
    assert result.interrupted
    assert len(read_episodes(result.directory / "pretrained")) == min(call - 3, 5)  # two calls are for the references
    result = training.resume(tmp_path / "again", progress_bar=False)
    assert (result.episodes, result.best_energy, Potential.calls) == (6, whole.best_energy, calls + 1)
    assert read_episodes(result.directory) == read_episodes(whole.directory)


@pytest.mark.usefixtures("without_pictures")
def test_a_search_begins_with_the_network_of_the_best_structure_of_the_one_that_comes_first(tmp_path):
    search(make_config(pretrained=BEFORE, episodes=1, gradient_steps=0, warmup_episodes=0), tmp_path, False)
    first = read_checkpoint(tmp_path / "pretrained" / "checkpoint.zip").tensors["best"]
    then = read_checkpoint(tmp_path / "checkpoint.zip").tensors["policy"]
    assert first.keys() == then.keys()
    for name, values in first.items():
        torch.testing.assert_close(then[name], values, rtol=0, atol=0)


@pytest.mark.usefixtures("without_pictures")
def test_a_search_that_comes_first_takes_known_energies_and_goes_on_without_settings(tmp_path):
    config = make_config(pretrained=BEFORE, warmup_episodes=0)
    whole = search(config, tmp_path / "whole", progress_bar=False)
    Potential.calls = 0
    known = [whole.directory, whole.directory / "pretrained"]
    again = search(config, tmp_path / "again", progress_bar=False, known=known)
    assert (again.best_energy, Potential.calls) == (whole.best_energy, 0)
    (tmp_path / "again" / "checkpoint.zip").unlink()
    (tmp_path / "again" / "pretrained" / "config.json").unlink()  # as if killed before it was written
    assert training.resume(tmp_path / "again", progress_bar=False).best_energy == whole.best_energy


# Calculators that fail


@pytest.mark.usefixtures("without_pictures")
def test_a_structure_on_which_the_calculator_fails_counts_as_bad_and_says_why(tmp_path):
    Potential.failures = {3: RuntimeError("no convergence")}
    search(make_config(), tmp_path, progress_bar=False)
    rows = read_episodes(tmp_path)
    assert [row["calculator_error"] for row in rows[:2]] == [None, "RuntimeError: no convergence"]
    assert (rows[1]["energy"], rows[1]["energy_above_reference"]) == (None, None)
    energies = ASLA.load(tmp_path / "checkpoint.zip", env=make_env(make_config())).builds.energies
    assert np.isinf(energies).tolist() == [False, True, *[False] * (len(energies) - 2)]
    assert rows[1]["is_success"] is False
    assert (tmp_path / "warnings.log").read_text().count("no convergence") == 1


def test_a_warning_with_bytes_that_are_no_text_is_kept(tmp_path):
    with training._warnings_in(tmp_path / "warnings.log"):
        record = logging.LogRecord("asla_env", logging.WARNING, __file__, 1, "no convergence \udce9", None, None)
        logging.getLogger("asla_env").handlers[-1].emit(record)
    assert "no convergence \\udce9" in (tmp_path / "warnings.log").read_text()


def test_a_calculator_that_fails_on_the_reference_is_named_with_the_cause(tmp_path):
    Potential.failures = dict.fromkeys(range(1, 100), RuntimeError("no convergence"))
    rule = "must be able to compute the reference structure: RuntimeError: no convergence"
    with pytest.raises(ValueError, match=f"`evaluator` is 'potential' but {rule}"):
        search(make_config(), tmp_path / "out", progress_bar=False)
    assert not (tmp_path / "out").exists()


def test_a_calculator_may_fail_on_the_reference_once():
    Potential.failures = {1: RuntimeError("no convergence")}
    assert np.isfinite(make_env(make_config()).reference_energy)


def test_a_search_without_a_finished_structure_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(PROBLEMS, "tiny", lambda: tiny(9, minimum_distance=0.9))
    result = search(make_config(episodes=2), tmp_path, progress_bar=False)
    assert [(row["dead_end"], row["energy"]) for row in read_episodes(tmp_path)] == [(True, None)] * 2
    assert np.isnan([result.best_energy, result.best_energy_above_reference]).all()
    assert "best.xyz" not in names_in(tmp_path)
    assert "NaN" not in (tmp_path / "episodes.jsonl").read_text()


# Directories


def test_a_directory_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"`directory` is .* but must be a new or an empty directory"):
        search(make_config(), tmp_path, progress_bar=False)
    assert names_in(tmp_path) == ["notes.txt"]


def test_a_file_is_no_directory(tmp_path):
    path = tmp_path / "out"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="must be a new or an empty directory"):
        search(make_config(), path, progress_bar=False)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_disk_that_is_full_from_the_start_leaves_the_name_free(tmp_path, monkeypatch, is_there):
    def full(*_):
        raise OSError("No space left on device")

    path = tmp_path / "above" / "out"
    if is_there:
        path.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            search(make_config(), path, progress_bar=False)
    assert not path.exists()
    assert search(make_config(), path, progress_bar=False).episodes == make_config().episodes


def test_settings_that_the_representation_refuses_leave_no_files(tmp_path):
    config = make_config(representation_kwargs={"width_over_spacing": -1.0})
    with pytest.raises(ValueError, match=r"`width_over_spacing` is -1\.0"):
        search(config, tmp_path / "out", progress_bar=False)
    assert not (tmp_path / "out").exists()


# Settings


def test_every_setting_reaches_the_agent():
    settings = {
        "representation": "agr",
        "representation_kwargs": {"beta_1": 0.5},
        "learning_rate": 2e-3,
        "batch_size": 3,
        "gradient_steps": 2,
        "warmup_episodes": 1,
        "patience": 50,
        "exploration": replace(EXPLORATION, epsilon=0.25),
        "seed": 9,
    }
    model = training.make_model(make_config(**settings), make_env(make_config()))
    for name in sorted(settings.keys() - {"representation_kwargs"}):
        assert getattr(model.explorer if hasattr(model.explorer, name) else model, name) == settings[name]
    assert model.policy.features_extractor.beta_1 == 0.5
    assert model.builds.settings.n_best == 7


@pytest.mark.parametrize("env_id", list(IDS))
@pytest.mark.parametrize("representation", list(REPRESENTATIONS))
def test_every_problem_goes_with_every_representation(env_id, representation):
    config = RunConfig(env_id=env_id, representation=representation)
    model = make_model(config, gym.make(env_id).unwrapped)
    observation, _ = gym.make(env_id).reset()
    assert model.q_values(observation[None]).shape == (1, model.problem.n_actions)


def test_a_problem_of_one_s_own_is_searched_gone_on_with_looked_at_and_studied(written_module, tmp_path):
    written_module("module_of_a_trimer", TRIMER)
    settings = {"env_id": "module_of_a_trimer:Trimer-v0", "evaluator": "ase.calculators.emt:EMT", "episodes": 3}
    search(RunConfig(**settings), tmp_path / "run", progress_bar=False)
    assert resume(tmp_path / "run", episodes=4, progress_bar=False).episodes == 4
    record = read_record(tmp_path / "run")
    assert record.problem.species == ("Cu", "Ag")
    assert load_agent(record).problem == record.problem
    learning_curve(tmp_path / "run")
    (row,) = run_study(Study(settings=settings, arms={"one": {}}), tmp_path / "rows.jsonl", restarts=1)
    assert (row["episodes"], row["exact_at"]) == (3, None)


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path):
    search(RunConfig(**SETTINGS), tmp_path / "run")
    path = tmp_path / "run" / "episodes.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]) + '{"epis')
    assert [row["episode"] for row in read_episodes(path.parent)] == [1, 2]
