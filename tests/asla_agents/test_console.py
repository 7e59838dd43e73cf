"""What the command line prints: results and errors."""

from math import nan
from pathlib import Path

import pytest
import typer

from asla_agents.console import fail, for_tables, report_result
from asla_agents.training import SearchResult


@pytest.mark.parametrize(("found_at", "text"), [(None, "not found"), (1, "found in episode 1")])
def test_the_report_says_when_the_structure_was_found(found_at, text, capsys):
    report_result(SearchResult(Path("out"), 9, -198.6, -0.0312, found_at, interrupted=False))
    assert capsys.readouterr().out == (
        f"9 episodes, {text}\nbest energy -198.6000 eV, -0.0312 eV from the reference\nresults in out\n"
    )


def test_the_report_says_that_no_structure_has_an_energy(capsys):
    report_result(SearchResult(Path("out"), 9, nan, nan, None, interrupted=False))
    assert capsys.readouterr().out == (
        "9 episodes, not found\nno structure has an energy: each failed or came to a dead end, see episodes.jsonl\n"
        "results in out\n"
    )


def test_of_a_search_that_was_interrupted_before_its_first_energy_nothing_has_failed(capsys):
    with pytest.raises(typer.Exit):
        report_result(SearchResult(Path("out"), 0, nan, nan, None, interrupted=True))
    assert capsys.readouterr().out == "0 episodes, not found\nresults in out\nnot at its end: asla resume out\n"


def test_names_of_files_and_studies_are_printed_as_they_are(capsys):
    with pytest.raises(typer.Exit):
        report_result(SearchResult(Path(":heart:[b]"), 1, -1.0, 0.0, 1, interrupted=True))
    with pytest.raises(typer.Exit):
        fail(ValueError("no :heart: [b]"))
    for_tables().print("an arm :heart:")
    printed = capsys.readouterr()
    assert "results in :heart:[b]\nnot at its end: asla resume :heart:[b]\nan arm :heart:" in printed.out
    assert printed.err == "error: no :heart: [b]\n"
