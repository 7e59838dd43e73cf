"""The Python of the pages beside README runs as it stands."""

import re
from pathlib import Path

_DOCS = Path(__file__).parent.parent / "docs"


def test_the_python_of_vector_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path))
    page = _DOCS / "vector.md"
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        exec(compile(block, str(page), "exec"), namespace)
    assert namespace["images"].shape == (4, 1, 21, 36)
    assert namespace["images"].sum() == 4  # new builds have begun
    assert len(namespace["model"].builds) == 8
