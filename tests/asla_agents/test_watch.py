"""What is seen of a search from a terminal, while another process writes its files."""

import io
import os
import re
import time

import numpy as np
import pytest
from rich.console import Console

from asla_agents import watch as watching
from asla_agents.record import read_record
from asla_agents.run_directory import RunDirectory, RunDirectoryError
from asla_agents.watch import view, watch
from asla_env.problems import graphene_mini
from asla_env.text import structure_text


def console_of(width=110, height=60, **settings) -> Console:
    file = settings.pop("file", io.StringIO())
    return Console(file=file, width=width, height=height, **{"color_system": None, **settings})


def shown(directory, now=None, height=None, **settings) -> str:
    console = console_of(height=height or 60, **settings)
    console.print(view(read_record(directory), console, time.time() if now is None else now, height))
    return console.file.getvalue()


def lines_in(text: str) -> list[str]:
    """Lines of the panel at the right, without its frame."""
    return [line.split("││")[1].strip(" │") for line in text.splitlines() if "││" in line]


# What is seen


def test_a_view_tells_how_far_the_search_is_and_what_it_found(written, row):
    rows = [row(1, -50.0), row(2, -93.5, is_success=True), row(3, -60.0)]
    text = shown(written(rows, seed=7))
    assert "ASLA-GrapheneMini-v0, xwch, gaussian, seed 7" in text
    assert "3 of 20 episodes, 34 s left" in text  # 17 of 2 s
    assert "-93.500 eV, +0.500 above ref." in text
    assert "in episode 2, 1 episodes ago" in text
    assert "in episode 2, 1 in all" in text
    assert "2 s an episode" in text
    assert "running" in text
    assert "last 3: 0.5 to 44 eV above ref." in text


def test_an_end_that_may_come_earlier_is_at_most_so_far(written, row):
    assert "at most 38 s left" in shown(written([row(1)], stop_on_success=True))


def test_the_best_structure_is_shown_as_text_where_there_is_room(written, row):
    best = row(2, -70.0)
    lines = lines_in(shown(written([row(1), best])))
    expected = structure_text(best["placed"], graphene_mini()).splitlines()
    assert lines[:12] == expected[:12]


def test_where_there_is_less_room_letters_stand_closer_and_then_become_dots(written, row):
    directory = written([row(1)])
    expected = [line.replace(" ", "") for line in structure_text(row(1)["placed"], graphene_mini()).splitlines()[1:]]
    assert lines_in(shown(directory, width=80))[1:10] == expected[:9]
    dots = shown(directory, width=80, height=24)
    assert max(map(len, dots.splitlines())) <= 80
    assert len(dots.splitlines()) <= 24
    pictured = "".join(lines_in(dots)[1:])
    assert sum(bin(ord(letter) - 0x2800).count("1") for letter in pictured if ord(letter) >= 0x2800) == 12


def test_a_terminal_without_such_letters_is_shown_none(written, row):
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = console_of(file=file, width=80)
    console.print(view(read_record(written([row(1)])), console, time.time(), 24))
    file.seek(0)
    assert "1 of 20 episodes" in file.read()


def test_a_search_that_is_just_starting_has_nothing_to_show_yet(written):
    text = shown(written())
    for part in ("0 of 20 episodes", "starting", "no energy yet", "none yet"):
        assert part in text


def test_a_line_that_is_being_written_is_left_out(written, row):
    directory = written([row(1)])
    for path in (RunDirectory(directory).episodes, RunDirectory(directory).times):
        with path.open("a") as file:
            file.write('{"episode": 2, "ener')
    assert "1 of 20 episodes" in shown(directory)


def test_a_search_that_is_silent_for_long_says_so(written, row):
    directory = written([row(1)])
    last = RunDirectory(directory).episodes.stat().st_mtime
    assert "running" in shown(directory, now=last + 25)
    assert "no episode for 2.0 min" in shown(directory, now=last + 120)
    assert "no episode for 3.0 h" in shown(directory, now=last + 3 * 3600)


def test_an_episode_may_take_long_where_others_did(written, row, append_row):
    directory = written([row(1)])
    append_row(RunDirectory(directory), row(2), 600.0)
    last = RunDirectory(directory).episodes.stat().st_mtime
    assert "running" in shown(directory, now=last + 3600)


def test_failures_are_counted_and_the_last_warnings_shown_as_they_are(written, row):
    directory = written([row(1), row(2, -20.0, calculator_error="no convergence")])
    RunDirectory(directory).warnings.write_text("first\n[red]second[/red]\nthird\nfourth\n")
    text = shown(directory)
    assert "1 energies" in text
    assert "last of 4 lines of warnings" in text
    assert "[red]second[/red]" in text
    assert "first" not in text


def test_a_search_without_any_energy_counts_its_dead_ends(written, row):
    text = shown(written([row(1, None, dead_end=True)] * 2))
    assert "no energy yet" in text
    assert "dead ends" in text


def test_energies_without_a_reference_are_shown_themselves(written, row):
    text = shown(written([row(1, energy_above_reference=None)]))
    assert "-50.000 eV" in text
    assert "above ref." not in text


# As it goes on


def test_a_view_follows_the_files_and_ends_with_the_search(written, row, append_row, monkeypatch):
    directory = RunDirectory(written([row(1)], episodes=3))
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        episode = len(waits) + 1
        append_row(directory, row(episode), 2.0 * episode)
        os.utime(directory.episodes, ns=(episode * 10**9,) * 2)

    monkeypatch.setattr(watching.time, "sleep", sleep)
    console = console_of(force_terminal=True)
    watch(directory.path, console, every_s=0.5)
    text = console.file.getvalue()
    assert waits == [0.5, 0.5]
    assert "2 of 3 episodes" in text
    assert "finished" in text[text.rindex("3 of 3 episodes") :]


def test_an_interrupt_ends_the_view_and_leaves_it_on_the_terminal(written, row, monkeypatch):
    def sleep(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", sleep)
    console = console_of(force_terminal=True)
    watch(written([row(1)]), console)
    text = console.file.getvalue()
    assert "\x1b[?1049l" in text  # back from the other screen
    assert "1 of 20 episodes" in text[text.rindex("\x1b[?1049l") :]


@pytest.mark.parametrize(("once", "is_terminal"), [(True, True), (False, False)])
def test_once_or_where_no_terminal_is_it_is_shown_once(written, row, monkeypatch, once, is_terminal):
    monkeypatch.setattr(watching.time, "sleep", lambda seconds: pytest.fail("it waits"))
    console = console_of(force_terminal=is_terminal)
    watch(written([row(1)]), console, once)
    assert console.file.getvalue().count("1 of 20 episodes") == 1


def test_what_is_no_search_cannot_be_watched(tmp_path):
    with pytest.raises(RunDirectoryError, match="must hold a search"):
        watch(tmp_path, console_of())


def test_looks_need_time_between_them(written):
    directory = written()
    for every_s in (0, np.nan, np.inf, 1e12):
        with pytest.raises(ValueError, match=f"`every_s` is {re.escape(str(every_s))} but must be positive, and a day"):
            watch(directory, console_of(), every_s=every_s)
