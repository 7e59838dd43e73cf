"""A report of a search: one page of HTML that holds all it shows, needs no script and asks for nothing."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO, StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.io import write
from jinja2 import Environment, PackageLoader, StrictUndefined

from asla_agents import pictures
from asla_agents.asla import ASLA
from asla_agents.best_files import film_arguments
from asla_agents.checkpoint import CheckpointError
from asla_agents.figures import learning_curve
from asla_agents.record import SearchRecord, Structure, load_agent, read_about, read_record
from asla_agents.run_directory import RunDirectory
from asla_env import film
from asla_env.text import structure_text
from asla_env.whole_file import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STRUCTURES, _CAUSES, _BLOCKS, _WARNINGS = 6, 10, 10, 20


@dataclass(frozen=True)
class Picture:
    """A picture in the page."""

    source: str
    """All of it, as a ``data:`` address."""
    alt: str
    """What it shows, for those who do not see it."""


@dataclass(frozen=True)
class Fact:
    """A number with its name."""

    name: str
    value: str


def write_report(directory: Path, path: Path) -> None:
    """Write all about a search as one page of HTML.

    Parameters
    ----------
    directory
        Directory of a search, finished or not.
    path
        The page; it is replaced when the new one is whole.

    Raises
    ------
    RunDirectoryError
        If there is no search in the directory, or its files are damaged.
    OSError
        If the page cannot be written.
    """
    record = read_record(directory)
    agent, trouble = _agent_of(record)
    config = record.config
    page = _template().render(
        title=f"Search of {config.env_id} with {config.evaluator}, {config.representation}, seed {config.seed}",
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        facts=_facts(record),
        curve=_curve(record),
        structures=[_described(structure, record) for structure in record.best_structures(_STRUCTURES)],
        is_referred=any(row["energy_above_reference"] is not None for row in record.computed),
        xyz=_xyz(record),
        **_film(record, agent),
        agent=agent,
        trouble=trouble,
        **_representation(agent),
        causes=record.failures.most_common(_CAUSES),
        warnings=_warnings(record),
        blocks=list(_blocks(record)),
        settings=[Fact(name, json.dumps(value)) for name, value in _flat(config.model_dump(mode="json"))],
        about=[Fact(name, _plain(value)) for name, value in _flat(read_about(directory))],
    )
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def film_best(directory: Path, path: Path) -> None:
    """Film how the best build of the last checkpoint was made.

    Parameters
    ----------
    directory
        Directory of a search.
    path
        The film; its ending, ``.gif`` or ``.mp4``, chooses the format.

    Raises
    ------
    ValueError
        If there is no checkpoint yet or none of its builds has an energy, or the ending is another.
    ImportError
        If what writes the format is missing.
    OSError
        If the film cannot be written.
    """
    agent = load_agent(read_record(directory))
    if agent is None or agent.best is None:
        what = "checkpoint, which holds the Q-maps" if agent is None else "build with an energy"
        raise ValueError(f"`directory` is {directory} but must hold a {what}")
    film.save_film(path, **film_arguments(agent.best, agent))


def _template() -> Any:
    """The page; what is put into it is escaped."""
    loader = PackageLoader("asla_agents", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html")


def _agent_of(record: SearchRecord) -> tuple[ASLA | None, str]:
    """The agent of the last checkpoint, or why there is none."""
    try:
        agent = load_agent(record)
    except (CheckpointError, OSError) as error:
        return None, f"The checkpoint cannot be read: {error}"
    return agent, "" if agent else "There is no checkpoint yet: one is written every 50 episodes and at the end."


def _facts(record: SearchRecord) -> list[Fact]:
    """What stands on top of the page."""
    best, n = record.best, len(record.rows)
    state = "finished" if record.is_finished else f"of {record.config.episodes}: running or interrupted"
    facts = [Fact("episodes", f"{n} ({state})")]
    facts += [Fact("lowest energy", "none yet" if best is None else f"{best['energy']:.4f} eV")]
    if best is not None and best["energy_above_reference"] is not None:
        facts += [Fact("above the reference", f"{best['energy_above_reference']:+.4f} eV")]
    facts += [Fact("found", f"in episode {record.found_at}" if record.found_at else "not found")]
    successes = sum(row["is_success"] for row in record.rows)
    if successes:
        facts += [Fact("successes", f"{successes}")]
    facts += [Fact("calculator failures", f"{record.failures.total()}")]
    facts += [Fact("dead ends", f"{sum(row['dead_end'] for row in record.rows)}")]
    if len(record.seconds):
        facts += [Fact("time", _time(float(record.seconds.sum())))]
        facts += [Fact("median time of an episode", f"{np.median(record.seconds):.3g} s")]
    return facts


def _time(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min {rest} s" if minutes >= 60 else f"{minutes} min {rest} s"


def _curve(record: SearchRecord) -> Picture | None:
    """The learning curve, if there is an episode."""
    if not record.rows:
        return None
    best = record.best
    lowest = "no energy yet" if best is None else f"the lowest is {best['energy']:.3f} eV in episode {best['episode']}"
    return _png(learning_curve(record.directory), f"Energy of each of {len(record.rows)} episodes; {lowest}.")


def _described(structure: Structure, record: SearchRecord) -> dict[str, Any]:
    """A structure as the page shows it."""
    row = structure.first
    above = row["energy_above_reference"]
    energy = f"{row['energy']:.4f} eV"
    shown = f"{above:+.3f} eV" if above is not None else energy
    caption = structure_text(row["placed"], record.problem).partition(";")[0]
    alt = f"Structure of {record.problem.name} with {caption} placed, {energy}."
    return {
        "picture": _png(pictures.structure(tuple(row["placed"]), record.problem, longest=3.0), alt),
        "energy": energy,
        "shown": shown,
        "episode": row["episode"],
        "times_built": structure.times_built,
        "is_success": row["is_success"],
    }


def _xyz(record: SearchRecord) -> str:
    """The best structure as an extended XYZ file."""
    if record.best is None:
        return ""
    text = StringIO()
    write(text, record.problem.structure(record.best["placed"]), format="extxyz")
    return text.getvalue()


def _film(record: SearchRecord, agent: ASLA | None) -> dict[str, Picture | None]:
    """How the best structure was built: the film that the search left, or one drawn now, and a strip that stands."""
    moving, still = (record.directory / name for name in ("assembly.gif", "assembly.png"))
    alt = "The best structure as atoms are placed, beside the Q-map from which each was chosen."
    if record.is_finished and moving.exists() and still.exists():
        return {"film": _embedded(moving, alt), "strip": _embedded(still, alt)}
    if agent is None or agent.best is None:
        return {"film": None, "strip": None}
    with TemporaryDirectory() as folder:
        moving, still = (Path(folder) / path.name for path in (moving, still))
        shown = film_arguments(agent.best, agent)
        film.save_film(moving, **shown)
        film.save_film_strip(still, **shown)
        return {"film": _embedded(moving, alt), "strip": _embedded(still, alt)}


def _representation(agent: ASLA | None) -> dict[str, Any]:
    """How the agent draws atoms, and what it thinks of the empty template."""
    if agent is None:
        return {"q_map": None, "kernel": None, "coefficients": None, "learned": []}
    species, representation = agent.problem.species, agent.q_map.features_extractor
    optional = {
        "kernel": (pictures.kernels(representation, species), "Kernel with which the atoms are drawn, as trained."),
        "coefficients": (pictures.coefficients(representation, species), "Coefficients of the kernel, as trained."),
    }
    drawn: dict[str, Any] = {name: figure and _png(figure, alt) for name, (figure, alt) in optional.items()}
    drawn["q_map"] = _png(pictures.first_q_map(agent), "Q-map from which the first atom is chosen, as trained.")
    drawn["learned"] = [
        (f"{name}, {symbol}" if symbol else name, [f"{number:.4f}" for number in numbers])
        for name, symbol, numbers in pictures.learned(representation, species)
    ]
    return drawn


def _warnings(record: SearchRecord) -> str:
    """The last warnings."""
    path = RunDirectory(record.directory).warnings
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return "\n".join(lines[-_WARNINGS:])


def _blocks(record: SearchRecord) -> Iterator[dict[str, str]]:
    """Episodes in some blocks, summed up."""
    for rows in np.array_split(np.array(record.rows, dtype=object), min(_BLOCKS, len(record.rows)) or 1):
        if not len(rows):
            return
        energies = [row["energy"] for row in rows if row["energy"] is not None and row["calculator_error"] is None]
        yield {
            "episodes": f"{rows[0]['episode']} to {rows[-1]['episode']}",
            "lowest": f"{min(energies):.3f}" if energies else "none",
            "median": f"{np.median(energies):.3f}" if energies else "none",
            "successes": f"{sum(row['is_success'] for row in rows)}",
            "failures": f"{sum(row['calculator_error'] is not None for row in rows)}",
            "dead_ends": f"{sum(row['dead_end'] for row in rows)}",
        }


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Entries of nested dictionaries and of lists of them, by dotted names."""
    for name, value in values.items():
        if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
            value = {str(i): entry for i, entry in enumerate(value, 1)}
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _plain(value: Any) -> str:
    """Text as it is, other values as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _png(figure: "Figure", alt: str) -> Picture:
    """A figure as a picture in the page."""
    data = BytesIO()
    figure.savefig(data, format="png", bbox_inches="tight", pad_inches=0.08)
    return Picture(_data_address(data.getvalue(), "png"), alt)


def _embedded(path: Path, alt: str) -> Picture:
    """A file as a picture in the page."""
    return Picture(_data_address(path.read_bytes(), path.suffix[1:]), alt)


def _data_address(data: bytes, kind: str) -> str:
    """Bytes of a picture as a ``data:`` address."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
