"""The directory of a search whose files were cut, changed or exchanged: it goes on, or is left as it is."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asla_agents import training
from asla_agents.config import RunConfig
from asla_agents.figures import learning_curve
from asla_agents.run_directory import RunDirectory, read_episodes
from asla_agents.training import resume, search

SMALL = {"env_id": "ASLA-GrapheneMini-v0", "evaluator": "xwch", "episodes": 3, "batch_size": 1, "gradient_steps": 0}
FILES = ("config.json", "episodes.jsonl", "times.jsonl", "checkpoint.zip", "energies.db")
KEPT = ("config.json", "episodes.jsonl", "times.jsonl", "checkpoint.zip")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "write_best", lambda *_: None)
        path = tmp_path_factory.mktemp("search") / "run"
        search(RunConfig(**SMALL, network={"hidden_channels": [1], "kernel_size": 3}), path, progress_bar=False)
        yield path


@st.composite
def damaged(draw):
    """What happens to which files: a function of their contents."""
    kind = draw(st.sampled_from(["cut", "flip", "exchange", "remove", "repeat", "insert", "zero"]))
    one, other = draw(st.sampled_from(FILES)), draw(st.sampled_from(FILES))
    where, bit = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(0, 7))
    what = draw(st.binary(min_size=1, max_size=8))
    return kind, one, other, where, bit, what


def with_damage(whole, kind, one, other, where, bit, what):
    files = {name: (whole / name).read_bytes() for name in FILES}
    content = files[one]
    at = int(where * len(content))
    if kind == "exchange":
        files[one], files[other] = files[other], files[one]
    elif kind == "remove":
        del files[one]
    elif kind == "flip":
        files[one] = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
    else:
        ends = {"cut": b"", "repeat": content, "insert": what + content[at:], "zero": bytes(len(content) - at)}
        files[one] = content[:at] + ends[kind]
    return files


def written(directory, files):
    path = Path(directory) / "run"
    path.mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def contents(path):
    return {name: (path / name).read_bytes() for name in KEPT if (path / name).exists()}


@settings(deadline=None, max_examples=settings().max_examples // 2)
@given(damaged())
def test_a_damaged_search_goes_on_or_is_refused_and_left_as_it_is(attempt, whole, damage):
    with tempfile.TemporaryDirectory() as directory:
        path = written(directory, with_damage(whole, *damage))
        before = contents(path)
        result, error = attempt(resume, path, episodes=4, progress_bar=False, errors=(ValueError, OSError))
        if error is None:
            assert result.episodes == len(read_episodes(path)) == 4
            assert RunDirectory(path).config().episodes == 4
        else:
            assert contents(path) == before
            assert {entry.name for entry in path.iterdir()} <= {*FILES, ".lock", "energies.db-shm", "energies.db-wal"}
        shutil.rmtree(path)


@settings(deadline=None)
@given(damaged())
def test_episodes_and_settings_of_a_damaged_search_are_read_or_refused(attempt, whole, damage):
    with tempfile.TemporaryDirectory() as directory:
        path = written(directory, with_damage(whole, *damage))
        rows, error = attempt(read_episodes, path, errors=(ValueError,))
        assert (rows is None) == (error is not None)
        attempt(lambda: RunDirectory(path).config(), errors=(ValueError,))


@settings(deadline=None, max_examples=settings().max_examples // 5)
@given(damaged())
def test_a_damaged_search_is_drawn_or_refused(attempt, whole, damage):
    with tempfile.TemporaryDirectory() as directory:
        path = written(directory, with_damage(whole, *damage))
        before = {entry: entry.read_bytes() for entry in path.iterdir()}
        attempt(learning_curve, path, errors=(ValueError,))
        assert {entry: entry.read_bytes() for entry in path.iterdir()} == before
