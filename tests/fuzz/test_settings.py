"""Files of settings and of studies that hold anything: read, or refused in one line, with nothing left behind."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from asla_agents import cli
from asla_agents.config import RunConfig
from asla_agents.config_toml import to_toml
from asla_agents.jobs import job_of
from asla_agents.study import Study, curve_data, missing_restarts, read_study_rows, rows_of
from asla_agents.training import SearchResult

CONFIG = RunConfig(env_id="ASLA-GrapheneMini-v0", evaluator="xwch", imagination=True, representation="agr")
STUDY = Study(
    settings={"env_id": "ASLA-GrapheneMini-v0", "episodes": 3}, arms={"a": {}, "b": {"representation": "agr"}}
)
ROW = {"arm": "a", "key": "0" * 16, "seed": 0, "episodes": 3, "budget": 3, "found_at": 2, "best_above_reference": 1.0}
TEXTS = {".toml": to_toml(CONFIG).encode(), ".json": CONFIG.model_dump_json(indent=1).encode()}
SPECS = {".json": STUDY.model_dump_json(indent=1).encode()}
ROWS = {".jsonl": b"".join(json.dumps(ROW | {"seed": seed}).encode() + b"\n" for seed in range(3))}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def files(draw, texts):
    """An ending, and a file that was whole before something happened to it."""
    ending = draw(st.sampled_from(list(texts)))
    content = bytearray(texts[ending])
    for _ in range(draw(st.integers(0, 2))):
        at, end = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
        what = draw(
            st.binary(max_size=6) | st.sampled_from([b"\n", b'"', b"[", b"}", b"true", b"-1", b"1e999", b"null"])
        )
        content[at : draw(st.sampled_from([at, at + len(what), min(at + 8, len(content)), end]))] = what
    return ending, bytes(draw(st.just(content) | st.binary(max_size=30)))


@st.composite
def changed(draw, whole):
    """JSON in which one value, at any depth, is another one, or a name is."""
    root = json.loads(whole)
    place = root
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner and draw(st.booleans())):
            break
        place = inner
    if isinstance(place, dict) and draw(st.booleans()):
        place[draw(st.text(max_size=5))] = place.pop(key)
    else:
        place[key] = draw(JSON)
    return ".json", json.dumps(root).encode()


@pytest.fixture(scope="module")
def searched():
    """Replace the search by a record of its settings."""
    calls = []

    def search(config, directory, **how):
        calls.append(config)
        return SearchResult(directory, 1, 0.0, 0.0, None, interrupted=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "search", search)
        yield calls


def written(directory, ending, content):
    path = Path(directory) / f"file{ending}"
    path.write_bytes(content)
    return path


@settings(deadline=None)
@given(files(TEXTS) | changed(TEXTS[".json"]))
def test_settings_are_read_or_refused_in_one_line_with_nothing_left_behind(attempt, searched, file):
    with tempfile.TemporaryDirectory() as directory:
        path = written(directory, *file)
        config, error = attempt(RunConfig.load, path, errors=(ValueError,))
        assert (config is None) == (error is not None)
        searched.clear()
        here = Path.cwd()
        os.chdir(directory)
        try:
            result = CliRunner().invoke(cli.app, ["search", "--config", str(path), "--workers", "0"])
        finally:
            os.chdir(here)
        if config is not None:
            assert result.exit_code == 0, result.output
            assert searched == [config] or config != config.model_copy(deep=True)  # nan is not equal to itself
            assert RunConfig(**json.loads(config.model_dump_json())).model_dump_json() == config.model_dump_json()
        else:
            assert path.name in str(error)
            assert (result.exit_code, result.stdout, searched) == (2, "", [])
            assert result.stderr.startswith("error: ")
            assert result.stderr.count("\n") == 1
        assert [entry.name for entry in Path(directory).iterdir()] == [path.name]


@settings(deadline=None)
@given(files(SPECS) | changed(SPECS[".json"]))
@example(file=(".json", b'{"settings": {"env_id": "ASLA-GrapheneMini-v0"}, "arms": {"a": {}, "b": {}}}'))
def test_a_study_is_read_or_refused(attempt, file):
    with tempfile.TemporaryDirectory() as directory:
        path = written(directory, *file)
        job, error = attempt(job_of, str(path), None, None, False, errors=(ValueError,))
        if job is None:
            assert path.name in str(error)
            return
        different = {job.study.config(arm, 0).key for arm in job.study.arms}  # arms of the same settings share restarts
        assert len(missing_restarts(job.study, job.rows, 2)) == 2 * len(different)


@settings(deadline=None)
@given(files(ROWS))
def test_rows_of_a_study_are_read_or_refused(attempt, file):
    with tempfile.TemporaryDirectory() as directory:
        path = written(directory, *file)
        rows, error = attempt(read_study_rows, path, errors=(ValueError,))
        if rows is None:
            assert f"{path.name}, line " in str(error)
        else:
            assert len(missing_restarts(STUDY, path, 1)) <= 2
            curve_data(rows_of(STUDY, "a", rows))
        assert path.read_bytes() == file[1]
