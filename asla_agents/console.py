"""What the command line prints: lines, tables, the result of a search, and errors."""

import signal
from math import isfinite

import typer
from pydantic import ValidationError
from rich.console import Console

from asla_agents.config import RunConfig
from asla_agents.settings_error import one_line
from asla_agents.training import SearchResult

_INTERRUPTED = 128 + signal.SIGINT  # exit status, as shells give it


def for_lines(stderr: bool = False) -> Console:
    """Prints text as it is, which may hold names of files: no markup, no emoji, and lines as long as they are."""
    return Console(stderr=stderr, soft_wrap=True, markup=False, emoji=False)


def for_tables() -> Console:
    """Prints what is made of cells, in the width of the terminal."""
    return Console(emoji=False)


def report_result(result: SearchResult) -> None:
    """Print what was found and where it is; an interrupted search is no success.

    Raises
    ------
    typer.Exit
        If the search was interrupted.
    """
    lines = [f"{result.episodes} episodes, {f'found in episode {result.found_at}' if result.found_at else 'not found'}"]
    above = result.best_energy_above_reference
    from_reference = f", {above:+.4f} eV from the reference" if isfinite(above) else ""  # there may be none
    if isfinite(result.best_energy):
        lines.append(f"best energy {result.best_energy:.4f} eV{from_reference}")
    elif result.episodes:
        lines.append("no structure has an energy: each failed or came to a dead end, see episodes.jsonl")
    lines.append(f"results in {result.directory}")
    if result.interrupted:
        lines.append(f"not at its end: asla resume {result.directory}")
    for_lines().print("\n".join(lines))
    if result.interrupted:
        raise typer.Exit(_INTERRUPTED)


def fail(error: Exception) -> None:
    """Print an error as one line and exit with status 2; that whoever reads the output has gone is none.

    Raises
    ------
    typer.Exit
        Always, but for a BrokenPipeError, which it raises again.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    message = one_line(error, RunConfig) if isinstance(error, ValidationError) else str(error)
    for_lines(stderr=True).print(f"error: {' '.join(message.split())}", style="red")
    raise typer.Exit(2)
