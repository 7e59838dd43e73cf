"""Figures from rows: what is in them, what is not, and what a user can get wrong."""

import json
import re
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from typer.testing import CliRunner

from asla_agents import cli
from asla_agents.callbacks import read_rows
from asla_agents.config import RunConfig
from asla_agents.experiments import EXPERIMENTS, MEASUREMENTS, generalisation, phases
from asla_agents.figures import NAMES, figure, learning_curve, markdown, study_figure
from asla_agents.figures.agreement import mean_episodes, verdicts
from asla_agents.figures.curves import n50_text
from asla_agents.figures.draw import DRAWINGS
from asla_agents.jobs import job_of
from asla_agents.study import Study, earlier
from asla_agents.success import Interval
from asla_agents.training import search
from asla_agents.watch_study import study_table
from asla_env import problems

ROOT = Path(__file__).parents[2]
PAPER = [f"fig{n}" for n in ("2a", "2b", "3", "4", "5", *(f"6{x}" for x in "abcde"), "7", *(f"8{x}" for x in "abcde"))]
PAPER += ["fig9", "fig10", "fig11a", "fig11b", "fig12", "table1"]
BEYOND = ["grain-boundary", "imagination", "network", "species-agr", "species-widths", "trainable-width", "transfer"]


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def made_up_rows(name, evaluator=None, found=(100, 300, None), version=lambda study: study, **more):
    """Rows of three restarts of each arm, as a study would write them."""
    experiment = EXPERIMENTS[name]
    study = version(experiment.study if evaluator is None else experiment.study.changed(evaluator=evaluator))
    rows = []
    for shift, arm in enumerate(study.arms):
        config = study.config(arm, 0)
        learned = {"coefficients": [[0.1 * (i == 3) - 0.01 for i in range(9)]], "width_over_spacing": [1.0 + shift]}
        for seed, at in enumerate(found):
            row = {"arm": arm, "key": config.key, "seed": seed, "budget": config.episodes, "found_at": at}
            rows.append(row | {"episodes": at or config.episodes, "learned": learned} | more)
    return rows


def rows_for(name):
    if name in DRAWINGS:
        return []
    if name == generalisation.NAME:
        return [{"arm": arm, "seed": 0, "unseen_error": 0.5} for arm in generalisation.ARMS]
    if name == phases.NAME:
        return [made_up_times(arm, 0) for arm in phases.ARMS]
    return made_up_rows(name)


def made_up_times(arm, seed, evaluator="gpaw", **more):
    seconds = [[[0.1, 0], [8.0 + i, 0], [0.9, 0]] for i in range(3)]
    return {
        "arm": arm,
        "seed": seed,
        "evaluator": evaluator,
        "smoke": False,
        "updates": [6, 32],
        "seconds": seconds,
    } | more


def test_every_figure_of_the_paper_has_a_name_and_they_are_in_order():
    assert list(NAMES) == PAPER + BEYOND


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_can_be_drawn_and_leaves_the_settings_of_matplotlib_alone(name, tmp_path):
    before = dict(mpl.rcParams)
    figure(name, rows_for(name)).savefig(tmp_path / "figure.pdf")
    assert dict(mpl.rcParams) == before
    assert (tmp_path / "figure.pdf").stat().st_size > 5000


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DRAWINGS])
def test_without_rows_of_its_own_a_figure_says_what_to_run(name):
    others = (
        []
        if name in MEASUREMENTS
        else made_up_rows("trainable-width" if name.startswith("species") else "species-widths")
    )
    with pytest.raises(ValueError, match=f"`rows` holds none of .*: run `asla study {name[:4]}"):
        figure(name, others)


def legend_of(picture):
    return [text.get_text() for text in picture.legends[0].get_texts()]


def test_a_legend_tells_restarts_and_n50_with_its_interval():
    one_hot, gaussian, paper = legend_of(figure("fig2a", made_up_rows("fig2a")))
    assert one_hot == "one-hot\nn = 3, n50 300 (100 to > 1500)"
    assert gaussian.startswith("Gaussian, λ = 1.25Δ\nn = 3, n50 300")
    assert paper == "n50 in the paper"


