"""The examples for other libraries run, each in a process of its own, as a reader runs them."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

_DOCS = Path(__file__).parents[2] / "docs"
_EXAMPLES = _DOCS / "examples"
_SECTIONS = (_DOCS / "other_libraries.md").read_text(encoding="utf-8").split("\n## ")[1:]
_WITHOUT_MASKS = {"sb3_dqn", "sb3_ppo"}
_LIBRARIES = {
    "rllib_ppo": "ray",
    "sb3_contrib_maskable_ppo": "sb3_contrib",
    "sb3_dqn": "stable_baselines3",
    "sb3_ppo": "stable_baselines3",
    "sb3_representation": "sb3_contrib",
    "single_file_dqn": "torch",
    "tianshou_dqn": "tianshou",
    "torchrl_dqn": "torchrl",
}
_STEPS = 160


def test_all_examples_are_run():
    assert {path.stem for path in _EXAMPLES.glob("*.py")} == set(_LIBRARIES)


@pytest.mark.parametrize("name", sorted(_LIBRARIES))
def test_an_example_ends_with_the_best_energy_and_under_masks_no_illegal_action(name):
    if find_spec(_LIBRARIES[name]) is None:
        pytest.skip(f"{_LIBRARIES[name]} is not installed")
    command = [sys.executable, str(_EXAMPLES / f"{name}.py"), str(_STEPS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pattern = r"(best energy -\d+\.\d+ eV|no structure was finished); (\d+) of (\d+) actions were legal"
    best, legal, taken = re.fullmatch(pattern, done.stdout.splitlines()[-1]).groups()
    assert int(taken) >= _STEPS
    if name not in _WITHOUT_MASKS:
        assert legal == taken
        assert best.startswith("best energy")


@pytest.mark.parametrize("section", _SECTIONS, ids=[section.splitlines()[0] for section in _SECTIONS])
def test_the_lines_in_the_docs_are_those_of_the_example(section):
    path = _DOCS / re.search(r"\((examples/\w+\.py)\)", section)[1]
    shown = re.search(r"```python\n(.*?)```", section, flags=re.DOTALL)[1]
    there = {line.strip() for line in path.read_text(encoding="utf-8").splitlines()}
    assert {line.strip() for line in shown.splitlines()} <= there | {""}


def test_the_docs_show_every_example():
    assert sorted(re.findall(r"\(examples/(\w+)\.py\)", "".join(_SECTIONS))) == sorted(_LIBRARIES)
