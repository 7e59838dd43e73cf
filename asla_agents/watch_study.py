"""A study as seen from a terminal, while other processes write its rows."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from asla_agents.callbacks import read_rows
from asla_agents.study import Row, curve_data
from asla_agents.success import median_episode
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
    arms = [(row["arm"], row["key"]) for row in rows] + [(search.arm, search.key) for search in unfinished]
    for arm, key in dict.fromkeys(arms):
        own = [row for row in rows if (row["arm"], row["key"]) == (arm, key)]
        others = [search for search in unfinished if (search.arm, search.key) == (arm, key)]
        found_at, episodes = curve_data(own)
        n_found = int(np.isfinite(found_at).sum())
        energies = [row["best_above_reference"] for row in own if row.get("best_above_reference") is not None]
        lowest = min([*energies, *(search.lowest for search in others)], default=np.inf)
        table.add_row(
            arm,
            f"{len(own)}",
            f"{len(others)}, at episode {max(search.episodes for search in others)}" if others else "0",
            f"{n_found}",
            _half(found_at, episodes),
            f"{lowest:.3f}" if np.isfinite(lowest) else "-",
        )
    return table


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
