"""Searches that go on after any interruption as if there had been none."""

import importlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asla_agents import training
from asla_agents.callbacks import Checkpoint
from asla_agents.checkpoint import CheckpointError, read_checkpoint
from asla_agents.config import RunConfig
from asla_agents.record import read_record
from asla_agents.run_directory import RunDirectory, RunDirectoryError
from asla_agents.training import read_episodes, resume, search
from asla_env import calculators
from asla_env.xwch import XWCH

SETTINGS = {"env_id": "ASLA-GrapheneMini-v0", "evaluator": "xwch", "batch_size": 2, "gradient_steps": 1}
SETTINGS |= {"warmup_episodes": 4, "seed": 3}

SHIFTED = """
from asla_env.xwch import XWCH

class Shifted(XWCH):
    def get_potential_energy(self, *args, **kwargs):
        return super().get_potential_energy(*args, **kwargs) + 100.0
"""


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    monkeypatch.setattr(training, "write_best", lambda *_: None)


@pytest.fixture(autouse=True)
def _frequent_checkpoints(monkeypatch):
    monkeypatch.setattr(training, "Checkpoint", lambda path, log: Checkpoint(path, log, every=4))


def searched(path: Path, episodes=10, **settings) -> Path:
    search(RunConfig(**{**SETTINGS, "episodes": episodes, **settings}), path, progress_bar=False)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A search that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "write_best", lambda *_: None)
        return searched(tmp_path_factory.mktemp("whole") / "run")


