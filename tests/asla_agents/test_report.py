"""The report of a search: one page that shows all, loads nothing and escapes what it is given."""

import base64
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from asla_agents import report
from asla_agents.config import RunConfig
from asla_agents.report import film_best, write_report
from asla_agents.run_directory import RunDirectory, RunDirectoryError
from asla_agents.training import read_episodes, search
from asla_env import film

EVIL = "<script>alert('no \"convergence\"')</script>"


class Page(HTMLParser):
    """Tags with their attributes, and text by the heading above it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.tags, self.text, self._heading, self._in = html, [], {"": ""}, "", ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        if tag == "h2":
            self._heading = ""

    def handle_data(self, data):
        if self._in == "style":
            return
        if self._in == "h2" and data.strip():
            self._heading = data.strip()
            self.text[self._heading] = ""
        self._in = "" if self._in == "h2" else self._in
        self.text[self._heading] += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(directory) -> Page:
    write_report(directory, directory / "report.html")
    return Page((directory / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search that learned a little, with a kernel of its own."""
    config = RunConfig(
        env_id="ASLA-GrapheneMini-v0", evaluator="xwch", episodes=4, representation="agr", batch_size=2,
        gradient_steps=1, warmup_episodes=2, seed=5,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("search") / "run"
    search(config, path, progress_bar=False)
    return path


@pytest.fixture(scope="module")
def page(searched) -> Page:
    return page_of(searched)


# What it shows


def test_a_report_shows_outcome_curve_structures_film_kernel_settings_and_provenance(searched, page):
    rows = read_episodes(searched)
    best = min(rows, key=lambda row: row["energy"])
    assert f"{best['energy']:.4f} eV" in page.text["Outcome"]
    assert "4 (finished)" in page.text["Outcome"]
    assert f"first in episode {best['episode']}, built once" in page.text["Best structures"]
    assert page.text["Best structures"].count("built") == len(rows)
    assert "Lattice=" in page.text["Best structures"]
    assert "coefficients, C" in page.text["What was learned"]
    assert re.search(r"gradient_steps\s*1", page.text["Settings"])
    assert re.search(r"replay\.spillover\s*1\.0", page.text["Settings"])
    for part in ("versions.torch", "started.1.command", "started.1.date", "started.1.cpus"):
        assert part in page.text["Provenance"]
    assert "None." in page.text["Calculator failures"]
    alts = [image["alt"] for image in page.all("img")]
    assert len(alts) == 1 + len(rows) + 1 + 3  # curve, structures, film; Q-map, kernel, coefficients


def test_the_film_of_the_search_is_in_the_page_and_stands_still_for_those_who_want_it_so(searched, page):
    sources = [image["src"] for image in page.all("img")]
    (moving,) = [source for source in sources if source.startswith("data:image/gif")]
    assert base64.b64decode(moving.partition(",")[2]) == (searched / "assembly.gif").read_bytes()
    (still,) = page.all("source")
    assert still["media"] == "(prefers-reduced-motion: reduce)"
    assert base64.b64decode(still["srcset"].partition(",")[2]) == (searched / "assembly.png").read_bytes()


def test_every_picture_can_be_decoded_and_is_described(page):
    for image in page.all("img"):
        data = base64.b64decode(image["src"].partition(",")[2])
        with Image.open(io.BytesIO(data)) as picture:
            assert min(picture.size) > 100
        assert len(image["alt"]) > 20


def test_the_page_asks_for_nothing_and_runs_nothing(page):
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    addresses = [value for _, tag in page.tags for name, value in tag.items() if name in ("src", "srcset", "href")]
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert not page.all("script")
    assert "url(" not in page.html
    assert "@import" not in page.html


def test_the_page_has_language_title_and_headings_that_label_its_parts(page):
    assert page.all("html") == [{"lang": "en"}]
    assert "<title>Search of ASLA-GrapheneMini-v0 with xwch, agr, seed 5</title>" in page.html
    headings = {heading["id"] for heading in page.all("h2")}
    assert {section["aria-labelledby"] for section in page.all("section")} == headings
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))


# Searches of all kinds


