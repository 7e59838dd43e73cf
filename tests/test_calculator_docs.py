"""The tables of docs/calculators.md are those of the code, and its Python runs."""

import ast
import re
from pathlib import Path

import pytest

from asla_env import calculators

_PAGE = (Path(__file__).parent.parent / "docs" / "calculators.md").read_text(encoding="utf-8")
_SECTIONS = {section.partition("\n")[0]: section for section in _PAGE.split("\n## ")}


@pytest.mark.parametrize("name", calculators.names())
def test_the_page_has_every_setting_of_a_calculator_with_its_default(name: str) -> None:
    (section,) = (text for title, text in _SECTIONS.items() if f"`{name}`" in title)
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", section, flags=re.MULTILINE)
    assert {setting: ast.literal_eval(default) for setting, default in rows} == calculators.defaults(name)


def test_the_python_of_the_page_runs() -> None:
    for block in re.findall(r"```python\n(from .*?)```", _PAGE, flags=re.DOTALL):
        exec(compile(block, "docs/calculators.md", "exec"), {})
