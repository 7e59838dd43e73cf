"""The Python of README runs as it stands."""

import re
from pathlib import Path

import pytest

_README = Path(__file__).parent.parent / "README.md"


def test_the_python_of_readme_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", _README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 4
    namespace = {}
    for block in blocks:
        exec(compile(block, str(_README), "exec"), namespace)
    assert (tmp_path / "graphene.zip").exists()
    assert namespace["problem"].n_to_place == 10


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http|#)(.*?)(?:#[^)]*)?\)", _README.read_text(encoding="utf-8")))
def test_the_links_of_readme_lead_somewhere(link):
    assert (_README.parent / link).exists()
