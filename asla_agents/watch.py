"""A search as seen from a terminal, while another process writes its files."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from asla_agents.dots import braille, scatter
from asla_agents.record import SearchRecord, read_record
from asla_agents.run_directory import RunDirectory
from asla_env.text import structure_text

_PATIENCE_S, _PATIENCE = 30.0, 10.0  # without an episode: seconds, and multiples of the longest of the last
_WARNINGS, _PLOT_HEIGHT, _FACTS_WIDTH = 3, 8, 46
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def watch(directory: Path, console: Console, once: bool = False, every_s: float = 1.0) -> None:
    """Show a search until it is finished or an interrupt (Ctrl-C) comes; the last view stays on the terminal.

    Parameters
    ----------
    directory
        Directory of the search.
    console
        Where to show it. On what is no terminal it is shown once.
    once
        Whether to show it as it is and end.
    every_s
        Seconds between two looks at the files.

    Raises
    ------
    ValueError
        If `every_s` is not positive, or more than a day.
    RunDirectoryError
        If there is no search in the directory, or its files are damaged.
    """
    check_wait(every_s)
    record = read_record(directory)
    if not (once or record.is_finished) and console.is_terminal:
        record = _follow(record, console, every_s)
    console.print(view(record, console, time.time(), height=None))


def check_wait(every_s: float) -> None:
    """Raise ValueError unless there is time between two looks, a day at most."""
    if not 0 < every_s <= 86_400:
        raise ValueError(f"`every_s` is {every_s} but must be positive, and a day at most: 86400")


def _follow(record: SearchRecord, console: Console, every_s: float) -> SearchRecord:
    """Show a search while it goes on; what was known in the end."""
    seen = _state(record.directory)
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while not record.is_finished:
                live.update(view(record, console, time.time(), console.height), refresh=True)
                time.sleep(every_s)
                if (now := _state(record.directory)) != seen:
                    record, seen = read_record(record.directory), now
    except KeyboardInterrupt:
        pass
    return record


def view(record: SearchRecord, console: Console, now: float, height: int | None) -> RenderableType:
    """What is shown of a search.

    Parameters
    ----------
    record
        What is known of it.
    console
        Where it is shown.
    now
        Seconds since 1970.
    height
        Lines that there are; None: as many as it takes.
    """
    plain = console.options.ascii_only
    structure = _structure(record, max(0, console.width - _FACTS_WIDTH - 4), height and height - 8, plain)
    parts: list[RenderableType] = [_facts(record, now)]
    if not plain and record.computed:
        parts.append(_plot(record, _FACTS_WIDTH - 4))
    facts = Panel(Group(*parts), title="search")
    best = Panel(structure, title="best structure")
    warnings = _warnings(record)
    if height is None:
        body = Table.grid(expand=True)
        body.add_column(width=_FACTS_WIDTH)
        body.add_column(ratio=1)
        body.add_row(facts, best)
        return Group(_progress(record), body, *([warnings] if warnings else []))
    layout, rows = Layout(), Layout(name="middle")
    rows.split_row(Layout(facts, size=_FACTS_WIDTH), Layout(best))
    layout.split_column(Layout(_progress(record), size=3), rows, *_if_any(warnings))
    return layout


def _if_any(warnings: RenderableType | None) -> list[Layout]:
    """The place of the warnings, if there are any."""
    return [Layout(warnings, size=_WARNINGS + 2)] if warnings else []


def _progress(record: SearchRecord) -> Panel:
    """Name of the search, how far it is and when it will be there."""
    config, done = record.config, len(record.rows)
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    bar = ProgressBar(total=config.episodes, completed=done)
    line.add_row(bar, f"{done} of {config.episodes} episodes{_time_left(record)}")
    name = f"{config.env_id}, {config.evaluator}, {config.representation}, seed {config.seed}"
    return Panel(line, title=Text(name))


def _time_left(record: SearchRecord) -> str:
    """How long the rest takes, as far as one can tell."""
    rate = record.episodes_a_second
    if record.is_finished or not np.isfinite(rate):
        return ""
    most = "at most " if record.config.stop_on_success else ""
    return f", {most}{_duration((record.config.episodes - len(record.rows)) / rate)} left"


def _facts(record: SearchRecord, now: float) -> Table:
    """Numbers of the search so far."""
    table = Table.grid(padding=(0, 2))
    best, rate, n = record.best, record.episodes_a_second, len(record.rows)
    successes = sum(row["is_success"] for row in record.rows)
    table.add_row("state", _state_of(record, now))
    table.add_row("best", _energy(best))
    if best is not None:
        table.add_row("", f"in episode {best['episode']}, {n - best['episode']} episodes ago")
    table.add_row("found", f"in episode {record.found_at}, {successes} in all" if successes else "not yet")
    if np.isfinite(rate):
        table.add_row("rate", f"{rate:.3g} episodes a second" if rate >= 1 else f"{1 / rate:.3g} s an episode")
    if record.failures:
        table.add_row("failed", f"{record.failures.total()} energies")
    if dead_ends := sum(row["dead_end"] for row in record.rows):
        table.add_row("dead ends", f"{dead_ends}")
    return table


def _state_of(record: SearchRecord, now: float) -> Text:
    """Whether the search is finished, is going on, or has been silent for suspiciously long."""
    if record.is_finished:
        return Text("finished", style="green")
    files = RunDirectory(record.directory)
    last = files.episodes if files.episodes.exists() else record.directory / "config.json"
    silent = max(0.0, now - last.stat().st_mtime)
    if silent > max(_PATIENCE_S, _PATIENCE * record.seconds[-20:].max(initial=0.0)):
        return Text(f"no episode for {_duration(silent)}", style="yellow")
    return Text("running", style="green") if record.rows else Text("starting")


def _energy(row: dict[str, Any] | None) -> str:
    """Energy of an episode, and above the reference if there is one."""
    if row is None:
        return "no energy yet"
    above = row["energy_above_reference"]
    return f"{row['energy']:.3f} eV" + (f", {above:+.3f} above ref." if above is not None else "")


def _plot(record: SearchRecord, width: int) -> Group:
    """Energies of the last episodes."""
    shown = record.rows[-2 * width :]
    rows = [row if row["energy"] is not None and row["calculator_error"] is None else None for row in shown]
    name = "energy_above_reference" if record.computed[-1]["energy_above_reference"] is not None else "energy"
    energies = np.array([np.nan if row is None else row[name] for row in rows], dtype=float)
    if not np.isfinite(energies).any():
        return Group()
    above = " above ref." if name != "energy" else ""
    about = Text(f"\nlast {len(shown)}: {np.nanmin(energies):.4g} to {np.nanmax(energies):.4g} eV{above}")
    return Group(about, Text("\n".join(scatter(energies, width, _PLOT_HEIGHT)), style="cyan", no_wrap=True))


def _structure(record: SearchRecord, width: int, height: int | None, plain: bool) -> Text:
    """The best structure as text, as large as there is room for."""
    if record.best is None:
        return Text("none yet")
    text = structure_text(record.best["placed"], record.problem)
    caption, *lines = text.split("\n")
    tight = ["".join(line.split()) for line in lines]
    for choice in (lines, tight):
        if len(choice[0]) <= width and (height is None or len(choice) < height):
            return _coloured("\n".join([caption, *choice]))
    if plain:
        return Text(f"{caption}\nthe terminal is too small: {len(tight[0]) + _FACTS_WIDTH + 4} columns are needed")
    dots = braille([[letter != "." for letter in line] for line in tight])
    return _coloured("\n".join([caption, *dots]))


def _coloured(text: str) -> Text:
    """Atoms bright, the template's in colour, empty pixels dim."""
    caption, _, picture = text.partition("\n")
    body = Text(picture, no_wrap=True)
    body.highlight_regex(r"\.+", "bright_black")
    body.highlight_regex(r"[A-Z]", "bold")
    body.highlight_regex(r"[a-z]", "cyan")
    return Text(f"{caption}\n").append_text(body)


def _warnings(record: SearchRecord) -> Panel | None:
    """The last warnings."""
    path = RunDirectory(record.directory).warnings
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    if not lines:
        return None
    shown = Text("\n".join(lines[-_WARNINGS:]), no_wrap=True, overflow="ellipsis")
    return Panel(shown, title=f"last of {len(lines)} lines of warnings", border_style="yellow")


def _duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _state(directory: Path) -> list[tuple[int, int]]:
    """What changes when a file does."""
    files = RunDirectory(directory)
    paths = (files.episodes, files.times, files.warnings, directory / "config.json")
    stats = [path.stat() for path in paths if path.exists()]
    return [(stat.st_mtime_ns, stat.st_size) for stat in stats]
