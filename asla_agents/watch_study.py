"""A study as seen from a terminal, while this process or others write its rows, and in the end."""

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from tqdm import tqdm

from asla_agents.figures.curves import n50_text
from asla_agents.restarts import run_study
from asla_agents.row_file import Row
from asla_agents.study import (
    OF_BEFORE,
    Study,
    curve_data,
    missing_restarts,
    read_study_rows,
    rows_of,
    with_more_arms,
)
from asla_agents.success import log_rank, median_episode, n50
from asla_agents.unfinished import Progress, UnfinishedSearches
from asla_agents.watch import check_wait

_ROW = b'{"arm"'  # how each row begins


def watch_study(path: Path, console: Console, once: bool = False, every_s: float = 1.0) -> None:
    """Show the rows of a study until an interrupt (Ctrl-C) comes; the last view stays on the terminal.

    Parameters
    ----------
    path
        File of its rows.
    console, once, every_s
        As for `asla_agents.watch.watch`.

    Raises
    ------
    ValueError
        If a line is no row of a study, the file of an unfinished restart is damaged, or `every_s` is not positive
        or more than a day.
    """
    check_wait(every_s)
    _check_begins_as_rows(path)
    unfinished = UnfinishedSearches(path)
    if once or not console.is_terminal:
        console.print(study_view(read_study_rows(path), unfinished.progress()))
        return
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(study_view(read_study_rows(path), unfinished.progress()), refresh=True)
            time.sleep(every_s)


def _check_begins_as_rows(path: Path) -> None:
    """Raise ValueError if a file without a whole line is not one whose first row is being written."""
    if not path.exists():
        return  # the study has not begun
    with path.open("rb") as file:
        begin = file.readline()
    if not begin.endswith(b"\n") and begin[: len(_ROW)] != _ROW[: len(begin)]:
        raise ValueError(f"`path` is {path} but must hold rows: those of a study are in {path.stem}.rows.jsonl")


def run_watched(study: Study, path: Path, restarts: int, **how: Any) -> None:
    """Run what is missing of a study, with a bar of its episodes and the successes of the arm that had news.

    Parameters
    ----------
    study, path, restarts, how
        As for `run_study`.

    Raises
    ------
    ValueError, OSError
        As `run_study`.
    """
    missing = missing_restarts(study, path, restarts)
    budget = {(arm, config.seed): config.episodes for arm, config in missing}
    with tqdm(total=sum(budget.values()), unit="episode", dynamic_ncols=True, disable=not missing) as bar:
        for row in run_study(study, path, restarts, on_episodes=bar.update, **how):
            bar.update(budget[row["arm"], row["seed"]] - row["episodes"])  # those that a success saved
            found_at, _ = curve_data(rows_of(study, row["arm"], read_study_rows(path)))
            bar.set_postfix_str(f"{row['arm']}: {np.isfinite(found_at).sum()} of {len(found_at)} that ended found it")


def study_table(study: Study, rows: Sequence[Row], restarts: int | None = None) -> Table:
    """A line for each arm: successes, episodes until half of the restarts know the structure, p-value.

    Parameters
    ----------
    study
        What was compared.
    rows
        Its rows; those with the defaults of before count if they are of more arms, as the title says.
    restarts
        Seeds from 0 on that count; None: all.
    """
    version = with_more_arms(study, rows)
    title = None if version is study else OF_BEFORE
    table = Table("arm", "found", "n50 (95 % interval)", "p, same as the first", title=title)
    end = math.inf if restarts is None else restarts
    data = {arm: curve_data([row for row in rows_of(version, arm, rows) if row["seed"] < end]) for arm in study.arms}
    first = next(iter(data.values()))
    for arm, (found_at, episodes) in data.items():
        if not episodes:
            table.add_row(escape(arm), "no rows", "-", "-")
            continue
        is_compared = found_at is not first[0] and len(first[0]) > 0
        p_value = f"{log_rank(found_at, episodes, *first):.2g}" if is_compared else "-"
        n_found = len(found_at) - int(np.isnan(found_at).sum())
        interval = n50_text(n50(found_at, episodes), max(episodes))
        table.add_row(escape(arm), f"{n_found} of {len(found_at)}", interval, p_value)
    return table


def study_view(rows: Sequence[Row], unfinished: Sequence[Progress] = ()) -> Table:
    """A line for each arm: restarts that ended and those that go on, successes, n50, lowest energy.

    Parameters
    ----------
    rows
        Of restarts that ended.
    unfinished
        How far the others had come when they were last kept.
    """
    table = Table("arm", "ended", "going on", "found", "half know it by episode", "lowest above the reference (eV)")
    arms = [_arm_of(row) for row in rows] + [(search.arm, search.key) for search in unfinished]
    for arm, key in dict.fromkeys(arms):
        others = [search for search in unfinished if (search.arm, search.key) == (arm, key)]
        going_on = {search.seed for search in others}
        its_rows = sorted((row for row in rows if _arm_of(row) == (arm, key)), key=lambda row: row["episodes"])
        own = [row for seed, row in {row["seed"]: row for row in its_rows}.items() if seed not in going_on]
        so_far = [{"found_at": search.found_at, "episodes": search.episodes} for search in others if search.episodes]
        found_at, episodes = curve_data([*own, *so_far])
        n_found = int(np.isfinite(found_at).sum())
        energies = [row["best_above_reference"] for row in own if row.get("best_above_reference") is not None]
        lowest = min([*energies, *(search.lowest for search in others)], default=np.inf)
        table.add_row(
            escape(arm),
            f"{len(own)}",
            f"{len(others)}, at episode {max(search.episodes for search in others)}" if others else "0",
            f"{n_found}",
            _half(found_at, episodes),
            f"{lowest:.3f}" if np.isfinite(lowest) else "-",
        )
    return table


def _arm_of(row: Row) -> tuple[str, str]:
    """Arm, and key of the settings, of a restart that ended or was to go on."""
    return str(row["arm"]), str(row.get("unfinished", row["key"]))


def _half(found_at: Sequence[float], episodes: Sequence[int]) -> str:
    """By which episode half of the restarts know the structure; those that go on count as far as they came."""
    if not episodes:
        return "-"
    median = median_episode(found_at, episodes)
    return f"{median:g}" if np.isfinite(median) else f"not within {max(episodes)}"
