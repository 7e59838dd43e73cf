"""The command `asla`."""

import json
import signal
import sys
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from asla_agents.callbacks import read_rows
from asla_agents.config import SearchConfig
from asla_agents.experiments import SMOKE_RESTARTS, generalisation
from asla_agents.figures import figure, learning_curve, markdown
from asla_agents.imagination import ImaginationSettings
from asla_agents.jobs import job_of, rows_path
from asla_agents.representations import REPRESENTATIONS
from asla_agents.run_directory import RunDirectory
from asla_agents.study import Row, Study, curve_data, missing_restarts, rows_of, run_study
from asla_agents.success import log_rank, median_episode, n50
from asla_agents.training import SearchResult, resume, search
from asla_env import IDS, calculators
from asla_env.executors import energy_executor
from asla_env.limits import Limits
from asla_env.problems import PROBLEMS

_SETTINGS = SearchConfig.model_fields
_Workers = Annotated[
    int | None, typer.Option(help="Guarded processes for energies, one for each build at once by default; 0: none.")
]
_TimeLimit = Annotated[float, typer.Option(help="Seconds that an energy may take in such a process.")]
_MemoryLimit = Annotated[
    float | None, typer.Option(help="GiB that such a process may take; by default its share of half of what there is.")
]
_Dask = Annotated[str | None, typer.Option(help="Address of a Dask cluster that computes the energies instead.")]
_LIMITS = Limits()
app = typer.Typer(help="Discover atomistic structures, atom by atom.", no_args_is_help=True, add_completion=False)


def main() -> None:
    """Run the command line; what a user got wrong is one line and exit status 2."""
    sys.path.append(str(Path.cwd()))  # for a calculator in a file of one's own
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # schedulers of clusters send it: an end like Ctrl-C
    app()


@app.command("search")
def search_command(
    env_id: Annotated[str, typer.Argument(metavar="ID", help="Problem to search; `asla list` shows them.")],
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
    out: Annotated[Path | None, typer.Option(help="Directory for the results, new or empty.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of the network; more pay off for large grids only.")] = 1,
    workers: _Workers = None,
    time_limit: _TimeLimit = _LIMITS.time_s,
    memory_limit: _MemoryLimit = _LIMITS.memory_gib,
    dask: _Dask = None,
    energies: Annotated[
        list[Path] | None,
        typer.Option(
            help="Database, or directory of a search, whose energies are not computed again; may be repeated."
        ),
    ] = None,
) -> None:
    """Search for the most stable structure."""
    try:
        _set_threads(threads)
        config = SearchConfig(
            env_id=env_id,
            evaluator=evaluator,
            evaluator_settings=_from_json("evaluator_settings", evaluator_settings),
            representation=representation,
            episodes=episodes,
            seed=seed,
            stop_on_success=stop_on_success,
            batch_size=batch_size,
            gradient_steps=gradient_steps,
            builds_at_once=builds_at_once,
            imagination=ImaginationSettings() if imagination else None,
        )
        with _energies(workers, config, time_limit, memory_limit, dask) as executor:
            result = search(config, out or _new_directory(config), executor=executor, known=energies or ())
    except (ValueError, TypeError, OSError, ImportError) as error:
        _fail(error)
    _report(result)