def equal(first, second) -> bool:
    """Whether two nested structures of tensors are the same to the last bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def assert_same(first: Path, second: Path) -> None:
    """Two searches went the same way, and would go on the same way."""
    assert RunDirectory(first).episodes.read_bytes() == RunDirectory(second).episodes.read_bytes()
    states = [read_checkpoint(RunDirectory(path).checkpoint) for path in (first, second)]
    assert states[0].plain == states[1].plain
    assert equal(states[0].tensors, states[1].tensors)


class Interrupted:
    """A calculator that is interrupted at some call."""

    def __init__(self, at: int) -> None:
        self.calls, self.at, self.calculator = 0, at, XWCH()

    def __call__(self) -> "Interrupted":
        return self

    def reset(self):
        self.calculator.reset()

    def get_potential_energy(self, atoms):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.calculator.get_potential_energy(atoms)


def interrupt_at(call: int, monkeypatch) -> Interrupted:
    """Interrupt the calculator of the next search at some call, the first being for the reference."""
    return in_place_of_xwch(Interrupted(call), monkeypatch)


def in_place_of_xwch(calculator, monkeypatch):
    entry = replace(calculators._CALCULATORS["xwch"], factory=calculator, batch=None)
    monkeypatch.setitem(calculators._CALCULATORS, "xwch", entry)
    return calculator


@pytest.mark.parametrize("call", [2, 5, 7, 11])
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(whole, tmp_path, monkeypatch, call, capsys):
    interrupt_at(call, monkeypatch)
    searched(tmp_path / "run")
    assert len(read_episodes(tmp_path / "run")) == call - 2
    calculator = interrupt_at(10**9, monkeypatch)
    result = resume(tmp_path / "run", progress_bar=True)
    assert (result.episodes, result.interrupted) == (10, False)
    assert calculator.calls == 10 - (call - 2)  # what was computed before is not computed again
    assert_same(whole, tmp_path / "run")
    assert "10/10" in capsys.readouterr().err


class FailingInTurn(Interrupted):
    """Fails now and then, but not twice on the same structure."""

    def get_potential_energy(self, atoms):
        energy = super().get_potential_energy(atoms)
        if self.calls in (3, 4, 6, 8):
            raise RuntimeError(f"failure {self.calls}")
        return energy


@pytest.mark.parametrize("call", [5, 7, 9])
def test_energies_that_failed_fail_again_while_the_search_goes_on(tmp_path, monkeypatch, call):
    for name, interrupts in (("whole", [10**9]), ("run", [call, 10**9])):
        calculator = in_place_of_xwch(FailingInTurn(0), monkeypatch)
        for at in interrupts:
            calculator.at = at
            resume(tmp_path / name, progress_bar=False) if (tmp_path / name).exists() else searched(tmp_path / name)
            calculator.calls = call - 1 if at == call else calculator.calls
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("source", [".", "energies.db"])
def test_energies_of_another_search_are_not_computed_again(whole, tmp_path, monkeypatch, source, capsys):
    calculator = interrupt_at(10**9, monkeypatch)
    search(RunConfig(**SETTINGS, episodes=10), tmp_path / "run", progress_bar=False, known=[whole / source])
    assert calculator.calls == 0
    assert "11 energies by this calculator" in capsys.readouterr().out
    assert_same(whole, tmp_path / "run")
    config = RunConfig(**{**SETTINGS, "seed": 4}, episodes=10)
    search(config, tmp_path / "other", progress_bar=False, known=[whole / source, tmp_path / "run"])
    assert calculator.calls == 10  # all but the reference


def test_a_search_with_energies_that_are_not_there_leaves_no_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`path` is .* but must be a database of energies"):
        search(RunConfig(**SETTINGS, episodes=1), tmp_path / "run", known=[tmp_path / "nothing.db"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"representation": "agr"}, {"imagination": {}}, {"patience": 1}])
def test_every_part_of_an_agent_goes_on(tmp_path, settings, monkeypatch):
    settings = {"episodes": 12, "warmup_episodes": 3, **settings}
    searched(tmp_path / "whole", **settings)
    interrupt_at(12, monkeypatch)
    searched(tmp_path / "run", **settings)
    resume(tmp_path / "run", progress_bar=False)
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_a_search_that_is_over_stays_as_it_is_but_can_be_made_longer(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    resume(tmp_path / "run", progress_bar=False)
    assert_same(whole, tmp_path / "run")
    assert resume(tmp_path / "run", episodes=12, progress_bar=False).episodes == 12
    assert RunDirectory(tmp_path / "run").config().episodes == 12
    assert_same(searched(tmp_path / "long", episodes=12), tmp_path / "run")


def test_a_search_that_stopped_with_its_success_does_not_go_on(tmp_path):
    searched(tmp_path / "run", stop_on_success=True)
    episodes = RunDirectory(tmp_path / "run").episodes
    first, *_ = episodes.read_text().splitlines()
    searched(tmp_path / "one", episodes=1, stop_on_success=True)
    RunDirectory(tmp_path / "one").episodes.write_text(
        first.replace('"is_success": false', '"is_success": true') + "\n"
    )
    assert resume(tmp_path / "one", episodes=5, progress_bar=False).episodes == 1


KILLED = """
import sys
from asla_agents import training
from asla_agents.callbacks import Checkpoint
from asla_agents.config import RunConfig
from asla_agents.training import resume, search
training.Checkpoint = lambda path, log: Checkpoint(path, log, every=7)
training.write_best = lambda *_: None
from pathlib import Path
path = Path(sys.argv[1])
if path.exists():
    resume(path, progress_bar=False)
else:
    search(RunConfig.model_validate_json(sys.argv[2]), path, progress_bar=False)