def test_a_search_that_was_interrupted_before_a_checkpoint_says_what_is_missing(written, row):
    page = page_of(written([row(1), row(2, -60.0)]))
    assert "2 (of 20: running or interrupted)" in page.text["Outcome"]
    assert page.text["Best structures"].count("built once") == 2
    for heading in ("How the best was built", "What was learned"):
        assert "There is no checkpoint yet" in page.text[heading]


def test_a_search_that_died_has_its_film_drawn_from_the_checkpoint(searched, tmp_path):
    for name in ("config.json", "episodes.jsonl", "times.jsonl", "checkpoint.zip"):
        (tmp_path / name).write_bytes((searched / name).read_bytes())
    page = page_of(tmp_path)
    (moving,) = [image["src"] for image in page.all("img") if image["src"].startswith("data:image/gif")]
    with Image.open(io.BytesIO(base64.b64decode(moving.partition(",")[2]))) as gif:
        assert gif.n_frames == 12
    assert sorted(path.name for path in tmp_path.glob("*.html*")) == ["report.html"]


def test_a_search_without_an_episode_or_an_energy_has_a_report(written, row, append_row):
    directory = written()
    page = page_of(directory)
    assert "No episode has ended yet." in page.text["Learning curve"]
    assert "No structure has an energy yet." in page.text["Best structures"]
    append_row(RunDirectory(directory), row(1, None, dead_end=True, placed=[]), 2.0)
    page = page_of(directory)
    assert "none yet" in page.text["Outcome"]
    assert "none" in page.text["Episodes"]
    assert len(page.all("img")) == 1


def test_a_damaged_checkpoint_is_named_and_the_rest_is_shown(written, row):
    directory = written([row(1)])
    RunDirectory(directory).checkpoint.write_bytes(b"nothing")
    page = page_of(directory)
    assert "The checkpoint cannot be read" in page.text["What was learned"]
    assert "built once" in page.text["Best structures"]


def test_structures_that_were_built_again_count_once(written, row):
    again = row(3, -60.0) | {"placed": row(2)["placed"][::-1]}
    page = page_of(written([row(1), row(2, -60.0), again, row(4, -93.9, is_success=True)]))
    assert "built 2 times" in page.text["Best structures"]
    assert page.text["Best structures"].count("success") == 1
    assert "in episode 4" in page.text["Outcome"]


def test_what_the_search_says_is_text_whatever_it_looks_like(written, row, monkeypatch):
    monkeypatch.setattr("sys.argv", ["asla", EVIL])
    settings = {"evaluator": "ase.calculators.emt:EMT", "evaluator_settings": {"asap_cutoff": EVIL}}
    directory = written([row(1), *(row(n, -9.0, calculator_error=EVIL) for n in (2, 3))], **settings)
    RunDirectory(directory).warnings.write_text(f"at noon {EVIL}\n")
    page = page_of(directory)
    assert not page.all("script")
    assert re.search(rf"2\s*{re.escape(EVIL)}", page.text["Calculator failures"])
    assert f"at noon {EVIL}" in page.text["Calculator failures"]
    assert "alert(" in page.text["Settings"]
    assert "alert(" in page.text["Provenance"]
    assert "<script" not in page.html


def test_a_report_of_nothing_is_refused_and_an_old_page_outlives_a_failure(tmp_path, written, row, monkeypatch):
    with pytest.raises(RunDirectoryError, match="must hold a search"):
        write_report(tmp_path, tmp_path / "report.html")
    directory = written([row(1)])
    (directory / "report.html").write_text("old")
    monkeypatch.setattr(report, "learning_curve", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(directory, directory / "report.html")
    assert (directory / "report.html").read_text() == "old"


# Films


def test_the_best_build_of_a_checkpoint_can_be_filmed(searched, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(film, "save_film", lambda path, **shown: calls.append((path, shown)))
    film_best(searched, tmp_path / "film.mp4")
    ((path, shown),) = calls
    best = min(read_episodes(searched), key=lambda row: row["energy"])
    assert path == tmp_path / "film.mp4"
    assert list(shown["placed"]) == best["placed"]
    assert len(shown["q_maps"]) == len(shown["legal_masks"]) == 11


def test_a_search_without_a_checkpoint_cannot_be_filmed(written, row):
    with pytest.raises(ValueError, match="must hold a checkpoint, which holds the Q-maps"):
        film_best(written([row(1)]), "film.gif")