@pytest.mark.parametrize(
    ("half", "text"),
    [
        (Interval(300, 100, 400), "300 (100 to 400)"),
        (Interval(300, 100, np.inf), "300 (100 to > 800)"),
        (Interval(np.inf, 700, np.inf), "> 800 (700 to > 800)"),
        (Interval(np.inf, np.inf, np.inf), "> 800"),
    ],
)
def test_what_was_not_reached_lies_beyond_the_end(half, text):
    assert n50_text(half, 800) == text


def test_a_curve_steps_at_the_successes_and_goes_on_to_the_longest_restart():
    curve = figure("fig2a", made_up_rows("fig2a")).axes[0].lines[0]
    np.testing.assert_allclose(curve.get_xdata(), [0, 100, 300, 1500])
    np.testing.assert_allclose(curve.get_ydata(), [0, 100 / 3, 200 / 3, 200 / 3])


def test_the_numbers_of_the_paper_are_vertical_lines_in_the_colours_of_their_arms():
    lines = figure("fig7", made_up_rows("fig7")).axes[0].lines
    curves = {line.get_label().split("\n")[0]: line.get_color() for line in lines if "n = " in line.get_label()}
    vertical = {line.get_xdata()[0]: line.get_color() for line in lines if len(set(line.get_xdata())) == 1}
    assert vertical[4400] == curves["one-hot"] != vertical[2200] == curves["AGR"]


def test_the_kernels_of_figure_4_are_gaussians_that_end_at_their_biases():
    above, below = figure("fig4", made_up_rows("fig4")).axes
    kernels = [line for line in above.lines if len(line.get_xdata()) > 2]
    for kernel, bias in zip(kernels, (-0.1, 0.0, 0.1), strict=True):
        r, height = np.asarray(kernel.get_xdata()), np.asarray(kernel.get_ydata())
        np.testing.assert_allclose(height[np.abs(r) > 5.5], bias, atol=1e-3)
        np.testing.assert_allclose(height, np.exp(-(r**2) / (2 * 1.25**2)) + bias, atol=1e-6)
    curves = [line.get_color() for line in below.lines if "n = " in line.get_label()]
    assert [kernel.get_color() for kernel in kernels] == curves


@pytest.mark.parametrize(("name", "problem"), [("fig7", problems.grain_boundary), ("fig12", problems.naphthalene)])
def test_beside_the_curves_stands_the_structure_that_is_sought_each_atom_of_it_once_in_the_cell(name, problem):
    _, beside = figure(name, made_up_rows(name)).axes
    sought, (bonds_and_discs,) = problem(), beside.collections
    discs = [path.vertices[:-1] for path in bonds_and_discs.get_paths() if len(path.vertices) > 30]
    low = np.array(sought.grid.origin[:2]) - np.array(sought.grid.spacing[:2]) / 2
    cells = np.floor(np.round((np.mean(discs, axis=1) - low) / sought.grid.cell[:2], 6))[:, sought.grid.periodic]
    assert np.count_nonzero((cells == 0).all(axis=1)) == len(sought.reference)


def test_rows_of_another_calculator_are_drawn_on_demand():
    rows = made_up_rows("fig2a", "xwch", found=(7, 8, 9))
    with pytest.raises(ValueError, match="`rows` holds none of fig2a"):
        figure("fig2a", rows)
    assert "n50 8" in legend_of(figure("fig2a", rows + made_up_rows("fig2a"), "xwch"))[0]


def test_one_version_is_drawn_and_that_of_before_says_so():
    before, now = (made_up_rows("fig6a", found=(n, n, n), version=v) for n, v in ((7, earlier), (9, lambda s: s)))
    for rows, n50, title in (
        ([*before, *now], "n50 9", None),
        ([*before, *(row for row in now if row["arm"] == "AGR")], "n50 7", "with the defaults of before"),
    ):
        drawn = figure("fig6a", rows)
        assert all(n50 in text for text in legend_of(drawn)[:3])
        assert (drawn.get_suptitle() or None) == title
        table = study_table(EXPERIMENTS["fig6a"].study, rows)
        assert all(cell.startswith(n50.split()[1]) for cell in table.columns[2].cells)
        assert table.title == title


