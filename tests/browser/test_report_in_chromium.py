"""The report in a real browser: it says nothing on the console, asks for nothing, shows all."""

import http.server
import json
import threading

import pytest

from asla_agents.config import RunConfig
from asla_agents.report import write_report
from asla_agents.run_directory import RunDirectory
from asla_agents.training import search

EVIL = "</td><script>document.title='owned'</script><img src='http://127.0.0.1:9/x' onerror='document.title=1'>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of a search in which the calculator said what no page should take for its own."""
    config = RunConfig(
        env_id="ASLA-GrapheneMini-v0", evaluator="xwch", episodes=4, representation="agr", batch_size=2,
        gradient_steps=1, warmup_episodes=2,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("search") / "run"
    search(config, path, progress_bar=False)
    log = RunDirectory(path).episodes
    *rows, last = [json.loads(line) for line in log.read_text().splitlines()]
    rows.append(last | {"calculator_error": EVIL})
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    RunDirectory(path).warnings.write_text(EVIL)
    write_report(path, path / "report.html")
    return path / "report.html"


@pytest.mark.parametrize("dark", [False, True])
def test_the_report_opens_without_an_error_on_the_console_or_a_request(chromium, page, dark):
    chromium.open(page, dark)
    assert chromium.errors == []
    assert chromium.requests == []
    assert chromium.evaluate("document.title").startswith("Search of ASLA-GrapheneMini-v0")
    assert chromium.evaluate("document.documentElement.outerText").count("document.title='owned'") == 1


def test_all_pictures_are_shown_and_described(chromium, page):
    chromium.open(page)
    sizes = chromium.evaluate("Array.from(document.images).map(image => image.naturalWidth)")
    assert len(sizes) == 1 + 3 + 1 + 3  # curve, structures, film, what was learned
    assert min(sizes) > 100
    assert chromium.evaluate("Array.from(document.images).every(image => image.alt.length > 20)")


def test_the_page_is_dark_where_the_reader_wants_it_so(chromium, page):
    brightness = {}
    for dark in (False, True):
        chromium.open(page, dark)
        colour = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness[dark] = sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))
    assert brightness[True] < 150 < 600 < brightness[False]


@pytest.mark.parametrize("width", [360, 1100])
def test_nothing_reaches_beyond_the_page(chromium, page, width):
    chromium.open(page, width=width)
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width


def test_the_policy_stops_what_would_have_slipped_in(chromium, page, tmp_path):
    slipped = tmp_path / "slipped.html"
    slipped.write_text(page.read_text().replace("</main>", f"{EVIL}</main>"))
    chromium.open(slipped)
    assert chromium.evaluate("document.title").startswith("Search of")
    assert any("Content Security Policy" in error for error in chromium.errors)


def test_an_error_and_a_request_would_have_been_noticed(chromium, tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/picture.png"
    bad = tmp_path / "bad.html"
    scripts = "<script>console.error('said')</script><script>throw new Error('thrown')</script>"
    bad.write_text(f"<!DOCTYPE html><title>bad</title><img src='{address}'>{scripts}")
    try:
        chromium.open(bad)
    finally:
        server.shutdown()
        server.server_close()
    assert chromium.requests == [address]
    assert any("said" in error for error in chromium.errors)
    assert any("thrown" in error for error in chromium.errors)
