"""What is seen of a study from a terminal."""

import io
import json

import pytest
from rich.console import Console

from asla_agents import watch_study as watching
from asla_agents.checkpoint import State, write_checkpoint
from asla_agents.unfinished import UnfinishedSearches
from asla_agents.watch_study import watch_study

KEYS = {"one-hot": "1a", "agr": "2b"}


def console_of(**settings) -> Console:
    return Console(file=io.StringIO(), width=120, color_system=None, **settings)


def row_of(seed, arm="one-hot", found_at=None, **changes) -> dict:
    row = {"arm": arm, "key": KEYS[arm], "seed": seed, "episodes": 100, "found_at": found_at}
    return row | {"best_above_reference": 5.0 + seed} | changes


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"arm": "cut o')
    return path


def cells(text: str, first: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if first in line]
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_each_arm_has_a_line_with_what_its_restarts_found(tmp_path):
    rows = [row_of(0), row_of(1), row_of(0, "agr", 20), row_of(1, "agr", 40), row_of(2, "agr", None)]
    console = console_of()
    watch_study(write(tmp_path / "rows.jsonl", *rows), console)
    text = console.file.getvalue()
    assert cells(text, "one-hot") == ["one-hot", "2", "0", "0", "not within 100", "5.000"]
    assert cells(text, "agr") == ["agr", "3", "0", "2", "40", "5.000"]


def test_the_same_arm_with_other_settings_has_a_line_of_its_own(tmp_path):
    console = console_of()
    watch_study(write(tmp_path / "rows.jsonl", row_of(0), row_of(0, key="3c", best_above_reference=None)), console)
    assert console.file.getvalue().count("one-hot") == 2
    assert "│ -" in console.file.getvalue()


def keep(path, seed, arm, energies, found_at=None):
    """Write the file of an unfinished search as a study does."""
    directory = path.with_name(f"{path.name}.unfinished")
    directory.mkdir(exist_ok=True)
    plain = {"arm": arm, "key": KEYS[arm], "energies": energies, "found_at": found_at}
    write_checkpoint(directory / f"{arm}-{seed}.zip", State(plain, {}))


def test_searches_without_a_row_are_shown_as_they_were_last_kept(tmp_path):
    path, console = write(tmp_path / "rows.jsonl", row_of(0)), console_of()
    keep(path, 1, "one-hot", [30.0, 4.0])
    keep(path, 2, "one-hot", [9.0, None, 7.0])
    keep(path, 0, "agr", [None])
    watch_study(path, console)
    text = console.file.getvalue()
    assert cells(text, "one-hot") == ["one-hot", "1", "2, at episode 3", "0", "not within 100", "4.000"]
    assert cells(text, "agr") == ["agr", "0", "1, at episode 1", "0", "not within 1", "-"]


def test_restarts_that_go_on_count_as_far_as_they_came_for_the_half_that_knows(tmp_path):
    path, console = write(tmp_path / "rows.jsonl", row_of(0, found_at=7), row_of(1, found_at=9)), console_of()
    for seed in (2, 3, 4):
        keep(path, seed, "one-hot", [30.0] * 20)
    watch_study(path, console)
    assert cells(console.file.getvalue(), "one-hot")[3:5] == ["2", "not within 100"]
    keep(path, 3, "one-hot", [30.0] * 20, found_at=12)  # which goes on after its success
    console = console_of()
    watch_study(path, console)
    assert cells(console.file.getvalue(), "one-hot")[3:5] == ["3", "12"]


def test_a_restart_that_goes_on_is_not_counted_as_ended_too(tmp_path):
    console = console_of()
    stopped = [row_of(seed, key=f"4{seed}", unfinished=KEYS["one-hot"], episodes=50) for seed in (1, 2)]
    path = write(tmp_path / "rows.jsonl", row_of(0), row_of(2), *stopped)
    keep(path, 1, "one-hot", [30.0])
    watch_study(path, console)
    assert cells(console.file.getvalue(), "one-hot")[:3] == ["one-hot", "2", "1, at episode 1"]


def test_what_was_kept_is_read_again_when_it_changes(tmp_path):
    path = write(tmp_path / "rows.jsonl", row_of(0))
    unfinished = UnfinishedSearches(path)
    keep(path, 1, "agr", [30.0])
    assert [search.lowest for search in unfinished.progress()] == [30.0]
    keep(path, 1, "agr", [30.0, 4.0])
    assert [(search.lowest, search.episodes) for search in unfinished.progress()] == [(4.0, 2)]
    unfinished.remove("agr", 1)
    assert unfinished.progress() == []


def test_rows_are_shown_as_they_come_until_an_interrupt(tmp_path, monkeypatch):
    path, waits = write(tmp_path / "rows.jsonl", row_of(0)), []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) > 1:
            raise KeyboardInterrupt
        write(path, row_of(0), row_of(1, "agr", 7))

    monkeypatch.setattr(watching.time, "sleep", sleep)
    console = console_of(force_terminal=True)
    watch_study(path, console, every_s=2.0)
    assert waits == [2.0, 2.0]
    text = console.file.getvalue()
    assert "agr" not in text[: len(text) // 3]
    assert "agr" in text


@pytest.mark.parametrize("content", [b'{"settings": {}}', b"\x00\xff\xfe", b"episodes = 3"])
def test_what_holds_no_rows_is_named(content, tmp_path):
    (tmp_path / "mine.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"mine.json but must hold rows: those of a study are in mine.rows.jsonl"):
        watch_study(tmp_path / "mine.json", Console(), once=True)


@pytest.mark.parametrize("content", [b"", b'{"a', b'{"arm": "on'])
def test_a_first_row_that_is_being_written_is_waited_for(content, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(content)
    for name in ("rows.jsonl", "not_begun.jsonl"):
        watch_study(tmp_path / name, Console(), once=True)


def test_what_is_no_row_of_a_study_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"line 1, must hold `key`, `seed`, `episodes`, `found_at`"):
        watch_study(write(tmp_path / "rows.jsonl", {"arm": "one-hot"}), console_of())
