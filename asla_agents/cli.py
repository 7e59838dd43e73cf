"""The command `asla`."""

import json
import os
import signal
import sys
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from importlib.metadata import version
from io import TextIOWrapper
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

from asla_agents.config import RunConfig
from asla_agents.config_page import settings_page
from asla_agents.config_toml import to_toml
from asla_agents.console import fail, for_lines, for_tables, report_result
from asla_agents.experiments import MEASUREMENTS
from asla_agents.figures import figure, learning_curve, read_figure_rows, study_figure
from asla_agents.figures import markdown as markdown_table
from asla_agents.jobs import job_of, measure, rows_path, search_config
from asla_agents.report import film_best, write_report
from asla_agents.representations import REPRESENTATIONS
from asla_agents.restarts import censor
from asla_agents.run_directory import RunDirectory
from asla_agents.study import read_study_rows
from asla_agents.training import resume, search
from asla_agents.watch import watch
from asla_agents.watch_study import run_watched, study_table, watch_study
from asla_env import IDS, calculators
from asla_env.executors import energy_executor
from asla_env.limits import Limits
from asla_env.problems import PROBLEMS
from asla_env.render import save_figure

_SETTINGS = RunConfig.model_fields
_Workers = Annotated[
    int | None, typer.Option(help="Guarded processes for energies, one for each build at once by default; 0: none.")
]
_TimeLimit = Annotated[float, typer.Option(help="Seconds that an energy may take in such a process.")]
_MemoryLimit = Annotated[
    float | None, typer.Option(help="GiB that such a process may take; by default its share of half of what there is.")
]
_Dask = Annotated[str | None, typer.Option(help="Address of a Dask cluster that computes the energies instead.")]
_ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="TOML or JSON file of settings, as `asla config` prints; options go before it."),
]
_Known = Annotated[
    list[Path] | None,
    typer.Option(help="Database, or directory of a search, whose energies are not computed again; may be repeated."),
]
_LIMITS = Limits()
_OF_THE_USER = (ValueError, TypeError, OSError, ImportError, MemoryError)
app = typer.Typer(no_args_is_help=True, add_completion=False)


def main() -> None:
    """Run the command line; what a user got wrong is one line and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # Greek letters, and names of files that are no text, go into any file
            encoding = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    sys.path.append(str(Path.cwd()))  # for a calculator in a file of one's own
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # schedulers of clusters send it: an end like Ctrl-C
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough; Python is not to try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _print_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(version("asla"))
        raise typer.Exit


@app.callback()
def all_commands(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Discover atomistic structures, atom by atom."""


@app.command("search")
def search_command(
    context: typer.Context,
    env_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Problem to search; `asla list` shows them.", show_default=False),
    ] = None,
    config_file: _ConfigFile = None,
    evaluator: Annotated[
        str, typer.Option(help="Calculator of the energies: a name, or an import path `module:Class`.")
    ] = calculators.DEFAULT,
    evaluator_settings: Annotated[str, typer.Option(help="Settings of the calculator, as JSON.")] = "{}",
    representation: Annotated[str, typer.Option(help="How atoms are drawn for the network.")] = _SETTINGS[
        "representation"
    ].default,
    episodes: Annotated[int, typer.Option(help="Energies to compute.")] = _SETTINGS["episodes"].default,
    seed: Annotated[int, typer.Option(help="Seed of the whole search.")] = 0,
    stop_on_success: Annotated[bool, typer.Option(help="End with the first success.")] = False,
    batch_size: Annotated[int, typer.Option(help="Samples of an update of the network.")] = _SETTINGS[
        "batch_size"
    ].default,
    gradient_steps: Annotated[int, typer.Option(help="Updates after each episode.")] = _SETTINGS[
        "gradient_steps"
    ].default,
    builds_at_once: Annotated[int, typer.Option(help="Builds that go on together, their energies too.")] = _SETTINGS[
        "builds_at_once"
    ].default,
    imagination: Annotated[
        bool, typer.Option(help="Imagine several builds, judged by a local energy model, before paying for one.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write scalars and pictures for TensorBoard, in the directory.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Directory for the results, new or empty.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of the network; more pay off for large grids only.")] = 1,
    workers: _Workers = None,
    time_limit: _TimeLimit = _LIMITS.time_s,
    memory_limit: _MemoryLimit = _LIMITS.memory_gib,
    dask: _Dask = None,
    energies: _Known = None,
) -> None:
    """Search for the most stable structure."""
    try:
        _set_threads(threads)
        config = search_config(config_file, _given_settings(context))
        with _energies(workers, config, time_limit, memory_limit, dask) as executor:
            where = out or _new_directory(config)
            result = search(config, where, executor=executor, tensorboard=tensorboard, known=energies or ())
    except _OF_THE_USER as error:
        fail(error)
    report_result(result)


@app.command("config")
def config_command(
    file: Annotated[
        Path | None, typer.Argument(help="TOML or JSON file of settings, or the directory of a search.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a page on all settings instead.")] = False,
) -> None:
    """Print all settings of a search as TOML, to start a file from: those of a file, or the defaults."""
    try:
        config = RunConfig(env_id=next(iter(IDS))) if file is None else RunConfig.load(file)
        print(settings_page() if markdown else to_toml(config), end="")
    except (ValueError, OSError) as error:
        fail(error)


