"""The notebooks run from top to bottom in the environment of the tests, and show what they promise."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell

_ROOT = Path(__file__).parent.parent
_PATHS = sorted((_ROOT / "notebooks").glob("*.ipynb"))
_PICTURES = {
    "01_environment": 5,
    "02_representations": 6,
    "03_train": 3,
    "04_success_curves": 6,
    "05_other_libraries": 1,
}
_KERNEL = "asla-tests"
_LIMIT_S = 240  # for a busy machine: the longest takes a minute or two
# While a message is sent to a slider one that comes may be missed, and waited for for ever, most often on a busy
# machine, unless it is looked for again: github.com/jupyter/nbclient/issues/312.
_LOOK_AGAIN = """\
from itertools import count
from queue import Empty

from jupyter_client.channels import AsyncZMQSocketChannel

look = AsyncZMQSocketChannel.get_msg


async def look_again(self, timeout=None):
    for _ in count() if timeout is None else range(int(timeout) + 1):
        try:
            return await look(self, 1)
        except Empty:
            pass
    raise Empty


AsyncZMQSocketChannel.get_msg = look_again
"""
_WHERE = "import sys\n\nimport asla_env\n\nprint(sys.executable, asla_env.__file__)"
_MOVE_SLIDERS = """\
for shown in (gaussian, expansion, rings, angular):
    slider = shown.widget.children[0]
    slider.value = slider.min
    slider.value = slider.max
"""


@pytest.fixture
def run(tmp_path):
    """Execute a notebook with nbmake, in the Python that runs the tests; it is returned with its outputs."""
    kernel = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
    spec = tmp_path / "jupyter" / "kernels" / _KERNEL / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps(kernel | {"display_name": _KERNEL}), encoding="utf-8")
    own = {"JUPYTER_PATH": tmp_path / "jupyter", "IPYTHONDIR": tmp_path / "ipython", "JUPYTER_RUNTIME_DIR": tmp_path}
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {name: str(path) for name, path in own.items()}

    def execute(notebook):
        copy = tmp_path / "notebooks" / "copy.ipynb"
        copy.parent.mkdir()
        (copy.parent / "conftest.py").write_text(_LOOK_AGAIN, encoding="utf-8")
        nbformat.write(notebook, copy)
        options = f"--nbmake --overwrite --nbmake-kernel={_KERNEL} --nbmake-timeout={_LIMIT_S}"
        options += " -p no:cacheprovider -p no:xdist"
        command = [sys.executable, "-m", "pytest", *options.split(), str(copy)]
        how = {"cwd": tmp_path, "env": env, "capture_output": True, "text": True, "timeout": _LIMIT_S}
        done = subprocess.run(command, **how, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return nbformat.read(copy, as_version=4)

    return execute


def read(name):
    return nbformat.read(_ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def outputs_of(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def text_of(notebook):
    return "".join(output.text for output in outputs_of(notebook) if output.output_type == "stream")


def is_picture(output):
    return "image/png" in output.get("data", {})


def shown_by_sliders(notebook):
    """What each function behind sliders has drawn: an exception there does not stop the notebook."""
    models = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    return [model["state"]["outputs"] for model in models if model["model_name"] == "OutputModel"]


def run_with_checks(run, name, *more_cells):
    """Execute a notebook and check what holds of all."""
    notebook = read(name)
    notebook.cells += [new_code_cell(source) for source in (*more_cells, _WHERE)]
    executed = run(notebook)
    import asla_env  # here, as the other tests of this file read files alone

    assert outputs_of(executed)[-1].text.split() == [sys.executable, asla_env.__file__]
    assert [output.text for output in outputs_of(executed) if output.get("name") == "stderr"] == []
    assert sum(map(is_picture, outputs_of(executed))) >= _PICTURES[name]
    return executed


def test_all_notebooks_are_run():
    assert [path.stem for path in _PATHS] == list(_PICTURES)


@pytest.mark.parametrize("path", _PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_for_any_kernel_of_python(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert outputs_of(notebook) == []
    assert {cell.execution_count for cell in notebook.cells if cell.cell_type == "code"} == {None}
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("path", _PATHS, ids=lambda path: path.stem)
def test_a_notebook_asks_one_question_and_its_links_lead_somewhere(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    titles = re.findall(r"^# (.*)$", text, flags=re.MULTILINE)
    assert len(titles) == 1
    assert titles[0].endswith("?")
    for link in re.findall(r"\]\((?!http)(.*?)\)", text):
        assert (path.parent / link).exists(), link


def test_the_environment_is_shown_with_graphene_inside_its_window(run):
    executed = run_with_checks(run, "01_environment")
    window, n_found, n_builds = re.search(
        r"window: ([\d.]+) eV; (\d+) of (\d+) random builds", text_of(executed)
    ).groups()
    assert int(n_found) < int(n_builds) / 100
    above = float(re.search(r"graphene on these pixels: ([-+][\d.]+) eV", text_of(executed))[1])
    assert above < float(window)
    assert [any(map(is_picture, shown)) for shown in shown_by_sliders(executed)] == [True]


def test_the_representations_are_drawn_and_follow_their_sliders(run):
    executed = run_with_checks(run, "02_representations", _MOVE_SLIDERS)
    shown = shown_by_sliders(executed)
    assert len(shown) == 4
    for outputs in shown:
        assert [output["output_type"] for output in outputs if not is_picture(output)] == []
        assert len(outputs) == 1


def test_the_agent_learns_and_its_film_is_shown(run):
    executed = run_with_checks(run, "03_train")
    at_random, at_last = re.findall(
        r"^Median of the .*: +(\d+) eV above graphene\.$", text_of(executed), flags=re.MULTILINE
    )
    assert int(at_last) < int(at_random)
    films = [
        output
        for output in outputs_of(executed)
        if "data:image/gif;base64" in output.get("data", {}).get("text/html", "")
    ]
    assert len(films) == 1


def test_success_curves_are_shown_of_the_rows_that_are_kept_here(run, tmp_path):
    (tmp_path / "benchmarks").symlink_to(_ROOT / "benchmarks")
    text = text_of(run_with_checks(run, "04_success_curves"))
    for name in ("fig6a", "imagination"):
        assert re.search(rf"^{name}: {{", text, flags=re.MULTILINE)
    assert "not installed" not in text


def test_without_rows_the_notebook_says_where_they_are(run):
    notebook = read("04_success_curves")
    heading = next(i for i, cell in enumerate(notebook.cells) if cell.source.startswith("## The agent itself"))
    notebook.cells = [*notebook.cells[:2], *notebook.cells[heading:]]
    assert "Open this notebook in a clone of the repository" in text_of(run(notebook))


def test_other_libraries_build_structures(run):
    text = text_of(run_with_checks(run, "05_other_libraries"))
    summaries = re.findall(r"^(.*); (\d+) of (\d+) actions were legal$", text, flags=re.MULTILINE)
    assert len(summaries) == 4
    assert sum(legal == taken for _, legal, taken in summaries) == 3  # all but DQN, which has no mask
    assert sum(best.startswith("best energy") for best, _, _ in summaries) >= 3
