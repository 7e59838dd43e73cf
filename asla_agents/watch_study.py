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
        If a line is no row of a study, or `every_s` is not positive.
    """
    check_wait(every_s)
    if once or not console.is_terminal:
        console.print(study_view(_rows(path)))
        return
    with suppress(KeyboardInterrupt), Live(study_view(_rows(path)), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(every_s)
            live.update(study_view(_rows(path)), refresh=True)


def study_view(rows: Sequence[Row]) -> Table:
    """A line for each arm: restarts that ended, successes, episodes until half know the structure, lowest energy."""
    table = Table("arm", "restarts", "found", "half know it by episode", "lowest above the reference (eV)")
    for arm, key in dict.fromkeys((row["arm"], row["key"]) for row in rows):
        own = [row for row in rows if (row["arm"], row["key"]) == (arm, key)]
        found_at, episodes = curve_data(own)
        median = median_episode(found_at, episodes)
        half = f"{median:g}" if np.isfinite(median) else f"not within {max(episodes)}"
        energies = [row["best_above_reference"] for row in own if row.get("best_above_reference") is not None]
        lowest = f"{min(energies):.3f}" if energies else "-"
        n_found = int(np.isfinite(found_at).sum())
        table.add_row(arm, f"{len(own)}", f"{n_found}", half, lowest)
    return table


def _rows(path: Path) -> list[Row]:
    """The rows so far."""
    rows = read_rows(path)
    for number, row in enumerate(rows, 1):
        if missing := [name for name in _NEEDED if name not in row]:
            raise ValueError(f"{path}, line {number}, must hold {', '.join(missing)} of a restart")
    return rows