@app.command("resume")
def resume_command(
    directory: Annotated[Path, typer.Argument(help="Directory of a search.")],
    episodes: Annotated[int | None, typer.Option(help="Energies in all, instead of what it was started with.")] = None,
    tensorboard: Annotated[
        bool | None, typer.Option(help="Whether to write for TensorBoard; by default if it did so before.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of the network: as many as before, or rounding differs.")] = 1,
    workers: _Workers = None,
    time_limit: _TimeLimit = _LIMITS.time_s,
    memory_limit: _MemoryLimit = _LIMITS.memory_gib,
    dask: _Dask = None,
) -> None:
    """Go on with a search that ended, was interrupted or died, as if it had never stopped."""
    try:
        _set_threads(threads)
        config = RunDirectory(directory).config()
        with _energies(workers, config, time_limit, memory_limit, dask) as executor:
            result = resume(directory, episodes, executor=executor, tensorboard=tensorboard)
    except _OF_THE_USER as error:
        fail(error)
    report_result(result)


@app.command("study")
def study_command(
    spec: Annotated[
        str,
        typer.Argument(
            help="A figure, such as fig2a, or a JSON or TOML file of `settings` and `arms`: docs/studies.md."
        ),
    ],
    restarts: Annotated[
        int | None, typer.Option(help="Restarts of each arm, from seed 0 on; by default 10, of a figure as it advises.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    device: Annotated[str, typer.Option(help="Where the networks are: cpu or cuda.")] = "cpu",
    energy_workers: Annotated[int, typer.Option(help="Processes for energies that each of them has; 0: none.")] = 0,
    dask: _Dask = None,
    rows: Annotated[
        Path | None, typer.Option(help="File of the rows; by default next to SPEC, of a figure in this directory.")
    ] = None,
    evaluator: Annotated[str | None, typer.Option(help="Calculator instead of the figure's.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Most episodes of a restart instead of the figure's.")] = None,
    smoke: Annotated[bool, typer.Option(help="Two restarts of three episodes, to see that a figure runs.")] = False,
    to_the_end: Annotated[
        bool, typer.Option("--to-the-end", help="Use all episodes, even after a success, to find the best on the grid.")
    ] = False,
    as_it_is: Annotated[
        bool, typer.Option("--as-it-is", help="Run no search: write rows of unfinished restarts as far as they came.")
    ] = False,
) -> None:
    """Compare settings over many restarts; what is in the file of rows already is not run again."""
    try:
        if spec in MEASUREMENTS:
            for_searches = {"workers": workers != 1, "device": device != "cpu", "energy-workers": energy_workers != 0}
            for_searches |= {"dask": dask is not None, "to-the-end": to_the_end, "as-it-is": as_it_is}
            if given := [option for option, is_given in for_searches.items() if is_given]:
                raise ValueError(f"`spec` is {spec!r} but `--{given[0]}` is for what has searches")
            for line in measure(spec, rows or rows_path(spec), restarts, evaluator, episodes, smoke):
                for_lines().print(line)
            return
        job = job_of(spec, evaluator, episodes, smoke, to_the_end)
        path, n = rows or job.rows, restarts
        if as_it_is:
            if restarts is not None and restarts < 1:
                raise ValueError(f"`restarts` is {restarts} but must be at least 1")
            censor(job.study, path)
        else:
            n = job.restarts if restarts is None else restarts
            run_watched(job.study, path, n, workers=workers, device=device, energy_workers=energy_workers, dask=dask)
        for_tables().print(study_table(job.study, read_study_rows(path), n))
    except _OF_THE_USER as error:
        fail(error)


@app.command("plot")
def plot_command(
    what: Annotated[
        str, typer.Argument(help="A figure, such as fig2a, the file of a study, or the directory of a search.")
    ],
    rows: Annotated[Path | None, typer.Option(help="File of the rows; by default the one that `study` makes.")] = None,
    out: Annotated[Path | None, typer.Option(help="Picture to write; its ending chooses the format.")] = None,
    evaluator: Annotated[str | None, typer.Option(help="Calculator instead of the figure's.")] = None,
    smoke: Annotated[bool, typer.Option(help="Draw the rows of `study --smoke`.")] = False,
) -> None:
    """Draw a figure of the paper or a study from its rows, or the learning curve of a search."""
    try:
        if rows is not None and not rows.is_file():
            raise ValueError(f"`rows` is {rows} but must be a file of rows, as `asla study` writes it")
        if Path(what).is_dir():
            path, picture = out or Path(what) / "learning.png", learning_curve(Path(what))
        elif Path(what).is_file():
            job = job_of(what, evaluator, smoke=smoke)
            path = out or Path(what).with_suffix(".png")
            picture = study_figure(what, job.study, read_study_rows(rows := rows or job.rows))
        else:
            path, rows = out or Path(f"{what}.png"), rows or rows_path(what)
            picture = figure(what, read_figure_rows(what, rows), evaluator, smoke)
        save_figure(path, picture)
    except (ValueError, OSError) as error:
        fail(error)
    except KeyError as error:
        fail(ValueError(f"`rows` is {rows} but must be rows of {what}: one lacks {error}"))
    for_lines().print(f"picture in {path}")


@app.command("watch")
def watch_command(
    path: Annotated[Path, typer.Argument(help="Directory of a search, or file of the rows of a study.")],
    once: Annotated[bool, typer.Option("--once", help="Show it as it is, and end.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks at its files.")] = 1.0,
) -> None:
    """Watch a search or study that another process runs, or see how it ended; Ctrl-C ends the view alone."""
    try:
        of_study = path.is_file() or (path.suffix == ".jsonl" and not path.is_dir())  # it may not have begun
        (watch_study if of_study else watch)(path, for_tables(), once, every)
    except (ValueError, OSError) as error:
        fail(error)


@app.command("film")
def film_command(
    directory: Annotated[Path, typer.Argument(help="Directory of a search.")],
    out: Annotated[Path | None, typer.Option(help="Film to write, .gif or .mp4.")] = None,
) -> None:
    """Film how the best structure was built, beside the Q-maps of the network at that time."""
    try:
        path = out or directory / "assembly.gif"
        film_best(directory, path)
    except (ValueError, OSError, ImportError) as error:
        fail(error)
    for_lines().print(f"film in {path}")


@app.command("report")
def report_command(
    directory: Annotated[Path, typer.Argument(help="Directory of a search.")],
    out: Annotated[Path | None, typer.Option(help="Page to write instead of report.html there.")] = None,
) -> None:
    """Write all about a search as one page of HTML, which opens without network."""
    try:
        path = out or directory / "report.html"
        write_report(directory, path)
    except (ValueError, OSError) as error:
        fail(error)
    for_lines().print(f"report in {path}")


@app.command("table")
def table_command(
    directory: Annotated[Path, typer.Argument(help="Directory of files of rows, such as figures.jsonl.")],
) -> None:
    """Print a table in Markdown of all figures, what the paper shows, and what the rows say."""
    try:
        print(markdown_table(directory), end="")
    except (ValueError, OSError) as error:
        fail(error)
    except KeyError as error:
        fail(ValueError(f"`directory` is {directory} but must hold rows of figures: one lacks {error}"))


@app.command("list")
def list_command() -> None:
    """Show the problems, calculators and representations."""
    table = Table("id", "to place", "template", "grid", "periodic")
    for env_id, name in IDS.items():
        problem = PROBLEMS[name]()
        to_place = " + ".join(f"{count} {symbol}" for symbol, count in problem.to_place.items())
        template = problem.template.get_chemical_formula(empirical=False)
        shape = " x ".join(map(str, problem.grid.shape))
        axes = ", ".join(axis for axis, wraps in zip("xyz", problem.grid.periodic, strict=False) if wraps)
        table.add_row(env_id, to_place, template, shape, axes or "-")
    for_tables().print(table)
    lines = for_lines()
    lines.print("calculators:    ", ", ".join(calculators.names()))
    lines.print("representations:", ", ".join(REPRESENTATIONS))


def _energies(
    workers: int | None, config: RunConfig, time_limit: float, memory_limit: float | None, dask: str | None
) -> AbstractContextManager[Executor | None]:
    """Where the energies of a search are computed: guarded, unless no process is wanted."""
    if workers is None:
        workers = config.builds_at_once if dask is None else 0
    is_guarded = workers != 0 or dask is not None
    return energy_executor(workers, Limits(time_s=time_limit, memory_gib=memory_limit) if is_guarded else None, dask)


def _given_settings(context: typer.Context) -> dict[str, Any]:
    """Settings of a search that were given on the command line, not those of a default."""
    given = {
        name: value
        for name, value in context.params.items()
        if name in _SETTINGS and getattr(context.get_parameter_source(name), "name", None) == "COMMANDLINE"
    }
    if "evaluator_settings" in given:
        given["evaluator_settings"] = _from_json("evaluator_settings", given["evaluator_settings"])
    return given


def _set_threads(threads: int) -> None:
    """Set how many threads the network uses."""
    most = os.cpu_count() or 1
    if not 1 <= threads <= most:
        raise ValueError(f"`threads` is {threads} but must lie between 1 and {most}, the processors of this machine")
    torch.set_num_threads(threads)


def _from_json(name: str, text: str) -> Any:
    """What an option of JSON says."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'`{name}` is {text!r} but must be JSON, such as {{"xc": "PBE"}}: {error}') from error


def _new_directory(config: RunConfig) -> Path:
    """Directory under `runs` that is not there yet."""
    name = f"{config.env_id}_{config.evaluator}_{config.representation}_seed{config.seed}"
    stem = name.replace(":", ".").replace("/", ".")  # which names of files have not
    paths = (Path("runs") / (f"{stem}_{i}" if i else stem) for i in count())
    return next(path for path in paths if not path.exists())
