"""A study as seen from a terminal, while this process or others write its rows, and in the end."""

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

from asla_agents.callbacks import read_rows
from asla_agents.figures.curves import n50_text
from asla_agents.restarts import run_study
from asla_agents.study import Row, Study, curve_data, missing_restarts, read_study_rows, rows_of
from asla_agents.success import log_rank, median_episode, n50
from asla_agents.unfinished import Progress, UnfinishedSearches
from asla_agents.watch import check_wait

_NEEDED = ("arm", "key", "seed", "episodes", "found_at")


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
        If a line is no row of a study, the file of an unfinished restart is damaged, or `every_s` is not positive.
    """
    check_wait(every_s)
    unfinished = UnfinishedSearches(path)
    if once or not console.is_terminal:
        console.print(study_view(_rows(path), unfinished.progress()))
        return
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(study_view(_rows(path), unfinished.progress()), refresh=True)
            time.sleep(every_s)


def run_watched(study: Study, path: Path, restarts: int, **how: Any) -> None:
    """Run what is missing of a study, with a bar of its episodes and the curve so far of the arm that had news.

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
            found_at, episodes = curve_data(rows_of(study, row["arm"], read_study_rows(path)))
            half = median_episode(found_at, episodes)
            known = f"half by {half:g}" if np.isfinite(half) else "not half yet"
            bar.set_postfix_str(f"{row['arm']}: {np.isfinite(found_at).sum()} of {len(found_at)} found, {known}")


def study_table(study: Study, rows: Sequence[Row], restarts: int) -> Table:
    """A line for each arm: successes, episodes until half of the restarts know the structure, p-value.

    Parameters
    ----------
    study
        What was compared.
    rows
        Its rows.
    restarts
        Seeds from 0 on that count.
    """
    table = Table("arm", "found", "n50 (95 % interval)", "p, same as the first")
    first: tuple[list[float], list[int]] | None = None
    for arm in study.arms:
        found_at, episodes = curve_data([row for row in rows_of(study, arm, rows) if row["seed"] < restarts])
        if not episodes:
            table.add_row(escape(arm), "no rows", "-", "-")
            continue
        p_value = f"{log_rank(found_at, episodes, *first):.2g}" if first else "-"
        first = first or (found_at, episodes)
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
        found_at, episodes = curve_data(own)
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
    """By which episode half of the restarts that ended know the structure."""
    if not episodes:
        return "-"
    median = median_episode(found_at, episodes)
    return f"{median:g}" if np.isfinite(median) else f"not within {max(episodes)}"


def _rows(path: Path) -> list[Row]:
    """The rows so far."""
    rows = read_rows(path)
    for number, row in enumerate(rows, 1):
        if missing := [name for name in _NEEDED if name not in row]:
            raise ValueError(f"{path}, line {number}, must hold {', '.join(missing)} of a restart")
    return rows