def test_an_arm_without_rows_is_left_out():
    rows = [row for row in made_up_rows("fig6a") if row["arm"] == "AGR"]
    assert [text.split("\n")[0] for text in legend_of(figure("fig6a", rows))] == ["AGR", "n50 in the paper"]


def test_bars_are_mean_coefficients_in_two_colours():
    axes = figure("fig6d", made_up_rows("fig6b")).axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], [-0.01] * 3 + [0.09] + [-0.01] * 5)
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[3] not in colours[:3]
    assert axes.get_title() == "β₁ = 0.01, n = 3, after 100 to 1000 episodes"
    alike = figure("fig6d", made_up_rows("fig6b", episodes=300))
    assert alike.axes[0].get_title() == "β₁ = 0.01, n = 3, after 300 episodes"


def test_one_hot_stands_at_width_zero_beside_all_widths():
    axes = figure("fig2b", made_up_rows("fig2b")).axes[0]
    points = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [line.get_xdata()[0] for line in points] == [0, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5]
    assert {line.get_ydata()[0] for line in points} == {300}
    paper = [line for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in paper] == [(0, 750), (1.25, 500)]


def test_an_n50_that_was_not_reached_is_an_open_triangle_at_the_end():
    axes = figure("fig2b", made_up_rows("fig2b", found=(None, None))).axes[0]
    (first, *_) = [line for line in axes.lines if line.get_marker() == "^"]
    assert first.get_ydata()[0] == 1500
    assert first.get_markerfacecolor() == "white"


def test_what_was_not_reached_stands_at_the_end_of_its_own_arm():
    rows = made_up_rows("fig2b", found=(None, None))
    for row in rows:
        row["episodes"] = 1500 if row["arm"] == "one-hot" else 100
    points = [line for line in figure("fig2b", rows).axes[0].lines if line.get_marker() == "^"]
    assert [line.get_ydata()[0] for line in points] == [1500] + [100] * 8
    study = Study(settings=EXPERIMENTS["fig2b"].study.settings, arms=EXPERIMENTS["fig2b"].study.arms)
    points = [line for line in study_figure("mine", study, rows).axes[0].lines if line.get_marker() == ">"]
    assert [line.get_xdata()[0] for line in points] == [1500] + [100] * 8


def test_without_rows_of_the_first_arm_nothing_is_compared_with_it():
    experiment = EXPERIMENTS["fig2b"]
    rows = [row for row in made_up_rows("fig2b") if row["arm"] != "one-hot"]
    labels = [text.get_text() for text in study_figure("mine", experiment.study, rows).axes[0].get_yticklabels()]
    assert len(labels) == 8
    assert not any("p =" in label for label in labels)
    table = study_table(experiment.study, rows)
    assert list(table.columns[-1].cells) == ["-"] * 9


def test_times_of_other_updates_are_not_mixed():
    old, new = made_up_times("one-hot", 0), made_up_times("one-hot", 1, updates=[10, 32])
    assert phases.rows_of([old, new]) == [new]
    assert phases.rows_of([old]) == [old]


def test_the_bars_of_table_1_are_the_paper_and_medians_of_ours_one_after_another():
    axes = figure("table1", [made_up_times("one-hot", 0)]).axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    np.testing.assert_allclose(widths[:6], [0.81, 10.39, 3.17, 0.1, 9.0, 0.9])
    np.testing.assert_allclose(axes.patches[5].get_x(), 9.1)
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "0.81 s (5.6%),  10.39 s (72.3%),  3.17 s (22.1%)"  # as the paper prints it
    assert texts[1] == "0.10 s (1.0%),  9.00 s (90.0%),  0.90 s (9.0%)"
    assert texts[3] == "no rows"
    assert [text.get_text() for text in axes.get_yticklabels()][1] == "one-hot\nours, n = 3"


