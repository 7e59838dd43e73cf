"""What the pages of `docs` say runs as it stands, leads somewhere and agrees with the code."""

import inspect
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from asla_agents import equations, tensorboard
from asla_agents.asla import ASLA
from asla_agents.config import RunConfig
from asla_agents.exploration import Exploration
from asla_agents.imagination import ImaginationSettings
from asla_agents.member import MemberResult
from asla_agents.q_map import QMapNetwork
from asla_agents.replay import ReplaySettings
from asla_agents.representations import REPRESENTATIONS
from asla_agents.restarts import _row
from asla_env import IDS, AtomPlacementEnv
from asla_env.problems import PROBLEMS

_ROOT = Path(__file__).parent.parent
_DOCS = _ROOT / "docs"
_PAGES = sorted(_DOCS.glob("*.md"))
_FROM_TOP_TO_BOTTOM = (
    "asla",
    "environment",
    "get_started",
    "imagination",
    "representations",
    "studies",
    "vector",
    "your_own_calculator",
    "your_own_problem",
    "your_own_representation",
)


@pytest.fixture
def signatures(monkeypatch):
    """The module that makes tables of the site from signatures."""
    monkeypatch.syspath_prepend(_DOCS / "extensions")
    yield __import__("signatures")
    del sys.modules["signatures"]


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def run(page: str, tmp_path, monkeypatch) -> dict:
    """Names that the Python of a page has made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path))
    namespace = {}
    for block in blocks_of(_DOCS / f"{page}.md"):
        exec(compile(block, f"docs/{page}.md", "exec"), namespace)
    plt.close("all")
    return namespace


def links_of(page: Path) -> list[str]:
    """What a page links to that lies in the repository."""
    return re.findall(r"\]\((?!http|#)([^)\s]+)\)", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_search_of_reliability_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path))
    exec(compile(blocks_of(_DOCS / "reliability.md")[-1], "reliability.md", "exec"), {})
    assert len((tmp_path / "runs" / "mini" / "episodes.jsonl").read_text().splitlines()) == 8


def test_the_python_of_vector_runs_from_top_to_bottom(tmp_path, monkeypatch):
    namespace = run("vector", tmp_path, monkeypatch)
    assert namespace["images"].shape == (4, 1, 21, 36)
    assert namespace["images"].sum() == 4  # new builds have begun
    assert len(namespace["model"].builds) == 8


def test_a_first_look_from_python_goes_on_from_its_file(tmp_path, monkeypatch):
    namespace = run("get_started", tmp_path, monkeypatch)
    assert namespace["model"].episodes == 6
    assert namespace["q_map"].shape == (1, 21, 36)
    assert len(namespace["atoms"]) == 12


def test_a_problem_of_your_own_is_searched_in_two_and_three_dimensions(tmp_path, monkeypatch):
    namespace = run("your_own_problem", tmp_path, monkeypatch)
    assert str(namespace["chain"].symbols) == "C3"
    assert namespace["model"].problem.grid.ndim == 3
    assert namespace["env"].unwrapped.problem.n_to_place == 10


def test_a_calculator_of_your_own_goes_in_as_class_function_or_path(tmp_path, monkeypatch):
    namespace = run("your_own_calculator", tmp_path, monkeypatch)
    env = namespace["env"]
    env.reset(seed=0)
    assert env.evaluator.evaluate(env.problem.reference).error is None


def test_a_representation_of_your_own_is_trained_and_kept(tmp_path, monkeypatch):
    namespace = run("your_own_representation", tmp_path, monkeypatch)
    assert namespace["after"] != namespace["before"] == pytest.approx(1.5 * namespace["cusp"].spacing)
    loaded = namespace["model"].policy.features_extractor
    assert type(loaded) is namespace["Cusp"]
    assert loaded.log_decay.exp().item() == pytest.approx(namespace["after"])
    assert divmod(int(namespace["drawn"].argmax()), 36) == (0, 0)


def test_an_episode_at_random_has_an_energy(tmp_path, monkeypatch):
    namespace = run("environment", tmp_path, monkeypatch)
    keys = re.findall(r"^\| `(\w+)` \| (?:always|at the end)", (_DOCS / "environment.md").read_text(), re.MULTILINE)
    assert sorted(keys) == sorted(namespace["info"])
    assert namespace["info"]["energy"] < 0


def test_the_algorithm_takes_the_settings_that_its_page_sets(tmp_path, monkeypatch):
    model = run("asla", tmp_path, monkeypatch)["model"]
    assert model.explorer.exploration.epsilon == 0.02
    assert model.builds.settings.window_quantile == 0.4
    assert len(model.builds) == 6


def test_builds_are_imagined_on_their_page(tmp_path, monkeypatch):
    assert run("imagination", tmp_path, monkeypatch)["model"].imagination.model is not None


def test_searches_together_and_their_statistics_are_those_of_the_page(tmp_path, monkeypatch):
    namespace = run("studies", tmp_path, monkeypatch)
    assert sorted(result.config.seed for result in namespace["results"]) == [0, 1, 2, 3]
    assert namespace["half"].value == 300
    assert namespace["p_value"] < 0.5


def test_the_picture_of_representations_is_the_one_that_is_kept(tmp_path, monkeypatch):
    namespace = run("representations", tmp_path, monkeypatch)
    drawn = plt.imread(tmp_path / "representations.png")
    kept = plt.imread(_DOCS / "images" / "representations.png")
    assert drawn.shape == kept.shape
    assert np.abs(drawn - kept).mean() < 0.02
    assert [len(image) for image in namespace["drawn"]] == [1, 1, 1, 1, 3]


def test_every_page_with_python_is_run():
    elsewhere = {"calculators", "other_libraries", "reliability", "watching"}  # tests of their own
    with_python = {page.stem for page in _PAGES if blocks_of(page)}
    assert with_python - elsewhere - {"configuration"} == set(_FROM_TOP_TO_BOTTOM)


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_somewhere(page):
    for link in links_of(page):
        file, _, anchor = link.partition("#")
        assert (_DOCS / file).exists(), link
        assert not anchor or anchor in anchors_of(_DOCS / file), link


def test_the_ids_are_those_that_are_registered():
    text = (_DOCS / "environment.md").read_text()
    rows = re.findall(r"^\| `(ASLA-\w+-v0)` \| .* \| (\d+) x (\d+) \| (.*)\|$", text, re.MULTILINE)
    grids = {env_id: PROBLEMS[name]().grid for env_id, name in IDS.items()}
    assert {row[0] for row in rows} == set(IDS)
    for env_id, *shape, axes in rows:
        assert tuple(map(int, shape)) == grids[env_id].shape
        assert tuple(axis in axes for axis in "xy") == grids[env_id].periodic


def test_the_rows_of_a_study_are_those_of_its_page():
    text = (_DOCS / "studies.md").read_text()
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)))
    result = MemberResult(0, RunConfig(env_id="ASLA-GrapheneMini-v0"), 1, None, None, np.zeros(1), {"width": [1.0]})
    assert set(named) == {*_row("an arm", result, exact=0.0), "unfinished"}


@pytest.mark.parametrize("page", [_ROOT / "README.md", _DOCS / "faq.md"], ids=lambda page: page.stem)
def test_the_reward_has_the_window_that_is_written(page):
    (window,) = re.findall(r"\(n \* (\d+) eV\)", page.read_text())
    assert float(window) == inspect.signature(AtomPlacementEnv).parameters["reward_window"].default


def test_the_page_of_representations_has_all_equations_in_order_and_all_classes():
    text = (_DOCS / "representations.md").read_text()
    named = re.findall(r"^`asla_agents\.equations\.(\w+)`", text, re.MULTILINE)
    named += re.findall(r"one-hot image: `asla_agents\.equations\.(\w+)`", text)
    public = [name for name, value in vars(equations).items() if inspect.isfunction(value) and name[0] != "_"]
    assert named == public
    assert re.findall(r"^\| `([\w-]+)` \| `(\w+)` \|", text, re.MULTILINE) == [
        (name, cls.__name__) for name, cls in REPRESENTATIONS.items()
    ]


@pytest.mark.parametrize(
    "described", [ASLA, AtomPlacementEnv, Exploration, ImaginationSettings, QMapNetwork, ReplaySettings]
)
def test_a_table_of_settings_has_every_default_of_the_code(described, signatures):
    rows = signatures.rows(described)
    written = {name: default for names, defaults, _ in rows for name, default in zip(names, defaults, strict=True)}
    arguments = inspect.signature(described).parameters.values()
    assert written.keys() == {a.name for a in arguments if a.default is not inspect.Parameter.empty}
    for argument in arguments:
        if isinstance(argument.default, float | int | str | None):
            assert written.get(argument.name, repr(argument.default)) == repr(argument.default)
    assert all(meaning.endswith(".") for *_, meaning in rows)


def test_a_table_of_settings_refuses_an_argument_without_a_description(signatures):
    class Undocumented:
        """Nothing is said."""

        def __init__(self, setting: int = 1) -> None:
            pass

    with pytest.raises(ValueError, match="no description of setting"):
        signatures.rows(Undocumented)
    assert signatures.rows(Undocumented, without=["setting"]) == []


def test_a_description_of_several_arguments_is_one_row(signatures):
    docstring = (
        "Title.\n\nParameters\n----------\na, b\n    Two\n    lines.\nc : int\n    One.\n\nRaises\n------\nX\n    Y."
    )
    assert signatures.parameters(docstring) == {("a", "b"): "Two lines.", ("c",): "One."}


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
