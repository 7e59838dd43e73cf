"""The command line, in this process and as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from ase.io import read
from typer.testing import CliRunner

from asla_agents import cli, tensorboard
from asla_agents.config import RunConfig
from asla_agents.imagination import ImaginationSettings
from asla_agents.representations import REPRESENTATIONS
from asla_agents.training import SearchResult
from asla_env import IDS, calculators
from asla_env.problems import graphene_mini
from asla_env.xwch import XWCH

MINI = "ASLA-GrapheneMini-v0"
FILES = {
    "README.md",
    "assembly.gif",
    "assembly.png",
    "best.png",
    "best.traj",
    "best.xyz",
    "checkpoint.zip",
    "config.json",
    "energies.db",
    "episodes.jsonl",
    "times.jsonl",
}
TIMEOUT = 300  # s


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def start(tmp_path: Path, *arguments) -> subprocess.Popen:
    """`python -m asla_agents` as a user starts it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "SB3_LOGDIR": str(tmp_path / "logs")}
    return subprocess.Popen(
        [sys.executable, "-m", "asla_agents", *map(str, arguments)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def sources():
    """Where each search that was recorded was to have energies from."""
    return []


@pytest.fixture
def recorded(monkeypatch, sources):
    """Replace the search by a record of what it was asked for."""
    calls = []

    def search(config, directory, executor, tensorboard, known):
        calls.append((config, directory))
        sources.append(list(known))
        return SearchResult(directory, config.episodes, -44.0982, 50.5, None, interrupted=False)

    monkeypatch.setattr(cli, "search", search)
    return calls


# As a process


def test_a_search_from_the_shell_writes_its_files_and_says_what_it_found(tmp_path):
    command = ["search", MINI, "--evaluator", "xwch", "--episodes", 3, "--representation", "one-hot", "--out", "out"]
    with start(tmp_path, *command) as process:
        stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == FILES
    rows = [json.loads(line) for line in (tmp_path / "out" / "episodes.jsonl").read_text().splitlines()]
    best = min(row["energy"] for row in rows)
    assert len(rows) == 3
    assert len(read(tmp_path / "out" / "best.xyz")) == 12
    assert "3 episodes, not found" in stdout
    assert f"best energy {best:.4f} eV" in stdout
    assert "results in out" in stdout
    assert "3/3" in stderr  # the bar
    assert "Warning" not in stderr


def has_lines(path: Path, n: int) -> bool:
    return path.exists() and path.read_text().count("\n") >= n


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])  # Ctrl-C, and what schedulers of clusters send
def test_an_interrupt_from_the_shell_ends_a_search_with_all_files_written(tmp_path, number):
    log = tmp_path / "out" / "episodes.jsonl"
    command = ["search", MINI, "--evaluator", "xwch", "--episodes", 100_000, "--out", "out"]
    with start(tmp_path, *command) as process:
        deadline = time.monotonic() + TIMEOUT
        while process.poll() is None and not has_lines(log, 2) and time.monotonic() < deadline:
            time.sleep(0.05)  # when the second is there, the search knows the first, and has a best structure to write
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "interrupted: writing the results" in stdout
    assert "not at its end: asla resume out" in stdout
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} | {"checkpoint.zip"} == FILES
    n_episodes = len(log.read_text().splitlines())
    assert f"{n_episodes} episodes, not found" in stdout
    with start(tmp_path, "resume", "out", "--episodes", n_episodes + 1) as process:
        stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    assert f"{n_episodes + 1} episodes, not found" in stdout


@pytest.mark.parametrize("command", ["resume", "watch", "report", "film"])
def test_what_is_no_search_cannot_go_on_nor_be_looked_at(tmp_path, command):
    result = run(command, tmp_path)
    assert result.exit_code == 2
    assert "must hold a search" in result.output
    assert "Traceback" not in result.output


OWN = """
from ase.calculators.lj import LennardJones

def carbon(depth):
    return LennardJones(sigma=1.3, epsilon=depth, rc=3.0)
"""


