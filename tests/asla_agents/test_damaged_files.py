"""Whatever happened to the files of a search: it goes on, or says in one line why not, and damages nothing further."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asla_agents import training
from asla_agents.callbacks import read_rows
from asla_agents.config import RunConfig
from asla_agents.run_directory import RunDirectoryError, read_episodes
from asla_agents.training import resume, search
from asla_env.energy_database import EnergyDatabase

FILES = ("config.json", "episodes.jsonl", "times.jsonl", "checkpoint.zip", "energies.db")
SMALL = {"env_id": "ASLA-GrapheneMini-v0", "evaluator": "xwch", "episodes": 3, "batch_size": 1, "gradient_steps": 0}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "write_best", lambda *_: None)
        path = tmp_path_factory.mktemp("search") / "run"
        search(RunConfig(**SMALL), path, progress_bar=False)
    return path


def attempt(function, *arguments, **settings):
    """What a function returns, and what it raises of the errors that a caller expects."""
    try:
        return function(*arguments, **settings), None
    except (ValueError, OSError) as error:
        return None, error


def damage(content: bytes, kind: str, where: float, what: bytes) -> bytes:
    at = int(where * len(content))
    return {"cut": content[:at], "insert": content[:at] + what + content[at:], "replace": what}.get(
        kind, content[:at] + what + content[at + len(what) :]
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(FILES),
    kind=st.sampled_from(["cut", "overwrite", "insert", "replace"]),
    where=st.floats(0, 1),
    what=st.binary(min_size=1, max_size=8),
)
def test_a_search_with_a_damaged_file_goes_on_or_says_why_not(whole, monkeypatch, name, kind, where, what):
    monkeypatch.setattr(training, "write_best", lambda *_: None)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "run"
        shutil.copytree(whole, path)
        (path / name).write_bytes(damage((whole / name).read_bytes(), kind, where, what))
        before = (path / "checkpoint.zip").read_bytes()
        result, error = attempt(resume, path, episodes=4, progress_bar=False)
        if error is None:
            assert result.episodes == len(read_episodes(path)) == 4
        else:
            assert "`" in str(error) or str(path) in str(error)
            assert (path / "checkpoint.zip").read_bytes() == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from([*RunConfig.model_fields, "unknown"]), value=JSON)
def test_any_value_of_a_setting_is_taken_or_refused_by_the_name_of_the_setting(name, value):
    config, error = attempt(RunConfig, **{**SMALL, name: value})
    if error is None:
        assert RunConfig(**json.loads(config.model_dump_json())) == config
    else:
        assert name in str(error)


@pytest.mark.parametrize("line", [b"{", b"\xff\xfe", b"3", b"[]", b"{} {}"])
def test_a_line_that_is_no_row_is_named(tmp_path, line):
    (tmp_path / "episodes.jsonl").write_bytes(b'{"a": 1}\n' + line + b"\n")
    with pytest.raises(ValueError, match=r"episodes\.jsonl, line 2, is .* but must be"):
        read_rows(tmp_path / "episodes.jsonl")


@pytest.mark.parametrize("row", ['{"episode": 1}', '{"episode": "one"}'])
def test_a_row_that_is_no_episode_is_named(tmp_path, row):
    (tmp_path / "episodes.jsonl").write_text(row + "\n")
    with pytest.raises(RunDirectoryError, match=r"line 1, must hold .*`energy`"):
        read_episodes(tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1), what=st.binary(min_size=1, max_size=8))
def test_a_damaged_database_opens_or_is_refused(whole, where, what):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "energies.db"
        path.write_bytes(damage((whole / "energies.db").read_bytes(), "overwrite", where, what))
        database, error = attempt(EnergyDatabase, path, "emt")
        if error is None:
            assert len(database) == 0
            database.close()
        else:
            assert str(path) in str(error)