@app.command("resume")
def resume_command(
    directory: Annotated[Path, typer.Argument(help="Directory of a search.")],
    episodes: Annotated[int | None, typer.Option(help="Energies in all, instead of what it was started with.")] = None,
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
            result = resume(directory, episodes, executor=executor)
    except (ValueError, TypeError, OSError, ImportError) as error:
        _fail(error)
    _report(result)


@app.command("study")
def study_command(
    spec: Annotated[
        str, typer.Argument(help="A figure, such as fig2a, or a JSON file of `settings` and `arms`; see the README.")
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
) -> None:
    """Compare settings over many restarts; what is in the file of rows already is not run again."""
    try:
        if spec == generalisation.NAME:
            if evaluator is not None or episodes is not None:
                raise ValueError(f"`spec` is {spec!r}, which has neither calculator nor episodes")
            _watch_networks(rows or rows_path(spec), restarts, smoke)
            return
        job = job_of(spec, evaluator, episodes, smoke)
        path, n = rows or job.rows, job.restarts if restarts is None else restarts
        _watch_study(job.study, path, n, workers=workers, device=device, energy_workers=energy_workers, dask=dask)
    except (ValueError, TypeError, OSError, ImportError) as error:
        _fail(error)
    _report_study(job.study, read_rows(path), n)


@app.command("plot")
def plot_command(
    what: Annotated[str, typer.Argument(help="A figure, such as fig2a, or the directory of a search.")],
    rows: Annotated[Path | None, typer.Option(help="File of the rows; by default the one that `study` makes.")] = None,
    out: Annotated[Path | None, typer.Option(help="Picture to write; its ending chooses the format.")] = None,
    evaluator: Annotated[str | None, typer.Option(help="Calculator instead of the figure's.")] = None,
    smoke: Annotated[bool, typer.Option(help="Draw the rows of `study --smoke`.")] = False,
) -> None:
    """Draw a figure of the paper from its rows, or the learning curve of a search."""
    try:
        if Path(what).is_dir():
            path, picture = out or Path(what) / "learning.png", learning_curve(Path(what))
        else:
            path, its_rows = out or Path(f"{what}.png"), read_rows(rows or rows_path(what))
            picture = figure(what, its_rows, evaluator, smoke)
        picture.savefig(path)
    except (ValueError, OSError) as error:
        _fail(error)
    Console(soft_wrap=True, markup=False).print(f"picture in {path}")


@app.command("table")
def table_command(
    directory: Annotated[Path, typer.Argument(help="Directory of files of rows, such as fig2a.jsonl.")],
) -> None:
    """Print a table in Markdown of all figures, what the paper shows, and what the rows say."""
    print(markdown(directory), end="")


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
    console = Console()
    console.print(table)
    console.print("calculators:    ", ", ".join(calculators.names()))
    console.print("representations:", ", ".join(REPRESENTATIONS))


def _energies(
    workers: int | None, config: SearchConfig, time_limit: float, memory_limit: float | None, dask: str | None
) -> AbstractContextManager[Executor | None]:
    """Where the energies of a search are computed: guarded, unless no process is wanted."""
    if workers is None:
        workers = config.builds_at_once if dask is None else 0
    is_guarded = workers != 0 or dask is not None
    return energy_executor(workers, Limits(time_s=time_limit, memory_gib=memory_limit) if is_guarded else None, dask)


def _set_threads(threads: int) -> None:
    """Set how many threads the network uses."""
    if threads < 1:
        raise ValueError(f"`threads` is {threads} but must be at least 1")
    torch.set_num_threads(threads)


def _from_json(name: str, text: str) -> Any:
    """What an option of JSON says."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'`{name}` is {text!r} but must be JSON, such as {{"xc": "PBE"}}: {error}') from error


def _new_directory(config: SearchConfig) -> Path:
    """Directory under `runs` that is not there yet."""
    evaluator = config.evaluator.replace(":", ".")  # which Windows has in no name
    stem = f"{config.env_id}_{evaluator}_{config.representation}_seed{config.seed}"
    paths = (Path("runs") / (f"{stem}_{i}" if i else stem) for i in count())
    return next(path for path in paths if not path.exists())


def _report(result: SearchResult) -> None:
    """Print what was found and where it is."""
    console = Console(soft_wrap=True, markup=False)
    found = f"found in episode {result.found_at}" if result.found_at else "not found"
    console.print(f"{result.episodes} episodes, {found}")
    console.print(
        f"best energy {result.best_energy:.4f} eV, {result.best_energy_above_reference:+.4f} eV from the reference"
    )
    console.print(f"results in {result.directory}")


def _watch_study(study: Study, path: Path, restarts: int, **how: Any) -> None:
    """Run what is missing of a study, with a bar of its episodes and the curve so far of the arm that had news."""
    missing = missing_restarts(study, path, restarts)
    budget = {(arm, config.seed): config.episodes for arm, config in missing}
    with tqdm(total=sum(budget.values()), unit="episode", dynamic_ncols=True, disable=not missing) as bar:
        for row in run_study(study, path, restarts, on_episodes=bar.update, **how):
            bar.update(budget[row["arm"], row["seed"]] - row["episodes"])  # those that a success saved
            found_at, episodes = curve_data(rows_of(study, row["arm"], read_rows(path)))
            half = median_episode(found_at, episodes)
            known = f"half by {half:g}" if np.isfinite(half) else "not half yet"
            bar.set_postfix_str(f"{row['arm']}: {np.isfinite(found_at).sum()} of {len(found_at)} found, {known}")


def _watch_networks(path: Path, restarts: int | None, smoke: bool) -> None:
    """Run what is missing of the test of Fig. 3, and print each error as it comes."""
    advised = SMOKE_RESTARTS if smoke else generalisation.RESTARTS
    for row in generalisation.run(path, advised if restarts is None else restarts):
        Console(markup=False).print(f"{row['arm']}, seed {row['seed']}: error {row['unseen_error']} at sites not seen")


def _report_study(study: Study, rows: list[Row], restarts: int) -> None:
    """Print a line for each arm: successes, episodes until half of the restarts know the structure, p-value."""
    table = Table("arm", "found", "n50 (95 % interval)", "p, same as the first")
    first: tuple[list[float], list[int]] | None = None
    for arm in study.arms:
        found_at, episodes = curve_data([row for row in rows_of(study, arm, rows) if row["seed"] < restarts])
        median = n50(found_at, episodes)
        p_value = f"{log_rank(found_at, episodes, *first):.2g}" if first else "-"
        first = first or (found_at, episodes)
        n_found = len(found_at) - int(np.isnan(found_at).sum())
        interval = f"{median.value:g} ({median.low:g} to {median.high:g})"
        table.add_row(arm, f"{n_found} of {len(found_at)}", interval, p_value)
    Console().print(table)


def _fail(error: Exception) -> None:
    """Print an error as one line and exit with status 2."""
    if isinstance(error, ValidationError):
        message = "; ".join(f"`{'.'.join(map(str, e['loc']))}` is {e['input']!r}: {e['msg']}" for e in error.errors())
    else:
        message = str(error)
    line = " ".join(message.split())
    Console(stderr=True, soft_wrap=True).print(f"error: {line}", style="red", markup=False)
    raise typer.Exit(2)