def test_a_search_finds_a_calculator_in_a_file_of_one_s_own(tmp_path):
    (tmp_path / "calculator_of_mine.py").write_text(OWN)
    command = ["search", MINI, "--evaluator", "calculator_of_mine:carbon", "--evaluator-settings", '{"depth": 0.5}']
    code = "import sys; sys.argv[0] = 'asla'; from asla_agents.cli import main; main()"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "SB3_LOGDIR": str(tmp_path / "logs")}
    done = subprocess.run(  # -P: as in a script, the working directory is not where modules are looked for
        [sys.executable, "-P", "-c", code, *command, "--episodes", "2"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (directory,) = (tmp_path / "runs").iterdir()
    assert directory.name == f"{MINI}_calculator_of_mine.carbon_gaussian_seed0"
    config = json.loads((directory / "config.json").read_text())
    assert config["settings"]["evaluator_settings"] == {"depth": 0.5}
    assert len(config["versions"]["calculator_of_mine"]) == 32  # no version but a digest


# Watching


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal of its own")
def test_a_search_is_watched_from_its_start_until_an_interrupt_which_ends_the_view_alone(written, row):
    import pty

    ours, its = pty.openpty()
    command = [sys.executable, "-m", "asla_agents", "watch", str(written([row(1)])), "--every", "0.1"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(command, env=environment, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        text = ""
        while "1 of 20 episodes" not in text:
            text += os.read(ours, 65536).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # which is how a terminal ends
            while data := os.read(ours, 65536):
                text += data.decode(errors="replace")
        assert process.wait(TIMEOUT) == 0
    os.close(ours)
    assert "Traceback" not in text
    assert "1 of 20 episodes" in text[text.rindex("\x1b[?1049l") :]  # left on the terminal


def test_a_search_is_watched_once_where_no_terminal_is(written, row, tmp_path):
    result = run("watch", written([row(1)]), "--once")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("1 of 20 episodes") == 1
    assert_one_line(run("watch", tmp_path / "run", "--every", 0), "`every_s` is 0.0")


def test_the_rows_of_a_study_are_watched_too(tmp_path):
    row = {"arm": "one-hot", "key": "a", "seed": 0, "episodes": 9, "found_at": 4, "best_above_reference": 1.5}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert run("watch", tmp_path / "not_begun.rows.jsonl", "--once").exit_code == 0
    result = run("watch", tmp_path / "rows.jsonl")
    assert result.exit_code == 0, result.output
    assert "one-hot" in result.stdout


def test_a_report_is_written_where_it_is_asked_for(written, row, tmp_path):
    directory = written([row(1)])
    for options, path in (((), directory / "report.html"), (("--out", tmp_path / "a.html"), tmp_path / "a.html")):
        result = run("report", directory, *options)
        assert result.exit_code == 0, result.output
        assert f"report in {path}" in result.stdout
        assert path.read_text().startswith("<!DOCTYPE html>")


def test_a_film_is_written_where_it_is_asked_for(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(cli, "film_best", lambda directory, path: calls.append((directory, path)))
    for options, path in (((), tmp_path / "assembly.gif"), (("--out", tmp_path / "b.mp4"), tmp_path / "b.mp4")):
        assert f"film in {path}" in run("film", tmp_path, *options).stdout
        assert calls[-1] == (tmp_path, path)


def test_events_for_tensorboard_are_written_if_asked_for(written, monkeypatch, tmp_path):
    asked = []

    def record(*_, tensorboard, **__):
        asked.append(tensorboard)
        return SearchResult(tmp_path, 1, -44.0, 50.0, None, interrupted=False)

    monkeypatch.setattr(cli, "search", record)
    monkeypatch.setattr(cli, "resume", record)
    for options in ([], ["--tensorboard"]):
        assert run("search", MINI, "--workers", 0, "--out", tmp_path / "out", *options).exit_code == 0
    directory = written()
    for options in ([], ["--tensorboard"], ["--no-tensorboard"]):
        assert run("resume", directory, "--workers", 0, *options).exit_code == 0
    assert asked == [False, True, None, True, False]


def test_films_and_events_that_need_more_say_what_in_one_line(monkeypatch, tmp_path):
    def lacks(*_):
        raise ImportError("`path` is film.mp4, which needs imageio-ffmpeg: `pip install asla[mp4]`")

    monkeypatch.setattr(cli, "film_best", lacks)
    assert_one_line(run("film", tmp_path), "pip install asla[mp4]")
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    result = run("search", MINI, "--evaluator", "xwch", "--workers", 0, "--tensorboard", "--out", tmp_path / "out")
    assert_one_line(result, "pip install asla[tensorboard]")
    assert not (tmp_path / "out").exists()


# The settings of a search


def test_options_become_settings(recorded, tmp_path):
    options = "--evaluator xwch --representation agr --episodes 7 --seed 3 --batch-size 5 --gradient-steps 0"
    more = ["--builds-at-once", 4, "--stop-on-success", "--out", tmp_path / "out", "--threads", 1]
    result = run("search", MINI, *options.split(), *more)
    assert result.exit_code == 0, result.stderr
    ((config, directory),) = recorded
    assert directory == tmp_path / "out"
    assert (config.env_id, config.evaluator, config.representation) == (MINI, "xwch", "agr")
    assert (config.episodes, config.seed, config.batch_size, config.gradient_steps) == (7, 3, 5, 0)
    assert config.builds_at_once == 4
    assert config.stop_on_success is True


def test_settings_of_the_calculator_are_given_as_json(recorded, tmp_path):
    settings = {"xc": "LDA", "kpts": [2, 1, 1], "occupations": {"name": "fermi-dirac", "width": 0.2}}
    options = ["--evaluator", "gpaw", "--evaluator-settings", json.dumps(settings), "--out", tmp_path / "out"]
    assert run("search", "ASLA-Naphthalene-v0", *options).exit_code == 0
    assert recorded[0][0].evaluator_settings == settings


def test_builds_are_imagined_if_asked_for(recorded, tmp_path):
    for options, expected in (((), None), (("--imagination",), ImaginationSettings())):
        assert run("search", MINI, "--evaluator", "xwch", "--out", tmp_path / "out", *options).exit_code == 0
        assert recorded[-1][0].imagination == expected


FILE = """
env_id = "ASLA-Naphthalene-v0"
evaluator = "gfn1-xtb"
episodes = 7
stop_on_success = true
[exploration]
epsilon = 0.25
[imagination]
builds = 3
"""


def test_options_go_before_the_file_and_the_file_before_the_defaults(recorded, tmp_path):
    path = tmp_path / "search.toml"
    path.write_text(FILE)
    options = ["--config", path, "--out", tmp_path / "out"]
    for more in ([], [MINI, "--episodes", 1000, "--evaluator", "xwch", "--no-stop-on-success", "--no-imagination"]):
        result = run("search", *more, *options)
        assert result.exit_code == 0, result.stderr
    (from_file, _), (changed, _) = recorded
    assert from_file == RunConfig.load(path)
    assert (from_file.env_id, from_file.episodes, from_file.imagination.builds) == ("ASLA-Naphthalene-v0", 7, 3)
    assert (changed.env_id, changed.evaluator, changed.episodes) == (MINI, "xwch", 1000)  # 1000 is the default too
    assert changed.stop_on_success is False
    assert changed.imagination is None
    assert changed.exploration.epsilon == 0.25


def test_imagination_of_a_file_stays_as_it_is_if_asked_for_again(recorded, tmp_path):
    path = tmp_path / "search.toml"
    path.write_text(FILE)
    assert run("search", "--config", path, "--imagination", "--out", tmp_path / "out").exit_code == 0
    assert recorded[0][0].imagination.builds == 3
    path.write_text(FILE.partition("[imagination]")[0])
    assert run("search", "--config", path, "--imagination", "--out", tmp_path / "out").exit_code == 0
    assert recorded[1][0].imagination == ImaginationSettings()


def test_energies_of_other_searches_are_handed_on(recorded, sources, tmp_path):
    options = ["--energies", "one.db", "--energies", tmp_path]
    assert run("search", MINI, "--out", tmp_path / "out", *options).exit_code == 0
    assert run("search", MINI, "--out", tmp_path / "out").exit_code == 0
    assert sources == [[Path("one.db"), tmp_path], []]


def test_without_a_directory_a_new_one_is_named_after_the_search(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        assert run("search", MINI, "--evaluator", "xwch", "--seed", 4).exit_code == 0
        recorded[-1][1].mkdir(parents=True)
    stem = f"{MINI}_xwch_gaussian_seed4"
    assert [directory for _, directory in recorded] == [Path("runs") / f"{stem}{end}" for end in ("", "_1", "_2")]


def test_a_path_is_printed_as_it_is(recorded, tmp_path):
    path = tmp_path / "[bold]out [1]"
    assert f"results in {path}" in run("search", MINI, "--out", path).stdout


def test_a_wrong_file_of_settings_is_one_line_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.toml").write_text("episodes = 0\nreplay.n_bset = 3\n")
    result = run("search", MINI, "--config", "a.toml")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: a.toml: `episodes` is 0 but must be greater than or equal to 1; a.toml: `replay.n_bset` is no setting "
        "but must be one of those that there are: did you mean `replay.n_best`?\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.toml"]


def test_neither_id_nor_file_is_one_line():
    assert_one_line(run("search"), "`env_id` is missing but must be given")


# What there is


def test_the_list_names_every_problem_calculator_and_representation():
    result = run("list")
    assert result.exit_code == 0
    for name in (*IDS, *calculators.names(), *REPRESENTATIONS):
        assert name in result.stdout
    assert "8 C + 6 H" in result.stdout
    assert "61 x 53" in result.stdout


def test_without_a_command_the_help_names_the_commands():
    text = run("--help").stdout
    assert "search" in text
    assert "list" in text


# What a user can get wrong: one line, exit status 2


def assert_one_line(result, *parts):
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: `")
    assert all(part in lines[0] for part in parts), lines[0]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["ASLA-Graphite-v0"], ["`env_id` is 'ASLA-Graphite-v0'", "must be one of ASLA-Graphene-v0, "]),
        ([MINI, "--evaluator", "dft"], ["`evaluator` is 'dft'", "must be one of 'gfn1-xtb', "]),
        ([MINI, "--evaluator", "nothing:EMT"], ["`calculator` is 'nothing:EMT'", "'nothing' cannot be imported"]),
        ([MINI, "--evaluator-settings", "{"], ["`evaluator_settings` is '{'", 'must be JSON, such as {"xc": "PBE"}']),
        ([MINI, "--evaluator-settings", "[1]"], ["`evaluator_settings` is [1]", "valid dictionary"]),
        (
            [MINI, "--evaluator-settings", '{"xc": 1}'],
            ["`evaluator_settings` is {'xc': 1}", "must be one of accuracy, "],
        ),
        ([MINI, "--representation", "gauss"], ["`representation` is 'gauss'", "must be one of one-hot, "]),
        ([MINI, "--episodes", 0], ["`episodes` is 0", "greater than or equal to 1"]),
        ([MINI, "--seed", -1], ["`seed` is -1", "greater than or equal to 0"]),
        ([MINI, "--seed", 2**32], ["`seed` is 4294967296", "less than 4294967296"]),
        ([MINI, "--batch-size", 0], ["`batch_size` is 0", "greater than or equal to 1"]),
        ([MINI, "--gradient-steps", -1], ["`gradient_steps` is -1", "greater than or equal to 0"]),
        ([MINI, "--threads", 0], ["`threads` is 0", "between 1 and"]),
        ([MINI, "--threads", -3], ["`threads` is -3", "between 1 and"]),
        (["ASLA-Naphthalene-v0", "--evaluator", "xwch"], ["`symbols` has H", "the species that 'xwch' knows"]),
        ([MINI, "--episodes", 0, "--seed", -1], ["`episodes` is 0", "`seed` is -1"]),
        ([MINI, "--evaluator", "xwch", "--energies", "no.db"], ["`path` is no.db but must be a database of energies"]),
        (["two\nlines"], ["`env_id` is 'two\\nlines'"]),
    ],
    ids=lambda value: " ".join(map(str, value)).encode("unicode_escape").decode(),
)
def test_a_wrong_argument_is_one_line_that_names_value_and_rule(arguments, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_line(run("search", *arguments), *parts)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_holds_something_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    parts = [f"`directory` is {tmp_path}", "must be a new or an empty directory"]
    assert_one_line(run("search", MINI, "--evaluator", "xwch", "--out", tmp_path), *parts)


def test_a_file_is_refused_as_directory(tmp_path):
    path = tmp_path / "a [file]"
    path.write_text("mine")
    parts = [f"`directory` is {path}", "must be a new or an empty directory"]
    assert_one_line(run("search", MINI, "--evaluator", "xwch", "--out", path), *parts)


def test_a_directory_inside_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    result = run("search", MINI, "--evaluator", "xwch", "--out", tmp_path / "file" / "out")
    assert result.exit_code == 2
    assert str(tmp_path / "file" / "out") in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_calculator_that_is_not_installed_is_one_line(monkeypatch, tmp_path):
    def missing():
        raise ImportError("gfn1-xtb needs tblite, which cannot be imported: `pip install tblite`")

    entry = replace(calculators._CALCULATORS["gfn1-xtb"], factory=missing)
    monkeypatch.setitem(calculators._CALCULATORS, "gfn1-xtb", entry)
    result = run("search", MINI, "--evaluator", "gfn1-xtb", "--workers", 0, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: gfn1-xtb needs tblite, which cannot be imported: `pip install tblite`"
    ]


def test_a_word_for_a_number_is_a_usage_error():
    result = run("search", MINI, "--episodes", "many")
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


# Calculators that do harm

HARMFUL = """
import ctypes, os, time
from asla_env.xwch import XWCH

class Harmful(XWCH):
    def get_potential_energy(self, atoms=None, force_consistent=False):
        kind = int(abs(atoms.positions).sum() * 1e6 + 4) % 8  # harmless for the reference
        if kind == 0:
            raise RuntimeError("no convergence")
        if kind == 1:
            return float("nan")
        if kind == 2:
            time.sleep(10**6)
        if kind == 3:
            hoard = []
            while True:
                hoard.append(bytearray(2**26))
        if kind == 4:
            ctypes.string_at(0)
        return super().get_potential_energy(atoms)
"""


def test_a_calculator_that_does_harm_costs_single_energies_and_never_the_search(tmp_path):
    (tmp_path / "harmful.py").write_text(HARMFUL)
    command = ["search", MINI, "--evaluator", "harmful:Harmful", "--episodes", 14, "--out", "out"]
    with start(tmp_path, *command, "--time-limit", 3, "--memory-limit", 1) as process:
        stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    assert "14 episodes" in stdout
    rows = [json.loads(line) for line in (tmp_path / "out" / "episodes.jsonl").read_text().splitlines()]
    failed = [row for row in rows if row["calculator_error"]]
    assert len(rows) == 14
    assert 0 < len(failed) < 14
    for row in rows:
        atoms = graphene_mini().structure(row["placed"])
        atoms.calc = XWCH()
        if not row["calculator_error"]:
            assert row["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)


def test_what_is_printed_goes_into_a_file_whatever_the_system_writes(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-m", "asla_agents", "config"]
    with (tmp_path / "search.toml").open("wb") as file:
        subprocess.run(command, stdout=file, env=environment, check=True, timeout=TIMEOUT)
    assert "\N{GREEK SMALL LETTER EPSILON}" in (tmp_path / "search.toml").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="names of files are text on Windows")
def test_a_name_that_is_no_text_is_printed_as_far_as_it_can_be(written, row, tmp_path):
    name = os.fsdecode(b"caf\xe9.html")
    command = [sys.executable, "-m", "asla_agents", "report", str(written([row(1)])), "--out", str(tmp_path / name)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    output = subprocess.run(command, capture_output=True, env=environment, check=True, timeout=TIMEOUT).stdout
    assert rb"caf\udce9.html" in output
    assert (tmp_path / name).is_file()


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_reader_that_is_gone_is_no_fault_of_the_user():
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "asla_agents", "config"]
    process = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, check=False, timeout=TIMEOUT)
    os.close(write_end)
    assert process.returncode == 1
    assert process.stderr == b""


def test_the_version_is_printed():
    assert run("--version").stdout.strip() == version("asla")


@pytest.mark.parametrize("name", ["nowhere", "figures.jsonl"])
def test_a_table_needs_a_directory_of_rows(name, tmp_path):
    (tmp_path / "figures.jsonl").touch()
    assert_one_line(run("table", tmp_path / name), "`directory` is", "must hold files of rows: one of figures.jsonl")


def test_rows_that_are_no_rows_of_a_study_make_no_table(tmp_path):
    (tmp_path / "figures.jsonl").write_text('{"arm": "AGR"}\n')
    result = run("table", tmp_path)
    assert result.exit_code == 2
    assert "figures.jsonl, line 1, must hold `key`" in result.stderr


def test_a_file_of_rows_that_is_not_there_is_named(tmp_path):
    assert_one_line(run("plot", "fig7", "--rows", tmp_path / "no.jsonl"), "no.jsonl but must be a file of rows")