def test_times_of_smoke_runs_and_other_calculators_are_drawn_on_demand_only():
    rows = [made_up_times("one-hot", 0), made_up_times("one-hot", 0, "gfn1-xtb", smoke=True)]
    assert "ours with gpaw" in figure("table1", rows).axes[0].get_title()
    assert "ours with gfn1-xtb" in figure("table1", rows, smoke=True).axes[0].get_title()
    with pytest.raises(ValueError, match="`rows` holds none of table1"):
        figure("table1", rows, "gfn1-xtb")


# The table


def test_the_table_has_a_line_for_each_figure_and_says_what_has_no_rows(tmp_path):
    (tmp_path / "figures.jsonl").touch()
    lines = markdown(tmp_path).splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == list(NAMES)
    assert all(("no rows yet" in line) is (line.split(" | ")[0][2:] not in DRAWINGS) for line in lines[2:])
    assert all(line.count("|") == 5 for line in lines)


def test_the_table_is_made_of_rows_as_a_study_calls_them_too(tmp_path):
    lines = [json.dumps(row) + "\n" for row in made_up_rows("fig2a")]
    (tmp_path / "figures.rows.jsonl").write_text("".join(lines))
    assert "n50 300" in markdown(tmp_path)


def test_the_table_gives_ours_beside_the_paper(tmp_path):
    rows = []
    for name in ("fig2a", "fig6b", "trainable-width"):
        rows += made_up_rows(name) + made_up_rows(name, "xwch", found=(7, 8, 9))
    (tmp_path / "figures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    times = [made_up_times("one-hot", 0), made_up_times("one-hot", 1), made_up_times("one-hot", 0, "gfn1-xtb")]
    (tmp_path / "table1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in times))
    lines = {line.split(" | ")[0][2:]: line for line in markdown(tmp_path).splitlines()}
    assert "gpaw, one-hot: 0.10, 9.00, 0.90 s, evaluation 90%, medians, n = 6<br>gfn1-xtb, one-hot" in lines["table1"]
    assert "gfn1-xtb, one-hot: n50 300 (100 to > 1500), 2 of 3 found; paper 750<br>" in lines["fig2a"]
    assert "xwch, one-hot: n50 8 (7 to 9), 3 of 3 found; paper 750<br>" in lines["fig2a"]
    assert "gfn1-xtb, β₁ = 0.01: largest mean c_i is that of λ_4, 0.09 ± 0.00, n = 3, after 100 to" in lines["fig6d"]
    assert "gfn1-xtb, λ from 1Δ: ends at λ/Δ = 2.00 ± 0.00, n = 3, after 100 to 1000" in lines["trainable-width"]


def test_the_table_tells_how_often_the_best_structure_on_the_grid_was_found(tmp_path):
    def line(*rows):
        (tmp_path / "figures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (text,) = re.findall(r"\| fig2a .*?gfn1-xtb, one-hot: (.*?)<br>", markdown(tmp_path))
        return text

    stopped = [row | {"exact_at": row["found_at"]} for row in made_up_rows("fig2a")]
    assert line(*stopped).endswith("2 of 3 found; paper 750; best on grid: 2 of 3, n50 300 (100 to > 1500)")
    stopped[0] |= {"exact_at": None}
    assert line(*stopped).endswith("; best on grid: 1 of 3 when they stopped")
    del stopped[0]["exact_at"]
    assert "best on grid: 1 of 2" in line(*stopped)
    assert line(*made_up_rows("fig2a")).endswith("2 of 3 found; paper 750")


def rows_of_two_arms(name, found):
    """Rows of the two arms of a figure, made up from when they were found."""
    rows = []
    for arm, at in zip(EXPERIMENTS[name].study.arms, found, strict=True):
        rows += [row for row in made_up_rows(name, found=at) if row["arm"] == arm]
    return rows


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ((range(700, 720), range(300, 320)), "as in the paper (p = 9e-12)"),
        ((range(300, 320), range(700, 720)), "the other way round (p = 9e-12)"),
        ((range(300, 320), range(300, 320)), "not told apart (p = 1)"),
        (([None] * 5, [None] * 5), "not told apart (p = 1)"),
    ],
)
def test_a_comparison_of_the_paper_is_judged_by_the_log_rank_test(found, verdict):
    experiment = EXPERIMENTS["fig12"]
    (said,) = verdicts(experiment, experiment.study, rows_of_two_arms("fig12", found))
    assert said == f"Gaussian, λ = Δ before one-hot: {verdict}"


def test_arms_that_the_paper_finds_alike_may_be_told_apart():
    experiment = EXPERIMENTS["fig6b"]
    said = verdicts(experiment, experiment.study, made_up_rows("fig6b"))
    assert said[0] == "β₁ = 0.01 like β₁ = 0: not told apart (p = 1)"
    late = [row | {"found_at": 900, "episodes": 1000} for row in made_up_rows("fig6b") if row["arm"] == "β₁ = 0.01"]
    early = [row | {"found_at": 5} for row in made_up_rows("fig6b") if row["arm"] == "β₁ = 0"]
    (said,) = verdicts(experiment, experiment.study, early + late)
    assert said.startswith("β₁ = 0.01 like β₁ = 0: told apart, unlike in the paper (p = 0.0")


def test_comparisons_need_rows_of_both_arms():
    experiment = EXPERIMENTS["fig2a"]
    rows = [row for row in made_up_rows("fig2a") if row["arm"] == "one-hot"]
    assert verdicts(experiment, experiment.study, rows) == []


def test_the_mean_until_success_counts_the_end_for_those_without_one():
    assert mean_episodes([10.0, 30.0, np.nan, 90.0], [10, 30, 100, 90], 50) == (10 + 30 + 50 + 50) / 4


def test_the_table_says_what_agrees_with_the_paper(tmp_path):
    rows = rows_of_two_arms("fig7", (range(4400, 4420), range(2200, 2220)))
    (tmp_path / "figures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "<br>xwch, AGR before one-hot: as in the paper (p = " in markdown(tmp_path)


def test_the_table_has_rows_of_both_versions_and_mixes_them_in_no_comparison(tmp_path):
    one_hot = [row for row in made_up_rows("fig7", found=(9, 9, 9)) if row["arm"] == "one-hot"]
    before = [row for row in made_up_rows("fig7", found=(7, 7, 7), version=earlier) if row["arm"] == "AGR"]
    (tmp_path / "figures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (*one_hot, *before)))
    (line,) = (line for line in markdown(tmp_path).splitlines() if line.startswith("| fig7 "))
    assert "xwch, one-hot: n50 9 " in line
    assert "xwch, defaults of before, AGR: n50 7 " in line
    assert "AGR before one-hot" not in line


def test_the_table_of_the_docs_is_what_the_rows_say():
    text = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| figure .*?\n(?=\n)", text, flags=re.DOTALL | re.MULTILINE)
    assert table == markdown(ROOT / "benchmarks" / "results")


# On the command line


def test_a_drawing_is_written_under_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("plot", "fig9")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "picture in fig9.png\n"
    assert (tmp_path / "fig9.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_is_run_and_drawn_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = run("study", "fig6c", "--smoke", "--evaluator", "xwch", "--restarts", 1)
    assert study.exit_code == 0, study.stderr
    assert len(read_rows(tmp_path / "figures.rows.jsonl")) == 3
    again = run("study", "fig6c", "--smoke", "--evaluator", "xwch", "--restarts", 1, "--to-the-end")
    assert again.exit_code == 0, again.stderr
    assert len(read_rows(tmp_path / "figures.rows.jsonl")) == 3
    assert run("plot", "fig6c", "--smoke", "--evaluator", "xwch", "--out", "c.pdf").exit_code == 0
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")
    assert "run `asla study fig6b`" in run("plot", "fig6c").stderr


def test_figure_3_is_run_and_drawn_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = run("study", "fig3", "--restarts", 1)
    assert study.exit_code == 0, study.stderr
    assert len(study.stdout.splitlines()) == len(read_rows(tmp_path / "fig3.rows.jsonl")) == 2
    assert run("plot", "fig3").exit_code == 0


def test_the_table_is_printed(tmp_path):
    (tmp_path / "figures.jsonl").touch()
    assert run("table", tmp_path).stdout == markdown(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["study", "fig5"], "`spec` is 'fig5', which needs no search: `asla plot fig5`"),
        (["study", "fig99"], "`spec` is 'fig99' but must be a JSON or TOML file or one of fig2a, "),
        (["study", "fig2a", "--evaluator", "dft"], "`evaluator` is 'dft'"),
        (["study", "fig2a", "--restarts", "0"], "`restarts` is 0 but must be at least 1"),
        (["study", "fig3", "--restarts", "0"], "`restarts` is 0 but must be at least 1"),
        (["study", "fig3", "--evaluator", "xwch"], "`spec` is 'fig3', which has neither calculator nor episodes"),
        (["study", "table1", "--evaluator", "dft"], "`evaluator` is 'dft'"),
        (["study", "table1", "--episodes", "0"], "`episodes` is 0 but must be at least 1"),
        (["study", "table1", "--restarts", "0"], "`restarts` is 0 but must be at least 1"),
        (["plot", "table1"], "`rows` holds none of table1 with these settings: run `asla study table1`"),
        (
            ["plot", "fig99"],
            "`name` is 'fig99' but must be the file of a study, the directory of a search, or one of fig2a, ",
        ),
        (["plot", "fig2a"], "`rows` holds none of fig2a with these settings: run `asla study fig2a`"),
        (["plot", "."], "`directory` is . but must hold the results of a search"),
        (["plot", "fig9", "--out", "."], "Is a directory: '.'"),
        (["plot", "fig9", "--out", "fig9.doc"], "Format 'doc' is not supported"),
        (["plot", "fig9", "--out", "no/such/directory.png"], "no/such/directory.png"),
        (["plot", "fig9", "--out", "fig9.word"], "'word' is not supported"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_one_line(arguments, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert part in line


# The learning curve of a search


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "run"
    settings = {"batch_size": 4, "gradient_steps": 1, "warmup_episodes": 1, "episodes": 4}
    search(RunConfig(env_id="ASLA-GrapheneMini-v0", evaluator="xwch", **settings), path, progress_bar=False)
    return path


def test_a_learning_curve_shows_each_energy_and_the_lowest_so_far(directory):
    energies = [row["energy_above_reference"] for row in read_rows(directory / "episodes.jsonl")]
    points, lowest, window = learning_curve(directory).axes[0].lines
    np.testing.assert_allclose(points.get_ydata(), energies)
    np.testing.assert_allclose(lowest.get_ydata(), np.minimum.accumulate(energies))
    assert window.get_ydata()[0] == 3.0


def test_a_learning_curve_shows_the_success_and_leaves_failures_out(directory, tmp_path):
    rows = read_rows(directory / "episodes.jsonl")
    rows[1] |= {"energy_above_reference": None, "energy": None}
    rows[2] |= {"is_success": True}
    (tmp_path / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "config.json").write_text((directory / "config.json").read_text())
    picture = learning_curve(tmp_path)
    points, lowest, _, found = picture.axes[0].lines
    assert np.isnan(points.get_ydata()[1])
    assert lowest.get_ydata()[1] == lowest.get_ydata()[0]
    assert found.get_xdata()[0] == 3
    assert "found in episode 3" in legend_of(picture)


def test_a_learning_curve_without_reference_shows_energies(directory, tmp_path, monkeypatch):
    rows = [row | {"energy_above_reference": None} for row in read_rows(directory / "episodes.jsonl")]
    (tmp_path / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "config.json").write_text((directory / "config.json").read_text())
    problem = replace(problems.graphene_mini(), reference=None)
    monkeypatch.setattr("asla_agents.figures.search.problem_of_id", lambda _: problem)
    (axes,) = learning_curve(tmp_path).axes
    points, _ = axes.lines
    np.testing.assert_allclose(points.get_ydata(), [row["energy"] for row in rows])
    assert (axes.get_ylabel(), axes.get_yscale()) == ("energy (eV)", "linear")


def test_a_learning_curve_is_written_into_the_directory(directory):
    assert run("plot", directory).exit_code == 0
    assert (directory / "learning.png").exists()


# Studies of one's own


def study_file(tmp_path, n_arms, name="arm {}"):
    """A study of several arms, and its rows: twenty restarts each, the later the arm the later found."""
    spec = {
        "settings": {"env_id": "ASLA-GrapheneMini-v0", "evaluator": "xwch", "episodes": 400, "stop_on_success": True},
        "arms": {name.format(i): {"warmup_episodes": 40 + i} for i in range(n_arms)},
    }
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(spec))
    rows = []
    for i, arm in enumerate(spec["arms"]):
        key = RunConfig(**spec["settings"], **spec["arms"][arm]).key
        for seed in range(20):
            at = 50 + 10 * seed + 40 * i
            ends = {"found_at": at, "episodes": at} if at <= 400 else {"found_at": None, "episodes": 400}
            rows.append({"arm": arm, "key": key, "seed": seed, "budget": 400} | ends)
    (tmp_path / "mine.rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_study_of_a_few_arms_is_drawn_as_curves_by_its_file(tmp_path):
    path = study_file(tmp_path, 2)
    result = run("plot", path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "mine.png").stat().st_size > 5000
    first, second = legend_of(study_figure("mine.json", job_of(str(path)).study, read_rows(job_of(str(path)).rows)))
    assert first.startswith("arm 0\nn = 20, n50 140 ")
    assert second.startswith("arm 1\nn = 20, n50 180 ")


def test_many_arms_are_a_line_each_with_n50_and_its_interval_and_the_test_against_the_first(tmp_path):
    job = job_of(str(study_file(tmp_path, 8)))
    (axes,) = study_figure("mine.json", job.study, read_rows(job.rows)).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "arm 0: 20 of 20"
    assert re.fullmatch(r"arm 7: 8 of 20, p = \d(\.\d)?e-\d\d", labels[7])
    markers = {float(line.get_ydata()[0]): line for line in axes.lines if line.get_marker() == "o"}
    assert [markers[i].get_xdata()[0] for i in range(3)] == [140, 180, 220]
    assert 7 not in markers  # half of its restarts never knew: an arrow at the end
    (arrow,) = (line for line in axes.lines if line.get_marker() == ">" and line.get_ydata()[0] == 7)
    assert arrow.get_xdata()[0] == 400


@pytest.mark.parametrize("n_arms", [2, 8])
def test_names_that_look_like_formulas_are_drawn_as_they_are(n_arms, tmp_path):
    job = job_of(str(study_file(tmp_path, n_arms, "$x_{{{}$")))
    study_figure("mine.json", job.study, read_rows(job.rows)).savefig(tmp_path / "mine.png")


def test_a_legend_has_names_that_begin_with_an_underscore_too(tmp_path):
    job = job_of(str(study_file(tmp_path, 2, "_{}")))
    picture = study_figure("mine.json", job.study, read_rows(job.rows))
    assert [text.splitlines()[0] for text in legend_of(picture)] == [r"$\_$0", r"$\_$1"]
    picture.savefig(tmp_path / "mine.png")


def test_a_study_without_rows_is_told_how_to_get_some(tmp_path):
    path = study_file(tmp_path, 2)
    (tmp_path / "mine.rows.jsonl").unlink()
    result = run("plot", path)
    assert result.exit_code == 2
    assert "run `asla study" in " ".join(result.output.split())
