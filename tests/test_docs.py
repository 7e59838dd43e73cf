"""The Python of the pages beside README runs as it stands."""

import re
from pathlib import Path

import pytest

from asla_agents import tensorboard

_DOCS = Path(__file__).parent.parent / "docs"


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_search_of_reliability_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path))
    exec(compile(blocks_of(_DOCS / "reliability.md")[-1], "reliability.md", "exec"), {})
    assert len((tmp_path / "runs" / "mini" / "episodes.jsonl").read_text().splitlines()) == 8


def test_the_python_of_vector_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path))
    page = _DOCS / "vector.md"
    namespace = {}
    for block in blocks_of(page):
        exec(compile(block, str(page), "exec"), namespace)
    assert namespace["images"].shape == (4, 1, 21, 36)
    assert namespace["images"].sum() == 4  # new builds have begun
    assert len(namespace["model"].builds) == 8


def test_the_python_of_watching_writes_events(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    (block,) = blocks_of(_DOCS / "watching.md")
    exec(compile(block, "watching.md", "exec"), {})
    assert list((tmp_path / "runs" / "events" / "ASLA_1").glob("events.*"))


def test_the_page_of_watching_names_every_scalar_and_picture():
    source = Path(tensorboard.__file__).read_text(encoding="utf-8")
    names = set(re.findall(r'"((?:episode|search|pictures)/\w+)"', source))
    page = (_DOCS / "watching.md").read_text(encoding="utf-8")
    assert len(names) >= 12
    assert {name for name in names if f"`{name}`" not in page} == set()