"""


def test_a_search_killed_again_and_again_ends_like_one_that_was_not(tmp_path):
    config = RunConfig(**SETTINGS, episodes=60)
    command = [sys.executable, "-c", KILLED]
    subprocess.run([*command, str(tmp_path / "whole"), config.model_dump_json()], check=True)
    path, rng, kills = tmp_path / "run", np.random.default_rng(0), 0
    for wanted in sorted(rng.choice(np.arange(1, 58), size=3, replace=False)):
        process = subprocess.Popen([*command, str(path), config.model_dump_json()])
        while process.poll() is None and not (path.exists() and len(read_episodes(path)) >= wanted):
            time.sleep(0.001)
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills == 3
    subprocess.run([*command, str(path), ""], check=True)
    assert_same(tmp_path / "whole", path)


# What is damaged or foreign


def test_a_directory_without_a_search_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"`directory` is .* but must hold a search: there is no config\.json"):
        resume(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"settings": 3}', "\x00"])
def test_settings_that_are_none_are_refused(whole, tmp_path, text):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(RunDirectoryError, match=r"config\.json.* (must|missing)"):
        resume(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "there", "of_agent"), [("representation", "agr", "gaussian"), ("seed", 5, 3), ("patience", None, 4)]
)
def test_an_agent_does_not_go_on_under_the_name_of_other_settings(whole, tmp_path, name, there, of_agent):
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    held = json.loads(path.read_text())
    held["settings"][name] = there
    path.write_text(json.dumps(held))
    before = {entry.name: entry.read_bytes() for entry in (tmp_path / "run").glob("*.json*")}
    with pytest.raises(
        RunDirectoryError, match=rf"config\.json has `{name}` {there!r} but must have {of_agent!r}, with"
    ):
        resume(tmp_path / "run", episodes=100)
    assert {entry.name: entry.read_bytes() for entry in (tmp_path / "run").glob("*.json*")} == before


def test_settings_that_are_wrong_are_named(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(path.read_text().replace('"batch_size": 2', '"batch_size": -2'))
    with pytest.raises(RunDirectoryError, match="batch_size"):
        resume(tmp_path / "run")


def test_lines_that_are_missing_are_noticed(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "episodes.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunDirectoryError, match="has 9 lines but must have the 10 of the checkpoint"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("times", [b"no JSON\n", b"", b'{"episode": 1, "time_s": 1.0}\n{"epi'])
def test_a_search_goes_on_whatever_became_of_its_times(whole, tmp_path, times):
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    (path / "times.jsonl").write_bytes(times)
    assert resume(path, episodes=11, progress_bar=False).episodes == 11
    assert len(read_record(path).seconds) <= 2


def test_a_search_does_not_go_on_with_another_calculator(written_module, tmp_path):
    module = written_module("calculator_that_changes", SHIFTED)
    searched(tmp_path / "run", 2, evaluator="calculator_that_changes:Shifted")
    before = {entry.name: entry.read_bytes() for entry in (tmp_path / "run").glob("*.json*")}
    Path(module.__file__).write_text(SHIFTED.replace("100.0", "200.0"))
    importlib.reload(module)  # as another process would import it
    with pytest.raises(ValueError, match=r"`env` has the calculator calculator_that_changes:Shifted \(.*must have"):
        resume(tmp_path / "run", episodes=3, progress_bar=False)
    assert {entry.name: entry.read_bytes() for entry in (tmp_path / "run").glob("*.json*")} == before


def test_a_search_with_damaged_lines_is_left_as_it_is(whole, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    lines = (path / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (path / "episodes.jsonl").write_bytes(b"no JSON\n" + b"".join(lines[1:]))
    (path / "config.json").write_text((path / "config.json").read_text() + "\n\n")
    before = {entry.name: entry.read_bytes() for entry in path.glob("*.json*")}
    with pytest.raises(RunDirectoryError, match=r"episodes.jsonl.*line 1, is"):
        resume(path)
    assert {entry.name: entry.read_bytes() for entry in path.glob("*.json*")} == before


def test_a_damaged_checkpoint_is_refused_and_nothing_is_changed(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.zip"
    path.write_bytes(path.read_bytes()[:-100])
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with pytest.raises(CheckpointError, match="must be a whole checkpoint of ASLA"):
        resume(tmp_path / "run")
    assert all((tmp_path / "run" / name).read_bytes() == content for name, content in before.items())


def test_only_one_process_searches_in_a_directory(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    with (
        RunDirectory(tmp_path / "run").locked(),
        pytest.raises(RunDirectoryError, match="another process searches there"),
    ):
        resume(tmp_path / "run")


def test_energies_of_another_calculator_are_not_taken(tmp_path):
    path = searched(tmp_path / "run", episodes=3)
    with training.EnergyDatabase(path / "energies.db", "gfn1-xtb") as database:
        assert len(database) == 0
