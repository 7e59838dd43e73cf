"""What a search writes for TensorBoard, read back with TensorBoard's own reader."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from asla_agents import ASLA, tensorboard, training
from asla_agents.callbacks import Checkpoint
from asla_agents.checkpoint import read_checkpoint
from asla_agents.config import RunConfig
from asla_agents.run_directory import RunDirectory
from asla_agents.tensorboard import TensorBoard, tensorboard_logger
from asla_agents.training import make_env, make_model, read_episodes, resume, search

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
SETTINGS = {"env_id": "ASLA-GrapheneMini-v0", "evaluator": "xwch", "representation": "agr", "batch_size": 2}
SETTINGS |= {"gradient_steps": 1, "warmup_episodes": 3, "episodes": 6, "seed": 3}


@pytest.fixture(autouse=True, scope="module")
def _without_files_of_the_best():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "write_best", lambda *_: None)
        yield


def events_of(directory: Path):
    reader = accumulator.EventAccumulator(str(RunDirectory(directory).tensorboard), {"scalars": 0, "images": 0})
    return reader.Reload()


def scalars(events, name: str) -> dict[int, float]:
    """Values by step, each step once."""
    values = [(event.step, event.value) for event in events.Scalars(name)]
    assert len(dict(values)) == len(values)
    return dict(values)


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("search") / "run"
    search(RunConfig(**SETTINGS), path, progress_bar=False, tensorboard=True)
    return path


def test_each_episode_is_a_step_with_the_scalars_of_its_row(searched):
    rows, events = read_episodes(searched), events_of(searched)
    for name in ("energy", "energy_above_reference", "is_success"):
        expected = {row["episode"]: pytest.approx(float(row[name]), rel=1e-6) for row in rows}
        assert scalars(events, f"episode/{name}") == expected
    assert scalars(events, "episode/length") == dict.fromkeys(range(1, 7), 11)
    lowest = np.minimum.accumulate([row["energy"] for row in rows])
    assert list(scalars(events, "search/best_energy").values()) == pytest.approx(lowest, rel=1e-6)
    since = [n - int(np.argmin([row["energy"] for row in rows[: n + 1]])) for n in range(6)]
    assert list(scalars(events, "search/episodes_since_lowest").values()) == since
    assert list(scalars(events, "search/warming_up").values()) == [1, 1, 0, 0, 0, 0]
    assert list(scalars(events, "train/loss")) == [3, 4, 5, 6]  # from the end of the warm-up on
    assert all(rate > 0 for rate in scalars(events, "search/episodes_per_second").values())


def test_the_coefficients_are_those_of_the_agent_as_it_learns(searched):
    config = RunConfig(**SETTINGS)
    model = ASLA.load(RunDirectory(searched).checkpoint, make_env(config))
    events, n_changed = events_of(searched), 0
    for i, expected in enumerate(model.q_map.features_extractor.coefficient_values[0], 1):
        values = scalars(events, f"coefficients_C/{i}")
        assert values[6] == pytest.approx(expected, abs=1e-4)
        assert values[1] == values[2]
        n_changed += values[2] != values[6]  # to four digits, to which they are rounded
    assert n_changed >= 5


def test_pictures_show_q_map_best_structure_kernel_and_coefficients(searched):
    events = events_of(searched)
    assert sorted(events.Tags()["images"]) == [
        f"pictures/{name}" for name in ("best", "coefficients", "kernel", "q_map")
    ]
    for name in events.Tags()["images"]:
        (picture,) = events.Images(name)
        assert picture.step == 6
        assert picture.encoded_image_string.startswith(b"\x89PNG")
        assert min(picture.width, picture.height) > 150


def test_pictures_come_every_so_many_episodes_and_at_the_end(tmp_path):
    config = RunConfig(**SETTINGS | {"representation": "one-hot"})
    model, logger = make_model(config, make_env(config)), tensorboard_logger(tmp_path / "tensorboard")
    model.set_logger(logger)
    model.learn(5, TensorBoard(pictures_every=2), log_interval=sys.maxsize)
    logger.close()
    events = events_of(tmp_path)
    assert [picture.step for picture in events.Images("pictures/q_map")] == [2, 4, 5]
    assert "pictures/kernel" not in events.Tags()["images"]  # atoms are single pixels


def test_the_search_is_the_same_with_and_without(searched, tmp_path):
    search(RunConfig(**SETTINGS), tmp_path / "run", progress_bar=False)
    assert not RunDirectory(tmp_path / "run").tensorboard.exists()
    with_it, without = RunDirectory(searched), RunDirectory(tmp_path / "run")
    assert with_it.episodes.read_bytes() == without.episodes.read_bytes()
    states = [read_checkpoint(directory.checkpoint) for directory in (with_it, without)]
    assert states[0].plain == states[1].plain
    for name, weights in states[0].tensors["policy"].items():
        assert torch.equal(weights, states[1].tensors["policy"][name])


def test_a_search_that_died_goes_on_with_its_events_and_takes_back_what_it_forgot(tmp_path, monkeypatch):
    class Dies(TensorBoard):
        def on_episode(self, info):
            if self._episode == 4:  # the fifth is in the log, and no checkpoint since the second
                raise RuntimeError("power failure")
            return super().on_episode(info)

    monkeypatch.setattr(training, "Checkpoint", lambda path, log: Checkpoint(path, log, every=2))
    monkeypatch.setattr(training, "TensorBoard", Dies)
    with pytest.raises(RuntimeError, match="power failure"):
        search(RunConfig(**SETTINGS), tmp_path / "run", progress_bar=False, tensorboard=True)
    assert list(scalars(events_of(tmp_path / "run"), "episode/energy")) == [1, 2, 3, 4]
    monkeypatch.setattr(training, "TensorBoard", TensorBoard)
    (tmp_path / "run" / "checkpoint.zip").unlink()  # from the very beginning: four steps are taken back
    resume(tmp_path / "run", progress_bar=False)
    energies = scalars(events_of(tmp_path / "run"), "episode/energy")
    rows = read_episodes(tmp_path / "run")
    assert energies == {row["episode"]: pytest.approx(row["energy"], rel=1e-6) for row in rows}
    assert len(rows) == 6


def test_whether_to_go_on_writing_can_be_said(searched, tmp_path):
    for name in ("config.json", "episodes.jsonl", "times.jsonl", "checkpoint.zip", "energies.db"):
        (tmp_path / name).write_bytes((searched / name).read_bytes())
    resume(tmp_path, episodes=7, progress_bar=False)
    assert not (tmp_path / "tensorboard").exists()
    resume(tmp_path, episodes=8, progress_bar=False, tensorboard=True)
    assert list(scalars(events_of(tmp_path), "episode/energy")) == [8]
    resume(tmp_path, episodes=9, progress_bar=False, tensorboard=False)
    resume(tmp_path, episodes=10, progress_bar=False)
    assert list(scalars(events_of(tmp_path), "episode/energy")) == [8, 10]


def test_builds_that_go_on_together_are_a_step_each(tmp_path):
    config = RunConfig(**SETTINGS | {"builds_at_once": 3, "episodes": 7})
    search(config, tmp_path / "run", progress_bar=False, tensorboard=True)
    rows, events = read_episodes(tmp_path / "run"), events_of(tmp_path / "run")
    energies = scalars(events, "episode/energy")
    assert energies == {row["episode"]: pytest.approx(row["energy"], rel=1e-6) for row in rows}
    assert list(scalars(events, "search/best_energy")) == [3, 6, 7]  # known after each round


def test_what_stands_in_for_an_energy_is_not_written(tmp_path):
    infos = [
        {"energy": 9.0, "energy_above_reference": 99.0, "calculator_error": "no convergence", "dead_end": False},
        {"energy": np.inf, "energy_above_reference": np.inf, "calculator_error": None, "dead_end": True},
    ]
    for info in infos:
        values = tensorboard._of_episode({"is_success": False, "placed": (1, 2), **info})
        assert not np.isfinite([values["episode/energy"], values["episode/energy_above_reference"]]).any()
        assert values["episode/length"] == 2
        assert values["episode/dead_end"] + values["episode/calculator_failed"] == 1


def test_the_callback_goes_with_a_logger_of_stable_baselines3(tmp_path):
    config = RunConfig(**SETTINGS)
    model = ASLA("QMapPolicy", make_env(config), warmup_episodes=9, tensorboard_log=str(tmp_path))
    model.learn(2, TensorBoard(), log_interval=sys.maxsize)
    model.logger.close()
    reader = accumulator.EventAccumulator(str(tmp_path / "ASLA_1")).Reload()
    assert list(scalars(reader, "episode/energy")) == [1, 2]


def test_without_tensorboard_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"which cannot be imported: `pip install asla\[tensorboard\]`"):
        search(RunConfig(**SETTINGS), tmp_path / "run", progress_bar=False, tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_pictures_need_episodes_between_them():
    with pytest.raises(ValueError, match="`pictures_every` is 0 but must be at least 1"):
        TensorBoard(pictures_every=0)
